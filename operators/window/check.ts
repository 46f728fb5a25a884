import {
  durationMs,
  type FieldType,
  jsonTypes,
  objectType,
  type RecordType,
  recordFields,
  type TypeCheck,
} from '../../src/operator.ts';
import { asked, numeric } from './aggregates.ts';
import { isTimeZone } from './calendar.ts';
import { type AggregateOptions, type Kind, kinds, type Options } from './options.ts';

/** The kind of window that the options ask for; what is wrong with the choice when it is none or several. */
export function kindOfWindow(given: Options): { kind: Kind } | { wrong: string } {
  const [kind, ...more] = kinds.filter((name) => given[name] !== undefined);
  if (kind !== undefined && more.length === 0) return { kind };
  const found = kind === undefined ? 'none of them' : [kind, ...more].map((name) => `\`${name}\``).join(' and ');
  return { wrong: `\`window\` needs exactly one of ${kinds.map((n) => `\`${n}\``).join(', ')}, but has ${found}.` };
}

/** Checks what the schema of the options cannot say, and gives the type of the results. */
export function checkWindow(given: Options, check: TypeCheck): RecordType {
  const found = kindOfWindow(given);
  if ('wrong' in found) check.problem([], found.wrong);
  else checkKind(found.kind, given, check);
  checkLengths(given, check);
  if ('kind' in found) checkUpdates(found.kind, given, check);
  checkFill(given, check);
  return resultType(given, check);
}

function checkKind(kind: Kind, given: Options, check: TypeCheck): void {
  if (given.hopping) {
    const [size, every] = [durationMs(given.hopping.size), durationMs(given.hopping.every)];
    if (every > size) {
      const { hopping } = given;
      const message = `\`every\` is ${hopping.every}, more than \`size\`, ${hopping.size}: records between two windows would be in none.`;
      check.problem(['hopping', 'every'], message);
    } else if (size / every > maxOverlap) {
      const message = `Every record would be in ${Math.ceil(size / every)} windows; at most ${maxOverlap} may overlap.`;
      check.problem(['hopping', 'every'], message, 'Make `every` longer.');
    }
  }
  if (given.calendar && !isTimeZone(given.calendar.timeZone)) {
    const message = `\`${given.calendar.timeZone}\` is no time zone known here.`;
    check.problem(['calendar', 'timeZone'], message, 'Write an IANA name such as Europe/Berlin or UTC.');
  }
  const unused: Partial<Record<Kind, readonly (keyof Options)[]>> = {
    count: ['offset', 'outOfOrder', 'lateness', 'fill', 'fillFor'],
    calendar: ['offset'],
    rolling: ['offset', 'fill', 'fillFor'],
    session: [...(given.session?.max === undefined ? (['offset'] as const) : []), 'fill', 'fillFor'],
  };
  for (const name of unused[kind] ?? [])
    if (given[name] !== undefined)
      check.problem([name], `\`${name}\` has no meaning for \`${kind}\` windows.`, 'Remove it.');
}

const maxOverlap = 1_000;
const maxFilled = 10_000;

function checkUpdates(kind: Kind, { emit = 'final', label, fill }: Options, check: TypeCheck): void {
  if (emit === 'final') return;
  const final = 'Remove it, or write `emit: final`.';
  if (kind === 'session' || kind === 'count')
    check.problem(
      ['emit'],
      `The start of a \`${kind}\` window moves as records come: an update could not take the place of the result before.`,
      final,
    );
  if (kind === 'rolling')
    check.problem(
      ['emit'],
      'A `rolling` window gives one result, as the watermark passes its record: there is nothing to update.',
      final,
    );
  if (label === 'lastEvent')
    check.problem(
      ['label'],
      '`label` is lastEvent: the time of the result would change from one update to the next, and the sink would not overwrite.',
      'Write `label: end` or `label: start`.',
    );
  if (fill !== undefined)
    check.problem(
      ['fill'],
      '`fill` is for windows that give one result; with `emit`, there are several.',
      'Remove one of the two.',
    );
}

function checkFill(given: Options, check: TypeCheck): void {
  const { fill, fillFor, label, calendar, hopping, tumbling } = given;
  if ((fill === undefined) !== (fillFor === undefined)) {
    const [found, missing] = fill === undefined ? ['fillFor', 'fill'] : ['fill', 'fillFor'];
    const hint =
      fill === undefined
        ? 'Write `fill: null`, `fill: previous` or `fill: { value: 0 }`.'
        : 'Write how long a silent key is remembered, such as `fillFor: 1h`.';
    check.problem([found], `\`${found}\` is given without \`${missing}\`.`, hint);
  }
  if (fill === undefined || fillFor === undefined) return;
  if (label === 'lastEvent')
    check.problem(
      ['label'],
      '`label` is lastEvent, but a window that is filled has no event.',
      'Write `label: end` or `label: start`.',
    );
  const days = { '1d': '1d', '1w': '7d', '1mo': '28d', '1y': '365d' };
  const every = durationMs(hopping?.every ?? tumbling ?? (calendar && days[calendar.every]) ?? fillFor);
  const windows = Math.floor(durationMs(fillFor) / every);
  if (windows > maxFilled)
    check.problem(
      ['fillFor'],
      `\`fillFor\` is ${fillFor}: ${windows} windows of a key that is silent would be filled; at most ${maxFilled} may be.`,
      'Make it shorter.',
    );
}

function checkLengths(given: Options, check: TypeCheck): void {
  const lengths: [path: string[], text: string | undefined, least: number][] = [
    [['tumbling'], given.tumbling, 1],
    [['hopping', 'size'], given.hopping?.size, 1],
    [['hopping', 'every'], given.hopping?.every, 1],
    [['rolling', 'size'], given.rolling?.size, 1],
    [['session', 'gap'], given.session?.gap, 1],
    [['session', 'max'], given.session?.max, 1],
    [['offset'], given.offset, 0],
    [['outOfOrder'], given.outOfOrder, 0],
    [['lateness'], given.lateness, 0],
    [['emit', 'early'], typeof given.emit === 'object' ? given.emit.early : undefined, 1],
    [['fillFor'], given.fillFor, 1],
  ];
  for (const [path, text, least] of lengths) {
    if (text === undefined) continue;
    const ms = durationMs(text);
    if (ms >= least && Number.isInteger(ms)) continue;
    const atLeast = least === 0 ? '' : ', at least 1ms';
    check.problem(path, `\`${path.at(-1)}\` is ${text}; expected a whole number of milliseconds${atLeast}.`);
  }
}

function resultType(given: Options, check: TypeCheck): RecordType {
  const before = recordFields(check.input);
  const fields = new Map<string, FieldType>();
  for (const [index, name] of (given.keep ?? []).entries()) {
    const type = check.expression(['keep', index]);
    if (name.includes('.')) {
      const hint = 'Write `{ last: … }` under `aggregate`, with a name of your choice.';
      check.problem(
        ['keep', index],
        `\`${name}\` is a nested field; \`keep\` takes fields of the record itself.`,
        hint,
      );
    }
    fields.set(name, { type, required: before?.get(name)?.required === true });
  }
  for (const [name, one] of Object.entries(given.aggregate)) {
    const problem =
      name === '__proto__'
        ? '`__proto__` cannot be the name of a field.'
        : fields.has(name)
          ? `\`${name}\` stands under \`keep\` and under \`aggregate\`; the result has one field of that name.`
          : undefined;
    if (problem !== undefined) check.problem(['aggregate', name], problem, 'Choose another name.');
    fields.set(name, { type: filledType(aggregateType(name, one, check), one, given.fill), required: true });
  }
  return objectType(fields);
}

/** What a window without a record adds to the type of an aggregate; `undefined` where that is not easily said. */
function filledType(type: RecordType, one: AggregateOptions, fill: Options['fill']): RecordType {
  if (fill === undefined || fill === 'previous') return type;
  const types = jsonTypes(type);
  const isNumber = types.every((found) => found === 'number' || found === 'integer' || found === 'null');
  if (fill !== null)
    return isNumber && types.length > 0 && typeof fill.value === 'number'
      ? { type: [...new Set([...types, 'number'])] }
      : undefined;
  const empty = typeof one === 'string' ? one === 'count' : neverNull.some((kind) => kind in one);
  return empty ? type : isNumber && types.length > 0 ? { type: [...new Set([...types, 'null'])] } : undefined;
}
const neverNull = ['count', 'countDistinct', 'collect', 'topK'];

function aggregateType(name: string, one: AggregateOptions, check: TypeCheck): RecordType {
  const { kind, field, path } = asked(one);
  if (typeof one === 'object' && 'own' in one) {
    for (const [part, given] of Object.entries(one.own ?? {}))
      if (typeof given !== 'function')
        check.problem(
          ['aggregate', name, 'own', part],
          `\`${part}\` is no function.`,
          'An aggregate of your own can be given from TypeScript only.',
          'error',
          'wrong-type',
        );
    return undefined;
  }
  if (field === undefined) return kind === 'count' ? { type: 'integer' } : check.input;
  const place = ['aggregate', name, ...path];
  const type = check.expression(place);
  const types = jsonTypes(type);
  if (kind === 'count' || kind === 'countDistinct') return { type: 'integer' };
  if (kind === 'collect') return type === undefined ? { type: 'array' } : { type: 'array', items: type };
  const sure = recordFields(check.input)?.get(field)?.required === true && types.length > 0 && !types.includes('null');
  if (!numeric.includes(kind)) return sure ? type : undefined;
  if (types.length > 0 && !types.some((one) => one === 'number' || one === 'integer'))
    check.problem(
      place,
      `\`${field}\` is ${types.join(' or ')}; \`${kind}\` takes numbers.`,
      undefined,
      'error',
      'type-mismatch',
    );
  if (kind === 'topK') return { type: 'array', items: { type: 'number' } };
  return sure && kind !== 'variance' && kind !== 'stddev' ? { type: 'number' } : { type: ['number', 'null'] };
}
