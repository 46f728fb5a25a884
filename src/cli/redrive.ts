import { appendFile } from 'node:fs/promises';
import { catalogue } from '../../operators/index.ts';
import { type DeadLetter, payloadBytes, redrivenHeader } from '../dead-letter.ts';
import { definitionOf } from '../engine/graph.ts';
import {
  type Log,
  type OpenSink,
  RunError,
  recordId,
  type SendBack,
  type SinkDefinition,
  type SourceDefinition,
  StreamRecord,
} from '../operator.ts';
import { systemPorts } from '../ports/system.ts';
import type { Plan, PlanStep } from '../topology/plan.ts';

/** What becomes of one dead letter that is put back, for whoever watches. */
export interface RedriveLine {
  readonly source: string;
  readonly offset: number;
  readonly to: string;
  readonly bytes: number;
  readonly redriven: number;
}

export interface RedriveOptions {
  /** A file that takes the payloads, line by line, in place of where the sources read. */
  readonly to?: string;
  readonly dryRun: boolean;
  print(line: RedriveLine): void;
}

interface Target {
  readonly back: SendBack;
  readonly name: string;
  records: StreamRecord[];
}

const batchRecords = 500;
const openAtOnce = 64;
const newline = 10;

/** Puts the payloads of dead letters back to where their sources read them, through the sinks of the same systems. */
export class Redriver {
  /** Put back, refused there, and passed over, by why. */
  readonly result = { done: 0, refused: 0, skipped: {} as Record<string, number> };
  readonly #sources: ReadonlyMap<string, PlanStep>;
  readonly #plan: Plan;
  readonly #log: Log;
  readonly #options: RedriveOptions;
  readonly #targets = new Map<string, Target>();
  readonly #open = new Map<string, OpenSink>();
  readonly #life = new AbortController();
  #waiting = 0;

  constructor(plan: Plan, log: Log, options: RedriveOptions) {
    const steps = plan.streams.flatMap((stream) => stream.steps);
    this.#sources = new Map(steps.filter(({ kind }) => kind === 'source').map((step) => [step.id, step]));
    this.#plan = plan;
    this.#log = log;
    this.#options = options;
  }

  /** Gives up what is being written. */
  abort(): void {
    this.#life.abort();
  }

  /** Takes a letter; what cannot be put back as it came is passed over and counted. */
  async take(letter: DeadLetter): Promise<void> {
    const before = Number([letter.headers?.[redrivenHeader]].flat().at(-1) ?? 0);
    const redriven = (Number.isSafeInteger(before) && before > 0 ? before : 0) + 1;
    const bytes = payloadBytes(letter);
    const target = this.#targetOf(letter, bytes, redriven);
    if (typeof target === 'string') {
      this.result.skipped[target] = (this.result.skipped[target] ?? 0) + 1;
      return;
    }
    const { source, offset } = letter;
    const { to, dryRun, print } = this.#options;
    print({ source, offset, to: target?.name ?? to!, bytes: bytes.length, redriven });
    if (dryRun) this.result.done++;
    else if (target === undefined) {
      await appendFile(to!, Buffer.concat([bytes, Buffer.from([newline])]));
      this.result.done++;
    } else {
      target.records.push(recordOf(letter, bytes, redriven, this.#sourceOf(letter)));
      if (++this.#waiting >= batchRecords) await this.flush();
    }
  }

  /** Writes what waits. Rejects with a RunError when a target cannot be reached at all. */
  async flush(): Promise<void> {
    this.#waiting = 0;
    for (const target of this.#targets.values()) {
      const { records } = target;
      if (records.length === 0) continue;
      target.records = [];
      const sink = await this.#sinkOf(target);
      // A sink takes no more than it has asked for.
      const most = sink.maxRecords ?? 5_000;
      for (let from = 0; from < records.length; from += most) {
        const part = records.slice(from, from + most);
        const refused = (await sink.write(part)) ?? [];
        this.result.done += part.length - refused.length;
        this.result.refused += refused.length;
        for (const { message } of refused)
          this.#log.error('A payload was refused', { to: target.name, reason: message });
      }
    }
    this.#targets.clear();
  }

  async close(): Promise<void> {
    await Promise.all([...this.#open.values()].map((sink) => sink.close()));
    this.#open.clear();
  }

  #sourceOf({ source }: DeadLetter): PlanStep | undefined {
    const [id = ''] = source.split('/');
    return this.#sources.get(id);
  }

  // Where it goes, `undefined` for the file, or why it cannot go there.
  #targetOf(letter: DeadLetter, bytes: Buffer, redriven: number): Target | string | undefined {
    if (!letter.original) return 'the payload is what steps have made of the record, not what came in';
    if (letter.truncated) return 'only the beginning of the payload was kept';
    if (this.#options.to !== undefined)
      return bytes.includes(newline) ? 'the payload holds a newline, which a file of lines cannot hold' : undefined;
    const step = this.#sourceOf(letter);
    if (step === undefined) return `the topology has no source for \`${letter.source.slice(0, 100)}\``;
    const definition: SourceDefinition = definitionOf(catalogue, 'source', step.operator);
    if (definition.sendBack === undefined) return `\`${step.operator}\` takes nothing back; name a file with --to`;
    const back = definition.sendBack(step.options, { topic: letter.topic, redriven });
    if (back === undefined)
      return `\`${step.id}\` does not read where the record came from, or cannot be given it as it was`;
    const name = `${back.sink} ${(back.options as { topic?: string }).topic ?? ''}`.trim();
    const id = JSON.stringify([step.id, name, back.perMark ? redriven : 0]);
    const target = this.#targets.get(id) ?? { back, name, records: [] };
    this.#targets.set(id, target);
    return target;
  }

  async #sinkOf({ back, name }: Target): Promise<OpenSink> {
    const id = JSON.stringify([name, back.options]);
    const open = this.#open.get(id);
    if (open) return open;
    // A hundred thousand topics are not a hundred thousand connections.
    if (this.#open.size >= openAtOnce) await this.close();
    const definition: SinkDefinition = definitionOf(catalogue, 'sink', back.sink);
    const sink = await definition.open(back.options, {
      ports: systemPorts(),
      log: this.#log,
      topology: this.#plan.name,
      stream: 'redrive',
      id: 'redrive',
      signal: this.#life.signal,
      recordId,
      journal: () => Promise.reject(new RunError('Payloads are not put back into a journal.')),
    });
    this.#open.set(id, sink);
    return sink;
  }
}

function recordOf(letter: DeadLetter, bytes: Buffer, redriven: number, source: PlanStep | undefined): StreamRecord {
  const { key, originalKey, topic, headers, offset, time } = letter;
  const came = originalKey === undefined ? key : (originalKey ?? undefined);
  const meta = {
    ...(topic !== undefined && { topic }),
    headers: { ...headers, [redrivenHeader]: String(redriven) },
  };
  // Where event time is the message's own, it stays what it was.
  const own = (source?.options as { time?: unknown } | undefined)?.time === 'kafka' ? time : undefined;
  return new StreamRecord(bytes, came, own ?? Number.NaN, offset, meta, undefined, undefined, letter.source);
}
