import { fieldReader, type StreamRecord } from '../../src/operator.ts';

export interface Layout {
  readonly title?: string | undefined;
  /** Fields to show, in this order; without them all fields that are no object or list. */
  readonly columns?: readonly string[] | undefined;
}

// A payload must not move the cursor, change colours, or turn the direction of writing.
const hostile = /[\p{Cc}\u200e\u200f\u2028-\u202e\u2066-\u2069]/gu;

/** The value as one line of JSON which a terminal shows as it is. */
export function jsonLine(value: unknown): string {
  const text: string | undefined = JSON.stringify(value);
  return (text ?? 'null').replace(hostile, (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, '0')}`);
}

/** `12:00:05  generator1  fuel 742.1  alarm no action` */
export function compactLine(record: StreamRecord, layout: Layout): string {
  const fields = namesOf(record.value, layout)
    .filter((name) => String(read(record.value, name)) !== String(record.key))
    .map((name) => `${clean(name)} ${cellText(read(record.value, name))}`);
  const value = fields.length > 0 || isObject(record.value) ? fields : [cellText(record.value)];
  return [timeOf(record), record.key === undefined ? '' : clean(String(record.key)), ...value]
    .filter((part) => part !== '')
    .join('  ');
}

/** A table of these records, one row each, of no more than `width` by `height` characters. */
export function table(records: readonly StreamRecord[], layout: Layout, width: number, height: number): string[] {
  const names = layout.columns ?? [...new Set(records.flatMap((record) => namesOf(record.value, layout)))];
  const head = ['time', 'key', ...names.map(clean)];
  const room = Math.max(1, height - (layout.title === undefined ? 2 : 3));
  const shown = records.length > room ? records.slice(0, Math.max(0, room - 1)) : records;
  const rows = shown.map((record) => [
    timeOf(record),
    record.key === undefined ? '' : clean(String(record.key)),
    ...names.map((name) => cellText(read(record.value, name))),
  ]);
  const widths = head.map((text, i) => Math.max(text.length, ...rows.map((row) => row[i]!.length)));
  const numeric = head.map(
    (_, i) => i > 1 && shown.every((record) => typeof read(record.value, names[i - 2]!) === 'number'),
  );
  const line = (row: readonly string[]) =>
    row
      .map((text, i) => (numeric[i] ? text.padStart(widths[i]!) : text.padEnd(widths[i]!)))
      .join('  ')
      .trimEnd();
  const left = records.length - shown.length;
  return [
    ...(layout.title === undefined ? [] : [clean(layout.title)]),
    line(head),
    ...rows.map(line),
    ...(left > 0 ? [`… and ${left} more`] : []),
  ].map((text) => [...text].slice(0, width).join(''));
}

function namesOf(value: unknown, { columns }: Layout): readonly string[] {
  if (columns) return columns;
  if (!isObject(value)) return [];
  return Object.keys(value).filter((name) => !isObject(value[name]));
}

function read(value: unknown, name: string): unknown {
  return fieldReader(name)(value);
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null;
}

function cellText(value: unknown): string {
  if (value === undefined || value === null) return '–';
  if (typeof value === 'number') return Number.isInteger(value) ? String(value) : String(Number(value.toFixed(3)));
  return clean(isObject(value) ? JSON.stringify(value) : String(value));
}

function clean(text: string): string {
  return text.replace(hostile, '');
}

// A window's result is shown with the time that other sinks write for it, not with the last millisecond inside its window.
function timeOf({ time, window }: StreamRecord): string {
  const at = window?.label ?? time;
  return Math.abs(at) <= 8.64e15 ? new Date(at).toISOString().slice(11, 19) : '';
}
