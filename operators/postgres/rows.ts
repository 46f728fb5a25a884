import {
  compileExpression,
  fieldReader,
  RejectError,
  type SinkContext,
  type StreamRecord,
} from '../../src/operator.ts';
import { isName, type PostgresOptions } from './options.ts';

/** What is done for one record. */
export interface Row {
  /** Place in the batch that the engine gave. */
  readonly index: number;
  readonly deletes: boolean;
  /** Columns that are written; for a row to delete those of the key. */
  readonly columns: readonly string[];
  /** The columns as a JSON object. */
  readonly json: string;
  /** Equal for rows with the same key; `undefined` when rows are appended. */
  readonly key: string | undefined;
}

/** Makes ready what turns a record into a row. That throws a RejectError for a record that no row can hold. */
export function rowMaker(options: PostgresOptions, context: SinkContext): (record: StreamRecord, index: number) => Row {
  const { columns, key, idColumn, timeColumn, tombstones, deleteWhen } = options;
  const mapped = columns && Object.entries(columns).map(([column, name]) => [column, fieldReader(name)] as const);
  const isDelete = deleteWhen === undefined ? () => false : compileExpression(deleteWhen);
  return (record, index) => {
    if (record.value === null && tombstones) {
      if (record.key === undefined) throw refused('The record is null and has no key: no telling which row to delete.');
      return rowOf(index, true, { [key![0]!]: record.key }, key);
    }
    const values: Record<string, unknown> = mapped
      ? Object.fromEntries(mapped.map(([column, read]) => [column, read(record.value) ?? null]))
      : fieldsOf(record.value);
    if (timeColumn !== undefined) values[timeColumn] = timeOf(record);
    if (idColumn !== undefined) values[idColumn] = context.recordId(record);
    return rowOf(index, isDelete(record) === true, values, key);
  };
}

function fieldsOf(value: unknown): Record<string, unknown> {
  if (typeof value !== 'object' || value === null || Array.isArray(value) || Buffer.isBuffer(value)) {
    throw refused('The value is no object; expected one with a field for each column.');
  }
  const fields = { ...value };
  for (const name of Object.keys(fields)) {
    if (!isName(name))
      throw refused('The name of a field is none that a column can have: it has no or more than 63 bytes.');
  }
  return fields;
}

function timeOf({ time, window }: StreamRecord): string {
  const ms = window ? window.label : time;
  if (!(Math.abs(ms) <= 8.64e15)) throw refused('The record has no event time. Give its source a `time`.');
  // Years beyond 9999 are written in a way that PostgreSQL does not read.
  const text = new Date(ms).toISOString();
  if (/^[+-]/.test(text)) throw refused('The time of the record lies outside of the years 0 to 9999.');
  return text;
}

function rowOf(
  index: number,
  deletes: boolean,
  values: Record<string, unknown>,
  key: readonly string[] | undefined,
): Row {
  for (const column of key ?? []) {
    // NULL is equal to nothing: the row would be written again and again.
    if (values[column] === undefined || values[column] === null) {
      throw refused(`\`${column}\` is a key column, and the record has nothing for it.`);
    }
  }
  const written = deletes ? Object.fromEntries(key!.map((column) => [column, values[column]])) : values;
  const plain = Object.fromEntries(Object.entries(written).map(([column, value]) => [column, forServer(value)]));
  const columns = Object.keys(plain).sort();
  if (columns.length === 0) throw refused('The record has no field.');
  return {
    index,
    deletes,
    columns,
    json: jsonOf(plain),
    key: key && JSON.stringify(key.map((column) => text(plain[column]))),
  };
}

// JSON would make null of the one, and cannot hold the other.
function forServer(value: unknown): unknown {
  if (typeof value === 'number' && !Number.isFinite(value)) return String(value);
  if (typeof value === 'bigint') return String(value);
  if (Buffer.isBuffer(value)) return `\\x${value.toString('hex')}`;
  return value === undefined ? null : value;
}

function text(value: unknown): string {
  return typeof value === 'object' ? JSON.stringify(value) : String(value);
}

function jsonOf(values: Record<string, unknown>): string {
  try {
    return JSON.stringify(values);
  } catch (error) {
    throw refused(`The record cannot be written as JSON: ${(error as Error).message}`);
  }
}

function refused(message: string): RejectError {
  return new RejectError('sink-refused', message);
}

const quoted = (name: string) => `"${name.replaceAll('"', '""')}"`;

function tableOf({ schema, table }: PostgresOptions): { target: string; rows: string } {
  const target = schema === undefined ? quoted(table) : `${quoted(schema)}.${quoted(table)}`;
  return { target, rows: `json_populate_recordset(NULL::${target}, $1::text::json)` };
}

/** A statement that needs the table and none of its columns. */
export function probe(options: PostgresOptions): string {
  return `SELECT 1 FROM ${tableOf(options).rows}`;
}

/**
 * The statement for rows with the same columns, which come as one parameter: a JSON list. So its text does not depend on how many there are, and the
 * server converts each value to the type of its column.
 */
export function statement(options: PostgresOptions, deletes: boolean, columns: readonly string[]): string {
  const { key, idColumn } = options;
  const { target, rows } = tableOf(options);
  if (deletes) {
    const same = key!.map((column) => `kept.${quoted(column)} = gone.${quoted(column)}`);
    return `DELETE FROM ${target} AS kept USING ${rows} AS gone WHERE ${same.join(' AND ')}`;
  }
  const list = columns.map(quoted).join(', ');
  const insert = `INSERT INTO ${target} (${list}) SELECT ${list} FROM ${rows}`;
  if (idColumn !== undefined) return `${insert} ON CONFLICT (${quoted(idColumn)}) DO NOTHING`;
  if (key === undefined) return insert;
  const set = columns
    .filter((column) => !key.includes(column))
    .map((column) => `${quoted(column)} = EXCLUDED.${quoted(column)}`);
  const update = set.length === 0 ? 'NOTHING' : `UPDATE SET ${set.join(', ')}`;
  return `${insert} ON CONFLICT (${key.map(quoted).join(', ')}) DO ${update}`;
}
