import { defineStep, type Step, TopologyError } from '../../src/operator.ts';
import { checkWindow, kindOfWindow } from './check.ts';
import { examples } from './examples.ts';
import { fixedWindows } from './fixed.ts';
import { type Kind, kinds, type Options, options } from './options.ts';
import type { Pane } from './panes.ts';
import { type Rolling, rollingWindows } from './rolling.ts';
import { countWindows, sessionWindows } from './steps.ts';

/** Folds the records of each key, window by window, and emits one result as each window closes. */
export const window = defineStep<typeof options, Pane[] | Rolling>({
  name: 'window',
  summary: 'Computes aggregates of each key over windows of time, sessions or a number of records.',
  details: `A window holds \`[start, end)\` and gives one result, when it closes: as the watermark reaches \`end + outOfOrder + lateness\`.
A record whose windows have all closed goes to \`late\` (or \`otherwise\`, or the dead letters). Windows without a record emit nothing, unless there is \`fill\`.
The result is an object of the kept fields and the aggregates; the record's key stays its key. It has the event time \`end - 1 ms\`, so that
a second window of the same size catches it; \`label\` decides the time that sinks write. A window behind one that waits has to wait as long itself.
Windows of one length that close at the same watermark come by end, then start, then first arrival of the key.

- **tumbling**, **hopping**: aligned to the epoch (UTC) plus \`offset\`, never to the start of the process. So weeks of \`7d\` begin on Thursday.
- **calendar**: midnight, Monday, the first of the month or year in a time zone. A day on which clocks change has 23 or 25 hours.
- **rolling**: for each time \`t\` at which a key has a record, the records of \`(t - size, t]\`, as \`OVER (RANGE …)\` in SQL; records of one time share one result, which has
  the time \`t\` and is given once the watermark has passed it. Results come in order of event time. A record is late when the result for its own time is out.
  A result costs a few merges of aggregates, not one look at each record; state holds the aggregates of every time within \`size\`.
- **session**: bounds \`[first, last + gap)\`. Two records exactly \`gap\` apart are one session, so it closes 1 ms after its end. Records out of
  order join sessions that are still open. One that has closed is never opened again: a record that would have joined it is late, or,
  when it is new enough to be waited for, begins another session. With \`max\`, sessions are cut at fixed times.
- **count**: \`start\` is the time of the oldest record and \`end\` 1 ms after that of the newest. Two windows of a key may have the same bounds: do not
  send them to a sink that overwrites by window.

**When results come.** \`window.pane\` says why there is one, \`window.seq\` how many of the same window came before; both can be used in expressions.

\`\`\`text
                       end    end + outOfOrder    end + outOfOrder + lateness   > watermark
  emit: final           |                                    | final
  emit: { early: 10s }  |  early at steps | final, late, late, … | records are late from here on
  emit: onUpdate        |  early, early … | final, late, late, … |
\`\`\`

With \`early\` and \`onUpdate\`, for tumbling, hopping and calendar windows, each result takes the place of the one before, by step, key and start of the window. Nothing is
taken back: only sinks that overwrite may be behind them, and no step that keeps state. What the end of the input closes before event time has come to
it is \`drained\`: it may be partial.

**Gaps.** With \`fill\`, tumbling, hopping and calendar windows without a record give a result too, behind a window that had one, as long as they end at most \`fillFor\` after the last
record of the key. Then the key is forgotten. At the end of the input nothing is filled behind the last record.

An entry of \`aggregate\` is one of

- \`count\`: how many records; \`first\`, \`last\`: the whole value of the first or last record
- \`{ first: field }\`, \`{ last: field }\`: by event time; of two at the same time, by place in the source
- \`{ min: field }\`, \`{ max: field }\`, \`{ sum: field }\`, \`{ mean: field }\`: sums are added up in order of arrival in each partition of the source, then
  partition by partition, so they do not depend on how partitions interleave; where sessions become one, or in rolling windows, the sums of parts are added
- \`{ variance: field }\`, \`{ stddev: field }\`: of the sample (divided by n - 1), null for fewer than two values
- \`{ median: field }\`, \`{ percentile: { field: field, p: 95 } }\`: for up to 1,000 values exact, with linear interpolation between two; beyond that within 1 % of the value of that
  rank (magnitudes below 1e-12 count as 0)
- \`{ count: field }\`: how many records have a value there
- \`{ countDistinct: field }\`: how many different texts, numbers and booleans: exact up to 1,000, then an estimate with a standard error of 1.6 %
- \`{ topK: { field: field, k: n } }\`: a list of the n largest numbers, the largest first
- \`{ collect: { field: field, max: n } }\`: a list of the newest n values, in order of event time
- \`{ own: defineAggregate({ create, add, merge, result }) }\`, from TypeScript: an aggregate of your own, whose state is plain data

All that name a field pass over records in which it is missing or null; without any value they give null (counts: 0, lists: an empty list).
A value that is no finite number, where one is needed, gets the whole record rejected with \`schema-violation\`; no aggregate has then seen it.

A window that is open when the run stops stays open in the checkpoint; the end of a bounded input closes all of them.`,
  options,
  keyed: true,
  timed: true,
  late: true,
  stateVersion: 2,
  stateDependsOn: [...kinds, 'offset', 'aggregate', 'keep'],
  examples,
  updates: ({ emit = 'final' }) => emit !== 'final',
  type: (given, check) => checkWindow(given, check),
  create(given, id) {
    const found = kindOfWindow(given);
    if ('wrong' in found) throw new TopologyError([{ code: 'bad-value', message: found.wrong }]);
    return makers[found.kind]?.(given, id) ?? fixedWindows(given, id);
  },
});

const makers: Partial<Record<Kind, (given: Options, id: string) => Step<never>>> = {
  session: sessionWindows,
  count: countWindows,
  rolling: rollingWindows,
};
