import { createHash } from 'node:crypto';
import { compileTemplate, RejectError, type SinkContext, type StreamRecord } from '../../src/operator.ts';
import { type HttpOptions, originForm } from './options.ts';

/** What is sent for one record, before it is put into a request with others. */
export interface Item {
  /** Place in the batch that the engine gave. */
  readonly index: number;
  readonly id: string;
  readonly url: string;
  readonly headers: readonly (readonly [name: string, value: string])[];
  readonly body: string | Buffer | undefined;
  readonly type: string;
}

const urlCharactersMax = 8_000;
const idCharactersMax = 255;

/** Makes ready what turns a record into an item. That throws a RejectError for a record which cannot be sent. */
export function requestMaker(
  options: HttpOptions,
  context: SinkContext,
): (record: StreamRecord, index: number) => Item {
  const origin = originForm.exec(options.url)![0];
  const renderRest = compileTemplate(options.url.slice(origin.length), encoded);
  const headers = Object.entries(options.headers ?? {}).map(
    ([name, text]) => [name.toLowerCase(), compileTemplate(text), `The header ${name}`] as const,
  );
  return (record, index) => {
    const rest = renderRest(record);
    if (rest.length > urlCharactersMax) throw refused(`The address would have ${rest.length} characters.`);
    // Several values may make up one level.
    if (/(^|\/)\.{1,2}(\/|$)/.test(rest.split('?', 1)[0]!)) {
      throw refused('A level of the path would be `.` or `..`, which stands for another one.');
    }
    return {
      index,
      id: idText(context.recordId(record)),
      url: origin + rest,
      headers: headers.map(([name, render, what]) => [name, headerText(render(record), what)]),
      ...bodyOf(record.value, options),
    };
  };
}

function encoded(value: string): string {
  if (value === '') throw refused('A value for the address is empty: it would make another address.');
  try {
    return encodeURIComponent(value);
  } catch {
    throw refused('A value for the address holds half a character (a lone surrogate).');
  }
}

function headerText(value: string, what: string): string {
  if (!/[^\t\x20-\x7e]/.test(value)) return value;
  throw refused(`${what} would hold a line end or another character that no header can hold.`);
}

/** The id as a header can hold it: two ids never become one. */
function idText(id: string): string {
  try {
    const text = encodeURI(id);
    return text.length <= idCharactersMax ? text : hashOf([id]);
  } catch {
    return hashOf([id]);
  }
}

/** A name for several ids. */
export function hashOf(ids: readonly string[]): string {
  const hash = createHash('sha256');
  for (const id of ids) hash.update(`${id.length}:${id}`);
  return hash.digest('hex');
}

function bodyOf(value: unknown, { method, batch }: HttpOptions): Pick<Item, 'body' | 'type'> {
  if (method === 'DELETE') return { body: undefined, type: '' };
  if (!batch && Buffer.isBuffer(value)) return { body: value, type: 'application/octet-stream' };
  if (!batch && typeof value === 'string') return { body: value, type: 'text/plain; charset=utf-8' };
  let body: string | undefined;
  try {
    body = JSON.stringify(value);
  } catch (error) {
    throw refused(`The value cannot be written as JSON: ${(error as Error).message}`);
  }
  if (body === undefined) throw refused('The value is undefined or a function; expected what JSON can hold.');
  return { body, type: batch?.format === 'ndjson' ? 'application/x-ndjson' : 'application/json' };
}

function refused(message: string): RejectError {
  return new RejectError('sink-refused', message);
}
