import type { FindEnd } from './records.ts';

export type CellType = 'string' | 'number' | 'boolean';

const quote = 34;
const newline = 10;

/** Finds where a CSV record ends: a newline inside quotes belongs to its cell. A quote counts only where a cell begins. */
export function csvEnd(delimiter: string): FindEnd {
  const comma = delimiter.charCodeAt(0);
  return (data, start) => {
    let cellStart = true;
    for (let i = start; i < data.length; i++) {
      const byte = data[i];
      if (byte === newline) return i;
      if (cellStart && byte === quote) {
        i = closingQuote(data, i + 1);
        if (i === -1) return -1;
      }
      cellStart = byte === comma;
    }
    return -1;
  };
}

function closingQuote(data: Buffer, from: number): number {
  for (let i = data.indexOf(quote, from); i !== -1; i = data.indexOf(quote, i + 2)) {
    if (data[i + 1] !== quote) return i;
  }
  return -1;
}

/** The cells of one record, as RFC 4180 has them; a text when it is none: what is wrong, without its content. */
export function splitCells(text: string, delimiter: string): string[] | string {
  const cells: string[] = [];
  for (let at = 0; ; ) {
    if (text[at] === '"') {
      const end = closing(text, at + 1);
      if (end === -1) return `cell ${cells.length + 1} opens a quote that is never closed`;
      cells.push(text.slice(at + 1, end).replaceAll('""', '"'));
      at = end + 1;
      if (at < text.length && text[at] !== delimiter) return `cell ${cells.length} goes on after its closing quote`;
    } else {
      const end = text.indexOf(delimiter, at);
      cells.push(end === -1 ? text.slice(at) : text.slice(at, end));
      at = end === -1 ? text.length : end;
    }
    if (at >= text.length) return cells;
    at++;
  }
}

function closing(text: string, from: number): number {
  for (let i = text.indexOf('"', from); i !== -1; i = text.indexOf('"', i + 2)) {
    if (text[i + 1] !== '"') return i;
  }
  return -1;
}

/** Makes a record's value from its cells, or says what is wrong with it, without its content. */
export function csvDecoder(
  columns: readonly string[],
  delimiter: string,
  types: Readonly<Record<string, CellType>>,
): (text: string) => { value: Record<string, unknown> } | { problem: string } {
  const kinds = columns.map((name) => types[name] ?? 'string');
  return (text) => {
    const cells = splitCells(text, delimiter);
    if (typeof cells === 'string') return { problem: `${cells}.` };
    if (cells.length !== columns.length) {
      return { problem: `it has ${cells.length} cells, but there are ${columns.length} columns.` };
    }
    const value: Record<string, unknown> = {};
    for (let i = 0; i < cells.length; i++) {
      const cell = toCell(cells[i]!, kinds[i]!);
      if (cell === undefined) return { problem: `column \`${columns[i]}\` holds no ${kinds[i]}.` };
      value[columns[i]!] = cell;
    }
    return { value };
  };
}

const numberForm = /^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i;

// An empty cell of a number or boolean column is null: zero or false would be made up.
function toCell(text: string, type: CellType): unknown {
  if (type === 'string') return text;
  const trimmed = text.trim();
  if (trimmed === '') return null;
  if (type === 'boolean') return trimmed === 'true' ? true : trimmed === 'false' ? false : undefined;
  const number = numberForm.test(trimmed) ? Number(trimmed) : Number.NaN;
  return Number.isFinite(number) ? number : undefined;
}
