/** A point in time as InfluxDB holds it: nanoseconds since the epoch, which a number of JavaScript cannot. */
export type Instant = bigint;

/** The first instant that InfluxDB can hold, in 1677. */
export const firstInstant: Instant = -9_223_372_036_854_775_806n;
/** The last one, in 2262. */
export const lastInstant: Instant = 9_223_372_036_854_775_806n;

const perMs = 1_000_000n;
const perSecond = 1_000_000_000n;
const form = /^(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(Z|[+-]\d\d:\d\d)$/;

/** Reads an RFC 3339 text with up to nine digits of a second; `undefined` when it is none. */
export function parseInstant(text: string): Instant | undefined {
  const [, second, fraction = '', zone] = form.exec(text) ?? [];
  const ms = Date.parse(`${second}${zone}`);
  return Number.isNaN(ms) ? undefined : BigInt(ms) * perMs + BigInt(fraction.padEnd(9, '0'));
}

/** Always with nine digits of a second, so that texts sort as the times do. */
export function formatInstant(instant: Instant): string {
  const inSecond = ((instant % perSecond) + perSecond) % perSecond;
  const second = new Date(Number((instant - inSecond) / perMs)).toISOString().slice(0, 19);
  return `${second}.${String(inSecond).padStart(9, '0')}Z`;
}

/** From ms since the epoch, which may be infinite: then what InfluxDB can hold at that end. */
export function instantOf(ms: number): Instant {
  if (!Number.isFinite(ms)) return ms < 0 ? firstInstant : lastInstant;
  return clamp(BigInt(Math.floor(ms)) * perMs);
}

/** In ms since the epoch; what is finer is cut off. */
export function toMs(instant: Instant): number {
  const inMs = ((instant % perMs) + perMs) % perMs;
  return Number((instant - inMs) / perMs);
}

/** The nearest instant that InfluxDB can hold. */
export function clamp(instant: Instant): Instant {
  return instant < firstInstant ? firstInstant : instant > lastInstant ? lastInstant : instant;
}
