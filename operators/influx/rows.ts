import { createHash } from 'node:crypto';
import type { FluxTableMetaData } from '@influxdata/influxdb-client';
import { putField } from '../../src/operator.ts';
import { type Instant, parseInstant } from './instant.ts';

/** One point: all fields that a series has at one time. */
export interface Row {
  readonly time: Instant;
  readonly bucket: string;
  readonly measurement: string;
  readonly value: Readonly<Record<string, unknown>>;
  /** Orders the rows of one time. */
  readonly series: string;
}

interface Series {
  readonly name: string;
  readonly measurement: string;
  readonly tags: readonly (readonly [string, string])[];
}

/**
 * Puts points together from the rows of a Flux answer, in which each field of a series is a table of its own. Done here and not by the server's
 * `pivot`: that one fails where a field has different types in two measurements.
 */
export class Pivot {
  readonly #bucket: string;
  readonly #rows = new Map<string, { time: Instant; series: Series; value: Record<string, unknown> }>();
  #meta: FluxTableMetaData | undefined;
  #table = '';
  #series: Series | undefined;

  constructor(bucket: string) {
    this.#bucket = bucket;
  }

  add(values: readonly string[], meta: FluxTableMetaData): void {
    const cell = (label: string) => values[meta.column(label).index] ?? '';
    const table = cell('table');
    if (meta !== this.#meta || table !== this.#table || !this.#series) {
      this.#meta = meta;
      this.#table = table;
      this.#series = seriesOf(values, meta);
    }
    const { name, measurement, tags } = this.#series;
    const text = cell('_time');
    const id = `${text} ${name}`;
    let row = this.#rows.get(id);
    if (!row) {
      const value: Record<string, unknown> = { _time: text, _measurement: measurement };
      for (const [tag, content] of tags) putField(value, tag, content);
      row = { time: parseInstant(text)!, series: this.#series, value };
      this.#rows.set(id, row);
    }
    const field = cell('_field');
    // As InfluxQL names a field that has the name of a tag.
    const label = Object.hasOwn(row.value, field) ? `${field}_1` : field;
    putField(row.value, label, parseValue(cell('_value'), meta.column('_value').dataType));
  }

  /** The points, in no particular order. */
  rows(): Row[] {
    return Array.from(this.#rows.values(), ({ time, series, value }) => ({
      time,
      bucket: this.#bucket,
      measurement: series.measurement,
      value,
      series: series.name,
    }));
  }
}

/** By time; those of one time always in the same order. */
export function compareRows(a: Row, b: Row): number {
  if (a.time !== b.time) return a.time < b.time ? -1 : 1;
  if (a.bucket !== b.bucket) return a.bucket < b.bucket ? -1 : 1;
  return a.series < b.series ? -1 : a.series > b.series ? 1 : 0;
}

/** Tells a row from others and from itself with other values. */
export function fingerprint({ bucket, value }: Row): string {
  const fields = Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1));
  const text = JSON.stringify([bucket, fields], (_, inner) => (typeof inner === 'number' ? String(inner) : inner));
  return createHash('sha256').update(text).digest('base64url').slice(0, 16);
}

const ownColumns: ReadonlySet<string> = new Set([
  '',
  'result',
  'table',
  '_time',
  '_value',
  '_field',
  '_measurement',
  '_start',
  '_stop',
]);

function seriesOf(values: readonly string[], { columns }: FluxTableMetaData): Series {
  let measurement = '';
  const tags: [string, string][] = [];
  for (const { label, index, group } of columns) {
    if (label === '_measurement') measurement = values[index]!;
    else if (group && !ownColumns.has(label)) tags.push([label, lineEnds(values[index]!)]);
  }
  return { name: JSON.stringify([measurement, tags]), measurement, tags };
}

function parseValue(text: string, type: string): unknown {
  if (type === 'double') return text === '+Inf' ? Infinity : text === '-Inf' ? -Infinity : Number(text);
  if (type === 'boolean') return text === 'true';
  if (type === 'string') return lineEnds(text);
  if (type !== 'long' && type !== 'unsignedLong') return text;
  const number = Number(text);
  // A whole number that JavaScript cannot hold stays exact as text.
  return Number.isSafeInteger(number) ? number : text;
}

// The CSV of Flux writes each line end inside a text as two characters, whatever is stored.
function lineEnds(text: string): string {
  return text.includes('\r') ? text.replaceAll('\r\n', '\n') : text;
}
