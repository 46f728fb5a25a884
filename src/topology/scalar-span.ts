import type { Range } from './report.ts';

/**
 * Finds the characters of a YAML scalar, as it stands in the file, that stand for `text[start, end)`: behind a quote, an escape, a folded
 * line or the header of a block. Gives `undefined` where that cannot be told.
 */
export function spanOf(raw: string, text: string, offset: number, start: number, end: number): Range | undefined {
  const places = align(raw, text);
  if (!places) return undefined;
  const first = places[start] ?? places.at(-1);
  if (first === undefined) return undefined;
  const last = end > start ? places[end - 1] : first;
  return { start: offset + first, end: offset + (last ?? first) + 1 };
}

const blank = /\s/;

/** For each character of `text` its index in `raw`, plus one for the end. */
function align(raw: string, text: string): number[] | undefined {
  const places: number[] = [];
  const quote = raw[0] === '"' || raw[0] === "'" ? raw[0] : '';
  let at = quote ? 1 : headerLength(raw);
  for (let index = 0; index < text.length; index++) {
    const wanted = text[index]!;
    if (blank.test(wanted) && index === text.length - 1 && at >= raw.length) {
      places.push(raw.length);
      break;
    }
    while (at < raw.length && raw[at] !== wanted && blank.test(raw[at]!) && !blank.test(wanted)) at++;
    const here = raw[at];
    if (here === undefined) return undefined;
    places.push(at);
    if (quote === "'" && here === "'" && raw[at + 1] === "'") at += 2;
    else if (quote === '"' && here === '\\') {
      const escaped = raw[at + 1]!;
      if (escaped !== wanted && !'nt'.includes(escaped)) return undefined;
      at += 2;
    } else if (here === wanted) at++;
    else if (blank.test(wanted) && blank.test(here)) {
      while (at < raw.length && blank.test(raw[at]!)) at++;
    } else return undefined;
  }
  places.push(at);
  return places;
}

// `|`, `>-` and the like, with the comment behind it, up to the first line of the text.
function headerLength(raw: string): number {
  const header = /^[|>][-+\d]*[ \t]*(#.*)?\r?\n/.exec(raw);
  return header ? header[0].length : 0;
}
