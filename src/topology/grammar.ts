import type { Definition } from '../operator.ts';
import type { Draft, DraftStream, Route } from './draft.ts';
import { readOnError } from './error-options.ts';
import type { Surroundings } from './interpolate.ts';
import type { Lookup } from './lookup.ts';
import { readParams } from './params.ts';
import { checkName, textOf } from './pieces.ts';
import type { Report } from './report.ts';
import { readKeeping } from './state-options.ts';
import { StreamReader } from './stream-reader.ts';
import { didYouMean, listed, nearest } from './suggest.ts';
import { found } from './values.ts';
import { entriesOf, plainValue, type Written, type WrittenMap } from './written.ts';

const topKeys = [
  'version',
  'name',
  'description',
  'params',
  'otherwise',
  'onError',
  'state',
  'delivery',
  'streams',
  'tests',
];

/** Reads a whole topology. Reports what does not fit its grammar or an operator's options; gives what could be read. */
export function readTopology(
  written: Written,
  lookup: Lookup,
  from: Omit<Surroundings, 'params'>,
  set: Readonly<Record<string, unknown>>,
  report: Report,
): Draft | undefined {
  if (written.kind !== 'map') {
    report.add(
      'missing-key',
      written,
      `A topology is a mapping with \`name\` and \`streams\`, but this is ${found(written)}.`,
      {
        hint: 'Begin with `version: 1`, `name: …` and `streams:`.',
      },
    );
    return undefined;
  }
  checkKeys(written, report);
  const params = readParams(written.entries.get('params')?.value, set, from, report);
  const name = readName(written, report);
  const errors = { name: 'the topology', retries: undefined };
  const { otherwise, onError } = readOnError(written.entries, errors, { ...from, params }, report);
  if (otherwise?.to === 'drop' && written.entries.has('otherwise')) {
    report.add('bad-value', otherwise.site, 'The `otherwise` of a whole topology must be a stream, not `drop`.', {
      hint: 'Drop is said step by step: `otherwise: drop` beside the step; for all that has no stream of its own, `onError: drop`.',
    });
  }
  const keeping = readKeeping(written, { ...from, params }, report);
  const streams = readStreams(written, lookup, { ...from, params }, otherwise, report);
  const description = written.entries.get('description')?.value;
  return {
    name,
    ...(description && { description: textOf(description, 'description', report) }),
    ...(otherwise && { otherwise }),
    ...(onError && { onError }),
    keeping,
    streams,
  };
}

function checkKeys(top: WrittenMap, report: Report): void {
  for (const [key, { key: site, value }] of top.entries) {
    if (topKeys.includes(key)) continue;
    report.passOver(value);
    report.add('unknown-key', site, `A topology has no \`${key}\` at its top level.${didYouMean(key, topKeys)}`, {
      hint: `It has ${listed(topKeys)}.`,
    });
  }
  const version = top.entries.get('version');
  if (!version) {
    report.add('missing-key', siteOfFirst(top), 'The topology does not say its `version`.', {
      hint: 'Write `version: 1` in the first line.',
    });
  } else if (version.value.kind !== 'scalar' || version.value.value !== 1) {
    report.add(
      'unsupported-version',
      version.value,
      `This program reads version 1, but the file is ${version.value.kind === 'scalar' ? `version ${version.value.text ?? String(version.value.value)}` : found(version.value)}.`,
      {
        hint: 'Write `version: 1`, or use the release of penstock that the file was written for.',
      },
    );
  }
}

function siteOfFirst(top: WrittenMap) {
  return [...top.entries.values()][0]?.key ?? top;
}

function readName(top: WrittenMap, report: Report): string {
  const entry = top.entries.get('name');
  if (!entry) {
    report.add('missing-key', siteOfFirst(top), 'The topology has no `name`.', {
      hint: 'Write `name: generators`: state, consumer groups and client ids are named after it.',
    });
    return '';
  }
  const name = textOf(entry.value, 'name', report);
  if (name !== '') checkName(name, 'name of a topology', entry.value, report);
  return name;
}

function readStreams(
  top: WrittenMap,
  lookup: Lookup,
  from: Surroundings,
  otherwise: Route | undefined,
  report: Report,
): DraftStream[] {
  const entry = top.entries.get('streams');
  if (entry?.value.kind !== 'map' || entry.value.entries.size === 0) {
    const site = entry?.value ?? siteOfFirst(top);
    const is = entry
      ? `, but \`streams\` is ${entry.value.kind === 'map' ? 'an empty mapping' : found(entry.value)}`
      : '';
    report.add(
      entry && entry.value.kind !== 'map' && !(entry.value.kind === 'scalar' && entry.value.value === null)
        ? 'wrong-type'
        : 'missing-key',
      site,
      `The topology needs \`streams\`, a mapping of names to lists of steps${is}.`,
      {
        hint: 'For example: `streams: { readings: [ { mqtt: { … } }, { print: } ] }`.',
      },
    );
    return [];
  }
  const sides = sideTargets(entry.value, lookup);
  if (otherwise) sides.add(otherwise.to);
  // A misspelt name still tells which stream was meant to take side outputs.
  const names = [...entry.value.entries.keys()];
  for (const side of [...sides]) {
    const meant = names.includes(side) ? undefined : nearest(side, names);
    if (meant !== undefined) sides.add(meant);
  }
  const reader = new StreamReader(lookup, from, sides, report);
  const streams: DraftStream[] = [];
  for (const [name, { key, value }] of entry.value.entries) {
    checkName(name, 'name of a stream', key, report);
    if (name === 'drop') {
      report.add('bad-value', key, '`drop` cannot be the name of a stream: `otherwise: drop` throws records away.', {
        hint: 'Choose another name.',
      });
    }
    streams.push(reader.read(name, key, value));
  }
  // Either of the two may be the rest of the other.
  for (const [name, { key, value }] of entry.value.repeated ?? []) streams.push(reader.read(name, key, value, true));
  return streams;
}

/**
 * Names that some step sends records to. A stream that takes them has no source of its own, so that `kafka` in its first place is the sink.
 */
function sideTargets(streams: WrittenMap, lookup: Lookup): Set<string> {
  const targets = new Set<string>();
  const collect = (node: Written): void => {
    if (node.kind === 'scalar') return;
    if (node.kind === 'list') {
      for (const item of node.items) collect(item);
      return;
    }
    for (const [key, { value }] of entriesOf(node)) {
      if (key === 'late' || nearest(key, ['otherwise', 'onError'])) addTarget(plainValue(value), targets);
      else if (lookup.knows(key)) routesIn(lookup.find(key, 'step') ?? lookup.find(key, 'source'), value, targets);
      collect(value);
    }
  };
  collect(streams);
  return targets;
}

function addTarget(value: unknown, targets: Set<string>): void {
  const to = typeof value === 'object' && value !== null ? (value as { to?: unknown }).to : value;
  if (typeof to === 'string') targets.add(to);
}

// Options of the format `stream`, such as the routes of a branch.
function routesIn(definition: Definition | undefined, value: Written, targets: Set<string>): void {
  if (!definition || !/"(?:f|keyF)ormat":"stream"/.test(JSON.stringify(definition.options))) return;
  const walk = (found: unknown): void => {
    if (typeof found === 'string') targets.add(found);
    else if (typeof found === 'object' && found !== null) Object.entries(found).flat().forEach(walk);
  };
  walk(plainValue(value));
}
