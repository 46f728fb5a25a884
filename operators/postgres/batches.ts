import type { Row } from './rows.ts';

const statementCharacters = 8 << 20;

/** A row that is written, and those before it that need not be, as it writes over all that they would have written. */
export interface Latest {
  readonly row: Row;
  /** In order. */
  readonly covered: Row[];
}

/** Leaves out rows that a later one with the same key covers: one statement cannot write a row twice. */
export function latestOfEachKey(rows: readonly Row[]): Latest[] {
  const kept: Latest[] = [];
  const next = new Map<string, Latest>();
  for (const row of rows.toReversed()) {
    const later = row.key === undefined ? undefined : next.get(row.key);
    if (later !== undefined && covers(later.row, row)) {
      later.covered.unshift(row);
      continue;
    }
    const latest = { row, covered: [] };
    kept.push(latest);
    if (row.key !== undefined) next.set(row.key, latest);
  }
  return kept.reverse();
}

// A row that is deleted loses its other columns too, which one that is put there leaves alone.
function covers(later: Row, earlier: Row): boolean {
  if (later.deletes || earlier.deletes) return later.deletes;
  return earlier.columns.every((column) => later.columns.includes(column));
}

/** Neighbours that go in one statement: they write the same columns. */
export function statements(all: readonly Latest[]): Latest[][] {
  const found: Latest[][] = [];
  let shape = '';
  let characters = 0;
  for (const latest of all) {
    const { deletes, columns, json } = latest.row;
    const own = JSON.stringify([deletes, columns]);
    characters += json.length;
    if (found.length > 0 && own === shape && characters <= statementCharacters) found.at(-1)!.push(latest);
    else {
      found.push([latest]);
      shape = own;
      characters = json.length;
    }
  }
  return found;
}
