import { randomBytes } from 'node:crypto';
import { readFile, rename, writeFile } from 'node:fs/promises';
import { createInterface } from 'node:readline';
import { Writable } from 'node:stream';
import { nameProblem, parseUsers, userLine } from '../../operators/mqtt-server/users.ts';
import { Exit, exitCodes } from './exit.ts';

const passwordMost = 1_024;

/** `penstock mqtt-user add`: puts a user into a file, with the password from a variable or standard input; in place of one of that name. */
export async function addCommand(file: string, name: string, flags: { readonly passwordEnv?: string }): Promise<void> {
  const problem = nameProblem(name);
  if (problem !== undefined) throw new Exit(exitCodes.usage, `A user name ${problem}.`);
  const { lines, names } = await readLines(file, true);
  const password = flags.passwordEnv === undefined ? await askPassword() : fromVariable(flags.passwordEnv);
  if (password === '' || Buffer.byteLength(password) > passwordMost) {
    throw new Exit(exitCodes.usage, `A password has 1 to ${passwordMost} bytes.`);
  }
  const line = await userLine(name, password);
  const at = lines.findIndex((other) => other.startsWith(`${name}:`));
  if (at === -1) lines.push(line);
  else lines[at] = line;
  await writeLines(file, lines);
  process.stderr.write(`${names.includes(name) ? 'Changed' : 'Added'} ${name} in ${file}.\n`);
}

/** `penstock mqtt-user remove`: takes a user out of a file. */
export async function removeCommand(file: string, name: string): Promise<void> {
  const { lines, names } = await readLines(file, false);
  if (!names.includes(name)) {
    throw new Exit(
      exitCodes.failed,
      `There is no user \`${name}\` in ${file}. \`penstock mqtt-user list ${file}\` names them.`,
    );
  }
  await writeLines(
    file,
    lines.filter((line) => !line.startsWith(`${name}:`)),
  );
  process.stderr.write(`Removed ${name} from ${file}.\n`);
}

/** `penstock mqtt-user list`: prints the names in a file. */
export async function listCommand(file: string): Promise<void> {
  const { names } = await readLines(file, false);
  for (const name of names) process.stdout.write(`${name}\n`);
}

async function readLines(file: string, mayBeMissing: boolean): Promise<{ lines: string[]; names: string[] }> {
  let text = '';
  try {
    text = await readFile(file, 'utf8');
  } catch (error) {
    const missing = (error as NodeJS.ErrnoException).code === 'ENOENT';
    if (!missing || !mayBeMissing) {
      throw new Exit(exitCodes.failed, `The user file ${file} cannot be read: ${(error as Error).message}.`);
    }
  }
  const users = parseUsers(text);
  if ('line' in users) throw new Exit(exitCodes.failed, `Line ${users.line} of ${file} ${users.message}.`);
  return { lines: text.split(/\r?\n/).filter((line) => line !== ''), names: [...users.keys()] };
}

/** Whoever reads the file meanwhile finds the old one or the new one, whole. Nobody else may read it. */
async function writeLines(file: string, lines: readonly string[]): Promise<void> {
  const draft = `${file}.${randomBytes(4).toString('hex')}`;
  await writeFile(draft, lines.map((line) => `${line}\n`).join(''), { mode: 0o600, flag: 'wx' });
  await rename(draft, file);
}

function fromVariable(name: string): string {
  const password = process.env[name];
  if (password !== undefined) return password;
  throw new Exit(exitCodes.usage, `--password-env names the variable ${name}, which is not set.`);
}

/** The first line of standard input; at a terminal it is asked for, and not shown. */
async function askPassword(): Promise<string> {
  const { stdin, stderr } = process;
  if (stdin.isTTY) stderr.write('Password: ');
  const silent = new Writable({ write: (_chunk, _encoding, done) => done() });
  const lines = createInterface({ input: stdin, output: silent, terminal: stdin.isTTY === true });
  try {
    for await (const line of lines) return line;
    return '';
  } finally {
    lines.close();
    if (stdin.isTTY) stderr.write('\n');
  }
}
