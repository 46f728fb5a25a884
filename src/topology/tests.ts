import type { Place } from '../errors.ts';
import { parseDuration } from '../quantity.ts';
import type { Key } from '../record.ts';
import type { Draft } from './draft.ts';
import type { Plan } from './plan.ts';
import type { Report, Site } from './report.ts';
import { didYouMean, listed } from './suggest.ts';
import { found } from './values.ts';
import { entriesOf, objectOf, plainValue, type Written, type WrittenMap } from './written.ts';

/** One test of a topology, as its `tests` block says it. */
export interface TopologyTest {
  readonly name: string;
  readonly place?: Place;
  /** All that `${NAME}` can stand for: a test reads no environment but its own. */
  readonly env: Readonly<Record<string, string>>;
  readonly params: Readonly<Record<string, unknown>>;
  readonly steps: readonly TestStep[];
  /** The input ends behind the last step, which closes windows. */
  readonly end: boolean;
  /** What comes out, by stream name or sink id. */
  readonly expect: ReadonlyMap<string, readonly ExpectedRecord[]>;
}

export type TestStep =
  | { readonly feed: ReadonlyMap<string, readonly TestRecord[]> }
  /** A time in ms, or so many ms from where the clock is. */
  | { readonly clock: { readonly at: number } | { readonly after: number } }
  | { readonly do: 'checkpoint' | 'crash' | 'restart' | 'end' };

export interface TestRecord {
  readonly arrival?: number;
  readonly key?: Key;
  readonly topic?: string;
  readonly payload?: string;
  readonly value?: unknown;
}

/** `value`: exactly this. `like`: at least these fields. */
export type ExpectedRecord = { readonly key?: Key } & ({ readonly value: unknown } | { readonly like: unknown });

const testKeys = ['name', 'env', 'params', 'feed', 'steps', 'end', 'expect'];
const moments = ['checkpoint', 'crash', 'restart'] as const;
const stepKeys = ['feed', 'clock', 'end'];
const fedKeys = ['at', 'key', 'topic', 'value', 'payload'];
const expectedKeys = ['key', 'value', 'like'];
const rfc3339 = /^\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)$/;

/** What a topology without an `otherwise` of its own sends dead letters to, in tests. */
export const deadLetters = 'deadLetters';

/** Reads the `tests` of a topology and reports what does not fit. Sinks are known by their ids only when there is a plan. */
export function readTests(
  node: Written,
  draft: Draft,
  plan: Plan | undefined,
  locate: (site: Site) => Place | undefined,
  report: Report,
): TopologyTest[] {
  const items = listOf(node, '`tests`', 'Write `tests:` and below it `- name: …` with `feed` and `expect`.', report);
  const reader = new TestReader(draft, plan, report);
  return items.flatMap((item) => {
    const map = mapOf(item, 'A test', 'Write `- name: …`, `feed: …` and `expect: …`.', report);
    const place = locate(item);
    return map ? [{ ...reader.test(map), ...(place && { place }) }] : [];
  });
}

class TestReader {
  readonly #streams: readonly string[];
  readonly #sources: readonly string[];
  /** `undefined` when they are not known. */
  readonly #outputs: readonly string[] | undefined;
  readonly #report: Report;

  constructor({ streams }: Draft, plan: Plan | undefined, report: Report) {
    this.#report = report;
    this.#streams = streams.map(({ name }) => name);
    this.#sources = streams.flatMap(({ name, steps }) => (steps[0]?.definition.kind === 'source' ? [name] : []));
    const sinks = plan?.streams.flatMap(({ steps }) => steps.filter(({ kind }) => kind === 'sink').map(({ id }) => id));
    this.#outputs = sinks && [...this.#streams, ...sinks, ...(plan?.otherwise === undefined ? [deadLetters] : [])];
  }

  test(map: WrittenMap): Omit<TopologyTest, 'place'> {
    this.#keys(map, testKeys, 'A test');
    const name = map.entries.get('name')?.value;
    if (name?.kind !== 'scalar' || name.value === null)
      this.#report.add('missing-key', name ?? map, 'The test has no `name`.', {
        hint: 'Say what it shows: `name: …`.',
      });
    const feed = map.entries.get('feed')?.value;
    const expect = map.entries.get('expect');
    if (!expect)
      this.#report.add('missing-key', map, 'The test has no `expect`.', {
        hint: 'Write `expect: { <stream or sink>: [ … ] }`, or `expect: {}` when nothing is to come out.',
      });
    const steps = this.#steps(map.entries.get('steps')?.value);
    const env = Object.entries(this.#named(map, 'env')).map(([key, value]) => [key, String(value)] as const);
    return {
      name: name?.kind === 'scalar' ? String(name.text ?? name.value) : '',
      env: Object.fromEntries(env),
      params: this.#named(map, 'params'),
      steps: feed ? [{ feed: this.#feed(feed) }, ...steps] : steps,
      end: this.#flag(map.entries.get('end')?.value) && !steps.some((step) => 'do' in step && step.do === 'end'),
      expect: expect ? this.#expect(expect.value) : new Map(),
    };
  }

  #named(map: WrittenMap, name: string): Record<string, unknown> {
    const node = map.entries.get(name)?.value;
    if (!node) return {};
    const inner = mapOf(node, `\`${name}\``, `Write \`${name}: { NAME: value }\`.`, this.#report);
    // As it stands in the file: `012` and `no` are texts here.
    return objectOf(
      [...(inner?.entries ?? [])].map(([key, { value }]) => [
        key,
        value.kind === 'scalar' ? (value.text ?? value.value) : plainValue(value),
      ]),
    );
  }

  #flag(node: Written | undefined): boolean {
    if (!node) return true;
    if (node.kind === 'scalar' && typeof node.value === 'boolean') return node.value;
    this.#report.add('wrong-type', node, `\`end\` must be true or false, but is ${found(node)}.`);
    return true;
  }

  #steps(node: Written | undefined): TestStep[] {
    if (!node) return [];
    const items = listOf(node, '`steps`', 'Write a list, such as `- clock: 30s`.', this.#report);
    const steps: TestStep[] = [];
    for (const [index, item] of items.entries()) {
      const step = this.#step(item);
      if (!step) continue;
      steps.push(step);
      if ('do' in step && step.do === 'end' && index < items.length - 1)
        this.#report.add('misplaced-step', items[index + 1]!, 'Behind `end: true` nothing more can happen.', {
          hint: 'Drop what follows it, or move it before the end.',
        });
    }
    return steps;
  }

  #step(node: Written): TestStep | undefined {
    const moment = moments.find((word) => node.kind === 'scalar' && node.value === word);
    if (moment) return { do: moment };
    if (node.kind === 'map' && node.entries.size === 1) {
      this.#keys(node, stepKeys, 'A step of a test');
      const [name, { value }] = [...node.entries][0]!;
      if (name === 'feed') return { feed: this.#feed(value) };
      if (name === 'clock') return this.#clock(value);
      return name === 'end' && this.#flag(value) ? { do: 'end' } : undefined;
    }
    const word = node.kind === 'scalar' && typeof node.value === 'string' ? didYouMean(node.value, moments) : '';
    this.#report.add('bad-value', node, `A step of a test cannot be ${found(node)}.${word}`, {
      hint: `Write ${listed([...stepKeys.map((key) => `${key}: …`), ...moments], 'or')}.`,
    });
    return undefined;
  }

  #clock(node: Written): TestStep | undefined {
    const text = node.kind === 'scalar' ? String(node.text ?? node.value) : '';
    const after = parseDuration(text);
    if (after !== undefined) return { clock: { after } };
    if (rfc3339.test(text) && !Number.isNaN(Date.parse(text))) return { clock: { at: Date.parse(text) } };
    this.#report.add('bad-value', node, `\`clock\` must be a time or a length of time, but is ${found(node)}.`, {
      hint: 'Write `clock: 30s`, or `clock: 2026-01-01T12:00:00Z`.',
    });
    return undefined;
  }

  #feed(node: Written): ReadonlyMap<string, readonly TestRecord[]> {
    const hint = 'Write `feed: { <stream>: [ … ] }`.';
    const fed = new Map<string, readonly TestRecord[]>();
    for (const [name, { key, value }] of mapOf(node, '`feed`', hint, this.#report)?.entries ?? []) {
      if (!this.#sources.includes(name)) {
        const there = this.#streams.includes(name);
        const message = there ? `The stream \`${name}\` has no source` : `There is no stream \`${name}\``;
        const near = didYouMean(name, this.#sources);
        this.#report.add(there ? 'bad-value' : 'unknown-stream', key, `${message} to be fed.${near}`, {
          hint: `Streams with a source: ${listed(this.#sources)}.`,
        });
      }
      fed.set(
        name,
        listOf(value, `What is fed to \`${name}\``, hint, this.#report).map((item) => this.#fed(item)),
      );
    }
    return fed;
  }

  #fed(node: Written): TestRecord {
    if (node.kind === 'scalar') return { payload: node.text ?? String(node.value) };
    if (!isEnvelope(node, ['value', 'payload'])) return { value: plainValue(node) };
    this.#keys(
      node,
      fedKeys,
      'A record that is fed',
      'A record with such a field of its own is written `value: { … }`.',
    );
    const { at, key, topic, payload, value } = partsOf(node);
    if (payload && (value || payload.kind !== 'scalar'))
      this.#report.add('bad-value', payload, 'A record is fed by one of `payload`, a text, and `value`, anything.', {
        hint: 'Write what comes over the wire as `payload: "…"`, or the decoded record as `value: { … }`.',
      });
    const arrival = at?.kind === 'scalar' ? String(at.text ?? at.value) : '';
    if (at && !(rfc3339.test(arrival) && !Number.isNaN(Date.parse(arrival))))
      this.#report.add('bad-value', at, `\`at\` must be a time, but is ${found(at)}.`, {
        hint: 'Write `at: 2026-01-01T12:00:00Z`.',
      });
    return {
      ...(at && { arrival: Date.parse(arrival) }),
      ...(key && { key: this.#key(key) }),
      ...(topic && { topic: String(plainValue(topic)) }),
      ...(payload?.kind === 'scalar' ? { payload: payload.text ?? String(payload.value) } : {}),
      ...(value && { value: plainValue(value) }),
    };
  }

  #expect(node: Written): ReadonlyMap<string, readonly ExpectedRecord[]> {
    const hint = 'Write `expect: { <stream or sink>: [ … ] }`.';
    const expected = new Map<string, readonly ExpectedRecord[]>();
    for (const [name, { key, value }] of mapOf(node, '`expect`', hint, this.#report)?.entries ?? []) {
      if (this.#outputs && !this.#outputs.includes(name))
        this.#report.add(
          'unknown-stream',
          key,
          `There is neither a stream nor a sink \`${name}\`.${didYouMean(name, this.#outputs)}`,
          { hint: `There are ${listed(this.#outputs)}.` },
        );
      const items = listOf(value, `What is expected of \`${name}\``, hint, this.#report);
      expected.set(
        name,
        items.map((item) => this.#expected(item)),
      );
    }
    return expected;
  }

  #expected(node: Written): ExpectedRecord {
    if (!isEnvelope(node, ['value', 'like'])) return { value: plainValue(node) };
    this.#keys(node, expectedKeys, 'An expected record', 'One with such a field of its own is written `value: { … }`.');
    const { key, value, like } = partsOf(node);
    if (value && like)
      this.#report.add('bad-value', like, 'An expected record has one of `value`, all of it, and `like`, some fields.');
    return {
      ...(key && { key: this.#key(key) }),
      ...(value ? { value: plainValue(value) } : { like: plainValue(like!) }),
    };
  }

  #key(node: Written): Key {
    const key = plainValue(node);
    if (typeof key === 'string' || typeof key === 'number' || typeof key === 'boolean') return key;
    this.#report.add('wrong-type', node, `A key is a text, a number or true or false, but this is ${found(node)}.`);
    return '';
  }

  #keys(map: WrittenMap, known: readonly string[], what: string, more = ''): void {
    for (const [name, { key }] of entriesOf(map)) {
      if (known.includes(name)) continue;
      this.#report.add('unknown-key', key, `${what} has no \`${name}\`.${didYouMean(name, known)}`, {
        hint: `It has ${listed(known)}.${more === '' ? '' : ` ${more}`}`,
      });
    }
  }
}

function isEnvelope(node: Written, marks: readonly string[]): node is WrittenMap {
  return node.kind === 'map' && marks.some((mark) => node.entries.has(mark));
}

function partsOf({ entries }: WrittenMap): Record<string, Written | undefined> {
  return Object.fromEntries([...entries].map(([name, { value }]) => [name, value]));
}

function listOf(node: Written, what: string, hint: string, report: Report): readonly Written[] {
  if (node.kind === 'list') return node.items;
  report.add('wrong-type', node, `${what} must be a list, but is ${found(node)}.`, { hint });
  return [];
}

function mapOf(node: Written, what: string, hint: string, report: Report): WrittenMap | undefined {
  if (node.kind === 'map') return node;
  report.add('wrong-type', node, `${what} must be a mapping, but is ${found(node)}.`, { hint });
  return undefined;
}
