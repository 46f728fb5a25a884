/** Durations and sizes as users write them: a number and a unit, always both. */

const durationUnits: Record<string, number> = {
  ns: 1e-6,
  us: 1e-3,
  ms: 1,
  s: 1_000,
  m: 60_000,
  h: 3_600_000,
  d: 86_400_000,
  w: 604_800_000,
};
export const durationPattern = '^(\\d+(\\.\\d+)?(ns|us|ms|s|m|h|d|w))+$';
const durationForm = new RegExp(durationPattern);

/** Milliseconds of a duration such as `1m30s`; `undefined` when the text is none. */
export function parseDuration(text: string): number | undefined {
  if (!durationForm.test(text)) return undefined;
  let ms = 0;
  for (const [, number, unit] of text.matchAll(/(\d+(?:\.\d+)?)(ns|us|ms|s|m|h|d|w)/g)) {
    ms += Number(number) * durationUnits[unit!]!;
  }
  return ms;
}

/** Milliseconds of a duration that has been checked before. Throws a RangeError otherwise. */
export function durationMs(text: string): number {
  const ms = parseDuration(text);
  if (ms === undefined) throw new RangeError(`\`${text}\` is not a length of time such as 10s or 1m30s.`);
  return ms;
}

const sizeUnits: Record<string, number> = {
  B: 1,
  kB: 1e3,
  MB: 1e6,
  GB: 1e9,
  KiB: 2 ** 10,
  MiB: 2 ** 20,
  GiB: 2 ** 30,
};
export const sizePattern = '^\\d+(\\.\\d+)?(B|kB|MB|GB|KiB|MiB|GiB)$';
const sizeForm = /^(\d+(?:\.\d+)?)(B|kB|MB|GB|KiB|MiB|GiB)$/;

/** Bytes of a size such as `10MiB` (2^20) or `10MB` (10^6); `undefined` when the text is none. */
export function parseSize(text: string): number | undefined {
  const match = sizeForm.exec(text);
  return match ? Math.floor(Number(match[1]) * sizeUnits[match[2]!]!) : undefined;
}

/** Bytes of a size that has been checked before. Throws a RangeError otherwise. */
export function sizeBytes(text: string): number {
  const bytes = parseSize(text);
  if (bytes === undefined) throw new RangeError(`\`${text}\` is not a size such as 64kB or 10MiB.`);
  return bytes;
}
