import { durationMs, type Step } from '../../src/operator.ts';
import type { Parts } from './aggregates.ts';
import type { Options } from './options.ts';
import { isTimeless, late, type Pane, Panes, waits, whyNow } from './panes.ts';

/**
 * The records of a key, one pane for each time at which there are any: those still waited for, and those of the last `size`. The latter stand in two
 * stacks, so that a result needs few merges however many records there are. Plain data: it stands in checkpoints.
 */
export interface Rolling {
  /** In order of time: no result has been given for them yet. */
  waiting: Pane[];
  /** The newest time that a result has been given for. */
  done: number;
  /** The older part, the newest first: each with the aggregates of itself and all that are newer in this part. */
  older: Cell[];
  /** The newer part, the oldest first: each with its own aggregates. */
  newer: Cell[];
  /** The aggregates of the newer part; null when it is empty. */
  total: Parts | null;
}
interface Cell {
  readonly time: number;
  readonly parts: Parts;
}

/** For each time at which a key has records, the records of `(time - size, time]`. */
export function rollingWindows(given: Options, id: string): Step<Rolling> {
  const panes = new Panes(given, id);
  const { aggregates } = panes;
  const size = durationMs(given.rolling!.size);
  const wait = waits(given).all;

  function forget(state: Rolling, time: number): void {
    const { older, newer } = state;
    while (older.length > 0 && older.at(-1)!.time <= time) older.pop();
    if (older.length === 0 && newer.length > 0 && newer[0]!.time <= time) {
      let parts: Parts | undefined;
      for (const cell of newer.reverse()) {
        parts = parts === undefined ? cell.parts : aggregates.merge(cell.parts, parts);
        older.push({ time: cell.time, parts });
      }
      state.newer = [];
      state.total = null;
    }
    while (older.length > 0 && older.at(-1)!.time <= time) older.pop();
  }

  /** The aggregates of the last `size`, this pane being the newest of it. */
  function take(state: Rolling, { last, parts }: Pane): Parts {
    forget(state, last.time - size);
    state.newer.push({ time: last.time, parts });
    state.total = state.total === null ? parts : aggregates.merge(state.total, parts);
    state.done = last.time;
    const before = state.older.at(-1);
    return before === undefined ? state.total : aggregates.merge(before.parts, state.total);
  }

  return {
    onRecord(record, step) {
      if (isTimeless(record, step)) return;
      const { time } = record;
      const end = time + 1;
      const done = step.state?.done ?? Number.NEGATIVE_INFINITY;
      if (end + wait <= step.watermark || time <= done) return late(record, end, step);
      if (panes.refuses(record, step)) return;
      const state = step.state ?? { waiting: [], done, older: [], newer: [], total: null };
      const { waiting } = state;
      let at = waiting.length;
      while (at > 0 && waiting[at - 1]!.end > end) at--;
      const pane = waiting[at - 1];
      if (pane !== undefined && pane.end === end) panes.add(pane, record);
      else {
        waiting.splice(at, 0, panes.open(end - size, end, record));
        step.timer(end + wait);
      }
      step.state = state;
    },
    onTimer(at, _key, step) {
      const { state } = step;
      if (state === undefined) return;
      while (state.waiting.length > 0 && state.waiting[0]!.end + wait <= at) {
        const pane = state.waiting.shift()!;
        panes.emit({ ...pane, parts: take(state, pane) }, step, whyNow(step));
      }
      const [next] = state.waiting;
      // `lateness` may have grown since the timer was set, in a run before this one: then it is due later.
      if (next !== undefined) step.timer(next.end + wait);
      else {
        // No record that is still waited for can reach back further.
        forget(state, at - wait - size);
        if (state.older.length + state.newer.length === 0) step.state = undefined;
        else step.timer(state.done + size + wait);
      }
    },
  };
}
