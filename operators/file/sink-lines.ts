import { fieldReader, type Refused, RejectError, type StreamRecord } from '../../src/operator.ts';

export interface CsvOutput {
  readonly columns: readonly string[];
  readonly delimiter?: string;
}

/** How records become text. */
export interface Lines {
  /** First line of each file, with its end; empty without one. */
  readonly header: string;
  /** The text of a record, without its end. Throws a RejectError for what no line can hold. */
  line(record: StreamRecord): string;
}

export const jsonLines: Lines = {
  header: '',
  line({ value }) {
    let line: string | undefined;
    try {
      line = JSON.stringify(value);
    } catch (error) {
      throw refusal(`The value cannot be written as JSON: ${(error as Error).message}`);
    }
    if (line === undefined) throw refusal('The value is undefined or a function; expected what JSON can hold.');
    return line;
  },
};

/** Lines of CSV with these columns, whatever else a record holds. */
export function csvLines({ columns, delimiter = ',' }: CsvOutput): Lines {
  const readers = columns.map(fieldReader);
  return {
    header: `${columns.map((name) => cell(name, delimiter)).join(delimiter)}\n`,
    line({ value }) {
      if (typeof value !== 'object' || value === null || Array.isArray(value) || Buffer.isBuffer(value)) {
        throw refusal('The value is no object; expected one with a field for each column.');
      }
      return readers.map((read) => cell(read(value), delimiter)).join(delimiter);
    },
  };
}

function cell(value: unknown, delimiter: string): string {
  if (value === undefined || value === null) return '';
  const text = typeof value === 'object' ? jsonLines.line({ value } as StreamRecord) : String(value);
  // A hole that a crash leaves in the file is told by it.
  if (text.includes('\0')) throw refusal('A value holds a zero byte.');
  const bare = text !== '' && !/["\r\n]|^\s|\s$/.test(text) && !text.includes(delimiter);
  return bare ? text : `"${text.replaceAll('"', '""')}"`;
}

/** The lines of all records but those refused, in pieces of about so many characters. */
export function* blocks(
  records: readonly StreamRecord[],
  lines: Lines,
  characters: number,
  refused: Refused[],
): Generator<string> {
  let text = '';
  for (const [index, record] of records.entries()) {
    let line: string;
    try {
      line = lines.line(record);
    } catch (error) {
      if (!(error instanceof RejectError)) throw error;
      refused.push({ index, message: error.message });
      continue;
    }
    if (text.length > 0 && text.length + line.length >= characters) {
      yield text;
      text = '';
    }
    text += `${line}\n`;
  }
  if (text.length > 0) yield text;
}

function refusal(message: string): RejectError {
  return new RejectError('sink-refused', message);
}
