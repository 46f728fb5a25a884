import { type ChildProcess, spawn } from 'node:child_process';
import { closeSync, openSync, readSync } from 'node:fs';
import { endMark } from './check.ts';
import { until } from './wait.ts';

/**
 * Kafka's own console consumer, reading a topic as another client sees it: committed records only. What it prints goes to a file as
 * it is; that file is the history. Here its lines are only counted.
 */
export class ConsoleReader {
  /** Records read so far, end marks among them, and which of the records that close windows. */
  lines = 0;
  marks = 0;
  readonly closing = new Set<string>();
  readonly topic: string;
  readonly #out: number;
  readonly #in: number;
  readonly #child: ChildProcess;
  readonly #buffer = Buffer.alloc(1 << 20);
  #tail = '';
  #stopping = false;
  #errors = '';

  constructor(brokers: string, topic: string, file: string) {
    this.topic = topic;
    this.#out = openSync(file, 'w');
    this.#in = openSync(file, 'r');
    const print = ['timestamp', 'partition', 'offset', 'headers', 'key'].flatMap((what) => [
      '--formatter-property',
      `print.${what}=true`,
    ]);
    const jvm = ['-Xmx192m', '-XX:+UseSerialGC', '-Dorg.slf4j.simpleLogger.defaultLogLevel=error'];
    const tool = ['-cp', classPath(), 'org.apache.kafka.tools.consumer.ConsoleConsumer', '--bootstrap-server', brokers];
    const what = ['--topic', topic, '--group', `${topic}.reader`, '--from-beginning'];
    this.#child = spawn('java', [...jvm, ...tool, ...what, '--isolation-level', 'read_committed', ...print], {
      stdio: ['ignore', this.#out, 'pipe'],
    });
    this.#child.stderr?.on('data', (text) => {
      this.#errors = `${this.#errors}${text}`.slice(-2_000);
    });
  }

  /** Counts what has been printed since it was last asked. Throws when the reader itself has ended. */
  look(): void {
    const { exitCode, signalCode } = this.#child;
    if (!this.#stopping && (exitCode !== null || signalCode !== null))
      throw new Error(`The reader of ${this.topic} ended with ${exitCode ?? signalCode}: ${this.#errors}`);
    for (;;) {
      const length = readSync(this.#in, this.#buffer);
      if (length === 0) return;
      const text = this.#tail + this.#buffer.toString('latin1', 0, length);
      const end = text.lastIndexOf('\n') + 1;
      for (let at = text.indexOf('\n'); at !== -1; at = text.indexOf('\n', at + 1)) {
        this.lines++;
        if (text.startsWith(endMark, at - endMark.length)) this.marks++;
      }
      for (const [, key] of text.slice(0, end).matchAll(/\t(closing\d+)\t/g)) this.closing.add(key!);
      this.#tail = text.slice(end);
    }
  }

  /** Ends the reader; its file is complete then. */
  async stop(): Promise<void> {
    if (this.#stopping) return;
    this.#stopping = true;
    this.#child.kill('SIGKILL');
    await until(() => this.#child.exitCode !== null || this.#child.signalCode !== null, 10_000);
    closeSync(this.#out);
    closeSync(this.#in);
  }
}

/** Where Kafka's own tools are. */
export function classPath(): string {
  const found = process.env['KAFKA_CLASSPATH'];
  if (!found) throw new Error("KAFKA_CLASSPATH is not set: it has to hold the jars of Kafka's own tools.");
  return found;
}
