import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { FetchedRecord } from '../../operators/kafka/driver.ts';
import { kafkaSink, kafkaSource } from '../../operators/kafka/index.ts';
import { Registry } from '../../operators/kafka/registry.ts';
import { RegistryDecoder } from '../../operators/kafka/registry-decoder.ts';
import { RegistryEncoder } from '../../operators/kafka/registry-encoder.ts';
import type { RegistryWriting, SchemaFile } from '../../operators/kafka/registry-options.ts';
import { Secret } from '../../src/operator.ts';
import { systemPorts } from '../../src/ports/system.ts';
import { keepingLog } from './connector-contexts.ts';

const avro = {
  type: 'record',
  name: 'Reading',
  namespace: 'plant',
  fields: [
    { name: 'name', type: 'string' },
    { name: 'count', type: 'int' },
    { name: 'total', type: 'long' },
    { name: 'level', type: 'double' },
    { name: 'on', type: 'boolean' },
    { name: 'tags', type: { type: 'array', items: 'string' } },
    { name: 'note', type: ['null', 'string'], default: null },
    { name: 'limits', type: { type: 'map', values: 'double' } },
    { name: 'kind', type: { type: 'enum', name: 'Kind', symbols: ['GAS', 'DIESEL'] } },
    { name: 'place', type: { type: 'record', name: 'Place', fields: [{ name: 'x', type: 'int' }] } },
  ],
};
const protobuf = `syntax = "proto3";
package plant;
message Reading {
  string name = 1; int32 count = 2; int64 total = 3; double level = 4; bool on = 5;
  repeated string tags = 6; optional string note = 7; map<string, double> limits = 8; Kind kind = 9; Place place = 10;
}
message Place { message Corner { int32 y = 1; } int32 x = 1; }
enum Kind { GAS = 0; DIESEL = 1; }
`;
const json = {
  $schema: 'http://json-schema.org/draft-07/schema#',
  title: 'plant.Reading',
  type: 'object',
  required: ['name'],
  properties: { name: { type: 'string' }, count: { type: 'integer' }, level: { type: 'number' } },
};
const files: Record<string, SchemaFile> = {};
let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'penstock-schemas-'));
  const put = async (name: string, text: string) => {
    await writeFile(join(folder, name), text);
    return join(folder, name);
  };
  files['avro'] = { avro: await put('a.avsc', JSON.stringify(avro)) };
  files['protobuf'] = { protobuf: await put('p.proto', protobuf) };
  files['json'] = { json: await put('j.json', JSON.stringify(json)) };
  files['none'] = { avro: await put('n.avsc', '{"type":"none"}') };
});
afterAll(() => rm(folder, { recursive: true }));

/** A registry in memory, whose answers may be replaced. */
class FakeRegistry {
  readonly schemas: object[] = [];
  readonly asked: { method: string; path: string; login: string | undefined }[] = [];
  answer: (path: string) => Response | undefined = () => undefined;
  slept = 0;
  now = 0;
  readonly log = keepingLog();
  readonly options: RegistryWriting = { url: 'http://registry.example/api/' };

  get at(): Registry {
    const clock = {
      now: () => this.now,
      sleep: async () => {
        this.slept++;
      },
    };
    const network = { ...systemPorts().network, fetch: (url: string, init: RequestInit) => this.#fetch(url, init) };
    const ports = { ...systemPorts(), clock, network };
    return new Registry(this.options, { ports, log: this.log, signal: new AbortController().signal });
  }
  decoder(keys = false) {
    return new RegistryDecoder(this.at, { maxBytes: 1_000, keys }, () => this.now);
  }
  encoder(file: SchemaFile, options: Partial<RegistryWriting> = {}, role: 'key' | 'value' = 'value') {
    return RegistryEncoder.open(role, file, { at: this.at, options: { ...this.options, ...options } }, systemPorts());
  }
  paths(): string[] {
    return this.asked.map(({ method, path }) => `${method} ${path}`);
  }

  async #fetch(url: string, { method = 'GET', headers, body }: RequestInit): Promise<Response> {
    const path = url.replace('http://registry.example/api', '');
    this.asked.push({ method, path, login: (headers as Record<string, string>)['authorization'] });
    const given = this.answer(path);
    if (given) return given;
    if (method === 'GET') {
      const found = this.schemas[Number(path.split('/').pop()) - 1];
      return found ? Response.json(found) : new Response('{"message":"none"}', { status: 404 });
    }
    if (path.startsWith('/compatibility')) return new Response('{}', { status: 404 });
    const text = String(body);
    const at = this.schemas.findIndex((one) => JSON.stringify(one) === text);
    const id = at >= 0 ? at + 1 : this.schemas.push(JSON.parse(text));
    return Response.json({ id });
  }
}
const fetched = (value: Buffer, key: Buffer | null = null): FetchedRecord => ({
  offset: '0',
  key,
  value,
  timestamp: '0',
});
const headOf = (id: number, ...rest: number[]) => Buffer.from([0, 0, 0, 0, id, ...rest]);

/** A long of Avro: zigzag, seven bits a byte. */
function longBytes(value: bigint): number[] {
  const bytes: number[] = [];
  let rest = value < 0n ? value * -2n - 1n : value * 2n;
  for (; rest > 0x7fn; rest >>= 7n) bytes.push(Number(rest & 0x7fn) | 0x80);
  return [...bytes, Number(rest)];
}

const values = fc.record({
  name: fc.string(),
  count: fc.integer(),
  total: fc.maxSafeInteger(),
  level: fc.double(),
  on: fc.boolean(),
  tags: fc.array(fc.string(), { maxLength: 3 }),
  note: fc.option(fc.string()),
  limits: fc.dictionary(fc.string({ minLength: 1 }), fc.double(), { maxKeys: 3, noNullPrototype: true }),
  kind: fc.constantFrom('GAS', 'DIESEL'),
  place: fc.record({ x: fc.integer() }),
});

describe('what is written is read back equal, behind a zero and the id in four bytes', () => {
  test.each(['avro', 'protobuf'])('%s', async (kind) => {
    const registry = new FakeRegistry();
    const encoder = await registry.encoder(files[kind]!);
    registry.schemas.push({}, {});
    const head = await encoder.head('t');
    expect(head).toEqual(headOf(3));
    const decoder = registry.decoder();
    await fc.assert(
      fc.asyncProperty(values, async (value) => {
        fc.pre(JSON.stringify(value).length < 900 && !JSON.stringify(value).includes('__proto__'));
        const bytes = encoder.encode(head, value);
        expect(bytes.subarray(0, 5)).toEqual(head);
        await decoder.prepare([fetched(bytes)]);
        const { note, ...rest } = value;
        // Protobuf has no null: what is not there stays away.
        const expected = kind === 'protobuf' && note === null ? rest : value;
        expect(decoder.value(bytes)).toEqual({ value: expected });
      }),
      { numRuns: 150 },
    );
    // One look for all of them.
    expect(registry.paths().filter((path) => path.startsWith('GET'))).toEqual(['GET /schemas/ids/3']);
  });

  test('json: its text is handed on as any other', async () => {
    const registry = new FakeRegistry();
    const encoder = await registry.encoder(files['json']!);
    const bytes = encoder.encode(await encoder.head('t'), { name: 'ä', level: 1.5 });
    expect(bytes.toString('utf8', 5)).toBe('{"name":"ä","level":1.5}');
    const decoder = registry.decoder();
    await decoder.prepare([fetched(bytes)]);
    expect(decoder.value(bytes)).toEqual({ json: bytes.subarray(5) });
  });
});

test('Protobuf written by Java is read: no place for the first message, or a list of places for a nested one', async () => {
  const registry = new FakeRegistry();
  const encoder = await registry.encoder(files['protobuf']!);
  await encoder.head('t');
  const decoder = registry.decoder();
  const read = async (...body: number[]) => {
    const bytes = headOf(1, ...body);
    await decoder.prepare([fetched(bytes)]);
    return (decoder.value(bytes) as { value: unknown }).value;
  };
  expect(await read(0, 0x10, 7)).toMatchObject({ count: 7, name: '' });
  // [1]: the second message; [1, 0]: the first one within it. Zigzag: 2 stands for 1, 4 for 2.
  expect(await read(2, 2, 8, 5)).toEqual({ x: 5 });
  expect(await read(4, 2, 0, 8, 6)).toEqual({ y: 6 });
  await expect(read(2, 18, 8, 5)).rejects.toThrow(/a message that its schema does not have/);
  await expect(read(0x80, 0x80)).rejects.toThrow(/which message/);
});

describe('a value that does not fit is refused, and its field named', () => {
  const good = fc.sample(values, { numRuns: 1, seed: 7 })[0]!;
  test.each([
    ['avro', { ...good, count: Number.NaN }, /`count`/],
    ['avro', { ...good, total: 2 ** 60 }, /`total`/],
    ['avro', { ...good, total: 5n }, /`total`/],
    ['avro', { ...good, place: { x: 'one' } }, /`place.x`/],
    ['avro', { ...good, kind: 'COAL' }, /`kind`/],
    ['avro', 'text', /the whole value/],
    ['protobuf', { ...good, count: 1.5 }, /count: integer/],
    ['protobuf', { ...good, total: 5n }, /total: integer/],
    ['protobuf', { ...good, kind: 'COAL' }, /kind: enum/],
    ['protobuf', 'text', /object expected/],
    ['json', { name: 7 }, /`name must be string`|`name should be string`/],
    ['json', { name: 'a', level: Number.NaN }, /level|NaN/],
    ['json', { name: 'a', other: Number.POSITIVE_INFINITY }, /NaN or an infinite number/],
  ])('%s: %o', async (kind, value, message) => {
    const encoder = await new FakeRegistry().encoder(files[kind]!);
    const encode = async () => encoder.encode(await encoder.head('t'), value);
    await expect(encode()).rejects.toMatchObject({ code: 'sink-refused', message: expect.stringMatching(message) });
  });
});

describe('hostile payloads are refused one by one', () => {
  test('whatever follows the id: plain data or a refusal', async () => {
    const registry = new FakeRegistry();
    for (const file of ['avro', 'protobuf', 'json']) await (await registry.encoder(files[file]!)).head('t');
    const decoder = registry.decoder();
    await fc.assert(
      fc.asyncProperty(fc.nat(9), fc.uint8Array({ maxLength: 60 }), async (id, body) => {
        const bytes = headOf(id, ...body);
        await decoder.prepare([fetched(bytes)]);
        try {
          expect(decoder.value(bytes)).toBeDefined();
        } catch (error) {
          expect(error).toMatchObject({ name: 'RejectError', code: expect.stringMatching(/^payload-/) });
        }
      }),
      { numRuns: 300 },
    );
    // Each id that is not there has been asked for once.
    const asked = registry.paths().filter((path) => path.startsWith('GET'));
    expect(new Set(asked).size).toBe(asked.length);
  });

  test.each([
    [Buffer.from('{"n":1}'), 'payload-malformed', /was not written with a schema registry/],
    [Buffer.from([0, 0, 0, 0]), 'payload-malformed', /was not written with a schema registry/],
    [headOf(99), 'payload-malformed', /The registry has no schema 99/],
    [headOf(2), 'payload-malformed', /The schema 2 of the payload cannot be used/],
    [Buffer.alloc(1_001), 'payload-too-large', /1001 bytes; `maxPayload` of this source allows 1000/],
    [Buffer.concat([headOf(1), Buffer.from('\u0012__proto__')]), 'payload-forbidden-key', /__proto__/],
  ])('%o', async (bytes, code, message) => {
    const registry = new FakeRegistry();
    registry.schemas.push({ schema: '"string"' }, { schema: '{"type":"none"}' });
    const decoder = registry.decoder();
    await decoder.prepare([fetched(bytes)]);
    expect(() => decoder.value(bytes)).toThrow(
      expect.objectContaining({ code, message: expect.stringMatching(message) }),
    );
  });

  test('a whole number that would lose digits is refused, and not rounded', async () => {
    const registry = new FakeRegistry();
    registry.schemas.push(
      { schema: '"long"' },
      { schemaType: 'PROTOBUF', schema: 'syntax = "proto3"; message M { int64 n = 1; }' },
    );
    const decoder = registry.decoder();
    // As Java writes it; the library by itself takes it for another number.
    const negative = headOf(1, ...longBytes(-(2n ** 52n) - 1n));
    const avroLong = headOf(1, 0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1);
    const protobufLong = headOf(2, 0, 8, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f);
    await decoder.prepare([fetched(avroLong), fetched(protobufLong)]);
    expect(decoder.value(negative)).toEqual({ value: -(2 ** 52) - 1 });
    for (const bytes of [avroLong, protobufLong]) expect(() => decoder.value(bytes)).toThrow(/beyond 2\^53/);
  });

  test('an id that was not there is asked for again after a minute', async () => {
    const registry = new FakeRegistry();
    const decoder = registry.decoder();
    const bytes = headOf(1, 2, 97);
    const look = () => decoder.prepare([fetched(bytes), fetched(bytes)]);
    await look();
    registry.schemas.push({ schema: '"string"' });
    registry.now = 59_999;
    await look();
    expect(() => decoder.value(bytes)).toThrow(/no schema 1/);
    registry.now = 60_000;
    await look();
    expect(decoder.value(bytes)).toEqual({ value: 'a' });
    expect(registry.asked).toHaveLength(2);
  });
});

test('keys are decoded by their own schema: plain ones as they are, others as JSON', async () => {
  const registry = new FakeRegistry();
  registry.schemas.push(
    { schema: '"long"' },
    { schema: JSON.stringify({ type: 'record', name: 'K', fields: [{ name: 'a', type: 'int' }] }) },
    { schema: '{}', schemaType: 'JSON' },
  );
  const decoder = registry.decoder(true);
  const keys = [headOf(1, 14), headOf(2, 14), Buffer.concat([headOf(3), Buffer.from('"k"')])];
  await decoder.prepare(keys.map((key) => fetched(Buffer.from('x'), key)));
  expect(keys.map((key) => decoder.key(key))).toEqual([7, '{"a":7}', 'k']);
  expect(() => decoder.key(Buffer.from('plain'))).toThrow(expect.objectContaining({ code: 'key-invalid' }));
});

describe('the registry', () => {
  test('is asked under the subject of the strategy, once for each', async () => {
    for (const [subject, expected] of [
      ['topic', 't-value'],
      ['record', 'plant.Reading'],
      ['topicRecord', 't-plant.Reading'],
    ] as const) {
      for (const kind of ['avro', 'protobuf', 'json']) {
        const registry = new FakeRegistry();
        const encoder = await registry.encoder(files[kind]!, { subject });
        await Promise.all([encoder.head('t'), encoder.head('t')]);
        expect(registry.paths()).toEqual([
          `POST /compatibility/subjects/${expected}/versions/latest?verbose=true`,
          `POST /subjects/${expected}/versions`,
        ]);
      }
    }
  });

  test('that does not take the schema is quoted, and nothing is registered', async () => {
    const registry = new FakeRegistry();
    const words = { is_compatible: false, messages: ['The field `n` has no default'] };
    registry.answer = (path) => (path.startsWith('/compatibility') ? Response.json(words) : undefined);
    const encoder = await registry.encoder(files['avro']!);
    await expect(encoder.head('t')).rejects.toThrow(/subject `t-value`: The field `n` has no default\./);
    expect(registry.schemas).toEqual([]);
  });

  test('without `autoRegister` has to know the schema already', async () => {
    const registry = new FakeRegistry();
    registry.answer = (path) => (path === '/subjects/t-value' ? new Response('{}', { status: 404 }) : undefined);
    const encoder = await registry.encoder(files['avro']!, { autoRegister: false });
    await expect(encoder.head('t')).rejects.toThrow(/not registered under subject `t-value`.*`autoRegister: true`/);
    registry.answer = () => undefined;
    expect(await encoder.head('t')).toEqual(headOf(1));
  });

  test('that is away is waited for; one that does not let us in is not', async () => {
    const registry = new FakeRegistry();
    Object.assign(registry.options, { username: 'me', password: new Secret('registry-secret') });
    let tries = 0;
    registry.answer = () => (++tries < 4 ? new Response('down', { status: 503 }) : undefined);
    await registry.at.schema(1);
    expect([registry.slept, registry.log.lines.length]).toEqual([3, 1]);
    expect(registry.asked[0]!.login).toBe(`Basic ${Buffer.from('me:registry-secret').toString('base64')}`);
    registry.answer = () => new Response('{}', { status: 401 });
    const error = await registry.at.schema(1).catch((reason: Error) => reason.message);
    expect(error).toBe(
      'The schema registry at http://registry.example/api does not let user `me` in (401). Check `registry.username` and `registry.password`.',
    );
  });

  test('that does not answer in JSON, or without end, is not taken for one', async () => {
    const registry = new FakeRegistry();
    registry.answer = () => new Response('<html>');
    await expect(registry.at.schema(1)).rejects.toThrow(/does not answer in JSON/);
    registry.answer = () => new Response('x'.repeat(5 << 20));
    await expect(registry.at.schema(1)).rejects.toThrow(/more than 4194304 bytes/);
  });

  test('a schema that is none, or not there, is named by its file', async () => {
    await expect(new FakeRegistry().encoder(files['none']!)).rejects.toThrow(/n\.avsc: The schema cannot be used/);
    await expect(new FakeRegistry().encoder({ avro: '/nowhere.avsc' })).rejects.toThrow(
      /\/nowhere\.avsc cannot be read/,
    );
  });
});

test.each([
  [kafkaSource, { registry: { url: 'ftp://a' } }, /no address of the web/],
  [kafkaSource, { registry: { url: 'http://u:p@a' } }, /would be printed/],
  [kafkaSource, { registry: { url: 'http://a', username: 'u' } }, /only one is given/],
  [kafkaSource, { registry: { url: 'http://a' }, format: 'text' }, /and not `format: text`/],
  [kafkaSource, { keyFormat: 'registry' }, /needs a `registry`/],
  [kafkaSink, { value: { avro: 'a.avsc' } }, /`value` needs a schema registry/],
  [kafkaSink, { keyAs: { avro: 'a.avsc' } }, /`keyAs` needs a schema registry/],
])('options that cannot be meant are refused when the topology is read', (definition, options, message) => {
  const said: string[] = [];
  const check = {
    input: undefined,
    expression: () => undefined,
    problem: (_: unknown, text: string) => said.push(text),
  };
  const all = { brokers: 'b:1', topic: 't', ...options } as never;
  if (definition.kind === 'source') definition.check!(all, check as never);
  else definition.type!(all, check as never);
  expect(said).toEqual([expect.stringMatching(message)]);
});
