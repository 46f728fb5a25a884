import { TestScheduler } from 'rxjs/testing';
import { expect, test } from 'vitest';
import { windowLast } from '../../operators/window-last/index.ts';
import { RejectError } from '../../src/errors.ts';
import { StreamRecord } from '../../src/record.ts';
import { asRx } from '../../src/rx.ts';

const at = (time: number) => new StreamRecord(time, 'g1', time);
const result = (time: number, start: number, pane: 'final' | 'drained' = 'drained') =>
  at(time).withWindow({ step: 'windowLast', start, end: start + 10, label: time, pane });
const marbles = (test: Parameters<TestScheduler['run']>[0]) =>
  new TestScheduler((actual, expected) => expect(actual).toEqual(expected)).run(test);

test('a step as an RxJS operator emits when the records move event time on, and the rest when they end', () => {
  marbles(({ hot, expectObservable }) => {
    const records = hot('  -a-b-c---|', { a: at(1), b: at(9), c: at(10) });
    const expected = '     -----x---(y|)';
    const values = { x: result(9, 0, 'final'), y: result(10, 10) };
    expectObservable(records.pipe(asRx(windowLast, { every: '10ms' }))).toBe(expected, values);
  });
});

test('a late record is an error of the Observable, unless somebody takes it', () => {
  marbles(({ hot, expectObservable }) => {
    const records = () => hot('-a-b-|', { a: at(10), b: at(1) });
    expectObservable(records().pipe(asRx(windowLast, { every: '10ms' }))).toBe(
      '                        ---#',
      {},
      new RejectError('late', 'Its window ended at 1970-01-01T00:00:00.010Z and closed before the record came.'),
    );
    const late: number[] = [];
    const taken = records().pipe(asRx(windowLast, { every: '10ms' }, (record) => late.push(record.time)));
    expectObservable(taken).toBe('-----(y|)', { y: result(10, 10) });
  });
});

test('an error of the input passes through', () => {
  marbles(({ hot, expectObservable }) => {
    expectObservable(hot('-a-#', { a: at(1) }).pipe(asRx(windowLast, { every: '10ms' }))).toBe('---#');
  });
});
