import type { Clock } from '../../src/operator.ts';

/** Whether an answer speaks of trouble that passes: the same request may succeed later. */
export function passes(status: number): boolean {
  return status >= 500 || status === 408 || status === 425 || status === 429;
}

/** The pause that the server asks for, in ms: it is given in seconds, or as a date. Its clock may be wrong: an hour is the longest that is believed. */
export function retryAfterMs({ headers }: Response, clock: Clock): number | undefined {
  const text = headers.get('retry-after');
  if (text === null) return undefined;
  const seconds = Number(text);
  const ms = Number.isFinite(seconds) ? seconds * 1000 : Date.parse(text) - clock.now();
  return Number.isNaN(ms) ? undefined : Math.min(Math.max(0, ms), 3_600_000);
}

/** What an answer says, fit for logs: the lines of a request that the server quotes are left out. */
export function messageOf(body: string): string {
  let text = body;
  try {
    const parsed = JSON.parse(body) as { message?: unknown; error?: unknown };
    text = String(parsed.message ?? parsed.error ?? '');
  } catch {}
  text = text
    .replace(/'.*'/s, "'…'")
    .replace(/[\p{Cc}\s]+/gu, ' ')
    .trim();
  return text === '' ? '' : `: ${text.slice(0, 300)}`;
}

/** Why a request came to no answer. */
export function reason(error: unknown): string {
  const { cause, message } = error as Error & { cause?: { code?: string; message?: string } };
  return cause?.code ?? cause?.message ?? message;
}

/** Why the address cannot be used; never repeats a password that stands in it. */
export function urlProblem(text: string): string | undefined {
  // Looked for before anything else, so that no message can repeat a password.
  if (text.includes('@')) return 'The `url` holds a user name or password, which have options of their own.';
  if (!URL.canParse(text)) return 'The `url` is no address.';
  const url = new URL(text);
  if (url.protocol !== 'http:' && url.protocol !== 'https:')
    return `The \`url\` begins with \`${url.protocol}\`; expected http: or https:.`;
  return undefined;
}

/** The address without a slash at its end. */
export function addressOf(url: string): string {
  const { origin, pathname } = new URL(url);
  return origin + pathname.replace(/\/$/, '');
}
