import {
  defineStep,
  type FieldType,
  field,
  kindOf,
  objectType,
  putField,
  type RecordType,
  recordFields,
  type Static,
  TopologyError,
  Type,
  type TypeCheck,
} from '../../src/operator.ts';

const names = (description: string) =>
  Type.Optional(
    Type.Array(field({ description: 'A field; `a.b` goes into nested objects.' }), { description, minItems: 1 }),
  );

const options = Type.Object(
  {
    keep: names('The fields that stay; all others go.'),
    drop: names('The fields that go; all others stay.'),
  },
  { additionalProperties: false, minProperties: 1, maxProperties: 1 },
);

/** Names of fields, each with the names chosen inside it, or `true` for all of it. */
type Choice = Map<string, Choice | true>;

/** Keeps some fields of the record, or drops some. A field that is not there is no error. */
export const select = defineStep({
  name: 'select',
  summary: 'Keeps the named fields of each record, or drops them.',
  details: `Give either \`keep\` or \`drop\`. A named field that a record does not have is no error. Fields stay in the order of the record.
Key, time and window are not fields and stay. A record that is not an object is rejected with \`schema-violation\`.`,
  options,
  shorthand: 'keep',
  examples: [
    {
      title: 'Two fields stay',
      options: ['generatorID', 'position.lat'],
      input: [{ value: { generatorID: 'g1', fuel: 480, position: { lat: 40.6, lon: -112 } } }, { value: { fuel: 3 } }],
      output: [{ value: { generatorID: 'g1', position: { lat: 40.6 } } }, { value: {} }],
    },
    {
      title: 'One field goes',
      options: { drop: ['debug'] },
      input: [{ value: { fuel: 480, debug: [1, 2] } }, { value: 'text' }],
      output: [{ value: { fuel: 480 } }],
      rejected: ['schema-violation'],
    },
  ],
  type(given, check) {
    const list = given.keep === undefined ? 'drop' : 'keep';
    const problem = unclear(given);
    if (problem !== undefined) check.problem([], problem);
    const types = new Map((given[list] ?? []).map((name, i) => [name, check.expression([list, i])]));
    return given.keep === undefined ? withoutFields(check, given.drop ?? []) : keptType(check, types);
  },
  create(given) {
    const problem = unclear(given);
    if (problem !== undefined) throw new TopologyError([{ code: 'bad-value', message: problem }]);
    const choice = choose(given.keep ?? given.drop ?? []);
    const pick = given.keep === undefined ? dropped : kept;
    return {
      onRecord(record, step) {
        const { value } = record;
        if (isObject(value)) step.emit(record.withValue(pick(value, choice)));
        else step.reject(record, 'schema-violation', `The record is ${kindOf(value)}; \`select\` needs an object.`);
      },
    };
  },
});

function unclear({ keep, drop }: Static<typeof options>): string | undefined {
  return (keep === undefined) === (drop === undefined)
    ? '`select` needs either `keep` or `drop`, and not both.'
    : undefined;
}

function choose(paths: readonly string[]): Choice {
  const root: Choice = new Map();
  for (const path of paths) {
    let at = root;
    const steps = path.split('.');
    for (const [i, name] of steps.entries()) {
      const inside = at.get(name);
      if (inside === true) break;
      if (i === steps.length - 1) at.set(name, true);
      else {
        const next: Choice = inside ?? new Map();
        at.set(name, next);
        at = next;
      }
    }
  }
  return root;
}

function kept(value: Readonly<Record<string, unknown>>, choice: Choice): object {
  const result = {};
  for (const name of Object.keys(value)) {
    const inside = choice.get(name);
    const found = value[name];
    if (inside === true) putField(result, name, found);
    else if (inside !== undefined && isObject(found)) putField(result, name, kept(found, inside));
  }
  return result;
}

function dropped(value: Readonly<Record<string, unknown>>, choice: Choice): object {
  const result = {};
  for (const name of Object.keys(value)) {
    const inside = choice.get(name);
    const found = value[name];
    if (inside === true) continue;
    putField(result, name, inside !== undefined && isObject(found) ? dropped(found, inside) : found);
  }
  return result;
}

function keptType({ input }: TypeCheck, types: ReadonlyMap<string, RecordType>): RecordType {
  const before = recordFields(input);
  const fields = new Map<string, FieldType>();
  for (const [name, type] of types) {
    const top = name.split('.')[0]!;
    const required = before?.get(top)?.required === true;
    // Of a nested choice only the outer name is followed; what is inside stays unknown rather than wrong.
    if (top === name) fields.set(name, { type, required });
    else if (!fields.has(top)) fields.set(top, { type: { type: 'object' }, required });
  }
  return objectType(fields);
}

function withoutFields({ input }: TypeCheck, names: readonly string[]): RecordType {
  const before = recordFields(input);
  if (before === undefined) return undefined;
  const left = new Map(before);
  for (const name of names) {
    const [top, ...inside] = name.split('.') as [string, ...string[]];
    const field = left.get(top);
    if (inside.length === 0) left.delete(top);
    else if (field !== undefined) left.set(top, { ...field, type: { type: 'object' } });
  }
  return objectType(left);
}

function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
