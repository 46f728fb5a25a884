import type { Example } from '../../src/operator.ts';

const summer = Date.UTC(2026, 2, 8, 7);

/** The worked examples of `window`. */
export const examples: readonly Example[] = [
  {
    title: 'Mean and count per minute; a record without a value is counted, and not averaged',
    options: { tumbling: '1m', aggregate: { fuel: { mean: 'fuel' }, readings: 'count' }, keep: ['site'] },
    input: [
      { key: 'g1', time: 1_000, value: { site: 'a', fuel: 480 } },
      { key: 'g1', time: 2_000, value: { site: 'a', fuel: 470 } },
      { key: 'g1', time: 59_999, value: { site: 'b', fuel: null } },
      { key: 'g1', time: 60_000, value: { site: 'b', fuel: 400 } },
    ],
    output: [
      { key: 'g1', time: 59_999, value: { site: 'b', fuel: 475, readings: 3 }, window: { start: 0, end: 60_000 } },
      {
        key: 'g1',
        time: 119_999,
        value: { site: 'b', fuel: 400, readings: 1 },
        window: { start: 60_000, end: 120_000 },
      },
    ],
  },
  {
    title: 'Windows that overlap; a record is late when all of its windows have closed',
    options: { hopping: { size: '20s', every: '10s' }, aggregate: { highest: { max: 'load' } } },
    input: [
      { key: 'g1', time: 5_000, value: { load: 7 } },
      { key: 'g1', time: 20_000, value: { load: 2 } },
      { key: 'g1', time: 9_999, value: { load: 9 } },
      { key: 'g1', time: 10_000, value: { load: 4 } },
    ],
    output: [
      { key: 'g1', time: 9_999, value: { highest: 7 }, window: { start: -10_000, end: 10_000 } },
      { key: 'g1', time: 19_999, value: { highest: 7 }, window: { start: 0, end: 20_000 } },
      { key: 'g1', time: 29_999, value: { highest: 4 }, window: { start: 10_000, end: 30_000 } },
      { key: 'g1', time: 39_999, value: { highest: 2 }, window: { start: 20_000, end: 40_000 } },
    ],
    rejected: ['late'],
  },
  {
    title: 'A record that comes later connects two sessions',
    options: { session: { gap: '10s' }, outOfOrder: '30s', aggregate: { from: { first: 'at' }, to: { last: 'at' } } },
    input: [
      { key: 'g1', time: 0, value: { at: 'berth' } },
      { key: 'g1', time: 20_000, value: { at: 'quay' } },
      { key: 'g1', time: 10_000, value: { at: 'lock' } },
      { key: 'g1', time: 30_001, value: { at: 'sea' } },
    ],
    output: [
      { key: 'g1', time: 29_999, value: { from: 'berth', to: 'quay' }, window: { start: 0, end: 30_000 } },
      { key: 'g1', time: 40_000, value: { from: 'sea', to: 'sea' }, window: { start: 30_001, end: 40_001 } },
    ],
  },
  {
    title: 'Days of a place: this one has 23 hours',
    options: { calendar: { every: '1d', timeZone: 'America/Denver' }, aggregate: { energy: { sum: 'kWh' } } },
    input: [
      { key: 'g1', time: summer, value: { kWh: 5 } },
      { key: 'g1', time: summer + 23 * 3_600_000 - 1, value: { kWh: 6 } },
      { key: 'g1', time: summer + 23 * 3_600_000, value: { kWh: 7 } },
    ],
    output: [
      { key: 'g1', value: { energy: 11 }, window: { start: summer, end: summer + 23 * 3_600_000 } },
      { key: 'g1', value: { energy: 7 }, window: { start: summer + 23 * 3_600_000, end: summer + 47 * 3_600_000 } },
    ],
  },
  {
    title: 'Every two records; a value that is no number keeps its record out',
    options: { count: 2, aggregate: { values: { collect: { field: 'n', max: 2 } }, total: { sum: 'n' } } },
    input: [
      { key: 'g1', time: 1, value: { n: 1 } },
      { key: 'g1', time: 2, value: { n: 'two' } },
      { key: 'g1', time: 3, value: { n: 3 } },
      { key: 'g1', time: 4, value: { n: 4 } },
    ],
    output: [
      { key: 'g1', time: 3, value: { values: [1, 3], total: 4 }, window: { start: 1, end: 4 } },
      { key: 'g1', time: 4, value: { values: [4], total: 4 }, window: { start: 4, end: 5 } },
    ],
    rejected: ['schema-violation'],
  },
  {
    title: 'For each record, the highest load of the ten seconds up to it',
    options: { rolling: { size: '10s' }, aggregate: { highest: { max: 'load' } } },
    input: [
      { key: 'g1', time: 0, value: { load: 9 } },
      { key: 'g1', time: 6_000, value: { load: 4 } },
      { key: 'g1', time: 10_000, value: { load: 5 } },
    ],
    output: [
      { key: 'g1', time: 0, value: { highest: 9 }, window: { start: -9_999, end: 1 } },
      { key: 'g1', time: 6_000, value: { highest: 9 }, window: { start: -3_999, end: 6_001 } },
      { key: 'g1', time: 10_000, value: { highest: 5 }, window: { start: 1, end: 10_001 } },
    ],
  },
  {
    title: 'A first result every 30 s of event time, then the final one, then one for a record that came late',
    options: { tumbling: '1m', emit: { early: '30s' }, lateness: '10s', aggregate: { readings: 'count' } },
    input: [
      { key: 'g1', time: 1_000, value: {} },
      { key: 'g1', time: 31_000, value: {} },
      { key: 'g1', time: 60_000, value: {} },
      { key: 'g1', time: 59_000, value: {} },
    ],
    output: [
      { key: 'g1', value: { readings: 2 }, window: { start: 0, end: 60_000 } },
      { key: 'g1', value: { readings: 2 }, window: { start: 0, end: 60_000 } },
      { key: 'g1', value: { readings: 3 }, window: { start: 0, end: 60_000 } },
      { key: 'g1', value: { readings: 1 }, window: { start: 60_000, end: 120_000 } },
    ],
  },
  {
    title: 'A generator that is silent for a minute keeps its last level; after two it is forgotten',
    options: { tumbling: '1m', fill: 'previous', fillFor: '2m', aggregate: { fuel: { last: 'fuel' } } },
    input: [
      { key: 'g1', time: 30_000, value: { fuel: 480 } },
      { key: 'g2', time: 200_000, value: { fuel: 90 } },
    ],
    output: [
      { key: 'g1', value: { fuel: 480 }, window: { start: 0, end: 60_000 } },
      { key: 'g1', value: { fuel: 480 }, window: { start: 60_000, end: 120_000 } },
      { key: 'g2', value: { fuel: 90 }, window: { start: 180_000, end: 240_000 } },
    ],
  },
];
