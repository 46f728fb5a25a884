import { execFile } from 'node:child_process';
import { readFile, writeFile } from 'node:fs/promises';
import { request } from 'node:https';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { expect, test } from 'vitest';
import { httpServerSource } from '../../operators/http-server/index.ts';
import { journalFolder, openForTest, pull, until } from '../conformance/harness.ts';

/** Sends a record; gives the status, or the code of what went wrong. */
function send(url: string, tls: { ca: Buffer; cert?: Buffer; key?: Buffer }): Promise<number | string> {
  return new Promise((resolve) => {
    const sent = request(url, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      agent: false,
      ...tls,
    });
    sent.once('response', (response) => resolve(response.resume().statusCode!));
    sent.once('error', (error: NodeJS.ErrnoException) => resolve(error.code ?? error.message));
    sent.end('{"a":1}');
  });
}

test('speaks TLS, takes records only from senders with a certificate where it asks for one, and names a file that is none', async () => {
  const folder = await journalFolder();
  const [cert, key] = [join(folder.path, 'cert.pem'), join(folder.path, 'key.pem')];
  const subject = ['-subj', '/CN=test', '-addext', 'subjectAltName=IP:127.0.0.1'];
  const newKey = ['req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-days', '2', '-keyout', key, '-out', cert];
  await promisify(execFile)('openssl', [...newKey, ...subject]);
  const own = { cert: await readFile(cert), key: await readFile(key) };
  const open = async (tls: object) => {
    const run = await openForTest(httpServerSource, { listen: '127.0.0.1:0', tls }, { directory: folder.path });
    return { run, url: /at (https:\S+)\.$/.exec(run.log.lines.at(-1)!)![1]! };
  };

  const anybody = await open({ cert, key });
  expect(await send(anybody.url, { ca: own.cert })).toBe(202);
  expect((await pull(anybody.run.partitions.get('0')!, 1))[0]!.text).toBe('{"a":1}');
  await anybody.run.stop();

  const known = await open({ cert, key, ca: cert });
  expect(await send(known.url, { ca: own.cert })).toEqual(expect.stringMatching(/CERTIFICATE_REQUIRED|ECONNRESET/));
  await until('it is counted', () => known.run.log.lines.some((line) => line.startsWith('warn: A request has been')));
  expect(await send(known.url, { ca: own.cert, ...own })).toBe(202);
  await known.run.stop();

  await writeFile(join(folder.path, 'none.pem'), 'nothing');
  await expect(open({ cert: join(folder.path, 'none.pem'), key })).rejects.toThrow(
    /`tls\.cert` names the file .*none\.pem/,
  );
  await folder.remove();
});
