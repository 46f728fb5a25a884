/**
 * `node --expose-gc --import tsx test/bench/state-memory.ts [keys]`: bytes of the heap for each key that lives in a keyed step, and for each
 * window that is open beside it. Exits with 1 when a key or a window takes more than it may.
 */
import { window } from '../../operators/window/index.ts';
import { BoundedState, type Bounds } from '../../src/engine/bounded-state.ts';
import { Delta } from '../../src/engine/delta.ts';
import { KeyedState } from '../../src/engine/keyed-state.ts';
import { KeyedNode, type Surroundings } from '../../src/engine/node.ts';
import type { Step } from '../../src/operator.ts';
import { StreamRecord } from '../../src/record.ts';

interface Row {
  readonly what: string;
  readonly bytes: number;
  readonly most: number;
}

const keys = Number(process.argv[2] ?? 100_000);
const collect = (globalThis as { gc?: () => void }).gc;
if (collect === undefined || !Number.isSafeInteger(keys) || keys < 1_000) {
  process.stderr.write('Run it with `node --expose-gc`, and at least 1000 keys.\n');
  process.exit(1);
}

const around: Surroundings = {
  watermark: 0,
  onRejected: (_node, { message }) => {
    throw new Error(message);
  },
  lateCode: () => 'late',
};
const second = 1_000;
const tumbling = { tumbling: '10s', aggregate: { fuel: { last: 'fuel' } } };
const overlapping = (panes: number) => ({
  hopping: { size: `${panes * 10}s`, every: '10s' },
  aggregate: { fuel: { last: 'fuel' } },
});
const counting: Step<number> = {
  onRecord(_record, step) {
    step.state = (step.state ?? 0) + 1;
  },
};
// All keys are alike long and made beforehand: their texts are the records', not the step's.
const names = Array.from({ length: keys }, (_, n) => `generator-${String(n).padStart(8, '0')}`);

const plain = perKey(() => [counting as Step, undefined]);
const bounded = perKey(() => [counting as Step, { ttl: 3_600 * second, maxKeys: 2 * keys, overflow: 'dropOldest' }]);
const one = perKey(() => [windowStep(tumbling), undefined]);
const five = perKey(() => [windowStep(overlapping(5)), undefined]);
const rows: Row[] = [
  { what: 'a key with a number for its state', bytes: plain, most: 450 },
  { what: 'the same with `ttl` and `maxKeys`: more for each key', bytes: bounded - plain, most: 150 },
  { what: 'a key with one open window', bytes: one, most: 1_500 },
  { what: 'each further open window of a key', bytes: (five - one) / 4, most: 600 },
];
process.stdout.write(`Heap for ${keys.toLocaleString('en')} live keys, Node ${process.versions.node}\n\n`);
for (const { what, bytes, most } of rows)
  process.stdout.write(`${String(Math.round(bytes)).padStart(6)} bytes  ${what} (at most ${most})\n`);
if (rows.some(({ bytes, most }) => bytes > most)) process.exitCode = 1;

function windowStep(options: object): Step {
  return window.create(options as never, 'bench') as Step;
}

/** Bytes that one record of each key leaves behind. */
function perKey(make: () => [step: Step, bounds: Bounds | undefined]): number {
  const [step, bounds] = make();
  const keyed = bounds === undefined ? new KeyedState('bench/') : new BoundedState('bench/', bounds, 0);
  const node = new KeyedNode('bench', step, around, keyed);
  const before = used();
  // At the edge of a window, so that a record falls into as many as overlap.
  for (const [n, key] of names.entries()) node.push(new StreamRecord({ fuel: n }, key, 1_000 * second + (n % 1_000)));
  keyed.snapshot(new Delta());
  const bytes = (used() - before) / keys;
  if (keyed.size !== keys) throw new Error(`There are ${keyed.size} keys; expected ${keys}.`);
  return bytes;
}

function used(): number {
  for (let turn = 0; turn < 4; turn++) collect!();
  return process.memoryUsage().heapUsed;
}
