import type { Example } from '../../src/operator.ts';

const sale = (time: number, litres: number) => ({ key: 'diesel', time, value: { litres } });
const price = (time: number, euro: number) => ({ stream: 'prices', key: 'diesel', time, value: { euro } });

/** Examples of `lookup`, for its page; they run as tests. */
export const examples: readonly Example[] = [
  {
    title: 'Each sale at the price of its moment, although the next price was known before',
    options: { table: 'prices', as: 'price' },
    input: [sale(9_999, 10), price(10_000, 1.5), sale(19_999, 20), sale(20_000, 30), price(20_000, 1.7)],
    output: [
      { key: 'diesel', time: 9_999, value: { litres: 10, price: null } },
      { key: 'diesel', time: 19_999, value: { litres: 20, price: { euro: 1.5 } } },
      { key: 'diesel', time: 20_000, value: { litres: 30, price: { euro: 1.7 } } },
    ],
  },
  {
    title: 'Whatever price is there; a sale before the first one ends here',
    options: { table: 'prices', as: 'price', asOf: 'latest', type: 'inner' },
    input: [sale(1, 10), price(3, 1.5), sale(2, 20), { stream: 'prices', key: 'diesel', value: null }, sale(4, 30)],
    output: [{ key: 'diesel', time: 2, value: { litres: 20, price: { euro: 1.5 } } }],
  },
  {
    title: 'A row or a record behind the watermark is late; `keepFor` still answers the record',
    options: { table: 'prices', as: 'price', keepFor: '5s' },
    input: [price(1_000, 1.5), price(10_000, 1.7), price(9_999, 9.9), sale(5_000, 10), sale(4_999, 20)],
    output: [{ key: 'diesel', time: 5_000, value: { litres: 10, price: { euro: 1.5 } } }],
    rejected: ['late', 'late'],
  },
];
