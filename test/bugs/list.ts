/** A bug put into the code on purpose, and the tests that have to catch it. */
export interface SeededBug {
  readonly name: string;
  readonly file: string;
  /** Stands in the file exactly once. */
  readonly find: string;
  readonly replace: string;
  readonly caughtBy: readonly string[];
}

const simulation = ['test/simulation/simulation.test.ts'];

/** The bugs that a stream engine must not have. If one of them is not caught, a judge is asleep. */
export const bugs: readonly SeededBug[] = [
  {
    name: 'a checkpoint is committed before the sinks have confirmed',
    file: 'src/engine/checkpointer.ts',
    find: '      await this.#flush();\n',
    replace: '',
    caughtBy: simulation,
  },
  {
    name: 'the journal does not sync before it says that a record is durable',
    file: 'src/engine/journal.ts',
    find: '    await this.#file!.sync();\n',
    replace: '',
    caughtBy: simulation,
  },
  {
    name: 'a message is acknowledged before it is in the journal',
    file: 'operators/mqtt/source.ts',
    find: '    stored.then(release, () => {});\n',
    replace: '    release();\n',
    caughtBy: ['test/operators/mqtt-source.test.ts'],
  },
  {
    name: 'what a sink refuses is dropped',
    file: 'src/engine/sink-runner.ts',
    find: '        for (const { index, ...why } of refused) owners[index]!.refuse(this.id, records[index]!, why);\n',
    replace: '',
    caughtBy: ['test/src/engine/run.test.ts', 'test/src/engine/checkpointer.test.ts'],
  },
  {
    name: 'a record at the very end of a window is taken into it',
    file: 'operators/window-last/index.ts',
    find: 'const start = Math.floor(time / every) * every;',
    replace: 'const start = Math.floor((time - 1) / every) * every;',
    caughtBy: ['test/operators/window-last.test.ts'],
  },
  {
    name: 'a window is still open when the watermark has reached its end',
    file: 'operators/window/fixed.ts',
    find: 'all.filter(({ end }) => end + wait.all > step.watermark)',
    replace: 'all.filter(({ end }) => end + wait.all >= step.watermark)',
    caughtBy: ['test/operators/window.test.ts'],
  },
  {
    name: 'the watermark moves before the record that moves it is processed',
    file: 'src/engine/task.ts',
    find: `        head.push(record);
        if (record.time > partition.maxTime) {
          partition.maxTime = record.time;
          this.#moveWatermark();
        }
`,
    replace: `        if (record.time > partition.maxTime) {
          partition.maxTime = record.time;
          this.#moveWatermark();
        }
        head.push(record);
`,
    caughtBy: ['test/src/engine/steps.test.ts'],
  },
  {
    name: 'a key that changed twice between two checkpoints is not written again',
    file: 'src/engine/keyed-state.ts',
    find: '    this.#dirty.push(entry);\n',
    replace: '    if (!entry.inStore) this.#dirty.push(entry);\n',
    caughtBy: simulation,
  },
  {
    name: 'a key that is touched while a checkpoint is being written stands in it as it is then',
    file: 'src/engine/keyed-state.ts',
    find: '    if (this.#cut !== undefined) this.#write(entry);\n',
    replace: '',
    caughtBy: ['test/src/engine/keyed-state.test.ts'],
  },
  {
    name: 'timers are forgotten over a restart',
    file: 'src/engine/keyed-state.ts',
    find: '      this.timers.add(at, entry);\n      this.#order = order + 1;\n',
    replace: '      this.#order = order + 1;\n',
    caughtBy: simulation,
  },
  {
    name: 'the watermark begins anew after a restart',
    file: 'src/engine/tasks.ts',
    find: 'checkpointer.last?.watermarks[id] ?? task.watermark',
    replace: 'task.watermark',
    caughtBy: simulation,
  },
  {
    name: 'what is written while a transaction is being committed goes into that one',
    file: 'src/engine/checkpointer.ts',
    find: '      for (const runner of transactional) runner.hold();\n',
    replace: '',
    caughtBy: ['test/src/engine/transactions.test.ts'],
  },
  {
    name: 'a partition that moves away takes its uncommitted work along into the next commit',
    file: 'src/engine/unit.ts',
    find: "    this.#lost ??= new TransactionError('The partition has been given back.', false);\n",
    replace: '',
    caughtBy: ['test/src/engine/transactions.test.ts'],
  },
  {
    name: 'state of a partition that was claimed is not read',
    file: 'src/engine/tasks.ts',
    find: 'for (const { id: step, keyed } of task.keyed) keyed.restore(',
    replace: 'for (const { id: step, keyed } of task.keyed.slice(0, 0)) keyed.restore(',
    caughtBy: simulation,
  },
  {
    name: 'the keys 1 and "1" share their state in a checkpoint',
    file: 'src/engine/keyed-state.ts',
    find: '`${(typeof key)[0]}:${String(key)}`',
    replace: '`k:${String(key)}`',
    caughtBy: ['test/src/engine/steps.test.ts'],
  },
  {
    name: 'a flipped bit in a stored value is not noticed',
    file: 'src/engine/codec.ts',
    find: 'bytes.readUInt32BE(0) === crc32(bytes.subarray(4), crc32(name))',
    replace: 'true',
    caughtBy: ['test/src/engine/disk-store.test.ts'],
  },
];
