import { readFileSync } from 'node:fs';
import { basename, dirname, resolve } from 'node:path';
import type { Problem } from '../errors.ts';
import type { Definition } from '../operator.ts';
import { compile } from './compile.ts';
import { readTopology } from './grammar.ts';
import { masked, secretsIn } from './hidden.ts';
import { reason } from './interpolate.ts';
import { Lookup } from './lookup.ts';
import type { Plan } from './plan.ts';
import { Report } from './report.ts';
import { readTests, type TopologyTest } from './tests.ts';
import { Lines, parseYaml } from './yaml.ts';

export interface LoadOptions {
  readonly catalogue: readonly Definition[];
  /** Values for `${NAME}`. Nothing else of the environment is read. */
  readonly env?: Readonly<Record<string, string | undefined>>;
  /** Values for `params`, as text (`--set name=value`) or typed. */
  readonly params?: Readonly<Record<string, unknown>>;
  /** Reads the files that a topology names: itself, schemas, secrets. The path is absolute. Throws as `fs.readFileSync` does. */
  readonly readFile?: (path: string) => string;
}

export interface Loaded {
  /** `undefined` when a problem stands in the way; warnings do not. */
  readonly plan?: Plan;
  /** All that is wrong, in the order of the file. */
  readonly problems: readonly Problem[];
  /** Texts by the file names of the problems' places, for `renderProblems`: with stars in place of secrets. */
  readonly sources: ReadonlyMap<string, string>;
  /** The topology's `tests`; `undefined` when it has none, or is too broken to read them. They are no part of the plan. */
  readonly tests?: readonly TopologyTest[];
}

/**
 * Reads a topology from a YAML file, or from a text that stands for one, and checks it. Never throws for what is in the file, and never
 * connects to anything: all that is wrong is in `problems`.
 */
export function loadTopology(
  from: string | { readonly text: string; readonly file: string },
  options: LoadOptions,
): Loaded {
  const { catalogue, env = {}, params = {}, readFile = (path: string) => readFileSync(path, 'utf8') } = options;
  const file = typeof from === 'string' ? from : from.file;
  let text: string;
  try {
    text = typeof from === 'string' ? readFile(resolve(from)) : from.text;
  } catch (error) {
    return unreadable(file, error);
  }
  const lines = new Lines(file, text);
  const report = new Report((range) => lines.place(range));
  const written = parseYaml(text, report);
  const folder = dirname(resolve(file));
  const draft = written && readTopology(written, new Lookup(catalogue), { env, folder, readFile }, params, report);
  const plan = draft && compile(draft, report);
  const block = written?.kind === 'map' ? written.entries.get('tests')?.value : undefined;
  const tests = block && draft && readTests(block, draft, plan, ({ at }) => at && lines.place(at), report);
  return {
    ...(plan && !report.failed && { plan }),
    problems: report.sorted(),
    sources: new Map([[file, masked(text, [...secretsIn(text), ...report.hidden])]]),
    ...(tests && { tests }),
  };
}

function unreadable(file: string, error: unknown): Loaded {
  const report = new Report(() => ({ file, line: 1, column: 1 }));
  report.add(
    'unreadable-file',
    { at: { start: 0, end: 0 } },
    `The topology \`${basename(file)}\` cannot be read${reason(error)}.`,
    {
      hint:
        (error as { code?: unknown } | null)?.code === 'EISDIR'
          ? `Give the path of the file in it, as in \`${basename(file)}/topology.yaml\`.`
          : 'Check the path.',
    },
  );
  return { problems: report.sorted(), sources: new Map() };
}
