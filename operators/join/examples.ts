import type { Example } from '../../src/operator.ts';

const order = (time: number, n: number) => ({ key: 'c1', time, value: { order: n } });
const payment = (time: number, euro: number) => ({ stream: 'payments', key: 'c1', time, value: { euro } });

/** Examples of `join`, for its page; they run as tests. */
export const examples: readonly Example[] = [
  {
    title: 'Exactly ten seconds apart is a pair; a millisecond more is not',
    options: { with: 'payments', within: '10s', as: 'payment' },
    input: [order(20_000, 1), payment(30_000, 5), payment(30_001, 7)],
    output: [{ key: 'c1', time: 30_000, value: { order: 1, payment: { euro: 5 } } }],
  },
  {
    title: 'An order that nobody pays for is known when its ten seconds are over',
    options: { with: 'payments', within: '10s', as: 'payment', type: 'left' },
    input: [order(20_000, 1), order(25_000, 2), payment(33_000, 5)],
    output: [
      { key: 'c1', time: 33_000, value: { order: 2, payment: { euro: 5 } } },
      { key: 'c1', time: 30_000, value: { order: 1, payment: null } },
    ],
  },
  {
    title: 'With `outer`, a payment without an order comes too; what is behind the watermark is late',
    options: { with: 'payments', within: '10s', as: 'payment', type: 'outer' },
    input: [payment(20_000, 5), order(40_000, 1), payment(39_999, 7)],
    output: [
      { key: 'c1', time: 30_000, value: { payment: { euro: 5 } } },
      { key: 'c1', time: 50_000, value: { order: 1, payment: null } },
    ],
    rejected: ['late'],
  },
];
