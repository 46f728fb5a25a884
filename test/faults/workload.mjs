/**
 * A process with every kind of state on disk: takes lines into a journal, counts them in windows by key, takes a checkpoint after
 * every 500 records, and ends with its input. Started again in the same folder, it goes on. `node workload.mjs <folder>`; with
 * `--serve` it takes folders from its input, one on a line, and tells how each of them ended.
 * `DIE_AT`: kills itself after so many records. `FILL_AT`: fills the disk then, and frees it when that has been noticed.
 */
import { appendFileSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as delay } from 'node:timers/promises';
import { fileSink } from '../../dist/operators/file/index.js';
import { keyBy } from '../../dist/operators/key-by/index.js';
import { window } from '../../dist/operators/window/index.js';
import { openDiskStore } from '../../dist/src/engine/disk-store.js';
import { openJournal } from '../../dist/src/engine/journal.js';
import { Run } from '../../dist/src/engine/run.js';
import { defineSource, Type } from '../../dist/src/operator.js';
import { systemPorts } from '../../dist/src/ports/system.js';
import { createBuilder } from '../../dist/src/topology/builder.js';

const at = (name) => Number(process.env[name] ?? Number.POSITIVE_INFINITY);
const [dieAt, fillAt] = [at('DIE_AT'), at('FILL_AT')];

/** The lines of a folder as a source. */
function linesOf(input, trouble) {
  return defineSource({
    name: 'lines',
    summary: 'Puts lines into its journal, as if they came from a network, and reads them from there.',
    options: Type.Object({}),
    examples: [],
    times: [],
    async open(_options, context) {
      const journal = await context.journal(context.id);
      let next = context.position('0') ?? 0;
      const partition = {
        id: '0',
        caughtUp: false,
        async pull() {
          if (next >= input.length) return null;
          if (next >= dieAt) process.kill(process.pid, 'SIGKILL');
          if (next >= fillAt) trouble.begin();
          const batch = await journal.read(next, { records: 250, bytes: 1 << 20 }, context.signal);
          next = batch?.next ?? next;
          trouble.read = next;
          return (
            batch && { length: batch.length, next: batch.next, read: (index, into) => void batch.read(index, into) }
          );
        },
      };
      context.assign(partition);
      context.complete();
      void fill(journal, input).catch((error) => context.fail(error));
      return {
        committed: (positions) => journal.trim(positions.get('0')),
        close: () => journal.close(),
      };
    },
  });
}

// Whoever sends waits for the acknowledgement before it sends more.
async function fill(journal, input) {
  for (let from = journal.end; from < input.length; from += 125) {
    const some = input.slice(from, from + 125);
    await Promise.all(some.map((line) => journal.append({ topic: 't', payload: Buffer.from(line), arrival: 2e12 })));
  }
}

/** A disk that is full for a while. */
class Trouble {
  read = 0;
  freed;
  readWhileFull;
  #ballast;
  #begun = false;

  constructor(state) {
    this.#ballast = join(state, 'ballast');
  }

  begin() {
    if (this.#begun) return;
    this.#begun = true;
    for (const size of [1 << 16, 1 << 12, 1]) {
      try {
        for (;;) appendFileSync(this.#ballast, Buffer.alloc(size));
      } catch (error) {
        if (error.code !== 'ENOSPC') throw error;
      }
    }
  }

  /** What goes on while the disk is full, and how long it takes to go on when it is not. */
  async watch() {
    // Whatever was in hand is worked off first.
    await delay(2_000);
    const before = this.read;
    await delay(1_500);
    this.readWhileFull = this.read - before;
    rmSync(this.#ballast);
    this.freed = Date.now();
  }
}

function topologyOf(lines, folder) {
  const builder = createBuilder({ sources: { lines }, steps: { keyBy, window }, sinks: { file: fileSink } });
  return builder
    .topology('faults')
    .stream('readings')
    .from(builder.lines({ time: { field: 'ts', unit: 'ms', outOfOrder: '5s' } }))
    .keyBy('id')
    .window(
      {
        tumbling: '10s',
        aggregate: { n: 'count', from: { min: 'ts' }, to: { max: 'ts' }, total: { sum: 'value' } },
        keep: ['id'],
      },
      { id: 'counts' },
    )
    .file({ path: join(folder, 'out.jsonl') })
    .plan();
}

/** Works in a folder to the end of its input. Throws what ended it otherwise. */
async function work(folder, say) {
  const state = join(folder, 'state');
  const trouble = new Trouble(state);
  let resumedMs;
  const tell = (level, message) => {
    say(`${level}: ${message}`);
    if (level === 'error' && /full/.test(message) && trouble.watching === undefined) trouble.watching = trouble.watch();
    if (/room again/.test(message)) resumedMs ??= Date.now() - trouble.freed;
  };
  const log = Object.fromEntries(
    ['debug', 'info', 'warn', 'error'].map((level) => [level, (message) => tell(level, message)]),
  );
  const lines = linesOf(readFileSync(join(folder, 'input.jsonl'), 'utf8').trimEnd().split('\n'), trouble);
  const ports = systemPorts();
  const store = openDiskStore(state, { log, foldBytes: 4_000 });
  try {
    const run = await Run.start({
      plan: topologyOf(lines, folder),
      topologyHash: 'h',
      catalogue: [lines, keyBy, window, fileSink],
      ports,
      log,
      store,
      openJournal: (name) => {
        const options = { log, clock: ports.clock, trimsKept: 2, segmentBytes: 24 * 1024 };
        return openJournal(ports.disk, join(state, 'journal', name), options);
      },
      checkpointMs: 1e9,
      checkpointRecords: 500,
    });
    await run.done;
  } finally {
    await store.close();
  }
  if (fillAt < Number.POSITIVE_INFINITY) say(JSON.stringify({ readWhileFull: trouble.readWhileFull, resumedMs }));
}

/** 0 when it came to the end, 1 when it said why not, 70 for anything else. */
async function ended(folder, say) {
  try {
    await work(folder, say);
    return 0;
  } catch (error) {
    say(`${error.name}: ${error.message}`);
    return error.name === 'RunError' ? 1 : 70;
  }
}

if (process.argv[2] === '--serve') {
  for await (const folder of createInterface({ input: process.stdin })) {
    const said = [];
    const code = await ended(folder, (line) => said.push(line));
    process.stdout.write(`${JSON.stringify({ code, signal: null, said: said.join('\n') })}\n`);
  }
} else process.exitCode = await ended(process.argv[2], (line) => process.stderr.write(`${line}\n`));
