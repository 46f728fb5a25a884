import { type Committing, type Delivery, Secret } from '../../src/operator.ts';
import { brokerList, type Connection } from './options.ts';

/** Whether the sink can write in the transactions of this source: both name the same brokers and log in the same way. */
export function joins(options: Connection, { operator, options: source }: Committing): boolean {
  return operator === 'kafka' && accessOf(options) === accessOf(source as Connection);
}

/** What a reader of the topic may count on, and why. */
export function deliveryOf(options: Connection, within: Committing | undefined): Delivery {
  if (within !== undefined && joins(options, within)) {
    return {
      level: 'exactly once',
      reason:
        'Records, state and source offsets are committed in one Kafka transaction. Readers must read committed (`isolation.level=read_committed`), ' +
        'and see records when the next checkpoint has been taken.',
    };
  }
  if (within !== undefined) {
    return {
      level: 'at least once',
      reason:
        'State is committed in transactions of the source, and this sink is outside of them: it writes to another cluster, or logs in differently. What was written after ' +
        'the last commit is written again after a crash, with the same `penstock-id` header. Give both the same `brokers`, `ssl` and `sasl` for exactly once.',
    };
  }
  return {
    level: 'at least once',
    reason:
      'Nothing is lost, and retries within a run are not stored twice; but what was written after the last checkpoint is written again after a crash, with the same ' +
      '`penstock-id` header. It is effectively once for readers that drop an id they have seen, or, where each result of a key replaces the one before, for a compacted topic. ' +
      'To repeat less, checkpoint more often; from Kafka to Kafka, `state: { store: kafka }` is exactly once.',
  };
}

// Never printed: it holds the password.
function accessOf({ brokers, ssl = false, sasl }: Connection): string {
  const files = typeof ssl === 'boolean' ? ssl : [ssl.ca, ssl.cert, ssl.key];
  const login = Object.entries(sasl ?? {})
    .map(([name, value]) => [name, value instanceof Secret ? value.reveal() : String(value)])
    .sort();
  return JSON.stringify([brokerList(brokers).sort(), files, login]);
}
