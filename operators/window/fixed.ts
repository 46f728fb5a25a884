import { durationMs, type Step, type StepContext } from '../../src/operator.ts';
import type { Options } from './options.ts';
import { isTimeless, late, type Pane, Panes, waits, whyNow } from './panes.ts';
import { spansOf } from './spans.ts';

/** Windows whose bounds are known beforehand: tumbling, hopping and calendar. A record that is late for some goes into the others. */
export function fixedWindows(given: Options, id: string): Step<Pane[]> {
  const panes = new Panes(given, id);
  const spans = spansOf(given);
  const wait = waits(given);
  const updates = updatesOf(given, panes, wait.result);
  const fillFor = given.fill === undefined ? undefined : durationMs(given.fillFor!);

  /** Opens the window after one that has closed, for as long as the key is not forgotten. */
  function fill(closed: Pane, held: Pane[], step: StepContext<Pane[]>): void {
    const { start, end } = spans.after(closed);
    if (fillFor === undefined || end - closed.last.time > fillFor) return;
    const at = held.findIndex((pane) => pane.start >= start);
    if (held[at]?.start === start) return;
    held.splice(at === -1 ? held.length : at, 0, panes.openEmpty(start, end, closed));
    step.timer(end + wait.result);
  }

  return {
    onRecord(record, step) {
      if (isTimeless(record, step)) return;
      const all = spans.holding(record.time);
      const open = all.filter(({ end }) => end + wait.all > step.watermark);
      if (open.length === 0) return late(record, all.at(-1)!.end, step);
      if (panes.refuses(record, step)) return;
      step.state ??= [];
      const held = step.state;
      let at = 0;
      for (const { start, end } of open) {
        while (at < held.length && held[at]!.start < start) at++;
        let pane = held[at];
        if (pane !== undefined && pane.start === start) panes.add(pane, record);
        else {
          pane = panes.open(start, end, record);
          pane.over = end + wait.result <= step.watermark;
          held.splice(at, 0, pane);
          step.timer(end + (pane.over ? wait.all : wait.result));
        }
        updates.onRecord(pane, step);
      }
    },
    onTimer(at, _key, step) {
      const held = step.state ?? [];
      // The list grows at its end while a key is silent.
      for (let i = 0; i < held.length; i++) {
        const pane = held[i]!;
        if (pane.end + wait.result > at) updates.onTimer(at, pane, step);
        else if (!pane.over) {
          pane.over = true;
          // The input has ended while the key was silent: nobody knows of this window.
          if (pane.count === 0 && step.ending && i === held.length - 1) continue;
          panes.emit(pane, step, whyNow(step));
          fill(pane, held, step);
        }
      }
      const open = held.filter(({ end }) => end + wait.all > at);
      // Due now only if `lateness` has grown since the timer was set, in a run before this one; else later.
      for (const { end, over } of open) if (end <= at) step.timer(end + (over ? wait.all : wait.result));
      step.state = open.length === 0 ? undefined : open;
    },
  };
}

/** What a window gives before and after its final result, as `emit` says. */
interface Updates {
  /** A record has been added. */
  onRecord(pane: Pane, step: StepContext<Pane[]>): void;
  /** A timer has fired, before the final result. */
  onTimer(at: number, pane: Pane, step: StepContext<Pane[]>): void;
}

function updatesOf({ emit = 'final' }: Options, panes: Panes, wait: number): Updates {
  if (emit === 'final') return { onRecord: () => undefined, onTimer: () => undefined };
  const every = emit === 'onUpdate' ? undefined : durationMs(emit.early);
  return {
    onRecord(pane, step) {
      if (pane.over) panes.emit(pane, step, 'late');
      else if (every === undefined) panes.emit(pane, step, 'early');
      else {
        const passed = Math.max(step.watermark - pane.start, 0);
        const next = pane.start + (Math.floor(passed / every) + 1) * every;
        if (next < pane.end + wait) step.timer(next);
      }
    },
    onTimer(at, pane, step) {
      const isStep = at > pane.start && (at - pane.start) % (every ?? Number.POSITIVE_INFINITY) === 0;
      if (isStep && pane.fresh && !step.ending) panes.emit(pane, step, 'early');
    },
  };
}
