import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { compileRules, patternProblem } from '../../operators/mqtt-server/rules.ts';
import { filterProblem, topicProblem } from '../../operators/mqtt-server/topic-problem.ts';
import { compileTopic } from '../../src/operator.ts';

const g1 = { user: 'g1', clientId: 'c1' };
const publishes = (pattern: string, topic: string, who: { user: string | undefined; clientId: string } = g1) =>
  compileRules([{ publish: pattern }]).mayPublish(topic, who);
const subscribes = (pattern: string, filter: string, who: { user: string | undefined; clientId: string } = g1) =>
  compileRules([{ subscribe: [pattern] }]).maySubscribe(filter, who);

describe('a topic rule', () => {
  test.each([
    ['a/{username}', 'a/g1', true],
    ['a/{username}', 'a/g2', false],
    ['a/{clientId}/x', 'a/c1/x', true],
    ['a/{clientId}/x', 'a/g1/x', false],
    ['a/+', 'a/b', true],
    ['a/+', 'a/b/c', false],
    ['a/+', 'a', false],
    ['a/#', 'a', true],
    ['a/#', 'a/b/c', true],
    ['#', 'a', true],
    ['#', '$SYS/a', false],
    ['+/a', '$SYS/a', false],
    ['a', 'a/', false],
  ])('%s lets one publish to %s: %s', (pattern, topic, may) => {
    expect(publishes(pattern, topic)).toBe(may);
  });

  test.each([
    ['a/#', 'a/#', true],
    ['a/#', 'a/+/b', true],
    ['a/#', '#', false],
    ['a/+', 'a/#', false],
    ['a/+', 'a/+', true],
    ['a/+', 'a/b', true],
    ['a/b', 'a/+', false],
    ['a/+/#', 'a/#', false],
    ['a/{username}', 'a/+', false],
    ['#', '$SYS/#', false],
    ['#', '$share/g/a', false],
  ])('%s lets one subscribe to %s: %s', (pattern, filter, may) => {
    expect(subscribes(pattern, filter)).toBe(may);
  });

  test('a name with a wildcard, more levels or nothing in it opens nothing', () => {
    for (const name of ['+', '#', '', 'x/+', 'a+']) {
      const who = { user: name, clientId: name };
      for (const pattern of ['a/{username}', 'a/{clientId}']) {
        for (const filter of ['a/+', 'a/#', `a/${name}`, 'a/x']) {
          expect(subscribes(pattern, filter, who), `${pattern} ${filter} ${name}`).toBe(false);
        }
      }
    }
    expect(publishes('a/{username}', 'a/undefined', { user: undefined, clientId: 'c' })).toBe(false);
    expect(publishes('a/{clientId}', 'a/', { user: undefined, clientId: '' })).toBe(false);
  });

  test('holds for the users that it names, for everyone without one, and what no rule allows is refused', () => {
    const rules = compileRules([
      { user: ['g1', 'g2'], publish: 'readings/{username}' },
      { user: 'operator', publish: 'commands/#', subscribe: '#' },
      { subscribe: 'news' },
    ]);
    const nobody = { user: undefined, clientId: 'x' };
    const operator = { user: 'operator', clientId: 'x' };
    expect([rules.mayPublish('readings/g1', g1), rules.mayPublish('readings/g1', operator)]).toEqual([true, false]);
    expect([rules.mayPublish('commands/g1', operator), rules.mayPublish('commands/g1', g1)]).toEqual([true, false]);
    expect([rules.maySubscribe('news', nobody), rules.maySubscribe('other', nobody)]).toEqual([true, false]);
    expect(rules.mayPublish('readings/undefined', nobody)).toBe(false);
    const none = compileRules(undefined);
    expect([none.mayPublish('a', nobody), none.maySubscribe('#', nobody), none.maySubscribe('$SYS/#', nobody)]).toEqual(
      [true, true, false],
    );
    expect(compileRules([]).mayPublish('a', nobody)).toBe(false);
  });

  test('lets one subscribe to a filter only when every topic that the filter matches lies within the rule', () => {
    const level = fc.constantFrom('a', 'b', 'g1');
    const wild = (many: boolean) =>
      fc
        .tuple(fc.array(fc.oneof(level, fc.constant('+')), { maxLength: 3 }), fc.boolean())
        .filter(([levels, tail]) => levels.length > 0 || (tail && many))
        .map(([levels, tail]) => [...levels, ...(tail && many ? ['#'] : [])].join('/'));
    const topics = fc.array(level, { minLength: 1, maxLength: 5 }).map((levels) => levels.join('/'));
    fc.assert(
      fc.property(wild(true), wild(true), topics, (pattern, filter, topic) => {
        if (!subscribes(pattern, filter)) return;
        // Captures of the same reading of MQTT's matching that the sources use.
        if (compileTopic(filter).match(topic) !== undefined) expect(compileTopic(pattern).match(topic)).toBeDefined();
      }),
      { numRuns: 3_000 },
    );
  });

  test.each([
    ['a/{username}/#', undefined],
    ['#', undefined],
    ['$SYS/#', /begins with/],
    ['a/{user}', /`\{user\}`, which is no name/],
    ['a/x{username}', /wildcard inside/],
    ['a/#/b', /before its end/],
    ['', /empty/],
  ])('%j is said to be wrong: %s', (pattern, message) => {
    if (message === undefined) expect(patternProblem(pattern)).toBeUndefined();
    else expect(patternProblem(pattern)?.message).toMatch(message);
  });
});

test('topics that no rule can allow', () => {
  const deep = Array.from({ length: 101 }, () => 'a').join('/');
  for (const topic of ['', 'a\0b', 'a\ufffd', '$SYS/x', '$x', 'a\ud800', deep]) {
    expect([topicProblem(topic), filterProblem(topic)], JSON.stringify(topic)).toEqual([true, true]);
  }
  expect([topicProblem('a/+'), filterProblem('a/+/#'), topicProblem('a/b ü')]).toEqual([true, false, false]);
});
