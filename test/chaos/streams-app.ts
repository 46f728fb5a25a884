/**
 * The application that Kafka's StreamsEosTest judges, on Penstock: what comes in `data` goes to `echo`, the smallest and the sum of each
 * key so far go to `min` and `sum`; the larger form passes everything through `repartition` to `max` and `cnt`.
 * Keys are text, values big-endian: int32 in, int32 or int64 out.
 */
import { defineStep, load, start, Type } from 'penstock';
import { catalogue } from 'penstock/operators';

const decode = defineStep({
  name: 'decode',
  summary: 'Makes an object of the key and the number of the bytes.',
  options: Type.Null(),
  examples: [],
  create: () => ({
    onRecord: (record, step) =>
      step.emit(record.withValue({ key: record.key, n: (record.value as Buffer).readInt32BE() })),
  }),
});

const folds = {
  min: (so: number | undefined, n: number) => Math.min(so ?? n, n),
  max: (so: number | undefined, n: number) => Math.max(so ?? n, n),
  sum: (so: number | undefined, n: number) => (so ?? 0) + n,
  cnt: (so: number | undefined, _: number) => (so ?? 0) + 1,
};

const fold = defineStep({
  name: 'fold',
  summary: 'Emits what the numbers of a key have come to, with each of them.',
  options: Type.Object({ to: Type.Enum(['min', 'max', 'sum', 'cnt']) }, { additionalProperties: false }),
  shorthand: 'to',
  keyed: true,
  stateDependsOn: ['to'],
  examples: [],
  create: ({ to }) => ({
    onRecord(record, step) {
      const so = folds[to](step.state as number | undefined, (record.value as { n: number }).n);
      step.state = so;
      const wide = to === 'sum' || to === 'cnt';
      const bytes = Buffer.alloc(wide ? 8 : 4);
      if (wide) bytes.writeBigInt64BE(BigInt(so));
      else bytes.writeInt32BE(so);
      step.emit(record.withValue(bytes));
    },
  }),
});

const [file = '', state = ''] = process.argv.slice(2);
const log = (level: string) => (message: string, fields?: object) => console.error(level, message, fields ?? '');
const operators = [decode, fold];
const run = await start(load(file, { catalogue: [...catalogue, ...operators] as never }), {
  operators: operators as never,
  state,
  log: { debug() {}, info: log('info'), warn: log('warn'), error: log('error') },
});
process.once('SIGTERM', () => void run.stop());
await run.done;
