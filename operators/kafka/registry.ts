import type { Log, Ports } from '../../src/operator.ts';
import { Trouble } from './driver.ts';
import type { RegistryOptions } from './registry-options.ts';

const answerMs = 15_000;
const mostBytes = 4 * 1024 * 1024;
const firstWaitMs = 200;
const longestWaitMs = 5_000;
const contentType = 'application/vnd.schemaregistry.v1+json';

/** A schema as the registry keeps it. */
export interface StoredSchema {
  readonly schema: string;
  /** Avro when there is none. */
  readonly schemaType?: string;
  readonly references?: readonly unknown[];
  readonly id?: number;
}

/** What is needed of the outside. */
export interface RegistryOutside {
  readonly ports: Ports;
  readonly log: Log;
  readonly signal: AbortSignal;
}

/** Speaks to a schema registry. Waits for one that is away; rejects with a `Trouble` when it refuses. */
export class Registry {
  readonly #base: string;
  readonly #options: RegistryOptions;
  readonly #outside: RegistryOutside;

  constructor(options: RegistryOptions, outside: RegistryOutside) {
    this.#base = options.url.replace(/\/+$/, '');
    this.#options = options;
    this.#outside = outside;
  }

  /** The schema with this id; `undefined` when there is none. */
  schema(id: number): Promise<StoredSchema | undefined> {
    return this.#ask<StoredSchema>('GET', `/schemas/ids/${id}`);
  }

  version(subject: string, version: string | number): Promise<StoredSchema | undefined> {
    return this.#ask<StoredSchema>('GET', `/subjects/${encodeURIComponent(subject)}/versions/${version}`);
  }

  /** Registers the schema, or finds it where it is already; gives its id. */
  async register(subject: string, schema: StoredSchema): Promise<number> {
    const made = await this.#ask<{ id: number }>('POST', `/subjects/${encodeURIComponent(subject)}/versions`, schema);
    if (made === undefined) throw this.#trouble(`does not take schemas at this address (404)`);
    return made.id;
  }

  /** The id of the schema in this subject; `undefined` when it is not there. */
  async find(subject: string, schema: StoredSchema): Promise<number | undefined> {
    return (await this.#ask<{ id: number }>('POST', `/subjects/${encodeURIComponent(subject)}`, schema))?.id;
  }

  /** Why the schema could not follow the newest of the subject, in the registry's words; `undefined` when it could. */
  async incompatible(subject: string, schema: StoredSchema): Promise<string | undefined> {
    const path = `/compatibility/subjects/${encodeURIComponent(subject)}/versions/latest?verbose=true`;
    const answer = await this.#ask<{ is_compatible: boolean; messages?: string[] }>('POST', path, schema);
    if (answer === undefined || answer.is_compatible) return undefined;
    return (answer.messages ?? []).join(' ') || 'no reason is given';
  }

  async #ask<T>(method: 'GET' | 'POST', path: string, body?: StoredSchema): Promise<T | undefined> {
    const { log, ports, signal } = this.#outside;
    for (let waitMs = firstWaitMs, tries = 1; ; waitMs = Math.min(2 * waitMs, longestWaitMs), tries++) {
      try {
        return await this.#askOnce<T>(method, path, body);
      } catch (error) {
        if (!(error instanceof Trouble) || error.kind !== 'passing' || signal.aborted) throw error;
        if (tries === 1) log.warn(`${error.message} Trying again until it works.`);
        await ports.clock.sleep(waitMs, signal);
      }
    }
  }

  async #askOnce<T>(method: 'GET' | 'POST', path: string, body?: StoredSchema): Promise<T | undefined> {
    const { username, password } = this.#options;
    const login = `${username}:${password?.reveal()}`;
    const response = await this.#outside.ports.network
      .fetch(`${this.#base}${path}`, {
        method,
        headers: {
          accept: `${contentType}, application/json`,
          ...(body && { 'content-type': contentType }),
          ...(username !== undefined && { authorization: `Basic ${Buffer.from(login).toString('base64')}` }),
        },
        ...(body && { body: JSON.stringify(body) }),
        redirect: 'error',
        signal: AbortSignal.timeout(answerMs),
      })
      .catch((error: Error) => {
        const { code, message } = (error.cause ?? error) as { code?: string; message?: string };
        throw this.#trouble(`cannot be reached: ${code ?? message}`, 'passing', error);
      });
    const answer = await this.#read(response);
    if (response.ok) return answer as T;
    const words = (answer as { message?: unknown })?.message;
    if (response.status === 404) return undefined;
    if (response.status === 401 || response.status === 403) {
      throw this.#trouble(
        `does not let ${username === undefined ? 'us' : `user \`${username}\``} in (${response.status}). Check \`registry.username\` and \`registry.password\``,
      );
    }
    const passing = response.status >= 500 || response.status === 429;
    const said = typeof words === 'string' ? words.replace(/\.$/, '') : `it answered ${response.status}`;
    throw this.#trouble(passing ? `answered ${response.status}` : `refuses: ${said}`, passing ? 'passing' : 'final');
  }

  async #read(response: Response): Promise<unknown> {
    const parts: Uint8Array[] = [];
    let size = 0;
    try {
      for await (const part of response.body ?? []) {
        size += part.length;
        if (size > mostBytes) break;
        parts.push(part);
      }
    } catch (error) {
      throw this.#trouble('broke off in its answer', 'passing', error);
    }
    if (size > mostBytes) throw this.#trouble(`answered with more than ${mostBytes} bytes`);
    try {
      return JSON.parse(Buffer.concat(parts).toString('utf8'));
    } catch (error) {
      if (!response.ok) return undefined;
      throw this.#trouble('does not answer in JSON. Check `registry.url`', 'final', error);
    }
  }

  #trouble(what: string, kind: 'passing' | 'final' = 'final', cause?: unknown): Trouble {
    return new Trouble(kind, `The schema registry at ${this.#base} ${what}.`, cause);
  }
}
