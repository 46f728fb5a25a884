import type { Plan, PlanStep } from '../../src/topology/plan.ts';
import { planOf, sink, source, step, stream } from '../src/engine/harness.ts';
import type { Chance } from './chance.ts';

const keyed = (chance: Chance): [string, object] =>
  chance.pick<[string, object]>([
    ['windowLast', { every: '10s' }],
    ['windowLast', { every: '7s', lateness: '5s', by: 'n' }],
    ['window', { tumbling: '10s', aggregate: { n: { sum: 'n' }, count: 'count', ids: { collect: 'id' } } }],
    ['window', { hopping: { size: '20s', every: '5s' }, aggregate: { highest: { max: 'n' }, count: 'count' } }],
    ['window', { session: { gap: '6s', max: '1m' }, aggregate: { count: 'count', last: { last: 'n' } } }],
    ['window', { count: 4, aggregate: { n: { mean: 'n' } } }],
    ['dedupe', { by: 'n', within: '15s' }],
    ['changed', { fields: ['n'] }],
    ['throttle', { limit: 2, per: '10s' }],
    ['throttle', { limit: 1, per: '5s', excess: 'reject' }],
    ['detect', { absence: '12s', recovered: true }],
  ]);

const stateless = (chance: Chance, n: number): PlanStep =>
  chance.pick([
    step(`free${n}`, 'filter', { where: 'n % 7 != 3' }),
    step(`free${n}`, 'map', { double: 'n * 2' }),
    step(`free${n}`, 'set', { region: 'US' }),
    step(`free${n}`, 'map', { half: 'n / (n % 5)' }),
  ]);

/** A topology that chance made: records pass on as they come, and through one to three keyed steps, some behind one another. */
export function randomPlan(chance: Chance, sourceName: string, sinkName: string, idle: boolean): Plan {
  const time = {
    field: 'ts',
    unit: 'ms',
    outOfOrder: chance.pick(['0s', '3s']),
    ...(idle && { idle: '20s' }),
  };
  const first = keyed(chance);
  const main = [
    source('in', sourceName, time),
    ...Array.from({ length: chance.whole(0, 2) }, (_, n) => stateless(chance, n)),
    step('key', 'keyBy', { field: 'key' }),
    sink('each', sinkName),
    step('first', first[0], first[1]),
    sink('results', sinkName),
  ];
  const streams = [stream('main', main)];
  if (chance.of(0.5)) {
    const second = keyed(chance);
    // What a window or detection gives has other fields; a count window takes anything.
    const [operator, options] =
      first[0] === 'window' || first[0] === 'detect' ? ['window', { count: 3, aggregate: { count: 'count' } }] : second;
    streams.push(
      stream('more', [step('second', operator as string, options as object), sink('moreResults', sinkName)], ['main']),
    );
  }
  streams.push(stream('dead', [sink('letters', sinkName)]));
  return planOf(streams, 'dead');
}
