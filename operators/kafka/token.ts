import type { Ports, Secret } from '../../src/operator.ts';
import { Trouble } from './driver.ts';
import type { Sasl } from './options.ts';

const answerMs = 10_000;
const mostBytes = 64 * 1024;
/** A token is asked for anew when so much of its time has gone. */
const usedPart = 0.8;

/** Gives the token to log in with: as it is written, as it stands in its file now, or from an endpoint, again before it expires. */
export function tokenSource(sasl: Sasl, ports: Ports): () => Promise<{ value: string }> {
  const { token, tokenFile, tokenUrl } = sasl;
  if (token !== undefined) return async () => ({ value: token.reveal() });
  if (tokenFile !== undefined) return async () => ({ value: await readToken(tokenFile, ports) });
  let kept: { value: string; until: number } | undefined;
  return async () => {
    if (kept === undefined || ports.clock.now() >= kept.until) kept = await askForToken(tokenUrl!, sasl, ports);
    return { value: kept.value };
  };
}

async function readToken(file: string, { disk }: Ports): Promise<string> {
  const bytes = await disk.readFile(file).catch((error: Error & { code?: string }) => {
    throw new Trouble(
      'final',
      `\`sasl.tokenFile\` \`${file}\` cannot be read (${error.code ?? error.message}).`,
      error,
    );
  });
  const text = bytes.subarray(0, mostBytes).toString('utf8').trim();
  if (text === '') throw new Trouble('final', `\`sasl.tokenFile\` \`${file}\` is empty; a token is expected.`);
  return text;
}

/** The grant of client credentials (RFC 6749, 4.4). Neither the secret nor the answer stands in any error. */
async function askForToken(url: string, { clientId = '', clientSecret, scope }: Sasl, { network, clock }: Ports) {
  const body = new URLSearchParams({ grant_type: 'client_credentials', ...(scope !== undefined && { scope }) });
  const login = `${encodeURIComponent(clientId)}:${encodeURIComponent((clientSecret as Secret).reveal())}`;
  const asked = clock.now();
  const response = await network
    .fetch(url, {
      method: 'POST',
      headers: {
        authorization: `Basic ${Buffer.from(login).toString('base64')}`,
        'content-type': 'application/x-www-form-urlencoded',
        accept: 'application/json',
      },
      body: body.toString(),
      redirect: 'error',
      signal: AbortSignal.timeout(answerMs),
    })
    .catch((error: Error) => {
      throw new Trouble('passing', `The token endpoint ${url} cannot be reached: ${reason(error)}.`, error);
    });
  const text = await readBody(response, url);
  if (!response.ok) throw refusal(url, clientId, response.status);
  const { access_token: value, expires_in: seconds } = parse(text);
  if (typeof value !== 'string' || value === '') {
    throw new Trouble(
      'final',
      `The token endpoint ${url} answered without an \`access_token\`. Check \`sasl.tokenUrl\`.`,
    );
  }
  const lifeMs = typeof seconds === 'number' && seconds > 0 ? seconds * 1_000 * usedPart : 0;
  return { value, until: asked + lifeMs };
}

async function readBody(response: Response, url: string): Promise<string> {
  let size = 0;
  const parts: Uint8Array[] = [];
  for await (const part of response.body ?? []) {
    size += part.length;
    if (size > mostBytes)
      throw new Trouble('final', `The token endpoint ${url} answered with more than ${mostBytes} bytes.`);
    parts.push(part);
  }
  return Buffer.concat(parts).toString('utf8');
}

function parse(text: string): { access_token?: unknown; expires_in?: unknown } {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === 'object' && value !== null ? value : {};
  } catch {
    return {};
  }
}

function refusal(url: string, clientId: string, status: number): Trouble {
  const passing = status >= 500 || status === 408 || status === 429;
  return passing
    ? new Trouble('passing', `The token endpoint ${url} answered ${status}.`)
    : new Trouble(
        'final',
        `The token endpoint ${url} gives client \`${clientId}\` no token (${status}). Check \`sasl.clientId\`, \`sasl.clientSecret\` and \`sasl.scope\`.`,
      );
}

// `fetch` says no more than that it failed; the reason is its cause.
function reason({ cause, message }: Error): string {
  const { code, message: deeper } = (cause ?? {}) as { code?: string; message?: string };
  return code ?? deeper ?? message;
}
