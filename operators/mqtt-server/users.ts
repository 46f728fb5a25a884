import { createHmac, randomBytes, scrypt, timingSafeEqual } from 'node:crypto';

/** A password as the user file keeps it. */
export interface StoredPassword {
  readonly cost: number;
  readonly salt: Buffer;
  readonly hash: Buffer;
}
/** Names of a user file with their passwords. */
export type UserTable = ReadonlyMap<string, StoredPassword>;

/** log2 of scrypt's N: 16 MiB and some 40 ms for a password. */
const cost = 14;
const costMost = 17;
const hashBytes = 32;
const lineForm = /^([^:]+):\$scrypt\$ln=(\d{1,2}),r=8,p=1\$([A-Za-z0-9+/]{22})\$([A-Za-z0-9+/]{43})$/;

/** What is wrong with a user name; `undefined` when it can stand in a user file and in a topic rule. */
export function nameProblem(name: string): string | undefined {
  if (name === '' || Buffer.byteLength(name) > 256) return 'has to have 1 to 256 bytes';
  if (/[\p{Cc}\p{Cs}\s:/+#\ufffd]/u.test(name)) return 'must not hold a space, a control character, or one of : / + #';
  return name.startsWith('$') ? 'must not begin with `$`' : undefined;
}

/**
 * Reads a user file: one `name:$scrypt$ln=14,r=8,p=1$<salt>$<hash>` a line, salt (16 bytes) and hash (32 bytes) in base64 without
 * padding; empty lines and those that begin with `#` are passed over. Gives the number and trouble of the first bad line instead,
 * never its text.
 */
export function parseUsers(text: string): UserTable | { line: number; message: string } {
  const users = new Map<string, StoredPassword>();
  for (const [index, line] of text.split(/\r?\n/).entries()) {
    if (line.trim() === '' || line.startsWith('#')) continue;
    const [, name, ln, salt, hash] = lineForm.exec(line) ?? [];
    const bad = (message: string) => ({ line: index + 1, message });
    if (name === undefined) return bad('is not of the form `name:$scrypt$ln=14,r=8,p=1$<salt>$<hash>`');
    const problem = nameProblem(name);
    if (problem !== undefined) return bad(`has a name that ${problem}`);
    if (Number(ln) < 10 || Number(ln) > costMost)
      return bad(`has the cost ln=${ln}, and 10 to ${costMost} can be used`);
    if (users.has(name)) return bad('names a user for the second time');
    users.set(name, {
      cost: Number(ln),
      salt: Buffer.from(salt!, 'base64'),
      hash: Buffer.from(hash!, 'base64'),
    });
  }
  return users;
}

/** The line of a user file for a name and a password. */
export async function userLine(name: string, password: string): Promise<string> {
  const salt = randomBytes(16);
  const hash = await derive(Buffer.from(password), { cost, salt });
  const base64 = (bytes: Buffer) => bytes.toString('base64').replaceAll('=', '');
  return `${name}:$scrypt$ln=${cost},r=8,p=1$${base64(salt)}$${base64(hash)}`;
}

function derive(password: Buffer, { cost, salt }: Pick<StoredPassword, 'cost' | 'salt'>): Promise<Buffer> {
  const N = 2 ** cost;
  return new Promise((resolve, reject) =>
    scrypt(password, salt, hashBytes, { N, r: 8, p: 1, maxmem: 256 * N * 8 }, (error, key) =>
      error ? reject(error) : resolve(key),
    ),
  );
}

/** Passwords that are worked on at one time: the disk shares these threads. */
const atOnce = 2;
const knownMost = 65_536;

/**
 * Checks passwords against a user file. A password that was right is known again without scrypt, by a keyed hash that lives in this
 * process alone, so that ten thousand devices can come back at once. For an unknown name the same work is done as for a known one.
 */
export class PasswordCheck {
  #users: UserTable;
  readonly #key = randomBytes(32);
  readonly #known = new Map<string, Buffer>();
  readonly #nobody: StoredPassword = { cost, salt: randomBytes(16), hash: randomBytes(hashBytes) };
  #working = 0;
  readonly #waiting: (() => void)[] = [];
  readonly #waitingMost: number;

  constructor(users: UserTable, waitingMost = 1_000) {
    this.#users = users;
    this.#waitingMost = waitingMost;
  }

  has(name: string): boolean {
    return this.#users.has(name);
  }

  /** Other users from now on. Gives the names that are gone or have another password. */
  replace(users: UserTable): string[] {
    const changed = [...this.#users].flatMap(([name, { hash }]) =>
      users.get(name)?.hash.equals(hash) === true ? [] : [name],
    );
    for (const name of changed) this.#known.delete(name);
    this.#users = users;
    return changed;
  }

  /** Whether this is the user's password; `busy` when so many wait for an answer that one more would wait too long. */
  async check(name: string, password: Buffer): Promise<boolean | 'busy'> {
    const digest = createHmac('sha256', this.#key).update(password).digest();
    const known = this.#known.get(name);
    if (known !== undefined && timingSafeEqual(known, digest)) return true;
    if (this.#waiting.length >= this.#waitingMost) return 'busy';
    const stored = this.#users.get(name);
    const derived = await this.#derive(password, stored ?? this.#nobody);
    const right = timingSafeEqual(derived, (stored ?? this.#nobody).hash) && stored !== undefined;
    // The file may have been replaced meanwhile.
    if (!right || this.#users.get(name) !== stored) return false;
    if (this.#known.size >= knownMost) this.#known.clear();
    this.#known.set(name, digest);
    return true;
  }

  async #derive(password: Buffer, stored: StoredPassword): Promise<Buffer> {
    if (this.#working >= atOnce) await new Promise<void>((resolve) => this.#waiting.push(resolve));
    else this.#working++;
    try {
      return await derive(password, stored);
    } finally {
      const next = this.#waiting.shift();
      if (next) next();
      else this.#working--;
    }
  }
}
