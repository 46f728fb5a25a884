import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { mqttSink, mqttSource } from '../../operators/mqtt/index.ts';
import { parseAddress } from '../../operators/mqtt/options.ts';
import { cleanLevel } from '../../operators/mqtt/sink.ts';
import {
  compileTopic,
  publishProblem,
  RejectError,
  Secret,
  type TypeCheck,
  topicProblems,
} from '../../src/operator.ts';

const names = fc.constantFrom('a', 'b', 'ab', '', '$SYS', ' ');
const levels = fc.array(names, { minLength: 1, maxLength: 4 });

describe('a topic pattern', () => {
  test.each([
    ['generators/{id}', 'generators/g1', { id: 'g1' }],
    ['generators/{id}', 'generators', undefined],
    ['generators/{id}', 'generators/g1/x', undefined],
    ['{site}/+/{id}', 'north/pump/7', { site: 'north', id: '7' }],
    ['generators/{id}/#', 'generators/g1', { id: 'g1' }],
    ['generators/{id}/#', 'generators/g1/a/b', { id: 'g1' }],
    ['generators/#', 'generators', {}],
    ['#', 'a/b', {}],
    ['#', '$SYS/uptime', undefined],
    ['+/uptime', '$SYS/uptime', undefined],
    ['$SYS/#', '$SYS/uptime', {}],
    ['$share/group/a/+', 'a/b', {}],
    ['$share/group/a/+', '$share/group/a/b', undefined],
    ['a/+', 'a/', {}],
    ['/a', '/a', {}],
    ['a', 'A', undefined],
  ])('%s against %s', (pattern, topic, captures) => {
    expect(compileTopic(pattern).match(topic)).toEqual(captures);
  });

  test('matches as a plain reading of the specification does', () => {
    const matches = (filter: string[], topic: string[]): boolean => {
      const [first, ...rest] = filter;
      if (first === undefined) return topic.length === 0;
      if (first === '#') return true;
      return topic.length > 0 && (first === '+' || first === topic[0]) && matches(rest, topic.slice(1));
    };
    const filters = fc
      .tuple(fc.array(fc.oneof(names, fc.constant('+')), { minLength: 1, maxLength: 4 }), fc.boolean())
      .map(([some, many]) => (many ? [...some, '#'] : some));
    fc.assert(
      fc.property(filters, levels, (filter, topic) => {
        const dollar = topic[0]!.startsWith('$') && filter[0] !== topic[0];
        expect(compileTopic(filter.join('/')).match(topic.join('/')) !== undefined).toBe(
          !dollar && matches(filter, topic),
        );
      }),
      { numRuns: 2_000 },
    );
  });

  test('asks the broker for a wildcard where it captures', () => {
    expect(compileTopic('$share/g/a/{x}/+/{y}/#').filter).toBe('$share/g/a/+/+/+/#');
  });

  test.each([
    ['generators/{id}', []],
    ['sensors/#', []],
    ['$share/g/sensors/+', []],
    ['$SYS/#', []],
    ['', ['empty']],
    ['a\u0000b', ['control characters']],
    ['a/#/b', ['before its end']],
    ['a/b+', ['wildcard inside the level `b+`']],
    ['a#', ['wildcard inside']],
    ['a/gen-{id}', ['no whole level']],
    ['a/{}', ['no whole level']],
    ['{x}/{x}', ['captures `x`']],
    ['{__proto__}', ['captures `__proto__`']],
    ['$share/g', ['lacks a group or a topic']],
    ['$share/+/a', ['lacks a group or a topic']],
    ['$share//a', ['lacks a group or a topic']],
  ])('%j is said to be wrong: %j', (pattern, problems) => {
    const found = topicProblems(pattern).filter(({ warning }) => !warning);
    expect(found.map(({ message }) => message)).toEqual(problems.map((text) => expect.stringContaining(text)));
  });

  test.each([
    ['#', ['everything']],
    ['$share/g/#', ['everything']],
    ['/a', ['begins with a slash']],
    ['$share/g//a', ['begins with a slash']],
    ['a b/+', ['a space']],
    ['/my topic/#', ['begins with a slash', 'a space']],
  ])('%j is warned of: %j', (pattern, problems) => {
    const found = topicProblems(pattern).filter(({ warning }) => warning);
    expect(found.map(({ message }) => message)).toEqual(problems.map((text) => expect.stringContaining(text)));
  });
});

test.each([
  ['mqtt://h', { host: 'h', port: 1883, secure: false }],
  ['mqtts://h', { host: 'h', port: 8883, secure: true }],
  ['mqtt://h:1/', { host: 'h', port: 1 }],
  ['mqtt://[::1]:1883', { host: '::1', port: 1883, text: 'mqtt://[::1]:1883' }],
  ['mqtt://u:hush@h', { message: expect.not.stringContaining('hush') }],
  ['mqtt://u:hush@h:99999', { hint: expect.stringContaining('`username`') }],
  ['u:hush@h', { message: expect.not.stringContaining('hush') }],
  ['mqtt://u:hu/sh@h', { message: expect.not.stringContaining('hu') }],
  ['http://h', { message: expect.stringContaining('not the address') }],
  ['localhost:1883', { message: expect.stringContaining('not the address') }],
  ['mqtt://h/path', { message: expect.stringContaining('goes on after the port') }],
])('the address %s', (url, expected) => {
  expect(parseAddress(url)).toMatchObject(expected);
});

test('values from data cannot change the levels of a topic', () => {
  fc.assert(
    fc.property(
      fc.string({ unit: 'binary', maxLength: 12 }),
      fc.string({ unit: fc.constantFrom('+', '#', '/', '\0', 'a', '\n', '\ud800') }),
      (a, b) => {
        for (const value of [a, b, a + b]) {
          let clean: string;
          try {
            clean = cleanLevel(value);
          } catch (error) {
            expect((error as RejectError).code).toBe('sink-refused');
            continue;
          }
          expect(clean).toBe(value);
          expect(clean).not.toMatch(/[+#/\p{Cc}\p{Cs}]|^$/u);
          expect(publishProblem(`a/${clean}/b`)).toBeUndefined();
        }
      },
    ),
    { numRuns: 1_000 },
  );
  expect(cleanLevel('g1 – ü')).toBe('g1 – ü');
  expect(() => cleanLevel('a/b')).toThrow(RejectError);
});

function problems(options: Record<string, unknown>, sink = false): string[] {
  const found: string[] = [];
  const check: TypeCheck = {
    input: undefined,
    expression: () => undefined,
    problem: (path, message, hint, severity = 'error', code = 'bad-value') =>
      void found.push(`${severity} ${path.join('.')}: ${message} ${hint} [${code}]`),
  };
  const all = { url: 'mqtt://h', ...options };
  if (sink) mqttSink.type!(all as never, check);
  else mqttSource.check!(all as never, check);
  return found;
}

test('the options are checked with their paths', () => {
  expect(problems({ topics: ['a/+', '/b'] })).toEqual([
    expect.stringMatching(/^warning topics\.1: .*slash.*\[unsafe-topic\]$/),
  ]);
  expect(problems({ topics: 'a/#/b' })).toEqual([expect.stringMatching(/^error topics: .*\[bad-value\]$/)]);
  expect(problems({ url: 'mqtt://u:hush@h', topics: 'a' })).toEqual([expect.stringMatching(/^error url: (?!.*hush)/)]);
  expect(problems({ topics: 'a', tls: { cert: '/c' } })).toEqual([
    expect.stringMatching(/^error tls: .*without TLS/),
    expect.stringMatching(/^error tls\.cert: /),
  ]);
  expect(problems({ topics: 'a', password: new Secret('p') })).toEqual([expect.stringMatching(/^error password: /)]);
  expect(problems({ topic: 'a/{b}/+' }, true)).toEqual([expect.stringMatching(/^error topic: .*wildcard/)]);
  expect(problems({ topic: 'a/{b + c}' }, true)).toEqual([]);
});

test('what only MQTT 5 knows is refused for 3.1.1, and a will is held to the rules of topics', () => {
  const five = { topic: 't', expiry: '1s', contentType: 'x', userProperties: { a: '1' }, responseTopic: 'r' };
  expect(problems(five, true).map((problem) => /^error (\w+): .* of MQTT 5 only/.exec(problem)?.[1])).toEqual([
    'expiry',
    'contentType',
    'userProperties',
    'responseTopic',
  ]);
  expect(problems({ ...five, correlationData: '{id}', protocolVersion: 5 }, true)).toEqual([]);
  const will = (topic: string, more: object = {}) => problems({ topics: 'a', will: { topic, payload: '', ...more } });
  expect(will('status/penstock')).toEqual([]);
  expect(will('a/#')).toEqual([expect.stringMatching(/^error will\.topic: The topic of the will holds a wildcard/)]);
  expect(will('/a', { delay: '1s' })).toEqual([
    expect.stringMatching(/^warning will\.topic: .*slash/),
    expect.stringMatching(/^error will\.delay: .*MQTT 5 only/),
  ]);
});

test('topics to publish to are held to the same hygiene, but for what records put in', () => {
  expect(problems({ topic: '/a/{"x y"}' }, true)).toEqual([expect.stringMatching(/^warning topic: .*slash/)]);
  expect(problems({ topic: 'a b/{c}' }, true)).toEqual([expect.stringMatching(/^warning topic: .*space/)]);
});

test('the sink says what it promises', () => {
  const level = (options: object) => mqttSink.delivery({ url: 'mqtt://h', topic: 't', ...options }).level;
  expect([level({}), level({ qos: 0 }), level({ qos: 2, protocolVersion: 5 })]).toEqual([
    'at least once',
    'at most once',
    'at least once',
  ]);
});
