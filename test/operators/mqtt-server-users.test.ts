import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, describe, expect, test } from 'vitest';
import { nameProblem, PasswordCheck, parseUsers, type UserTable, userLine } from '../../operators/mqtt-server/users.ts';
import { addCommand, listCommand, removeCommand } from '../../src/cli/mqtt-user.ts';
import { captured } from '../src/cli/captured.ts';

const folder = mkdtempSync(join(tmpdir(), 'penstock-users-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const table = (...lines: string[]) => parseUsers(lines.join('\n')) as UserTable;

describe('a user file', () => {
  test('gives each name its password, whatever bytes that has', async () => {
    const password = 'p:ss $wörd\u0001 \u{1f511}';
    const users = table('# the devices', '', await userLine('g1', password), await userLine('g2', 'other'));
    expect([...users.keys()]).toEqual(['g1', 'g2']);
    const passwords = new PasswordCheck(users);
    const check = (name: string, text: string) => passwords.check(name, Buffer.from(text));
    expect(await check('g1', password)).toBe(true);
    // Known by now, without scrypt: and still nothing but this password is right.
    expect(await check('g1', password)).toBe(true);
    expect(await check('g1', `${password} `)).toBe(false);
    expect(await check('g1', 'other')).toBe(false);
    expect(await check('g2', password)).toBe(false);
    expect(await check('nobody', password)).toBe(false);
    expect(await check('', '')).toBe(false);
  });

  test('the same password never gives the same line', async () => {
    expect(await userLine('g1', 'a')).not.toBe(await userLine('g1', 'a'));
  });

  test('another file is in force at once, also for a password that was known', async () => {
    const passwords = new PasswordCheck(table(await userLine('g1', 'old'), await userLine('g2', 'same')));
    expect(await passwords.check('g1', Buffer.from('old'))).toBe(true);
    const second = await userLine('g2', 'same');
    expect(passwords.replace(table(second))).toEqual(['g1', 'g2']);
    expect(await passwords.check('g1', Buffer.from('old'))).toBe(false);
    expect(await passwords.check('g2', Buffer.from('same'))).toBe(true);
    expect(passwords.replace(table(second))).toEqual([]);
  });

  test('with as many waiting as may, the next is told that the door is busy', async () => {
    const passwords = new PasswordCheck(table(await userLine('g1', 'a')), 3);
    const check = () => passwords.check('g1', Buffer.from('b'));
    // Two are worked on, three wait.
    const wrong = Array.from({ length: 5 }, check);
    expect(await check()).toBe('busy');
    expect(new Set(await Promise.all(wrong))).toEqual(new Set([false]));
    expect(await check()).toBe(false);
  });

  test.each([
    ['g1:secret', /^is not of the form/],
    ['g1:$scrypt$ln=14,r=8,p=1$AAAA$BBBB', /^is not of the form/],
    [`g 1:$scrypt$ln=14,r=8,p=1$${'A'.repeat(22)}$${'B'.repeat(43)}`, /a name that must not hold a space/],
    [`g1:$scrypt$ln=30,r=8,p=1$${'A'.repeat(22)}$${'B'.repeat(43)}`, /the cost ln=30/],
    [`g1:$scrypt$ln=9,r=8,p=1$${'A'.repeat(22)}$${'B'.repeat(43)}`, /the cost ln=9/],
  ])('a bad line is named by its number and never repeated: %s', (line, message) => {
    const good = `g0:$scrypt$ln=14,r=8,p=1$${'A'.repeat(22)}$${'B'.repeat(43)}`;
    expect(parseUsers(`${good}\n${line}\n`)).toEqual({ line: 2, message: expect.stringMatching(message) });
    expect(parseUsers(`${good}\n${good}`)).toMatchObject({ line: 2, message: expect.stringContaining('second time') });
  });

  test('no text makes the reader stumble', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary' }), (text) => {
        const read = parseUsers(text);
        expect('line' in read || read instanceof Map).toBe(true);
      }),
    );
  });

  test('a name that could be read as more than one level of a topic is refused', () => {
    for (const name of ['', 'a/b', '+', '#', 'a:b', 'a b', '$SYS', 'a\n', '\ud800', 'x'.repeat(257)]) {
      expect(nameProblem(name), name).toBeDefined();
    }
    for (const name of ['g1', 'generator-ü', 'a.b@c', '{username}']) expect(nameProblem(name), name).toBeUndefined();
  });
});

test('the command adds, changes, lists and removes, and shows a password nowhere', async () => {
  const file = join(folder, 'devices.users');
  process.env['TEST_MQTT_PASSWORD'] = 'hush-1';
  const flags = { passwordEnv: 'TEST_MQTT_PASSWORD' };
  const { stdout, stderr } = await captured(async () => {
    await addCommand(file, 'g1', flags);
    await addCommand(file, 'g2', flags);
    process.env['TEST_MQTT_PASSWORD'] = 'hush-2';
    await addCommand(file, 'g1', flags);
    await listCommand(file);
  });
  expect([stdout, stderr]).toEqual(['g1\ng2\n', expect.stringMatching(/^Added g1 .*\nAdded g2 .*\nChanged g1 .*\n$/)]);
  expect(readFileSync(file, 'utf8')).not.toContain('hush');
  expect(statSync(file).mode & 0o777).toBe(0o600);
  const passwords = new PasswordCheck(table(readFileSync(file, 'utf8')));
  expect(await passwords.check('g1', Buffer.from('hush-2'))).toBe(true);
  expect(await passwords.check('g2', Buffer.from('hush-1'))).toBe(true);
  await captured(() => removeCommand(file, 'g1'));
  expect([...table(readFileSync(file, 'utf8')).keys()]).toEqual(['g2']);
  await expect(removeCommand(file, 'g1')).rejects.toThrow('no user `g1`');
  await expect(listCommand(join(folder, 'none'))).rejects.toThrow('cannot be read');
  await expect(addCommand(file, 'a/b', flags)).rejects.toThrow('must not hold');
  await expect(addCommand(file, 'g3', { passwordEnv: 'TEST_UNSET' })).rejects.toThrow('TEST_UNSET, which is not set');
  process.env['TEST_MQTT_PASSWORD'] = '';
  await expect(addCommand(file, 'g3', flags)).rejects.toThrow('1 to 1024 bytes');
  writeFileSync(file, 'g1:secret\n');
  await expect(addCommand(file, 'g3', flags)).rejects.toThrow(/^Line 1 of .*(?!secret)/);
});
