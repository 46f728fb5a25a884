import { isUtf8 } from 'node:buffer';
import type { IPublishPacket } from 'mqtt';
import {
  compileTemplate,
  connectHeaders,
  deadLetterOf,
  durationMs,
  type Meta,
  RejectError,
  type Render,
  type StreamRecord,
} from '../../src/operator.ts';

/** What the sink's options say of a message beside topic and payload; all of it is MQTT 5. */
export interface PropertyOptions {
  readonly expiry?: string;
  readonly contentType?: string;
  readonly userProperties?: Readonly<Record<string, string>>;
  readonly responseTopic?: string;
  readonly correlationData?: string;
}

/** Names of the options that only MQTT 5 knows. */
export const propertyOptions = [
  'expiry',
  'contentType',
  'userProperties',
  'responseTopic',
  'correlationData',
] as const satisfies readonly (keyof PropertyOptions)[];

/** Properties as the client library takes them. */
export interface Properties {
  userProperties: Record<string, string>;
  messageExpiryInterval?: number;
  contentType?: string;
  responseTopic?: string;
  correlationData?: Buffer;
}

// A text of MQTT carries its length in two bytes.
const longestText = 0xffff;

/**
 * Makes what fills the properties of a record's message; `id` becomes the user property `penstock-id`. `topicOf` makes the response topic, and
 * refuses what a topic may not hold. A record whose texts MQTT cannot carry is refused with a RejectError.
 */
export function propertiesOf(
  options: PropertyOptions,
  topicOf: (template: string) => Render,
): (record: StreamRecord, id: string) => Properties {
  const { expiry, contentType, userProperties = {}, responseTopic, correlationData } = options;
  const user = Object.entries(userProperties).map(([name, text]) => [name, compileTemplate(text)] as const);
  const type = contentType === undefined ? undefined : compileTemplate(contentType);
  const response = responseTopic === undefined ? undefined : topicOf(responseTopic);
  const correlation = correlationData === undefined ? undefined : compileTemplate(correlationData);
  // In seconds, and zero would be gone at once.
  const seconds = expiry === undefined ? undefined : Math.min(0xffff_ffff, Math.ceil(durationMs(expiry) / 1_000));
  return (record, id) => ({
    userProperties: {
      ...letterProperties(record),
      ...Object.fromEntries(user.map(([name, render]) => [name, fitting(name, render(record))])),
      'penstock-id': id,
    },
    ...(seconds !== undefined && { messageExpiryInterval: seconds }),
    ...(type && { contentType: fitting('contentType', type(record)) }),
    ...(response && { responseTopic: response(record) }),
    ...(correlation && { correlationData: Buffer.from(fitting('correlationData', correlation(record))) }),
  });
}

// Cut to what MQTT carries: a dead letter that is refused ends the run.
function letterProperties(record: StreamRecord): Record<string, string> {
  const letter = deadLetterOf(record);
  if (letter === undefined) return {};
  const entries = Object.entries(connectHeaders(letter));
  return Object.fromEntries(
    entries.map(([name, text]) => [name, text.slice(0, 8_000).replace(/[\u0000\p{Cs}]/gu, '\ufffd')]),
  );
}

function fitting(name: string, text: string): string {
  if (Buffer.byteLength(text) > longestText)
    throw new RejectError('sink-refused', `The property \`${name}\` is longer than ${longestText} bytes.`);
  if (/[\u0000\p{Cs}]/u.test(text))
    throw new RejectError('sink-refused', `The property \`${name}\` holds a null character or half a character.`);
  return text;
}

/**
 * What a message says of itself by MQTT 5, as headers: its user properties, and `contentType`, `responseTopic` and `correlationData` (as text, or
 * `base64:` and its bytes when it is no UTF-8), which stand over user properties of these names. `undefined` when there is none.
 */
export function headersOf({ properties }: IPublishPacket): Meta['headers'] | undefined {
  if (!properties) return undefined;
  const { userProperties, contentType, responseTopic, correlationData } = properties;
  const found = [
    ...Object.entries(userProperties ?? {}),
    ...Object.entries({ contentType, responseTopic, correlationData: textOf(correlationData) }),
  ].filter(([, value]) => value !== undefined) as [string, string | string[]][];
  return found.length === 0 ? undefined : Object.fromEntries(found);
}

function textOf(bytes: Buffer | undefined): string | undefined {
  return bytes && (isUtf8(bytes) ? bytes.toString('utf8') : `base64:${bytes.toString('base64')}`);
}
