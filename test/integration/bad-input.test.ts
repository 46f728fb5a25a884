import { randomUUID } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import mqtt from 'mqtt';
import { afterAll, expect, test } from 'vitest';
import { eventually, Penstock } from './penstock-process.ts';
import { needs } from './services.ts';

const { describe, MQTT_URL } = needs('MQTT_URL');
const folder = mkdtempSync(join(tmpdir(), 'penstock-bad-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

interface Letter {
  readonly code: string;
  readonly message: string;
  readonly payload: string;
  readonly payloadEncoding: BufferEncoding;
  readonly bytes: number;
  readonly topic: string;
  readonly reasons?: readonly unknown[];
}

describe('bad input over a real broker', () => {
  test('is counted and kept with its reason, each kind of it, and the run goes on', { timeout: 60_000 }, async () => {
    const name = `bad-${randomUUID().slice(0, 8)}`;
    const file = join(folder, 'bad.yaml');
    const lines = (path: string) =>
      readFileSync(join(folder, path), { encoding: 'utf8', flag: 'a+' }).split('\n').filter(Boolean);
    writeFileSync(
      file,
      `version: 1
name: ${name}
otherwise: rejected
streams:
  readings:
    - mqtt: { url: "${MQTT_URL}", clientId: ${name}, topics: "${name}/{generatorID}", qos: 1, time: { field: ts, unit: ms } }
    - validate:
        schema:
          type: object
          required: [fuel]
          properties: { generatorID: { type: string }, fuel: { type: number } }
    - keyBy: generatorID
    - file: good.jsonl
  rejected:
    - file: rejected.jsonl
`,
    );
    const client = await mqtt.connectAsync(MQTT_URL);
    // An older topology has left a subscription in the session that this one takes over.
    const older = await mqtt.connectAsync(MQTT_URL, { clientId: name, clean: false });
    await older.subscribeAsync(`${name}-old/#`, { qos: 1 });
    await older.endAsync();
    const penstock = new Penstock(['run', file, '--state', join(folder, 'state'), '--json']).start();
    await eventually(
      () => penstock.stderr.includes('Subscribed'),
      20_000,
      () => penstock.stderr,
    );

    const now = Date.now();
    const good = (n: number) => JSON.stringify({ ts: now, fuel: n });
    const bad: [code: string, payload: string | Buffer, topic?: string][] = [
      ['payload-malformed', '{"fuel":'],
      ['payload-malformed', ''],
      ['schema-violation', JSON.stringify({ ts: now, fuel: 'full' })],
      ['schema-violation', JSON.stringify({ ts: now })],
      ['payload-encoding', Buffer.from([0x7b, 0x22, 0xc3, 0x28, 0x22, 0x7d])],
      ['payload-too-large', Buffer.alloc(10_000_000, 0x61)],
      ['payload-forbidden-key', `{"ts":${now},"fuel":1,"__proto__":{"polluted":true}}`],
      ['time-invalid', JSON.stringify({ ts: 5, fuel: 1 })],
      ['time-future', JSON.stringify({ ts: Date.UTC(2099, 11, 31), fuel: 1 })],
      ['time-invalid', JSON.stringify({ ts: Date.UTC(2100, 0, 1), fuel: 1 })],
      ['topic-unknown', good(0), `${name}-old/g1`],
    ];
    await client.publishAsync(`${name}/g1`, good(1), { qos: 1 });
    for (const [, payload, topic = `${name}/g1`] of bad) await client.publishAsync(topic, payload, { qos: 1 });
    await client.publishAsync(`${name}/g1`, good(2), { qos: 1 });
    await eventually(
      () => lines('good.jsonl').length === 2 && lines('rejected.jsonl').length === bad.length,
      30_000,
      () => `${penstock.stderr}${lines('rejected.jsonl').length}`,
    );
    expect(await penstock.signal('SIGTERM')).toBe(0);
    await client.endAsync();

    expect(lines('good.jsonl').map((line) => (JSON.parse(line) as { fuel: number }).fuel)).toEqual([1, 2]);
    const letters = lines('rejected.jsonl').map((line) => JSON.parse(line) as Letter);
    expect(letters.map(({ code }) => code)).toEqual(bad.map(([code]) => code));
    for (const [i, letter] of letters.entries()) {
      const payload = Buffer.from(bad[i]![1]);
      expect(letter.bytes).toBe(payload.length);
      const kept = Buffer.from(letter.payload, letter.payloadEncoding);
      expect(kept.equals(payload.subarray(0, 512 * 1024))).toBe(true);
      expect(letter.message).toMatch(/\.$/);
      expect(letter.topic).toBe(bad[i]![2] ?? `${name}/g1`);
    }
    const status = JSON.parse(penstock.stdout.trim().split('\n').at(-1)!) as {
      partitions: { read: number; rejected: number }[];
      steps: Record<string, { rejected: number }>;
      sinks: Record<string, { written: number }>;
    };
    expect(status.partitions[0]).toMatchObject({ read: bad.length + 2, rejected: bad.length - 2 });
    expect(status.steps['readings.validate']!.rejected).toBe(2);
    expect(status.sinks['rejected.file']!.written).toBe(bad.length);
  });
});
