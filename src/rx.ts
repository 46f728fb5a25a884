import { Observable, type OperatorFunction } from 'rxjs';
import { LoneStep } from './engine/lone-step.ts';
import { RejectError, type StepDefinition } from './operator.ts';
import type { StreamRecord } from './record.ts';

/**
 * A step as an RxJS operator, for use outside a topology: `records$.pipe(asRx(windowLast, { every: '1m' }))`.
 * Event time moves on with the records' own times and ends when the input completes. A rejected or late record is an error
 * of the Observable (a RejectError), unless `onReject` takes it. State lives as long as the subscription: there is no checkpoint.
 */
export function asRx(
  definition: StepDefinition,
  options: unknown,
  onReject?: (record: StreamRecord, error: RejectError) => void,
): OperatorFunction<StreamRecord, StreamRecord> {
  return (input) =>
    new Observable((output) => {
      const step = new LoneStep(definition, options, {
        id: definition.name,
        emit: (record) => output.next(record),
        reject({ record, code, message }) {
          const error = new RejectError(code, message);
          if (onReject) onReject(record, error);
          else output.error(error);
        },
      });
      // What an observer throws, RxJS throws at the process: an error of the step belongs to the subscriber.
      const guarded = (work: () => void) => {
        try {
          work();
        } catch (error) {
          output.error(error);
        }
      };
      return input.subscribe({
        next: (record) =>
          guarded(() => {
            step.push(record);
            step.advance(record.time);
          }),
        error: (error) => output.error(error),
        complete: () =>
          guarded(() => {
            step.advance(Number.POSITIVE_INFINITY);
            output.complete();
          }),
      });
    });
}
