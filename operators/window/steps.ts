import { durationMs, type Step } from '../../src/operator.ts';
import type { Options } from './options.ts';
import { isTimeless, late, type Pane, Panes, waits, whyNow } from './panes.ts';
import { cellStart } from './spans.ts';

/** Windows that last as long as the records of a key keep coming. Sessions that a record connects become one. */
export function sessionWindows(given: Options, id: string): Step<Pane[]> {
  const panes = new Panes(given, id);
  const wait = waits(given).all;
  const offset = durationMs(given.offset ?? '0s');
  const gap = durationMs(given.session!.gap);
  const max = given.session!.max === undefined ? undefined : durationMs(given.session!.max);
  // Cuts lie at fixed times: were they counted from the first record, one that comes out of order would move them all.
  const cut = (time: number) => (max === undefined ? Number.POSITIVE_INFINITY : cellStart(time, max, offset) + max);
  const endOf = (time: number) => Math.min(time + gap, cut(time));
  // A record exactly `gap` after the last one still belongs to it, and may come while the watermark stands at that time.
  const closes = (time: number) => Math.min(time + gap + 1, cut(time)) + wait;
  const touches = ({ start, last }: Pane, time: number) =>
    time >= start - gap && time <= last.time + gap && cut(time) === cut(start);
  return {
    onRecord(record, step) {
      if (isTimeless(record, step)) return;
      const { time } = record;
      const held = step.state ?? [];
      const near = held.filter((pane) => touches(pane, time)).sort((a, b) => a.start - b.start);
      // Older than all that it would join, it would begin the session, perhaps where one that has closed began: two results of one name.
      const begins = near[0] === undefined || time < near[0].start;
      if (begins && closes(time) <= step.watermark) return late(record, endOf(time), step);
      if (panes.refuses(record, step)) return;
      const session =
        near.length === 0 ? panes.open(time, endOf(time), record) : near.reduce((a, b) => panes.merge(a, b));
      if (near.length === 0) step.timer(closes(time));
      else panes.add(session, record);
      session.start = Math.min(session.start, time);
      session.end = endOf(session.last.time);
      step.state = [...held.filter((pane) => !near.includes(pane)), session];
    },
    onTimer(at, _key, step) {
      const open: Pane[] = [];
      for (const pane of (step.state ?? []).sort((a, b) => a.start - b.start)) {
        if (closes(pane.last.time) <= at) panes.emit(pane, step, whyNow(step));
        else open.push(pane);
      }
      // Only a session's first record sets a timer; when that fires too early, the next one is set here.
      for (const { last } of open) step.timer(closes(last.time));
      step.state = open.length === 0 ? undefined : open;
    },
  };
}

/** A window for every `count` records of a key, in order of arrival; no record is late. The end of the input closes the last one early. */
export function countWindows(given: Options, id: string): Step<Pane[]> {
  const panes = new Panes(given, id);
  const full = given.count!;
  return {
    onRecord(record, step) {
      if (isTimeless(record, step) || panes.refuses(record, step)) return;
      const { time } = record;
      const pane = step.state?.[0] ?? panes.open(time, time + 1, record);
      if (step.state !== undefined) panes.add(pane, record);
      pane.start = Math.min(pane.start, time);
      pane.end = Math.max(pane.end, time + 1);
      if (pane.count >= full) panes.emit(pane, step, 'final');
      step.state = pane.count >= full ? undefined : [pane];
      if (step.state !== undefined) step.timer(Number.POSITIVE_INFINITY);
    },
    onTimer(_at, _key, step) {
      for (const pane of step.state ?? []) panes.emit(pane, step, whyNow(step));
      step.state = undefined;
    },
  };
}
