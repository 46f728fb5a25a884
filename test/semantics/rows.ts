/** One decision, and the tests that hold the engine to it: on this side of its boundary and on the other. */
export interface Row {
  readonly title: string;
  readonly decision: string;
  /** `file under test/ › title`, `…` at its end for the rest of it; or a file alone. A test that looks at both sides may stand in both. */
  readonly within: readonly string[];
  readonly beyond: readonly string[];
}

const window = (title: string) => `operators/window.test.ts › ${title}`;
const emit = (title: string) => `operators/window-emit.test.ts › ${title}`;
const run = (title: string) => `src/engine/run.test.ts › ${title}`;
const lateness = (title: string) => `src/engine/lateness.test.ts › ${title}`;
const idle = (title: string) => `src/engine/idle.test.ts › ${title}`;
const checkpoint = (title: string) => `src/engine/checkpointer.test.ts › ${title}`;
const mqtt = (title: string) => `operators/mqtt-source.test.ts › ${title}`;
const kafka = (title: string) => `operators/kafka-source.test.ts › ${title}`;
/** A mistake in a topology, refused with the message that stands beside it. */
const mistake = (name: string) => `fixtures/mistakes/${name}.yaml`;

/** Rules that hold everywhere. */
export const settled: Readonly<Record<string, Row>> = {
  durations: {
    title: 'Lengths of time',
    decision:
      'A number and its unit (`ns us ms s m h d w`), one or several of them, such as `1m30s`. The unit is never left out. Months and years are for `calendar` windows only.',
    within: ['src/quantity.test.ts › %s is %d ms', 'operators/window-options.test.ts › takes %j'],
    beyond: [
      'src/quantity.test.ts › `%s` is none: a number and its unit, always both',
      'src/quantity.test.ts › `%s` is none: how long it is depends on the calendar',
      mistake('15-bare-duration'),
    ],
  },
  fields: {
    title: 'Fields',
    decision:
      '`map` gives the record with computed fields, `set` with literal ones, `select` keeps or drops fields. The record that came in stays as it was.',
    within: [
      'operators/map.test.ts › leaves the record that came in as it was, and keeps key, time and the other fields',
      'operators/set.test.ts › adds and overrides with the values as they stand, and leaves the record that came in as it was',
      'operators/select.test.ts › splits a record in two: what `keep` takes, `drop` leaves',
    ],
    beyond: [
      'operators/map.test.ts › rejects what is not an object',
      'operators/set.test.ts › rejects what is not an object',
      'operators/select.test.ts › needs either `keep` or `drop`',
    ],
  },
  nothing: {
    title: 'Null, missing and false',
    decision:
      'They are three things. To compare or compute with null or a missing field is an error of that record, unless the expression says what to do: `has`, `coalesce`, `.?`.',
    within: ['src/expression.test.ts › %s gives %j'],
    beyond: ['src/expression.test.ts › %s fails and says why'],
  },
  conditions: {
    title: 'Conditions that cannot be answered',
    decision:
      'A `filter` whose condition fails, or gives neither true nor false, rejects the record: it neither passes nor vanishes.',
    within: ['operators/filter.test.ts › loses no record: each is passed, answered with false, or rejected'],
    beyond: ['operators/filter.test.ts › rejects a record when the answer is not true or false'],
  },
};

/** The decisions by number. */
export const rows: Readonly<Record<number, Row>> = {
  1: {
    title: 'Time domain',
    decision:
      'Event time. A source that feeds a window says where its time comes from; `time: arrival` has to be written, and `plan` says what then is other when records are read again.',
    within: ['src/cli/plan.test.ts › of a source %j says whether its times are others when it is read again'],
    beyond: [mistake('33-missing-time'), 'src/engine/time.test.ts › is not told at all without `time`'],
  },
  2: {
    title: 'Which timestamp',
    decision:
      'A field or header (behind MQTT 5 a user property) with its unit, the timestamp of Kafka or InfluxDB, or the arrival (behind MQTT it is kept with the message). One that is missing, of another type or implausible rejects the record: `time-invalid`.',
    within: [
      'src/engine/time.test.ts › is read from a field in %s',
      'src/engine/time.test.ts › is read from a header, the first where there are several',
      'src/engine/time.test.ts › is the arrival, or the Kafka timestamp, where that is asked for',
    ],
    beyond: [
      'src/engine/time.test.ts › is refused with the reason: %j',
      'src/engine/time.test.ts › begins in 1990 and ends before 2100',
    ],
  },
  3: {
    title: 'Times in the future',
    decision:
      'A time may be `maxFuture` ahead of the arrival that is stored with the record. A millisecond more rejects the record (`time-future`), and event time does not move.',
    within: [
      lateness(
        'a record exactly `maxFuture` ahead of its arrival moves event time; one a millisecond further does not',
      ),
    ],
    beyond: [
      'src/engine/time.test.ts › may be `maxFuture` ahead of arrival and not a millisecond more',
      'src/engine/time.test.ts › is judged by the arrival that is stored with the record, so that reading it again later judges alike',
      run('routes a late record, and does not move event time by a record from the future'),
    ],
  },
  4: {
    title: 'The watermark of a partition',
    decision:
      'Its newest time less `outOfOrder`. It never goes back, and moves after each record and before the next one, without a clock.',
    within: [
      run('moves event time by every record, before the next one is looked at'),
      'src/testing/topology-driver.test.ts › runs from its sources to its sinks, with fields captured from topics',
    ],
    beyond: [
      'src/engine/steps.test.ts › sees the watermark of the records before the one at hand…',
      lateness('never takes event time back, and what is not late yet is taken'),
    ],
  },
  5: {
    title: 'Several partitions, and silence',
    decision:
      'The slowest counts. A partition that has been read to its end and silent for `idle` no longer holds event time back; one that our own sinks hold up, or whose connection is lost, is not silent. When all are silent, event time follows the clock, `outOfOrder + idle` behind. Each such step is written down before it is taken.',
    within: [
      idle('comes due exactly `idle` after the partition was last waited for'),
      idle('lets event time go to the slowest partition that is not silent, whatever the clock says'),
      run('closes a window once the only partition has been silent for `idle`, not a moment before'),
      'src/engine/idle-replay.test.ts › is taken at its place in the middle of a batch, and the records after it wake the partition',
    ],
    beyond: [
      idle('never comes while the partition is not at its end, or our own pull is not open'),
      checkpoint('a partition that only our own sink holds up is not silent'),
      mqtt('are all there only while we are connected and each is durable and read…'),
      kafka('it is caught up when all is pulled, the end is reached, and the broker answers'),
      run('shares one task between sources that meet in a keyed step, and holds event time to the slower one'),
    ],
  },
  6: {
    title: 'A partition that wakes up old',
    decision:
      'Its late records go where late ones go, with the reason `was-idle`, up to the time that silence had reached; event time is never taken back.',
    within: [
      lateness('has them late as `was-idle` up to where silence had moved event time, and as `late` from there on'),
    ],
    beyond: [
      lateness('never takes event time back, and what is not late yet is taken'),
      idle('leaves a partition awake that has read on by the time the others reach their places'),
    ],
  },
  7: {
    title: 'When a window is open',
    decision:
      'As long as `end + lateness` is after the watermark. When they are equal it is closed. A session closes one millisecond after its end, as a record at that very time still extends it.',
    within: [
      window('stays open while end + lateness is after the watermark, and is closed when they are equal'),
      'operators/window-last.test.ts › stays open while end + lateness is after the watermark, and is closed when they are equal',
    ],
    beyond: [
      window('takes a record into those of its windows that are open, and is late when none is'),
      window('closes one millisecond after its end'),
    ],
  },
  8: {
    title: 'Late records',
    decision:
      'They go to `late`, else to `otherwise`, else to the dead letters; they are dropped only where `late: drop` is written, and counted by step either way.',
    within: [run('sends late records to `late`, without one to `otherwise`, and only then to the dead letters')],
    beyond: [lateness('go to the dead letters unless `late: drop` is written; they are counted either way')],
  },
  9: {
    title: '`outOfOrder` and `lateness`',
    decision:
      '`outOfOrder` holds the watermark back; `lateness` keeps windows open behind it. With `emit: final` both only delay the one result; with updates, `lateness` brings further ones.',
    within: [
      window('waits for outOfOrder and lateness together'),
      emit('with `final`, lateness only delays the one result'),
    ],
    beyond: [emit('with updates, the final result comes on time, and records within `lateness` give late ones')],
  },
  10: {
    title: 'Where windows lie',
    decision:
      'At the epoch plus `offset`, never at the start of the process. `calendar` windows lie in a time zone, with days of 23 and 25 hours; weeks begin on Monday.',
    within: [
      window('overlapping windows begin at multiples of `every`, also when `size` is none of them'),
      'operators/throttle.test.ts › begins its panes at the epoch, not at the first record',
    ],
    beyond: [
      'operators/window-calendar.test.ts › a week with a change of clocks has an hour more or less',
      'operators/window-calendar.test.ts › windows follow one another without gap or overlap…',
    ],
  },
  11: {
    title: 'Bounds',
    decision:
      'Windows are [start, end), `rolling` ones (t - size, t]. Joins match at a distance of at most `within`, inclusive.',
    within: [
      window('takes a record one millisecond before the end, and one at the end into the next'),
      'operators/window-rolling.test.ts › reaches back to (t - size, t]…',
    ],
    beyond: ['operators/join.test.ts › a left record at %i and a right one at %i, 10 apart at most, give %i pairs'],
  },
  12: {
    title: 'Time of a result',
    decision:
      'One millisecond before the end, so that a second window of the same size catches it. What sinks write is the `label`: the end, the start, or the time of the last record. As event time it would move results one window on.',
    within: [
      window('the result has the time end - 1 ms, so that a second window of the same size catches it'),
      'operators/influx-lines.test.ts › the result of a window carries the time that its step says, unless told otherwise',
    ],
    beyond: [window('fed back as event time, the label `end` would move the result one window on')],
  },
  13: {
    title: 'Windows without a record',
    decision: 'Give nothing. `fill` makes results of them, for keys that were seen within `fillFor`.',
    within: [
      'operators/window-fill.test.ts › give nothing, unless `fill` asks for them',
      'operators/window-fill.test.ts › previous: what the last window with a record came to, through any number of gaps',
    ],
    beyond: [
      'operators/window-fill.test.ts › are filled up to `fillFor` after the last record: one that ends a millisecond later is not',
    ],
  },
  14: {
    title: 'When results come',
    decision:
      'Once, when the window closes. `emit` asks for early results at steps of event time, or one for each change. Each names its pane and its number.',
    within: [
      emit('early results come at steps counted from the start of the window, and only when something has changed'),
    ],
    beyond: [
      emit('no early result comes together with the final one'),
      emit('a record exactly at the time of the final result is late, one a millisecond before is early'),
    ],
  },
  15: {
    title: 'Updates',
    decision:
      'A later result takes the place of the one before: same step, key and window. A sink that cannot overwrite is refused before anything runs.',
    within: [
      emit('each result in place of the one before, a table comes to what `final` gives'),
      'operators/window-topology.test.ts › updates come to a sink that overwrites, and expressions know which pane they are of',
    ],
    beyond: [
      'operators/window-topology.test.ts › updates may go to influx, to print and to Kafka with a key of their own; not…',
      mistake('58-updates-into-a-log'),
    ],
  },
  16: {
    title: 'Sessions',
    decision:
      'Two records at most `gap` apart are of one session, [first, last + gap). `max` cuts at fixed places. One that has closed is not opened again.',
    within: [
      window('two records exactly a gap apart are one session; a millisecond more makes two'),
      window('a record between two sessions makes them one'),
    ],
    beyond: [
      window('one that has closed is not opened again: what belonged to it is late, what is new enough begins another'),
      window('is cut at multiples of `max` plus `offset`, in whatever order records come'),
    ],
  },
  17: {
    title: 'Keys',
    decision:
      'Missing and null are rejected, unless `null` names a key for them. Keys compare by type and value: `1` is not `"1"`. NaN, infinities, lists and objects are no keys.',
    within: [
      'operators/key-by.test.ts › keeps keys of different types apart, and takes false, 0 and the empty text as keys',
      'operators/key-by.test.ts › gives missing and null keys, and no others, the name that `null` says',
      'src/engine/steps.test.ts › keeps the keys 1 and "1" apart, over a restart too',
    ],
    beyond: [
      'operators/key-by.test.ts › rejects a missing and a null key as missing, and what cannot be a key as invalid',
    ],
  },
  18: {
    title: 'Order',
    decision:
      'What belongs to one key stays in order through every step and sink; across keys nothing is promised. Windows that close together come by end, start, and first arrival of the key.',
    within: [
      window('windows that close at one watermark come by end, start, and first arrival of the key'),
      'src/engine/transactions.test.ts › each record and each window comes out once, and the records of a key in order',
    ],
    beyond: [
      'operators/window-properties.test.ts › does not let keys touch each other',
      'operators/kafka-sink.test.ts › every good record is stored once and in order per key, whatever fails; every bad one is refused',
    ],
  },
  19: {
    title: 'Disorder inside a partition',
    decision:
      'Steps see records as they arrive. `sort` holds them back until the watermark has passed, and gives them in order of event time.',
    within: ['operators/lag.test.ts › adds what the record so many before it said, per key and in order of arrival'],
    beyond: [
      'operators/sort.test.ts › lets a record go one ms after its time, and not at its time',
      'operators/sort.test.ts › a record at the watermark is on time, and a millisecond before it late',
    ],
  },
  20: {
    title: 'Aggregates',
    decision:
      '`first` and `last` go by event time, then by place in the source. Sums are added up in order of arrival in each partition, then partition by partition, in the order of their numbers.',
    within: [
      window('first and last go by event time, then by place in the source; false counts as a value'),
      'operators/window-aggregates.test.ts › sums are added up in order of arrival in each partition, then partition by partition',
    ],
    beyond: [
      'operators/window-aggregates.test.ts › come to the same to the last bit, however the partitions interleave',
    ],
  },
  21: {
    title: 'Replay',
    decision:
      'With `emit: final`, the same input gives the same results, byte for byte, whatever the batches. A replay merges the partitions that meet in a step by event time. An input that has an end closes its windows there, unless it is held.',
    within: [
      'src/cli/replay.test.ts › the same input gives byte for byte the same results, whatever the batches and the bounds',
      run('takes the same idle step at the same place after a crash, so that no window comes out two ways'),
      run('reads, closes windows at the end of the input, and says what it did'),
      'src/engine/merge.test.ts › meet in one order, whichever is read faster and in whatever batches',
    ],
    beyond: [
      'src/engine/run-end.test.ts › inputs that end and are held go on where they stood, and give what they had given in one run',
      'src/cli/test-command.test.ts › `end: false` leaves windows open, until the clock has moved far enough',
      'operators/lookup.test.ts › `latest` answers at once with the row that arrived last, needs no time and says that a replay may differ',
    ],
  },
  22: {
    title: 'Time in checkpoints',
    decision:
      'They hold the watermark of each partition, the steps of silence, and the timers: what was late before a restart is late after it.',
    within: [
      lateness('are late after a restart as before it: the newest time seen is kept, `outOfOrder` counts from it'),
    ],
    beyond: [
      lateness('of partitions that share event time each goes on after a restart from its own newest record'),
      'src/engine/idle-replay.test.ts › stays recorded while a checkpoint before its place is taken',
      'src/engine/partitions.test.ts › comes back with the event time it had, though checkpoints were taken without it',
    ],
  },
  23: {
    title: 'Checkpoints',
    decision:
      'Every 5 s or 1,000,000 records, when a partition leaves and at a stop. Sinks confirm what was read, then state, event time and positions of one moment are committed as one. The last three are kept; a damaged one gives way to the one before, and says so.',
    within: [
      checkpoint('is taken every 5 s unless told otherwise, and only when there is something new'),
      checkpoint('is taken after so many records, not after one less'),
      'src/engine/disk-store-fallback.test.ts › with the one before it damaged too gives way to the third, and no further',
    ],
    beyond: [
      checkpoint('that waits for a sink is given up, with nothing written, when the sink fails'),
      'src/engine/partitions.test.ts › leaves no checkpoint of half the batch, though another partition asks for one in that moment',
      'src/engine/disk-store-fallback.test.ts › is the only one there is: the store refuses, and does not begin anew',
    ],
  },
  24: {
    title: 'Who knows where to go on',
    decision:
      'The checkpoint; a consumer group is told once that is durable. Without one the run ends, unless `start` says where to begin: never silently at the earliest.',
    within: [
      kafka('the checkpoint wins over `start`'),
      kafka('a checkpoint at the edge, %i, is fine'),
      checkpoint('is committed, and told to the sources, before the next one is taken'),
    ],
    beyond: [
      kafka('without a checkpoint and without `start` the run ends, and says what to write'),
      kafka('a checkpoint at offset %i, outside of what is there, ends the run'),
    ],
  },
  25: {
    title: 'Acknowledging MQTT',
    decision:
      'A message is put into a journal on disk, made durable together with others, and then acknowledged, in order of arrival. One that cannot be stored is never acknowledged.',
    within: [
      mqtt('waits until the message is durable, and does not hold up the messages behind it'),
      mqtt('keeps the order of arrival even when a later message is durable first'),
      'src/engine/journal.test.ts › collects appends while a sync runs, and makes them durable in one more',
    ],
    beyond: [mqtt('never comes for a message that could not be stored: the run ends')],
  },
  26: {
    title: 'A slow disk under MQTT',
    decision:
      'Acknowledgements wait, pings do not, and above a bound of waiting bytes nothing more is read. Sessions last and have a fixed client id, except at QoS 0.',
    within: [
      mqtt('a stuck disk stops the acknowledgements, but not the pings'),
      mqtt('uses a lasting session under a stable id, except at QoS 0'),
    ],
    beyond: [mqtt('above the bound of pending bytes nothing more is read, and the connection lives on')],
  },
  27: {
    title: 'QoS 2',
    decision:
      'A message that comes twice is stored once; its release is confirmed also when our process was another one.',
    within: [mqtt('is acknowledged once durable, and stored once though it comes twice')],
    beyond: [mqtt('a release that outlived our process is confirmed')],
  },
  28: {
    title: 'Retained messages and duplicates',
    decision:
      '`retained` skips them, takes them, or takes them at the first start only. The DUP flag decides nothing; `dedupe` compares keys within a length of event time.',
    within: [
      mqtt('retained messages are passed over, taken, or taken at the first start only'),
      'operators/dedupe.test.ts › drops a repeat at a distance of %i ms',
    ],
    beyond: [
      mqtt('those held back are dropped with their connection, also when the next one uses the same ids'),
      'operators/dedupe.test.ts › passes a record at a distance of %i ms',
    ],
  },
  29: {
    title: 'Rebalances',
    decision:
      'A partition that leaves is written with its state first, and gives nothing more to a sink. Lost is not revoked: its work is dropped, and an owner of before is fenced.',
    within: [
      'src/engine/partitions.test.ts › is written with its state, and comes back with both',
      kafka('a lost partition is given back only when its work is done, and then read on from the checkpoint'),
    ],
    beyond: [
      'src/engine/partitions.test.ts › gives nothing more to a sink: what its open pull still brings belongs to whoever has it now',
      'src/engine/transactions.test.ts › an instance that is fenced drops its work, tells its source so, and goes on with its other partitions',
    ],
  },
  30: {
    title: 'State and partitions',
    decision:
      'Each source partition has its own state and event time. A step that works per key needs a key whose records are known to be in one partition, else the topology is refused, unless `unsafe: true` asks for groups within each partition; so it is when a step on the way gives that field another value.',
    within: [
      'src/topology/partitioned-keys.test.ts › a window over `%s` behind %j sees each key whole, or is refused: %j',
      run('gives each source partition its own event time and state'),
    ],
    beyond: [
      mistake('35-unproven-key'),
      'operators/merge.test.ts › needs a key in both streams for a step behind it that works per key',
    ],
  },
  31: {
    title: 'What a sink may promise',
    decision:
      'Exactly once in the transactions of the source, effectively once where results overwrite or the target is set back to the checkpoint (a file), at least once elsewhere. `plan` says which, and why. State is exactly once in all three.',
    within: [
      'src/cli/plan.test.ts › with the head `%s` promises of each sink what it can keep',
      'src/engine/transactions.test.ts › nothing is seen before the commit, and then output, state and position together',
    ],
    beyond: [
      mistake('63-sink-is-not-exactly-once'),
      'src/engine/sink-position.test.ts › wherever the plug is pulled, the output of %j holds each result once and what was there before',
      run(
        'gives the same results and dead letters under any crashes, each result perhaps more than once but always alike',
      ),
    ],
  },
  32: {
    title: 'When a record is done',
    decision:
      'When each branch has delivered it, sent it to where rejected ones go, or dropped it by a rule that is written. If the dead letters are refused too, the run ends.',
    within: [
      run('sends records that a sink refuses to the dead letters before the checkpoint that covers them'),
      run('drops only where `drop` is written'),
    ],
    beyond: [run('stops rather than loses a record when the dead letters are refused too')],
  },
  33: {
    title: 'Back-pressure',
    decision: 'A slow sink stops the intake; what waits between two steps, before a sink and in a source is bounded.',
    within: [run('lets a slow sink stop the intake, and never holds more than the sink may lag')],
    beyond: [
      kafka('two fetches wait at most; the partition is resumed when one has been pulled'),
      'operators/pipe.test.ts › ends the run when an operator answers later, for what comes then belongs to no record',
    ],
  },
  34: {
    title: 'Changes of a topology',
    decision:
      'State is kept under the `id` of its step. Another window or key does not fit it: the run is refused until it is said to discard it. State that a step can carry over to its new form is carried over by the first checkpoint. All else stays.',
    within: [
      'src/cli/state.test.ts › says what becomes of the state when %s changes, and a run keeps to it',
      'src/engine/migrate.test.ts › goes on as if it had always been of the new one, whenever the change comes and however often the run crashes after it',
    ],
    beyond: [
      run('refuses state that the topology no longer fits, and an input that has ended'),
      'src/engine/migrate.test.ts › that cannot be carried over for one key refuses the run and stays as it was',
    ],
  },
  35: {
    title: 'Joins',
    decision:
      'Both sides wait for each other within a length of event time; the lack of a partner is told once none can come any more. Late records of either side are late. Lookups are as of event time, or of the latest row.',
    within: [
      'operators/join.test.ts › a left record at %i and a right one at %i, 10 apart at most, give %i pairs',
      'operators/join.test.ts › the lack of a partner is told one ms after a partner could have come, and not before',
    ],
    beyond: [
      'operators/join.test.ts › a %s record at the watermark is on time, and a millisecond before it late',
      'src/cli/plan.test.ts › of a table that is looked up `asOf: %s` says whether a replay sees the same',
    ],
  },
  36: {
    title: 'The end',
    decision:
      'To stop is to take a checkpoint and leave windows open. To drain is to close them with what they hold, marked as `drained`. Event time stays where it was.',
    within: [
      'src/engine/drain-health.test.ts › closes open windows with what they hold, and says so in their pane',
      'src/engine/drain-health.test.ts › leaves event time where it was: the next start goes on, and does not take what comes for late',
    ],
    beyond: ['src/engine/drain-health.test.ts › stopping does none of this: the window goes on after the restart'],
  },
};
