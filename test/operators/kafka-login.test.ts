import { expect, test } from 'vitest';
import { kafkaSink, kafkaSource } from '../../operators/kafka/index.ts';
import type { Sasl } from '../../operators/kafka/options.ts';
import { tokenSource } from '../../operators/kafka/token.ts';
import { Secret } from '../../src/operator.ts';
import { systemPorts } from '../../src/ports/system.ts';

const secret = new Secret('s');
const client = {
  mechanism: 'oauthbearer',
  tokenUrl: 'https://login.example/token',
  clientId: 'me',
  clientSecret: secret,
};

/** What the source and the sink say of a login; both say the same. */
function problemsOf(sasl: Record<string, unknown>): string[] {
  const said: string[][] = [[], []];
  const check = (into: string[]) =>
    ({
      input: undefined,
      expression: () => undefined,
      problem: (_: unknown, text: string) => void into.push(text),
    }) as never;
  const options = { brokers: 'b:1', topic: 't', sasl } as never;
  kafkaSource.check!(options, check(said[0]!));
  kafkaSink.type!(options, check(said[1]!));
  expect(said[0]).toEqual(said[1]);
  return said[0]!;
}

test.each([
  [{ mechanism: 'plain', username: 'a', password: secret }],
  [{ mechanism: 'oauthbearer', token: secret }],
  [{ mechanism: 'oauthbearer', tokenFile: '/t' }],
  [client],
  [{ ...client, tokenUrl: 'http://127.0.0.1:1/token', scope: 'a b' }],
])('a login with all it needs is taken: %o', (sasl) => expect(problemsOf(sasl)).toEqual([]));

test.each([
  [{ mechanism: 'plain', username: 'a' }, /`plain` needs a `username` and a `password`; `password` is not there/],
  [{ mechanism: 'scram-sha-256', password: secret }, /`username` is not there/],
  [
    { mechanism: 'plain', username: 'a', password: secret, token: secret },
    /`token` belongs to `mechanism: oauthbearer`/,
  ],
  [{ mechanism: 'oauthbearer' }, /takes one of `token`, `tokenFile` and `tokenUrl`; none is given/],
  [{ ...client, token: secret }, /`token` and `tokenUrl` are given/],
  [{ mechanism: 'oauthbearer', token: secret, username: 'a' }, /`username` has no use here/],
  [{ mechanism: 'oauthbearer', token: secret, scope: 'a' }, /`scope` has no use here/],
  [{ ...client, clientSecret: undefined }, /needs a `clientId` and a `clientSecret`/],
  [{ ...client, tokenUrl: 'http://login.example/token' }, /in the clear/],
  [{ ...client, tokenUrl: 'https://me:pw@login.example/' }, /would be printed/],
  [{ ...client, tokenUrl: 'login.example' }, /no address of the web/],
])('a login that cannot work is refused before anything is connected: %o', (sasl, message) => {
  const said = problemsOf(sasl);
  expect(said).toEqual([expect.stringMatching(message)]);
});

/** An endpoint that answers as it is told, in time that the test moves. */
function endpoint(answer: (count: number) => Response) {
  const state = { now: 0, count: 0, bodies: [] as string[] };
  const clock = { now: () => state.now, sleep: async () => undefined };
  const fetch = async (_: string, init: RequestInit) => {
    state.bodies.push(String(init.body));
    return answer(++state.count);
  };
  const ports = { ...systemPorts(), clock, network: { ...systemPorts().network, fetch } };
  return { state, next: tokenSource({ ...client, scope: 'topics read' } as Sasl, ports) };
}

test('a token is kept for most of its life, then asked for again', async () => {
  const { state, next } = endpoint((n) => Response.json({ access_token: `t${n}`, expires_in: 100 }));
  const at = async (now: number) => {
    state.now = now;
    return (await next()).value;
  };
  expect([await at(0), await at(79_999), await at(80_000), await at(159_999), await at(160_000)]).toEqual([
    't1',
    't1',
    't2',
    't2',
    't3',
  ]);
  expect(state.bodies[0]).toBe('grant_type=client_credentials&scope=topics+read');
});

test('a token that does not say how long it lives serves one login', async () => {
  const { next } = endpoint((n) => Response.json({ access_token: `t${n}` }));
  expect([(await next()).value, (await next()).value]).toEqual(['t1', 't2']);
});

test.each([
  [() => new Response('s', { status: 403 }), 'final', /gives client `me` no token \(403\)/],
  [() => new Response('s', { status: 503 }), 'passing', /answered 503/],
  [() => new Response('<html>s</html>'), 'final', /without an `access_token`/],
  [() => Response.json({ access_token: 7 }), 'final', /without an `access_token`/],
  [() => new Response('x'.repeat(70_000)), 'final', /more than 65536 bytes/],
])('an endpoint that gives no token is named, and its answer is not repeated', async (answer, kind, message) => {
  const { next } = endpoint(answer);
  await expect(next()).rejects.toMatchObject({ name: 'Trouble', kind, message: expect.stringMatching(message) });
});

test('an endpoint that is away is trouble that passes', async () => {
  const { next } = endpoint(() => {
    throw Object.assign(new TypeError('fetch failed'), { cause: { code: 'ECONNREFUSED' } });
  });
  await expect(next()).rejects.toMatchObject({ kind: 'passing', message: expect.stringContaining('ECONNREFUSED') });
});
