import { setImmediate as nextTurn } from 'node:timers/promises';
import {
  type Changes,
  type Definition,
  defineSink,
  defineSource,
  type PartitionState,
  type Position,
  type SourceContext,
  type StreamRecord,
  type Transaction,
  TransactionError,
  Type,
} from '../../../src/operator.ts';
import { partition, TestLog } from './harness.ts';

/** What a commit did with an output record: enough to see one that is missing, repeated or out of order. */
export interface Committed {
  readonly sink: string;
  readonly id: string;
  readonly key: unknown;
  readonly value: unknown;
}

class LedgerTransaction implements Transaction {
  readonly system = 'ledger';
  written: Committed[] = [];
}

/**
 * A system in memory that keeps records, state and output of partitions and commits them together, as Kafka does. It outlives the runs
 * that use it: each is an instance which can own a partition, and be fenced by another.
 */
export class Ledger {
  readonly log = new TestLog();
  readonly committed: Committed[] = [];
  readonly positions = new Map<string, Position>();
  /** Asked before each commit of a partition: an error to reject with, and whether the commit is done all the same. */
  beforeCommit: (partition: string) => { error: TransactionError; done: boolean } | undefined = () => undefined;
  /** Asked before each write in a transaction. */
  beforeWrite: (partition: string) => TransactionError | undefined = () => undefined;
  commits = 0;
  /** How long a commit takes, in turns of the event loop: others go on meanwhile. */
  commitTurns = 3;
  readonly #values = new Map<string, Map<string, Buffer>>();
  readonly #epochs = new Map<string, number>();

  constructor() {
    this.log.bounded = false;
  }

  claim(id: string): PartitionState {
    const epoch = (this.#epochs.get(id) ?? 0) + 1;
    this.#epochs.set(id, epoch);
    const values = this.#values.get(id) ?? new Map<string, Buffer>();
    this.#values.set(id, values);
    const transaction = new LedgerTransaction();
    let over = false;
    const check = (found: TransactionError | undefined) => {
      if (over) throw new Error(`The transaction of ${id} is used after its end.`);
      over = found !== undefined;
      if (found) throw found;
      over = this.#epochs.get(id) !== epoch;
      if (this.#epochs.get(id) !== epoch) throw new TransactionError(`${id} has a newer owner.`, true);
    };
    transactions.set(transaction, () => check(this.beforeWrite(id)));
    return {
      transaction,
      get: (name) => values.get(name),
      *entries(prefix) {
        for (const entry of values) if (entry[0].startsWith(prefix)) yield entry;
      },
      commit: async (changes, position) => {
        for (let turn = 0; turn < this.commitTurns; turn++) await nextTurn();
        const trouble = this.beforeCommit(id);
        check(trouble?.done === false ? trouble.error : undefined);
        this.#commit(id, transaction, values, changes, position);
        check(trouble?.error);
      },
      close: async () => {
        over = true;
      },
    };
  }

  #commit(
    id: string,
    transaction: LedgerTransaction,
    values: Map<string, Buffer>,
    changes: Changes,
    position: Position | undefined,
  ): void {
    this.commits++;
    for (const name of changes.removes) values.delete(name);
    for (const [name, bytes] of changes.puts) values.set(name, bytes);
    if (position !== undefined) this.positions.set(id, position);
    this.committed.push(...transaction.written.splice(0));
  }
}

const transactions = new WeakMap<Transaction, () => void>();

/** One instance's membership: the test says which partitions it has. */
export class Member {
  context!: SourceContext;
  readonly assigned = new Set<string>();
  /** Partitions whose work was dropped, in order, and whether another instance has them. */
  readonly restarted: { partition: string; fenced: boolean }[] = [];
  readonly #ledger: Ledger;
  #turn: Promise<void> = Promise.resolve();

  constructor(ledger: Ledger) {
    this.#ledger = ledger;
  }

  /** Claims and assigns what is new, gives back what is not in the list. Resolves when it is done. */
  assign(wanted: readonly string[]): Promise<void> {
    this.#turn = this.#turn.then(async () => {
      for (const id of [...this.assigned].filter((each) => !wanted.includes(each))) {
        this.assigned.delete(id);
        await this.context.revoke(id);
      }
      for (const id of wanted.filter((each) => !this.assigned.has(each))) await this.#take(id);
    });
    return this.#turn;
  }

  /** As a source does whose partition was dropped: unless another owns it, it is taken again. */
  restart(id: string, fenced: boolean): void {
    this.restarted.push({ partition: id, fenced });
    this.#turn = this.#turn.then(async () => {
      if (!this.assigned.delete(id)) return;
      await this.context.revoke(id);
      if (!fenced && !this.context.signal.aborted) await this.#take(id);
    });
  }

  get settled(): Promise<void> {
    return this.#turn;
  }

  async #take(id: string): Promise<void> {
    const { context } = this;
    if (context.signal.aborted) return;
    await context.claim([id]);
    this.#ledger.log.add(id);
    this.assigned.add(id);
    context.assign(partition(id, this.#ledger.log.partitions.get(id)!, this.#ledger.log, context));
  }
}

/** The ledger as a source that keeps state, for one instance. */
export function ledgerSource(ledger: Ledger, member: Member): Definition {
  return defineSource({
    name: 'kafka',
    summary: 'Reads partitions of a ledger.',
    options: Type.Object({}),
    times: ['arrival'],
    partitioned: true,
    examples: [],
    transactions: async () => ({ claim: async (id) => ledger.claim(id), async close() {} }),
    async open(_options, context) {
      member.context = context;
      return { restart: (id, fenced) => member.restart(id, fenced), async close() {} };
    },
  }) as unknown as Definition;
}

/** A sink that writes in the ledger's transactions. */
export function ledgerSink(): Definition {
  return defineSink({
    name: 'ledger',
    summary: 'Writes in the transaction of its partition.',
    options: Type.Object({}),
    examples: [],
    joins: (_options, source) => source.operator === 'kafka',
    delivery: () => ({ level: 'exactly once', reason: 'A test.' }),
    async open(_options, { id, transaction, recordId }) {
      const own = transaction as LedgerTransaction;
      return {
        maxRecords: 3,
        async write(records: readonly StreamRecord[]) {
          await Promise.resolve();
          transactions.get(own)!();
          for (const record of records) {
            if (refused(record)) continue;
            own.written.push({ sink: id, id: recordId(record), key: record.key, value: record.value });
          }
          return records.flatMap((record, index) => (refused(record) ? [{ index, message: 'Not this one.' }] : []));
        },
        async close() {},
      };
    },
  }) as unknown as Definition;
}

/** Whether a sink of a test refuses the record: decided by the record itself, so that it is refused each time. */
export function refused({ value }: StreamRecord): boolean {
  return (value as { refuse?: boolean } | null)?.refuse === true;
}
