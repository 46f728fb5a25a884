import {
  defineStep,
  functionOption,
  type Key,
  type Process,
  type RecordContext,
  type Step,
  type StepContext,
  StreamRecord,
  Type,
  type TypeCheck,
} from '../../src/operator.ts';

type Given = Process<unknown, unknown, unknown>;

const options = Type.Unsafe<Given>(
  Type.Object(
    {
      state: Type.Optional(functionOption({ description: 'Makes the state of a key that has none.' })),
      onRecord: functionOption({
        description: '`onRecord(record, step)`, called for each record, in order.',
      }),
      onTimer: Type.Optional(
        functionOption({
          description: '`onTimer(at, key, step)`, called as the watermark reaches a time asked for.',
        }),
      ),
      version: Type.Optional(
        Type.Integer({
          description:
            'Raise it when old state can no longer be read: a run then refuses the state of another version, or gives it to `migrate`.',
          minimum: 1,
          default: 1,
        }),
      ),
      migrate: Type.Optional(
        functionOption({
          description:
            '`migrate(state, version)`: makes the state of a key out of that which an older `version` has left; `undefined` forgets it.',
        }),
      ),
    },
    { additionalProperties: false },
  ),
);

/** A keyed step of functions that stand in the topology itself, with state and timers of event time. For TypeScript alone. */
export const process = defineStep({
  name: 'process',
  summary: 'Runs TypeScript functions of yours for each record of a key, with state and timers.',
  details: `It is there in TypeScript only: \`.process({ state, onRecord, onTimer }, { id })\`. YAML holds no functions; for YAML, write an operator of
your own with the same abilities (\`defineStep\`). The functions are synchronous; what they do is part of checkpoints, so after a restart they
go on as if nothing had happened, as long as the same input makes them do the same: no clock, no randomness, no state outside of \`step.state\`.

- \`step.state\`: the state of this key, plain data, made by \`state()\` when it is first looked at. \`step.forget()\` drops it.
- \`step.emit(value)\`: any number of times. From \`onRecord\` it is the record with another value; from \`onTimer\` a record of the key at the
  timer's time, which no window behind this step has closed yet unless the timer lay in the past already. Each has an id of its own.
- \`step.timer(at)\`: in ms of event time. One at or behind the watermark fires when the watermark next moves. It needs a source with a \`time\`.
- \`step.reject(message)\` and \`step.late(message)\` send the record at hand elsewhere; \`step.watermark\` is how far event time has come.

What \`onRecord\` throws rejects the record with \`step-failed\`: what it has emitted or changed before stays. What \`onTimer\` throws ends the run.
Bound what you keep: forget keys, or set \`state.ttl\` and \`state.maxKeys\` for the topology. When the shape of the state changes, raise \`version\`,
and say in \`migrate\` how the old one is carried over: that is done as the run starts, for all keys or, when it throws, for none.`,
  options,
  keyed: true,
  late: true,
  stateDependsOn: ['version'],
  examples: [
    {
      title: 'How long an engine ran, when it stops or after an hour at most',
      code: `.process({
  state: () => ({ since: 0 }),
  onRecord(record, step) {
    const { state } = step;
    if (record.value.running && state.since === 0) {
      state.since = record.time;
      step.timer(record.time + 3_600_000);
    } else if (!record.value.running && state.since > 0) {
      step.emit({ ranMs: record.time - state.since });
      step.forget();
    }
  },
  onTimer(at, key, step) {
    if (step.state.since > 0 && step.state.since + 3_600_000 <= at) step.emit({ ranMs: at - step.state.since });
    step.forget();
  },
}, { id: 'engines' })`,
      options: {
        state: () => ({ since: 0 }),
        onRecord(record, step) {
          const state = step.state as { since: number };
          const { running } = record.value as { running: boolean };
          if (running && state.since === 0) {
            state.since = record.time;
            step.timer(record.time + 3_600_000);
          } else if (!running && state.since > 0) {
            step.emit({ ranMs: record.time - state.since });
            step.forget();
          }
        },
        onTimer(at, _key, step) {
          const { since } = step.state as { since: number };
          if (since > 0 && since + 3_600_000 <= at) step.emit({ ranMs: at - since });
          step.forget();
        },
      } satisfies Given,
      input: [
        { key: 'g1', time: 1_000, value: { running: true } },
        { key: 'g2', time: 2_000, value: { running: true } },
        { key: 'g1', time: 61_000, value: { running: false } },
      ],
      output: [
        { key: 'g1', time: 61_000, value: { ranMs: 60_000 } },
        { key: 'g2', time: 3_602_000, value: { ranMs: 3_600_000 } },
      ],
    },
  ],
  type(given, check) {
    checkFunctions(given, check);
    return undefined;
  },
  migrate({ version = 1, migrate }, { options: before }) {
    const old = (before['version'] as number | null) ?? 1;
    if (old === version) return (state) => state;
    return migrate === undefined || old > version ? undefined : (state) => migrate(state, old);
  },
  create: (given, id) => runFunctions(given, id),
});

function checkFunctions(given: Given, check: TypeCheck): void {
  for (const name of ['state', 'onRecord', 'onTimer', 'migrate'] as const) {
    if (given[name] === undefined || typeof given[name] === 'function') continue;
    check.problem(
      [name],
      `\`${name}\` must be a function, which only a topology in TypeScript can hold.`,
      'Write the topology in TypeScript, or an operator of your own (`defineStep`) that YAML can name.',
      'error',
      'wrong-type',
    );
    return;
  }
}

function runFunctions(given: Given, id: string): Step {
  const scope = new Scope(given, id);
  return {
    // What they return is looked at by the engine: a promise ends the run.
    onRecord: (record, step) => given.onRecord(record, scope.ofRecord(record, step)),
    onTimer: (at, key, step) => given.onTimer?.(at, key, scope.ofTimer(at, key, step)),
  };
}

/** What the functions get to see of a record or a timer. */
class Scope implements RecordContext<unknown, unknown> {
  readonly #make: (() => unknown) | undefined;
  readonly #id: string;
  #step!: StepContext;
  #record: StreamRecord | undefined;
  #base!: StreamRecord;
  #emitted = 0;

  constructor({ state }: Given, id: string) {
    this.#make = state;
    this.#id = id;
  }

  ofRecord(record: StreamRecord, step: StepContext): this {
    this.#step = step;
    this.#record = record;
    this.#base = record;
    this.#emitted = 0;
    return this;
  }

  ofTimer(at: number, key: Key, step: StepContext): this {
    this.#step = step;
    this.#record = undefined;
    // The window gives it an id: no input record does.
    const window = { step: this.#id, start: at, end: at + 1, label: at };
    this.#base = new StreamRecord<unknown>(undefined, key).withWindow(window);
    this.#emitted = 0;
    return this;
  }

  get state(): unknown {
    const step = this.#step;
    if (step.state === undefined && this.#make !== undefined) step.state = this.#make();
    return step.state;
  }
  set state(state: unknown) {
    this.#step.state = state;
  }

  get watermark(): number {
    return this.#step.watermark;
  }

  emit(value: unknown): void {
    if (value === undefined) throw new TypeError('It emitted nothing; expected a value, or null.');
    const record = this.#base.withValue(value);
    const place = this.#emitted++;
    this.#step.emit(place === 0 ? record : record.withPart(String(place)));
  }

  timer(at: number): void {
    if (!Number.isFinite(at)) throw new TypeError(`It asked for a timer at ${at}; expected a time in ms.`);
    this.#step.timer(at);
  }

  forget(): void {
    this.#step.state = undefined;
  }

  reject(message: string, reasons?: readonly unknown[]): void {
    this.#step.reject(this.#held('reject'), 'step-failed', message, reasons);
  }

  late(message: string): void {
    this.#step.late(this.#held('late'), message);
  }

  #held(name: string): StreamRecord {
    if (this.#record === undefined)
      throw new TypeError(`It called \`${name}\` while a timer fired: there is no record.`);
    return this.#record;
  }
}
