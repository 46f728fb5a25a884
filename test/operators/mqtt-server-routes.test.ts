import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { catalogue } from '../../operators/index.ts';
import {
  compileRoutes,
  parseProperties,
  parseRouteList,
  type RouteOption,
  routeProblem,
} from '../../operators/mqtt-server/routes.ts';
import { testFiles } from '../../src/cli/test-command.ts';
import { describeResults } from '../../src/cli/test-report.ts';

const name = fc
  .string({ unit: fc.constantFrom('a', 'B', '1', '.', '_', '-'), minLength: 1, maxLength: 6 })
  .filter((text) => !/^\.\.?$/.test(text));
const regex = fc.constantFrom('.*', 'a/.*', '.*temperature', 'x:y', '[ab]+', 'a|b', '(a)(b)');

describe('the text form of the proxy', () => {
  test.each([
    ['emergency_generators:.*', [{ to: 'emergency_generators', match: '.*' }]],
    [
      'temperature:.*temperature, brightness:.*brightness',
      [
        { to: 'temperature', match: '.*temperature' },
        { to: 'brightness', match: '.*brightness' },
      ],
    ],
    ['a:b:c', [{ to: 'a', match: 'b:c' }]],
  ])('%s', (text, routes) => {
    expect(parseRouteList(text)).toEqual(routes);
  });

  test.each([
    ['', /`` is no pair/],
    ['a', /`a` is no pair/],
    ['a:', /`a:` is no pair/],
    ['a:x{1,2}', /`2\}` is no pair/],
    ['a b:.*', /`a b` cannot be the name/],
    [':.*', /`` cannot be the name/],
    ['..:.*', /`\.\.` cannot be the name/],
    ['a:(', /`\(` of the route `a` cannot be used/],
    ['a:(?=b)', /cannot be used/],
    ['a:.*,', /`` is no pair/],
  ])('%j is refused with a reason', (text, message) => {
    expect(parseRouteList(text)).toMatchObject({ message: expect.stringMatching(message), hint: expect.any(String) });
  });

  test('is the list form written in one line', () => {
    fc.assert(
      fc.property(
        fc.array(fc.record({ to: name, match: regex }), { minLength: 1, maxLength: 5 }),
        fc.constantFrom(',', ', ', ' , '),
        (routes, comma) => {
          expect(parseRouteList(routes.map(({ to, match }) => `${to}:${match}`).join(comma))).toEqual(routes);
        },
      ),
    );
  });
});

describe('routes', () => {
  test('the first whose expression matches the whole topic gives the name', () => {
    const route = compileRoutes(parseRouteList('temperature:.*temperature, house:house/.*, all:a+') as RouteOption[]);
    expect(['house/temperature', 'house/x', 'house', 'aaa', 'temperature/x', 'baab'].map(route)).toEqual([
      'temperature',
      'house',
      undefined,
      'all',
      undefined,
      undefined,
    ]);
  });

  test('an expression that other engines hang on is done at once', () => {
    expect(compileRoutes([{ to: 'a', match: '(a+)+b' }])('a'.repeat(60_000))).toBeUndefined();
  });

  test('a name is one that a Kafka topic can have', () => {
    expect(routeProblem([{ to: 'a'.repeat(249), match: 'a' }])).toBeUndefined();
    expect(routeProblem([{ to: 'a'.repeat(250), match: 'a' }])).toBeDefined();
    expect(routeProblem([{ to: 'a/b', match: 'a' }])).toBeDefined();
  });
});

describe('a properties file', () => {
  test('is read as Java reads it', () => {
    const text = String.raw`
# topic.regex.list=not:this
! nor this
listeners = 0.0.0.0:1883
  topic.regex.list : temperature:.*temperature, \
      brightness:a\\.b\u0041
a\:b\ c=d\te
novalue
last=1
last=2
end=x\\
next=y`;
    const properties = parseProperties(text);
    expect(properties.get('topic.regex.list')).toBe('temperature:.*temperature, brightness:a\\.bA');
    expect([properties.get('a:b c'), properties.get('novalue'), properties.get('last')]).toEqual(['d\te', '', '2']);
    expect([properties.get('end'), properties.get('next')]).toEqual(['x\\', 'y']);
  });

  test('gives back what was written with its escapes', () => {
    const plain = fc.string({
      unit: fc.constantFrom('a', '\\', ':', '=', ' ', '#', '!', '\n', '\t', 'é', '\u2028'),
      minLength: 1,
    });
    const escaped = (text: string) =>
      text
        .replace(/[\\:=#! ]/g, '\\$&')
        .replaceAll('\n', '\\n')
        .replaceAll('\t', '\\t')
        .replaceAll('\u2028', '\\u2028');
    fc.assert(
      fc.property(plain, plain, fc.constantFrom('=', ' = ', ':', ' '), (key, value, between) => {
        expect(parseProperties(`x=1\n${escaped(key)}${between}${escaped(value)}\n`).get(key)).toBe(value);
      }),
    );
  });

  test('no text makes the reader stumble', () => {
    fc.assert(
      fc.property(
        fc.string({ unit: fc.constantFrom('\\', '\n', 'u', 'a', '=', ' ') }),
        (text) => void parseProperties(text),
      ),
    );
  });
});

test('`penstock test` knows the routes, and what a record without one becomes', async () => {
  const text = `version: 1
name: routed
otherwise: rejected
streams:
  devices:
    - mqttServer: { routes: "temperature:.*temperature, brightness:.*brightness" }
    - map: { to: meta.route }
    - print: json
  rejected:
    - print: json
tests:
  - name: the name is there
    feed:
      devices:
        - { topic: a/temperature, value: { n: 1 } }
        - { topic: b/brightness, value: { n: 2 } }
        - { topic: c, value: { n: 3 } }
    expect:
      devices: [{ value: { n: 1, to: temperature } }, { value: { n: 2, to: brightness } }]
      rejected: [{ like: { code: topic-unknown, topic: c } }]
`;
  const { results, problems } = await testFiles([{ text, file: 'routed.yaml' }], catalogue);
  expect([problems, describeResults(results, false), results.map(({ passed }) => passed)]).toEqual([
    [],
    expect.anything(),
    [true],
  ]);
});
