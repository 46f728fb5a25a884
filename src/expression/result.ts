import { Optional } from '@marcbachmann/cel-js';
import { Duration, UnsignedInt } from '@marcbachmann/cel-js/evaluator';

/** Raised for a result that a record cannot hold. */
export class Unholdable extends Error {}

/**
 * Turns a result of CEL into data of a record. Whole numbers become JSON numbers; a time becomes its ISO text, a duration its
 * seconds as text (`90s`), bytes their base64. NaN, infinities and whole numbers beyond 2^53 are refused: JSON would change
 * them without a word.
 */
export function toData(value: unknown): unknown {
  switch (typeof value) {
    case 'string':
    case 'boolean':
      return value;
    case 'number':
      if (!Number.isFinite(value)) throw new Unholdable(`the result is ${value}, which JSON cannot hold`);
      return value;
    case 'bigint':
      return fromBigInt(value);
    case 'object':
      return value === null ? null : fromObject(value);
    default:
      throw new Unholdable(`the result is a ${typeof value}, which a record cannot hold`);
  }
}

function fromObject(value: object): unknown {
  if (Array.isArray(value)) return fromList(value);
  const prototype = Object.getPrototypeOf(value);
  if (prototype === Object.prototype || prototype === null) return fromFields(value as Record<string, unknown>);
  if (value instanceof UnsignedInt) return fromBigInt(value.valueOf() as unknown as bigint);
  if (value instanceof Date) return value.toISOString();
  if (value instanceof Duration) return value.toString();
  if (value instanceof Uint8Array) return Buffer.from(value).toString('base64');
  if (value instanceof Optional) {
    if (value.hasValue()) return toData(value.value());
    throw new Unholdable('the result is an optional without a value; end it with `.orValue(…)`');
  }
  if (value instanceof Map) return fromFields(Object.fromEntries(value));
  // What is left is CEL's own: a type, such as `type(fuel)` gives.
  const name = (value as { name?: unknown }).name;
  if (typeof name === 'string') return name === 'null' ? 'null_type' : name;
  throw new Unholdable('the result is something that a record cannot hold');
}

// Most lists and objects come from the record as they are and need no copy.
function fromList(list: readonly unknown[]): readonly unknown[] {
  let copy: unknown[] | undefined;
  for (let i = 0; i < list.length; i++) {
    const item = toData(list[i]);
    if (item === list[i]) continue;
    copy ??= [...list];
    copy[i] = item;
  }
  return copy ?? list;
}

function fromFields(fields: Readonly<Record<string, unknown>>): Readonly<Record<string, unknown>> {
  let copy: Record<string, unknown> | undefined;
  for (const name of Object.keys(fields)) {
    const item = toData(fields[name]);
    if (item === fields[name]) continue;
    copy ??= { ...fields };
    Object.defineProperty(copy, name, { value: item, writable: true, enumerable: true, configurable: true });
  }
  return copy ?? fields;
}

function fromBigInt(value: bigint): number {
  const number = Number(value);
  if (Number.isSafeInteger(number)) return number;
  throw new Unholdable(
    'the result is a whole number beyond 2^53, which JSON cannot hold exactly; use `double(…)` or `string(…)`',
  );
}
