/** Times as text, by a pattern such as `yyyy-MM-dd HH:mm:ss` and in a time zone. */

/** Raised for a pattern, a zone or a text that cannot be used. The message is a code: what was given may be of a record, and stays out of logs. */
export class TimeTextProblem extends Error {}

type Part = 'yyyy' | 'MM' | 'dd' | 'HH' | 'mm' | 'ss' | 'SSS' | 'ZZ';
interface Pattern {
  /** Parts and the texts between them, in order. */
  readonly pieces: readonly ({ part: Part } | { text: string })[];
  /** Finds the parts in a text, in order. */
  readonly form: RegExp;
}

const forms: Record<Part, string> = {
  yyyy: '(\\d{4})',
  MM: '(\\d\\d)',
  dd: '(\\d\\d)',
  HH: '(\\d\\d)',
  mm: '(\\d\\d)',
  ss: '(\\d\\d)',
  SSS: '(\\d{3})',
  ZZ: '(Z|[+-]\\d\\d:\\d\\d)',
};
const firstYear = -62_167_219_200_000;
const lastYear = 253_402_300_799_999;

/** Writes a time in ms, of the years 0 to 9999. Throws a TimeTextProblem. */
export function formatTime(ms: number, pattern: string, zone = 'UTC'): string {
  if (!(ms >= firstYear && ms <= lastYear)) throw new TimeTextProblem('time_out_of_range');
  const offset = offsetMs(ms, zone);
  const local = new Date(ms + offset).toISOString();
  // A year before 0 or after 9999 may come about by the offset.
  if (local.length !== 24) throw new TimeTextProblem('time_out_of_range');
  const parts: Record<Part, string> = {
    yyyy: local.slice(0, 4),
    MM: local.slice(5, 7),
    dd: local.slice(8, 10),
    HH: local.slice(11, 13),
    mm: local.slice(14, 16),
    ss: local.slice(17, 19),
    SSS: local.slice(20, 23),
    ZZ: offsetText(offset),
  };
  return patternOf(pattern)
    .pieces.map((piece) => ('part' in piece ? parts[piece.part] : piece.text))
    .join('');
}

/**
 * Reads a time, in ms. The text has to be as the pattern says, and of a time that there is: not the 30th of February, nor an hour that the zone
 * leaves out in spring. Of an hour that comes twice in autumn it is the first one. Throws a TimeTextProblem.
 */
export function parseTime(text: string, pattern: string, zone = 'UTC'): number {
  const { pieces, form } = patternOf(pattern);
  const found = form.exec(text);
  if (!found) throw new TimeTextProblem('time_text_differs');
  const parts: Partial<Record<Part, string>> = {};
  let group = 1;
  for (const piece of pieces) if ('part' in piece) parts[piece.part] = found[group++]!;
  const { yyyy = '1970', MM = '01', dd = '01', HH = '00', mm = '00', ss = '00', SSS = '000', ZZ } = parts;
  const local = Date.parse(`${yyyy}-${MM}-${dd}T${HH}:${mm}:${ss}.${SSS}Z`);
  const ms = ZZ === undefined ? fromLocal(local, zone) : local - offsetOf(ZZ);
  const back = ZZ === undefined ? offsetMs(ms, zone) : offsetOf(ZZ);
  // Date.parse takes the 30th of February for the 1st or 2nd of March; a time in a gap comes back as another one.
  const same =
    !Number.isNaN(ms) && new Date(ms + back).toISOString().startsWith(`${yyyy}-${MM}-${dd}T${HH}:${mm}:${ss}`);
  if (!same) throw new TimeTextProblem('no_such_time');
  return ms;
}

const patterns = new Map<string, Pattern>();

function patternOf(text: string): Pattern {
  const known = patterns.get(text);
  if (known) return known;
  const pieces: ({ part: Part } | { text: string })[] = [];
  let form = '';
  for (const [piece, quoted] of text.matchAll(/'((?:[^']|'')*)'|([A-Za-z])\2*|[^A-Za-z']+|'/g)) {
    if (Object.hasOwn(forms, piece)) {
      pieces.push({ part: piece as Part });
      form += forms[piece as Part];
    } else if (/^[A-Za-z]|^'$/.test(piece)) {
      throw new TimeTextProblem('bad_time_pattern');
    } else {
      const plain = quoted === undefined ? piece : quoted === '' ? "'" : quoted.replaceAll("''", "'");
      pieces.push({ text: plain });
      form += plain.replace(/[\\^$.*+?()[\]{}|/-]/g, '\\$&');
    }
  }
  const pattern = { pieces, form: new RegExp(`^${form}$`) };
  // Patterns may come from records: the cache must not grow with them.
  if (patterns.size >= 1_000) patterns.clear();
  patterns.set(text, pattern);
  return pattern;
}

const zones = new Map<string, Intl.DateTimeFormat>();

/** How far a zone is ahead of UTC at a time, in ms. */
function offsetMs(ms: number, zone: string): number {
  if (zone === 'UTC' || Number.isNaN(ms)) return 0;
  let format = zones.get(zone);
  if (!format) {
    try {
      format = new Intl.DateTimeFormat('en-US', {
        timeZone: zone,
        hourCycle: 'h23',
        era: 'short',
        year: 'numeric',
        month: 'numeric',
        day: 'numeric',
        hour: 'numeric',
        minute: 'numeric',
        second: 'numeric',
      });
    } catch {
      throw new TimeTextProblem('unknown_zone');
    }
    if (zones.size >= 1_000) zones.clear();
    zones.set(zone, format);
  }
  const parts: Record<string, string> = {};
  for (const { type, value } of format.formatToParts(ms)) parts[type] = value;
  const number = (name: string) => Number(parts[name]);
  const year = parts['era'] === 'BC' ? 1 - number('year') : number('year');
  const local = new Date(0).setUTCFullYear(year, number('month') - 1, number('day'));
  const seconds = number('hour') * 3_600 + number('minute') * 60 + number('second');
  return local + seconds * 1_000 - Math.floor(ms / 1_000) * 1_000;
}

/** The first time at which the clocks of a zone show this. */
function fromLocal(local: number, zone: string): number {
  const day = 86_400_000;
  const before = local - offsetMs(local - day, zone);
  return before + offsetMs(before, zone) === local ? before : local - offsetMs(local + day, zone);
}

function offsetOf(text: string): number {
  if (text === 'Z') return 0;
  const minutes = Number(text.slice(1, 3)) * 60 + Number(text.slice(4));
  return (text[0] === '-' ? -1 : 1) * minutes * 60_000;
}

function offsetText(offset: number): string {
  if (offset === 0) return 'Z';
  const minutes = Math.abs(Math.round(offset / 60_000));
  const two = (number: number) => String(number).padStart(2, '0');
  return `${offset < 0 ? '-' : '+'}${two(Math.floor(minutes / 60))}:${two(minutes % 60)}`;
}
