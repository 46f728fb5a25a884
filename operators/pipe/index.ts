import { filter, map, type OperatorFunction, Subject } from 'rxjs';
import {
  defineStep,
  functionOption,
  RunError,
  type Step,
  type StepContext,
  type StreamRecord,
  Type,
  type TypeCheck,
} from '../../src/operator.ts';

type Operator = OperatorFunction<unknown, unknown>;

const options = Type.Unsafe<{ operators: Operator | readonly Operator[] }>(
  Type.Object(
    {
      operators: Type.Union(
        [
          functionOption({ description: 'An RxJS operator.' }),
          Type.Array(functionOption({ description: 'An RxJS operator.' }), { minItems: 1 }),
        ],
        { description: 'RxJS operators over the values of the records, each after the one before.' },
      ),
    },
    { additionalProperties: false },
  ),
);

/** RxJS operators over the values of the records. For TypeScript alone; what they keep is in no checkpoint. */
export const pipe = defineStep({
  name: 'pipe',
  summary: 'Puts RxJS operators between two steps.',
  details: `It is there in TypeScript only: \`.pipe(map((reading) => …), filter((reading) => …))\`. The operators get the values of the records and give
values: for one record none, one or several, each with the key and time of that record and an id of its own.

They must answer at once. \`debounceTime\`, \`delay\`, \`mergeMap\` over a promise and whatever else answers later ends the run with a message: what comes
later belongs to no record, and to no checkpoint. What the operators keep themselves (\`scan\`, \`distinctUntilChanged\`, \`bufferCount\`) is kept for each task, for all
keys together, is lost with the process, and comes out differently in a replay: use \`changed\`, \`lag\`, \`window\` or \`process\` for what has to last.
An error of an operator, and an end before the input's (\`take\`), end the run too.`,
  options,
  shorthand: 'operators',
  examples: [
    {
      title: 'Two operators of RxJS',
      code: '.pipe(map((reading) => reading.fuel / 10), filter((percent) => percent < 50))',
      options: {
        operators: [
          map((reading: unknown) => (reading as { fuel: number }).fuel / 10),
          filter((percent: unknown) => (percent as number) < 50),
        ] as Operator[],
      },
      input: [{ key: 'g1', value: { fuel: 480 } }, { value: { fuel: 510 } }],
      output: [{ key: 'g1', value: 48 }],
    },
  ],
  type({ operators }, check) {
    checkOperators([operators].flat(), check);
    return undefined;
  },
  create: ({ operators }, id) => runOperators([operators].flat(), id),
});

function checkOperators(operators: readonly unknown[], check: TypeCheck): void {
  const at = operators.findIndex((operator) => typeof operator !== 'function');
  if (at < 0) return;
  check.problem(
    ['operators', at],
    '`pipe` takes RxJS operators, which only a topology in TypeScript can hold.',
    'Write the topology in TypeScript, or use `map`, `filter` or `flatMap` with an expression.',
    'error',
    'wrong-type',
  );
}

function runOperators(operators: readonly Operator[], id: string): Step {
  const values = new Subject<unknown>();
  let held: { record: StreamRecord; step: StepContext; emitted: number } | undefined;
  let failure: RunError | undefined;
  const fail = (what: string, cause?: unknown): RunError =>
    new RunError(`${what} in \`pipe\` step \`${id}\`.`, { where: id, cause });
  const output = operators.reduce((source, operator) => source.pipe(operator), values.asObservable());
  output.subscribe({
    next(value) {
      if (held === undefined) {
        failure ??= fail(
          'An RxJS operator gave a value after its record had gone; only operators that answer at once can stand',
        );
        return;
      }
      const record = held.record.withValue(value);
      const place = held.emitted++;
      held.step.emit(place === 0 ? record : record.withPart(String(place)));
    },
    error(error: unknown) {
      failure ??= fail(`An RxJS operator ended with an error (${(error as Error)?.message ?? String(error)})`, error);
    },
    complete() {
      failure ??= fail('An RxJS operator ended the stream before its input had ended');
    },
  });
  return {
    onRecord(record, step) {
      if (failure === undefined) {
        held = { record, step, emitted: 0 };
        values.next(record.value);
        held = undefined;
      }
      if (failure !== undefined) throw failure;
    },
  };
}
