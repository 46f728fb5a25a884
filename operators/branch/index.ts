import {
  compileExpression,
  defineStep,
  type Evaluate,
  type Expression,
  jsonTypes,
  kindOf,
  RejectError,
  type StreamRecord,
  streamCondition,
  streamName,
  TopologyError,
  Type,
  type TypeCheck,
} from '../../src/operator.ts';

/** Conditions by the streams they lead to; `else` and `match` are no streams. */
export type Branches = { readonly [stream: string]: Expression } & {
  readonly else?: string;
  readonly match?: 'first' | 'all';
};

const options = Type.Unsafe<Branches>({
  type: 'object',
  description: 'Each name is a stream, with the condition under which a record goes there.',
  patternProperties: {
    '^(?!(?:else|match)$)': streamCondition({
      description: 'A stream, by its name, and the condition under which a record goes there.',
      examples: ['temperature < 5'],
    }),
    '^else$': streamName({
      description: 'Stream that takes what meets no condition, or `drop`. Default: it goes on behind this step.',
    }),
    '^match$': Type.Enum(['first', 'all'], {
      description: 'Whether a record goes to the first stream whose condition is true, or to all of them.',
      default: 'first',
    }),
  },
  minProperties: 1,
});

/** Sends each record to the streams whose conditions it meets. One for which a condition cannot be answered goes to `otherwise`, and nowhere else. */
export const branch = defineStep({
  name: 'branch',
  summary: 'Sends each record to one of several streams, by conditions.',
  details: `Conditions are looked at in the order in which they stand, and the record goes to the stream of the first that is true; with
\`match: all\`, to the stream of each that is true. \`else\` and \`match\` are words of this step, every other name is a stream. What meets no
condition goes to \`else\`, or, without one, on to the step behind. With \`else\` nothing goes on: a step behind it is an error.
A condition that cannot be answered (a field is missing or null, the answer is neither true nor false) rejects the record with
\`expression-failed\`: it then goes to \`otherwise\` alone, also with \`match: all\` and when another condition is true. With \`match: first\` a
condition behind the first true one is not looked at.
A record that goes to two streams is not copied, and keeps its id: do not bring the two together in one sink that writes by id.
A stream named here that does not exist is an error, and so is one that ends in no sink.`,
  options,
  examples: [
    {
      title: 'Cold, hot and the rest; a reading without a temperature is an error',
      options: { cold: 'temperature < 5', hot: 'temperature > 30', else: 'normal' },
      input: [
        { value: { temperature: 4 } },
        { value: { temperature: 5 } },
        { value: { temperature: 31 } },
        { value: { fuel: 400 } },
      ],
      output: [
        { stream: 'cold', value: { temperature: 4 } },
        { stream: 'normal', value: { temperature: 5 } },
        { stream: 'hot', value: { temperature: 31 } },
      ],
      rejected: ['expression-failed'],
    },
    {
      title: 'To all that are true; what meets none goes on',
      options: { low: 'fuel < 500', warm: 'temperature > 30', match: 'all' },
      input: [{ value: { fuel: 400, temperature: 31 } }, { value: { fuel: 500, temperature: 30 } }],
      output: [
        { stream: 'low', value: { fuel: 400, temperature: 31 } },
        { stream: 'warm', value: { fuel: 400, temperature: 31 } },
        { value: { fuel: 500, temperature: 30 } },
      ],
    },
  ],
  type(given, check) {
    const problem = problemOf(given);
    if (problem !== undefined) check.problem([], problem);
    else for (const stream of conditions(given)) checkCondition(stream, check);
    return check.input;
  },
  ends: (given) => given.else !== undefined,
  create(given) {
    const problem = problemOf(given);
    if (problem !== undefined) throw new TopologyError([{ code: 'bad-value', message: problem }]);
    const branches = conditions(given).map((stream) => ({ stream, holds: compileExpression(given[stream]!) }));
    const first = given.match !== 'all';
    return {
      onRecord(record, step) {
        // All are looked at before the record goes anywhere: a refused one must have gone nowhere.
        const met: string[] = [];
        for (const { stream, holds } of branches) {
          if (!isMet(stream, holds, record)) continue;
          met.push(stream);
          if (first) break;
        }
        for (const stream of met) step.emitTo(stream, record);
        if (met.length > 0) return;
        if (given.else === undefined) step.emit(record);
        else step.emitTo(given.else, record);
      },
    };
  },
});

function conditions(given: Branches): string[] {
  return Object.keys(given).filter((name) => name !== 'else' && name !== 'match');
}

function problemOf(given: Branches): string | undefined {
  if (typeof given === 'function') return '`branch` takes conditions by the names of streams, not a function.';
  const names = conditions(given);
  if (names.length === 0) return '`branch` names no stream with a condition.';
  const digits = names.find((name) => /^\d+$/.test(name));
  // Objects put such names first: the order of the conditions would be lost.
  return digits === undefined
    ? undefined
    : `The stream \`${digits}\` has a name of digits alone, which \`branch\` cannot keep in order; give it another name.`;
}

function checkCondition(stream: string, check: TypeCheck): void {
  const types = jsonTypes(check.expression([stream]));
  if (types.length > 0 && !types.includes('boolean'))
    check.problem(
      [stream],
      `The condition of \`${stream}\` gives a ${types.join(' or ')}; \`branch\` needs true or false.`,
      'Compare it with something, as in `temperature < 5`.',
    );
}

function isMet(stream: string, holds: Evaluate, record: StreamRecord): boolean {
  const answer = holds(record);
  if (typeof answer === 'boolean') return answer;
  const what = `The condition of \`${stream}\` gave ${kindOf(answer)}; \`branch\` needs true or false.`;
  throw new RejectError('expression-failed', what);
}
