import { RejectError } from '../../src/operator.ts';

/** What is used of a message type of protobufjs. */
export interface Message {
  readonly name: string;
  readonly fullName: string;
  readonly fieldsArray: readonly Field[];
  readonly parent: { readonly nestedArray: readonly unknown[] } | null;
  readonly nestedArray: readonly unknown[];
  readonly root: { resolveAll(): unknown };
  verify(value: unknown): string | null;
  fromObject(value: unknown): unknown;
  encode(message: unknown): { finish(): Uint8Array };
  decode(bytes: Uint8Array): unknown;
  toObject(message: unknown, options: object): unknown;
}
interface Field {
  readonly name: string;
  readonly repeated: boolean;
  readonly map: boolean;
  readonly resolvedType: Message | { readonly values: Readonly<Record<string, number>> } | null;
}

/** The full name of a message, with its package. */
export function messageName({ fullName }: Message): string {
  return fullName.replace(/^\./, '');
}

/**
 * Decodes what follows the id: first come the places of the message in its file, as a list of zigzag numbers that an empty list stands
 * for when it is the first one. `first` is the first message of the file.
 */
export function decodeMessage(first: Message, bytes: Buffer): unknown {
  let at = 0;
  const number = () => {
    let value = 0;
    for (let shift = 0; shift < 35; shift += 7) {
      const byte = bytes[at++];
      if (byte === undefined) break;
      value += (byte & 0x7f) * 2 ** shift;
      if (byte < 0x80) return value % 2 === 0 ? value / 2 : -(value + 1) / 2;
    }
    throw new RejectError('payload-malformed', 'The payload does not say which message of its schema it is.');
  };
  const depth = number();
  let message = first;
  for (let i = 0, inside = first.parent; i < Math.max(1, depth); i++) {
    const found = messagesIn(inside)[depth === 0 ? 0 : number()];
    if (found === undefined || i > 20) {
      throw new RejectError('payload-malformed', 'The payload is of a message that its schema does not have.');
    }
    message = found;
    inside = found;
  }
  const decoded = message.decode(bytes.subarray(at));
  return message.toObject(decoded, { enums: String, defaults: true });
}

/** Encodes the value as the first message of its file, with its place before it. */
export function encodeMessage(message: Message, value: unknown): Buffer {
  message.root.resolveAll();
  const ready = enumNumbers(message, value, 0);
  const problem = message.verify(ready);
  // The message of the library names the field and what is expected there.
  if (problem) throw new RejectError('sink-refused', `The value does not fit the schema: ${problem}.`);
  return Buffer.concat([Buffer.of(0), message.encode(message.fromObject(ready)).finish()]);
}

function messagesIn(inside: { readonly nestedArray: readonly unknown[] } | null): Message[] {
  return (inside?.nestedArray ?? []).filter((one): one is Message => 'fieldsArray' in (one as object));
}

// The library verifies numbers only, and takes whatever it does not know for 0.
function enumNumbers(message: Message, value: unknown, depth: number): unknown {
  if (typeof value !== 'object' || value === null || depth > 200) return value;
  const copy: Record<string, unknown> = { ...value };
  for (const { name, repeated, map, resolvedType } of message.fieldsArray) {
    const given = copy[name];
    if (given === null) delete copy[name];
    if (resolvedType === null || given === undefined || given === null) continue;
    const one = (item: unknown) =>
      'values' in resolvedType
        ? typeof item === 'string' && Object.hasOwn(resolvedType.values, item)
          ? resolvedType.values[item]
          : item
        : enumNumbers(resolvedType, item, depth + 1);
    if (repeated) copy[name] = Array.isArray(given) ? given.map(one) : given;
    else if (map && typeof given === 'object') {
      copy[name] = Object.fromEntries(Object.entries(given).map(([key, item]) => [key, one(item)]));
    } else copy[name] = one(given);
  }
  return copy;
}
