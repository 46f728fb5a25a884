import { execFile } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { request } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { connect as connectTls } from 'node:tls';
import { promisify } from 'node:util';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { mqttServerSource } from '../../operators/mqtt-server/index.ts';
import { isLoopback, parseListen } from '../../operators/mqtt-server/options.ts';
import { userLine } from '../../operators/mqtt-server/users.ts';
import type { TypeCheck } from '../../src/operator.ts';
import { until } from '../conformance/harness.ts';
import { FrontDoor } from './mqtt-server-door.ts';

const run = promisify(execFile);
const openssl = (args: readonly string[]) => run('openssl', args);
let folder: string;
const file = (name: string) => join(folder, name);
const read = (path: string) => readFileSync(path);
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'penstock-listen-'));
  const key = (name: string) => [
    '-newkey',
    'ec',
    '-pkeyopt',
    'ec_paramgen_curve:prime256v1',
    '-nodes',
    '-keyout',
    file(`${name}.key`),
  ];
  for (const name of ['ca', 'stranger'])
    await openssl(['req', '-x509', ...key(name), '-days', '2', '-subj', `/CN=${name}`, '-out', file(`${name}.pem`)]);
  for (const [name, by] of [
    ['server', 'ca'],
    ['device7', 'ca'],
    ['a#b', 'ca'],
    ['false', 'stranger'],
  ] as const) {
    await openssl([
      'req',
      ...key(name),
      '-subj',
      `/CN=${name}`,
      '-addext',
      'subjectAltName=IP:127.0.0.1',
      '-out',
      file(`${name}.csr`),
    ]);
    const from = ['-CA', file(`${by}.pem`), '-CAkey', file(`${by}.key`), '-CAcreateserial'];
    await openssl([
      'x509',
      '-req',
      '-in',
      file(`${name}.csr`),
      ...from,
      '-days',
      '2',
      '-copy_extensions',
      'copy',
      '-out',
      file(`${name}.pem`),
    ]);
  }
  writeFileSync(file('users'), `${await userLine('g1', 'right')}\n`);
}, 60_000);
afterAll(() => rmSync(folder, { recursive: true, force: true }));
const doors: FrontDoor[] = [];
afterEach(async () => {
  await Promise.all(doors.splice(0).map((door) => door.close()));
});
async function open(options: Record<string, unknown>): Promise<FrontDoor> {
  const door = await FrontDoor.open(options);
  doors.push(door);
  return door;
}
const tls = (more: object = {}) => ({ cert: file('server.pem'), key: file('server.key'), ca: file('ca.pem'), ...more });

describe('listening', () => {
  test('on several addresses at once, with and without TLS and WebSocket, for one and the same broker', async () => {
    const listen = ['mqtt', 'mqtts', 'ws', 'wss'].map(
      (scheme) => `${scheme}://127.0.0.1:0${scheme.startsWith('ws') ? '/mqtt' : ''}`,
    );
    const door = await open({ listen, tls: tls(), presence: 'presence' });
    expect(door.urls.map((url) => url.replace(/\d+(\/mqtt)?$/, ''))).toEqual(
      listen.map((url) => url.replace(/0(\/mqtt)?$/, '')),
    );
    const clients = await Promise.all(
      door.urls.map((url, n) => door.client({ clientId: `c${n}`, ca: read(file('ca.pem')) }, url)),
    );
    const got: string[] = [];
    for (const [n, client] of clients.entries()) {
      client.on('message', (topic, payload) => got.push(`${n} ${topic} ${payload}`));
      await client.subscribeAsync('all');
    }
    await clients[2]!.publishAsync('all', Buffer.alloc(100_000, 'x'), { qos: 2 });
    await until('all have it', () => got.length === 4);
    await door.client({ clientId: 'plain' }, door.urls[2]);
    const wrong = `${door.urls[2]!.replace('/mqtt', '')}/elsewhere`;
    expect(await door.refusal({}, wrong)).toMatch(/404|closed/);
    const told = (await door.records(5)).map(({ value }) => value as Record<string, unknown>);
    expect(
      told
        .slice(1)
        .map(({ listener }) => listener)
        .sort(),
    ).toEqual([...door.urls].sort());
  });

  test('an address that is taken is a failure that names it', async () => {
    const door = await open({});
    await expect(open({ listen: door.url })).rejects.toThrow(`Cannot listen on ${door.url}: `);
  });

  test('a certificate stands for the user of its common name, and none or a false one does not get in', async () => {
    const door = await open({
      listen: 'mqtts://127.0.0.1:0',
      tls: tls({ clientCertificates: 'required' }),
      rules: [{ publish: '{username}/#' }],
      presence: 'presence',
    });
    const withCertificate = (name: string) => ({
      ca: read(file('ca.pem')),
      cert: read(file(`${name}.pem`)),
      key: read(file(`${name}.key`)),
    });
    const device = await door.client({ clientId: 'x', ...withCertificate('device7') });
    await device.publishAsync('device7/a', '1', { qos: 1 });
    expect(await door.refusal({ clientId: 'y', username: 'g1', password: 'x', ...withCertificate('device7') })).toMatch(
      'Bad username or password',
    );
    for (const stranger of [{ ca: read(file('ca.pem')) }, withCertificate('false')]) {
      expect(await door.refusal({ clientId: 'z', ...stranger })).not.toBe('connected');
    }
    await until('both are counted', () => door.counters['refused.tls'] === 2);
    // A name that a topic rule could take for more than one level is nobody's.
    const odd = await door.client({ clientId: 'odd', ...withCertificate('a#b') });
    odd.publish('device7/x', '1', { qos: 1 });
    await until('it is hung up on', () => !odd.connected);
    const told = (await door.records(2)).map(({ value }) => value);
    expect(told[1]).toMatchObject({ event: 'connected', clientId: 'x', username: 'device7' });
  });

  test('where certificates are optional, a password does as well', async () => {
    const door = await open({
      listen: 'mqtts://127.0.0.1:0',
      tls: tls({ clientCertificates: 'optional' }),
      users: file('users'),
    });
    const ca = read(file('ca.pem'));
    await door.client({ clientId: 'a', ca, cert: read(file('device7.pem')), key: read(file('device7.key')) });
    await door.client({ clientId: 'b', ca, username: 'g1', password: 'right' });
    // A certificate of a stranger is as good as none.
    const stranger = { cert: read(file('false.pem')), key: read(file('false.key')) };
    expect(await door.refusal({ clientId: 'c', ca, ...stranger })).toMatch('Bad username or password');
    await door.client({ clientId: 'd', ca, ...stranger, username: 'g1', password: 'right' });
  });

  test('who does not finish the TLS handshake or the request for a WebSocket is hung up on', async () => {
    const door = await open({
      listen: ['mqtts://127.0.0.1:0', 'ws://127.0.0.1:0'],
      tls: tls(),
      limits: { connectTimeout: '1s' },
    });
    const raw = await Promise.all(door.urls.map((url) => door.raw(Number(new URL(url).port))));
    raw[1]!.socket.write('GET / HTTP/1.1\r\nHost: x\r\n');
    await until('the end of both', () => raw.every(({ closed }) => closed));
    const secure = connectTls({
      port: Number(new URL(door.urls[0]!).port),
      host: '127.0.0.1',
      ca: read(file('ca.pem')),
    });
    let closed = false;
    secure.on('close', () => {
      closed = true;
    });
    secure.on('error', () => {});
    await until('the end of one that says nothing', () => closed);
    await door.client({ clientId: 'good', ca: read(file('ca.pem')) });
  });

  test('a page of another origin cannot connect by WebSocket, and one of ours can', async () => {
    const door = await open({ listen: 'ws://127.0.0.1:0', origins: ['https://panel.example.com'] });
    const asked = (origin: string) => door.refusal({ wsOptions: { headers: { origin } } });
    expect(await asked('https://evil.example.com')).not.toBe('connected');
    expect(await asked('null')).not.toBe('connected');
    expect(await asked('https://panel.example.com')).toBe('connected');
    expect(await asked(door.url.replace('ws:', 'http:'))).toBe('connected');
    expect(door.counters['refused.origin']).toBe(2);
    const status = await new Promise((resolve) =>
      request(door.url.replace('ws:', 'http:'), ({ statusCode }) => resolve(statusCode)).end(),
    );
    expect(status).toBe(426);
  });
});

describe('the options', () => {
  function problems(options: Record<string, unknown>): string[] {
    const found: string[] = [];
    const check: TypeCheck = {
      input: undefined,
      expression: () => undefined,
      problem: (path, message, hint, severity = 'error') =>
        void found.push(`${severity} ${path.join('.')}: ${message} ${hint}`),
    };
    mqttServerSource.check!(options as never, check);
    return found;
  }

  test.each([
    [{}, []],
    [{ listen: 'mqtt://[::1]' }, []],
    [{ listen: 'ws://localhost:8083/mqtt' }, []],
    [
      { listen: 'mqtt://0.0.0.0' },
      [/^error listen: `mqtt:\/\/0\.0\.0\.0:1883` can be reached from other machines.*Add `users`/],
    ],
    [{ listen: ['mqtt://127.0.0.1', 'ws://192.168.0.1'] }, [/^error listen\.1: .*other machines/]],
    [{ listen: 'mqtt://0.0.0.0', users: '/u' }, [/^warning listen: Passwords .*mqtts/]],
    [{ listen: 'mqtts://0.0.0.0', users: '/u', tls: { cert: '/c', key: '/k' } }, []],
    [{ listen: 'mqtts://0.0.0.0', tls: { cert: '/c', key: '/k' } }, [/other machines.*clientCertificates: required/]],
    [
      { listen: 'mqtts://0.0.0.0', tls: { cert: '/c', key: '/k', ca: '/a', clientCertificates: 'optional' } },
      [/other machines/],
    ],
    [{ listen: 'mqtts://0.0.0.0', tls: { cert: '/c', key: '/k', ca: '/a', clientCertificates: 'required' } }, []],
    [
      { listen: 'mqtt://0.0.0.0', tls: { cert: '/c', key: '/k', ca: '/a', clientCertificates: 'required' } },
      [/other machines/, /no address is one with TLS/],
    ],
    [{ listen: 'mqtts://127.0.0.1' }, [/there is no `tls`/]],
    [{ tls: { cert: '/c', key: '/k' } }, [/no address is one with TLS/]],
    [
      { listen: 'mqtts://h', users: '/u', tls: { cert: '/c', key: '/k', clientCertificates: 'required' } },
      [/whose certificates are good/],
    ],
    [{ listen: 'http://h' }, [/`http:\/\/h` is no address/]],
    [{ listen: 'mqtt://u:hush@h' }, [/^(?!.*hush).*is no address/]],
    [{ listen: 'mqtt://127.0.0.1/path' }, [/goes on after the port/]],
    [{ listen: 'mqtt://127.0.0.1:70000' }, [/is no address/]],
    [{ topics: ['a/#/b'] }, [/^error topics\.0: /]],
    [{ passOn: 'a/#/b' }, [/^error passOn: /]],
    [{ rules: [{ publish: 'a/{user}' }] }, [/^error rules\.0\.publish: /]],
    [{ routes: 'a' }, [/^error routes: .*no pair/]],
    [{ routes: [{ match: '(', to: 'a' }] }, [/^error routes: .*cannot be used/]],
    [{ routes: 'a:.*', properties: '/p' }, [/^error properties: Both/]],
  ])('%j', (options, expected) => {
    expect(problems(options)).toEqual(expected.map((pattern) => expect.stringMatching(pattern)));
  });

  test('only addresses of this machine are loopback', () => {
    for (const host of ['127.0.0.1', '127.9.9.9', '::1', 'localhost']) expect(isLoopback(host), host).toBe(true);
    for (const host of ['0.0.0.0', '::', '127.0.0.1.example.com', '10.0.0.1', 'example.com', '127.1'])
      expect(isLoopback(host), host).toBe(false);
    expect(parseListen('wss://[::1]/x')).toMatchObject({
      host: '::1',
      port: 8084,
      path: '/x',
      secure: true,
      webSocket: true,
    });
  });

  test('files that are missing or hold something else are failures with a name', async () => {
    writeFileSync(file('bad-users'), 'x\n');
    writeFileSync(file('no-routes.properties'), 'listeners=0.0.0.0:1883\n');
    writeFileSync(file('bad.properties'), 'topic.regex.list=a\n');
    await expect(open({ users: file('none') })).rejects.toThrow(/`users` names the file .*none, which cannot be read/);
    await expect(open({ users: file('bad-users') })).rejects.toThrow(/Line 1 of the user file .* is not of the form/);
    await expect(open({ properties: file('none') })).rejects.toThrow(/`properties` names the file/);
    await expect(open({ properties: file('no-routes.properties') })).rejects.toThrow('holds no `topic.regex.list`');
    await expect(open({ properties: file('bad.properties') })).rejects.toThrow('`a` is no pair');
    await expect(
      open({ listen: 'mqtts://127.0.0.1:0', tls: { cert: file('ca.pem'), key: file('server.key') } }),
    ).rejects.toThrow('belong together');
  });

  test('the routes of a proxy are taken from its own file', async () => {
    writeFileSync(
      file('proxy.properties'),
      '# proxy\nlisteners=0.0.0.0:1883\ntopic.regex.list=temperature:.*temperature, \\\n  brightness:.*brightness\n',
    );
    const door = await open({ properties: file('proxy.properties') });
    const client = await door.client();
    for (const topic of ['a/brightness', 'b/temperature', 'c']) await client.publishAsync(topic, '1', { qos: 1 });
    expect((await door.records(3)).map(({ route, refused }) => route ?? refused)).toEqual([
      'brightness',
      'temperature',
      'topic-unknown',
    ]);
  });
});
