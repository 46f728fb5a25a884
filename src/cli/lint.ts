import { readFileSync } from 'node:fs';
import pc from 'picocolors';
import type { Place, Problem } from '../errors.ts';
import { masked, secretsIn } from '../topology/hidden.ts';
import { type LoadOptions, loadTopology } from '../topology/load.ts';

export type ProblemFormat = 'pretty' | 'json' | 'github';

export interface RenderOptions {
  readonly format?: ProblemFormat;
  /** Default: when standard error is a terminal that shows colours. */
  readonly color?: boolean;
}

/** Problems as text: for people with the lines they are about, for programs as JSON, or as annotations of a GitHub check. */
export function renderProblems(
  problems: readonly Problem[],
  sources: ReadonlyMap<string, string> = new Map(),
  { format = 'pretty', color = process.stderr.isTTY === true && pc.isColorSupported }: RenderOptions = {},
): string {
  if (format === 'json') return JSON.stringify({ version: 1, problems }, null, 2);
  if (format === 'github') return problems.map(annotation).join('\n');
  const colors = pc.createColors(color);
  return problems.map((problem) => pretty(problem, sources, colors)).join('\n');
}

export interface LintResult {
  readonly problems: readonly Problem[];
  readonly sources: ReadonlyMap<string, string>;
  /** A problem stands in the way of a run; warnings do not. */
  readonly failed: boolean;
}

/** Checks topologies, and the YAML blocks with a topology in Markdown files. Connects to nothing. */
export function lintFiles(files: readonly string[], options: LoadOptions): LintResult {
  const problems: Problem[] = [];
  const sources = new Map<string, string>();
  for (const file of files) {
    const page = file.endsWith('.md') ? pageOf(file, options) : undefined;
    const texts = page === undefined ? [file] : topologiesIn(page).map((text) => ({ text, file }));
    for (const from of texts) {
      const loaded = loadTopology(from, options);
      problems.push(...loaded.problems);
      for (const [name, text] of loaded.sources) if (!sources.has(name)) sources.set(name, text);
    }
    if (page !== undefined) sources.set(file, masked(page, secretsIn(page)));
  }
  return { problems, sources, failed: problems.some(({ severity }) => severity !== 'warning') };
}

/** A page's text; `undefined` when it cannot be read, which whoever reads it as a topology says. */
function pageOf(file: string, { readFile = (path) => readFileSync(path, 'utf8') }: LoadOptions): string | undefined {
  try {
    return readFile(file);
  } catch {
    return undefined;
  }
}

/** The YAML blocks of a page that hold a whole topology, each with empty lines before it so that its lines keep their numbers. */
function topologiesIn(page: string): string[] {
  const found: string[] = [];
  for (const match of page.matchAll(/^```ya?ml[^\n]*\n([\s\S]*?)^```/gm)) {
    const block = match[1]!;
    if (!/^streams:/m.test(block)) continue;
    const before = page.slice(0, match.index + match[0].indexOf('\n') + 1);
    found.push(before.replace(/[^\n]/g, '') + block);
  }
  return found;
}

function pretty(
  problem: Problem,
  sources: ReadonlyMap<string, string>,
  colors: ReturnType<typeof pc.createColors>,
): string {
  const { code, message, hint, place, severity } = problem;
  const mark = severity === 'warning' ? colors.yellow : colors.red;
  const label = severity === 'warning' ? colors.yellow('warning: ') : '';
  const at = place ? `${colors.bold(`${place.file}:${place.line}:${place.column}`)}  ` : '';
  const told = `${at}${label}${printable(message)}`;
  const advice = `${hint === undefined ? '' : `${printable(hint)}  `}${colors.dim(`[${code}]`)}`;
  const frame = place && codeFrame(place, sources.get(place.file));
  if (!frame) return `${told}\n    ${advice}`;
  return `${told}\n    ${frame.line}\n    ${' '.repeat(frame.start)}${mark('^'.repeat(frame.length))}  ${advice}`;
}

const frameWidth = 100;

/** The line of a place without its indentation, cut to a width that a terminal has, and where the carets go. */
function codeFrame(
  { line, column, length = 0 }: Place,
  text: string | undefined,
): { line: string; start: number; length: number } | undefined {
  const full = text?.split('\n')[line - 1]?.trimEnd();
  if (full === undefined || full.trim() === '') return undefined;
  const indent = full.length - full.trimStart().length;
  const cut = Math.max(indent, column - 1 - frameWidth / 2);
  const more = cut > indent ? '…' : '';
  const shown = full.slice(cut, cut + frameWidth);
  const start = Math.max(0, column - 1 - cut) + more.length;
  const carets = Math.max(1, Math.min(length, shown.length + more.length - start));
  return { line: `${more}${printable(shown)}${full.length > cut + frameWidth ? '…' : ''}`, start, length: carets };
}

// A file may hold escape sequences that would act on the terminal it is shown in.
function printable(text: string): string {
  return text.replace(/[\p{Cc}\p{Cf}]/gu, (sign) => (sign === '\t' ? ' ' : sign === '\n' ? ' ' : '\ufffd'));
}

function annotation({ code, message, hint, place, severity }: Problem): string {
  const level = severity === 'warning' ? 'warning' : 'error';
  const at = place ? `file=${property(place.file)},line=${place.line},col=${place.column},` : '';
  return `::${level} ${at}title=${property(code)}::${data(hint === undefined ? message : `${message} ${hint}`)}`;
}

function data(text: string): string {
  return text.replaceAll('%', '%25').replaceAll('\r', '%0D').replaceAll('\n', '%0A');
}

function property(text: string): string {
  return data(text).replaceAll(':', '%3A').replaceAll(',', '%2C');
}
