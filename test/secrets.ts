import { afterEach, expect } from 'vitest';
import { Secret } from '../src/secret.ts';

// Shorter ones stand in many a text by chance.
const shortest = 6;
const revealed = new Set<string>(
  Object.entries(process.env).flatMap(([name, value]) =>
    value !== undefined && value.length >= shortest && /TOKEN|PASSWORD|SECRET/.test(name) ? [value] : [],
  ),
);
let leaks: string[] = [];

/** Remembers when a password or token that was used in this process, or given to it by its environment, stands in what somebody may read. */
export function watchForSecrets(where: string, text: string): void {
  for (const secret of revealed)
    if (text.includes(secret)) leaks.push(`${where}: ${text.replaceAll(secret, '«the secret»')}`);
}

/** From here on every secret that is used is known, what is printed is watched, and a test in which one was seen fails. */
export function watchThisProcess(): void {
  const { reveal } = Secret.prototype;
  Secret.prototype.reveal = function (this: Secret) {
    const text = reveal.call(this);
    if (text.length >= shortest) revealed.add(text);
    return text;
  };
  for (const stream of [process.stdout, process.stderr]) {
    const { write } = stream;
    stream.write = function (this: typeof stream, ...args: Parameters<typeof write>) {
      watchForSecrets('printed', String(args[0]));
      return write.apply(stream, args);
    } as typeof write;
  }
  afterEach(() => {
    const seen = leaks;
    leaks = [];
    expect(seen, 'secrets that were seen').toEqual([]);
  });
}
