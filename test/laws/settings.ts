import fc from 'fast-check';
import { concatMap, of } from 'rxjs';
import type { Process, StreamRecord } from '../../src/operator.ts';
import { type ArrivalOptions, arrivals, type LawSetting, type Seen } from '../../src/testing/laws.ts';

const updates: Partial<LawSetting> = {
  mostResults: Number.POSITIVE_INFINITY,
  except: {
    partitions: 'An early result shows how far event time has come, and that waits for the slowest partition.',
  },
};

/** Gathers what comes in every four seconds of a key, as a window would: with a timer for the end of each. */
const gathersIds: Process<{ id: number }, { id: number; end: number }[], { ids: number[] }> = {
  state: () => [],
  onRecord({ time, value }, step) {
    const end = (Math.floor(time / 4_000) + 1) * 4_000;
    if (Number.isNaN(time)) return step.reject('It has no time.');
    if (end <= step.watermark) return step.late('It has gone by.');
    step.state.push({ id: value.id, end });
    step.timer(end);
  },
  onTimer(at, _key, step) {
    const due = step.state.filter(({ end }) => end <= at);
    if (due.length > 0) step.emit({ ids: due.map(({ id }) => id) });
    if (due.length < step.state.length) step.state = step.state.filter(({ end }) => end > at);
    else step.forget();
  },
};

/**
 * How the laws are checked for each built-in step, by its name: one setting or more, each with options and input. Where a result does not
 * stand for the one record that has its place in the source, `partOf` says which records it stands for; where the step ends records on
 * purpose, `mayEnd` says which.
 */
export const settings: Readonly<Record<string, readonly LawSetting[]>> = {
  changed: [
    { options: { fields: ['n', 'x.y'] }, input: input(), mayEnd: unchanged },
    {
      options: { fields: 'n', first: false, previous: 'before', forget: '3s' },
      input: input(),
      mayEnd: () => true,
      // It ends one silence, and may begin another.
      mostResults: 2,
      except: { partitions: 'A key is forgotten as event time goes, and that waits for the slowest partition.' },
    },
  ],
  branch: [
    { options: { small: 'n < 2', match: 'first' }, input: input() },
    { options: { small: 'n < 2', mine: 'x.y == "u"', match: 'all', else: 'others' }, input: input(), mostResults: 2 },
  ],
  dedupe: [
    { options: { within: '2s' }, input: input(), outOfOrderMs: 1_000, mayEnd: repeats(2_000) },
    { options: { within: '2s', by: ['n', 'x.y'] }, input: input({ timeless: true }), mayEnd: repeats(2_000) },
  ],
  detect: ['0s', '1s'].map((disorder) => ({
    options: { absence: '3s', recovered: disorder === '1s', keep: ['n'] },
    outOfOrderMs: disorder === '1s' ? 1_000 : 0,
    input: input(),
    // A record can end one silence and begin another; most do neither.
    mostResults: 2,
    mayEnd: () => true,
  })),
  filter: [{ options: { where: 'n < 2' }, input: input(), mayEnd: ({ value }) => !(numberOf(value)! < 2) }],
  flatMap: [
    {
      options: { list: 'list', as: 'one', max: 3 },
      input: input({ value: fc.record({ list: fc.oneof(fc.array(fc.nat(), { maxLength: 4 }), fc.constant('none')) }) }),
      mostResults: 3,
      mayEnd: ({ value }) => (field(value, 'list') as unknown[]).length === 0,
    },
  ],
  join: (['inner', 'left', 'outer'] as const).map((type) => ({
    options: { with: 'b', within: '2s', as: 'other', type, lateness: type === 'left' ? '1s' : '0s' },
    outOfOrderMs: type === 'inner' ? 0 : 1_000,
    input: input({ inputs: ['b'], value: objects(), numbered: 'id' }),
    partOf: paired,
    mostResults: Number.POSITIVE_INFINITY,
    mayEnd: (_, { stream }) => type === 'inner' || (type === 'left' && stream === 'b'),
    except: {
      partitions: 'A pair comes with its second record: the order of pairs is that in which their records come.',
    },
  })),
  keyBy: [
    { options: { field: 'n' }, input: input() },
    { options: { field: 'x.y', null: 'none' }, input: input({ key: fc.constantFrom('a', undefined) }) },
  ],
  lag: [
    { options: { as: 'before', by: 2 }, input: input() },
    { options: { as: 'before', fields: ['n', 'x.y'] }, input: input() },
  ],
  lookup: [
    { options: { table: 'b', as: 'row' }, input: input({ inputs: ['b'], timeless: true }), mayEnd: isRow },
    {
      options: { table: 'b', as: 'row', keepFor: '2s', type: 'inner' },
      outOfOrderMs: 1_000,
      input: input({ inputs: ['b'] }),
      mayEnd: () => true,
    },
    {
      options: { table: 'b', as: 'row', asOf: 'latest' },
      input: input({ inputs: ['b'], timeless: true }),
      mayEnd: isRow,
      except: { partitions: 'The latest row is the one that arrived last.' },
    },
  ],
  map: [{ options: { double: 'n * 2.0', 'x.z': 'n > 1.0 ? key : x.y' }, input: input() }],
  meta: [{ options: { topic: 'n-{n}', headers: { y: '{x.y}' }, dropHeaders: ['z'] }, input: input() }],
  merge: [{ options: { with: ['b', 'c'] }, input: input({ inputs: ['b', 'c'] }) }],
  partition: [{ options: { count: 3 }, input: input({ key: fc.constantFrom('a', 'b', 1, true, undefined) }) }],
  pipe: [{ options: { operators: concatMap((value) => of(value, [value])) }, input: input(), mostResults: 2 }],
  process: [
    {
      options: {
        state: () => ({ seen: 0 }),
        onRecord(record, step) {
          const { state } = step as { state: { seen: number } };
          state.seen++;
          step.emit({ seen: state.seen });
          if (state.seen % 2 === 0) step.emit({ even: record.value });
          if (state.seen === 3) step.forget();
        },
      } satisfies Process<unknown, unknown, unknown>,
      input: input({ timeless: true }),
      mostResults: 2,
    },
    { options: gathersIds, outOfOrderMs: 1_000, input: input({ value: objects(), numbered: 'id' }), partOf: gathered },
  ],
  select: [
    { options: { keep: ['n', 'x.y'] }, input: input() },
    { options: { drop: ['x.y'] }, input: input() },
  ],
  set: [{ options: { region: 'US' }, input: input() }],
  sort: [
    { options: {}, input: input({ timeless: true }) },
    {
      options: { maxBuffered: 2 },
      outOfOrderMs: 2_000,
      input: input(),
      except: { partitions: 'How many records wait depends on the slowest partition.' },
    },
  ],
  throttle: [
    { options: { limit: 2, per: '2s' }, input: input(), mayEnd: afterOthers(2, 2_000) },
    { options: { limit: 1, per: '3s', excess: 'reject', lateness: '1s' }, outOfOrderMs: 1_000, input: input() },
  ],
  validate: [
    {
      options: { schema: { type: 'object', properties: { n: { type: 'number', maximum: 2 } }, required: ['n'] } },
      madeOnce: true,
      input: input(),
    },
  ],
  value: [{ options: { value: '{"double": n * 2.0, "y": x.y}' }, input: input() }],
  window: [
    ...['0s', '1s'].map((lateness) => windowed({ tumbling: '4s', lateness }, { mostResults: 1 })),
    windowed({ tumbling: '4s', offset: '1s', label: 'start' }, { outOfOrderMs: 2_000 }),
    windowed({ hopping: { size: '4s', every: '2s' } }, { mostResults: 2 }),
    windowed({ hopping: { size: '5s', every: '2s' }, outOfOrder: '1s', label: 'lastEvent' }, { mostResults: 3 }),
    windowed({ session: { gap: '2s' } }),
    windowed({ session: { gap: '2s', max: '6s' } }, { outOfOrderMs: 1_000 }),
    windowed(
      { calendar: { every: '1d', timeZone: 'America/Denver' } },
      {},
      { gridMs: 21_600_000, startMs: Date.UTC(2026, 2, 7, 7) },
    ),
    windowed({ rolling: { size: '3s' } }, { partOf: rolledUp, mostResults: Number.POSITIVE_INFINITY }),
    windowed({ tumbling: '4s', emit: 'onUpdate', lateness: '2s' }, updates),
    windowed({ tumbling: '6s', emit: { early: '2s' } }, updates),
    windowed({ tumbling: '2s', fill: null, fillFor: '8s' }, { mayInvent: true }),
    // A record that comes again has the number of the first one.
    windowed({ count: 3 }, { mostResults: Number.POSITIVE_INFINITY }),
  ],
  windowLast: [
    { options: { every: '4s' }, input: input({ timeless: true }), partOf: inWindow },
    { options: { every: '4s', lateness: '1s', label: 'end' }, outOfOrderMs: 2_000, input: input(), partOf: inWindow },
    {
      options: { every: '4s', by: 'n' },
      input: input(),
      partOf: inWindow,
      mayEnd: ({ value }) => field(value, 'n') == null,
    },
  ],
};

/** Objects of few values, so that they are equal now and then; with fields missing, null or of another type. */
function objects(): fc.Arbitrary<unknown> {
  const n = fc.oneof({ arbitrary: fc.nat({ max: 3 }), weight: 4 }, fc.constantFrom(null, 'text', 0.5, -1, [2]));
  const y = fc.record({ y: fc.constantFrom('u', 'v', 1, '1') });
  const x = fc.oneof({ arbitrary: y, weight: 4 }, fc.constant({}), fc.constant('x'));
  return fc.record({ n, x }, { requiredKeys: [] });
}

/** Such objects, some of them without event time, and now and then something else. */
function input(more: Partial<ArrivalOptions<unknown>> = {}) {
  const others = fc.constantFrom<unknown>(null, 'text', 7, [1]);
  const value = fc.oneof({ arbitrary: objects(), weight: 9 }, { arbitrary: others, weight: 1 });
  return arrivals({ value, timeless: true, ...more });
}

/** Windows whose results tell what is in them. */
function windowed(
  kind: object,
  more: Partial<LawSetting> = {},
  times: Partial<ArrivalOptions<unknown>> = {},
): LawSetting {
  const aggregate = {
    readings: 'count',
    ids: { collect: { field: 'id', max: 100 } },
    sum: { sum: 'n' },
    deviation: { stddev: 'n' },
    last: { last: 'x' },
    whole: 'first',
  };
  return {
    options: { ...kind, aggregate, keep: ['x'] },
    // A record that is no object could not be told from another by what `ids` holds.
    input: input({ value: objects(), numbered: 'id', ...times }),
    partOf: (one, result) => inWindow(one, result) && collected(one, result),
    ...more,
  };
}

// The number of a left record stands in the result itself, that of a right one in its field.
function paired({ value }: StreamRecord, result: StreamRecord): boolean {
  return [result.value, field(result.value, 'other')].some((one) => field(one, 'id') === field(value, 'id'));
}

// A row of a table is part of many results, or of none.
function isRow(_: StreamRecord, { stream }: Seen): boolean {
  return stream !== undefined;
}

function gathered({ value }: StreamRecord, result: StreamRecord): boolean {
  return (field(result.value, 'ids') as unknown[]).includes(field(value, 'id'));
}

function inWindow({ key, time }: StreamRecord, { key: its, window }: StreamRecord): boolean {
  return key === its && window !== undefined && time >= window.start && time < window.end;
}

function collected({ value }: StreamRecord, result: StreamRecord): boolean {
  return (field(result.value, 'ids') as unknown[]).includes(field(value, 'id'));
}

// `(time - size, time]`: the end belongs to it.
function rolledUp({ key, time, value }: StreamRecord, result: StreamRecord): boolean {
  const { start, end } = result.window!;
  return (
    key === result.key &&
    time > start - 1 &&
    time <= end &&
    (field(result.value, 'ids') as unknown[]).includes(field(value, 'id'))
  );
}

function afterOthers(limit: number, perMs: number): NonNullable<LawSetting['mayEnd']> {
  const pane = (time: number) => Math.floor(time / perMs);
  return ({ key, time, offset }, { results }) =>
    results.filter((one) => one.key === key && pane(one.time) === pane(time) && one.offset < offset).length >= limit;
}

function repeats(withinMs: number): NonNullable<LawSetting['mayEnd']> {
  return ({ key, time, offset }, { results }) =>
    results.some((one) => one.key === key && one.offset < offset && Math.abs(one.time - time) <= withinMs);
}

function unchanged({ key, value }: StreamRecord, { before }: { before: readonly StreamRecord[] }): boolean {
  const last = before.findLast((one) => one.key === key);
  const watched = (one: unknown) => JSON.stringify([field(one, 'n'), field(field(one, 'x'), 'y')]);
  return last !== undefined && watched(last.value) === watched(value);
}

function field(value: unknown, name: string): unknown {
  return typeof value === 'object' && value !== null ? (value as Record<string, unknown>)[name] : undefined;
}

function numberOf(value: unknown): number | undefined {
  const n = field(value, 'n');
  return typeof n === 'number' ? n : undefined;
}
