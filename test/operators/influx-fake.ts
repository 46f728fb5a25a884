import type { Clock, Ports } from '../../src/operator.ts';
import { memoryPorts, seededRandom } from '../../src/ports/memory.ts';
import { settle } from './connector-contexts.ts';

/** A stored point: one field of a series at a time in ns. */
export interface Stored {
  readonly time: bigint;
  readonly measurement: string;
  readonly tags: Readonly<Record<string, string>>;
  readonly field: string;
  readonly type: string;
  readonly text: string;
}

const iso = (time: bigint) =>
  `${new Date(Number(time / 1_000_000_000n) * 1000).toISOString().slice(0, 19)}.${String(time % 1_000_000_000n).padStart(9, '0')}Z`;
const nanos = (text: string) => {
  const [, second, fraction = ''] = /^(.*?)(?:\.(\d+))?Z$/.exec(text)!;
  return BigInt(Date.parse(`${second}Z`)) * 1_000_000n + BigInt(fraction.padEnd(9, '0'));
};

/** A server of InfluxDB 2 that holds points by bucket and answers the queries of the source, with a clock on which waiting takes no time. */
export class FakeInflux {
  readonly buckets = new Map<string, Stored[]>();
  /** Called before each answer; what it gives is answered instead. */
  trouble: (flux: string) => Response | Error | undefined = () => undefined;
  /** Called with each wait. */
  onWait: (ms: number) => void = () => {};
  readonly queries: string[] = [];
  readonly authorizations = new Set<string | undefined>();
  now = Date.UTC(2026, 0, 2);
  readonly ports: Ports;
  /** The most bytes that were taken of one answer. */
  mostTaken = 0;

  constructor() {
    const clock: Clock = {
      now: () => this.now,
      sleep: async (ms, signal) => {
        // The watch over an answer: answers come at once here.
        if (ms === 77_000) return new Promise((resolve) => signal!.addEventListener('abort', () => resolve()));
        this.onWait(ms);
        await settle();
        if (!signal?.aborted) this.now += ms;
      },
    };
    this.ports = {
      ...memoryPorts(),
      clock,
      random: seededRandom(1),
      network: {
        connect: () => {
          throw new Error('not here');
        },
        fetch: async (_url, init) => {
          const { query } = JSON.parse(init.body as string) as { query: string };
          this.authorizations.add((init.headers as Record<string, string>)['authorization']);
          this.queries.push(query);
          const instead = this.trouble(query);
          if (instead instanceof Error) throw instead;
          return instead ?? this.#answer(query);
        },
      },
    };
  }

  put(bucket: string, ...points: Stored[]): void {
    this.buckets.set(bucket, [...(this.buckets.get(bucket) ?? []), ...points]);
  }

  #answer(query: string): Response {
    const name = JSON.parse(/from\(bucket: (".*?")\)/.exec(query)![1]!) as string;
    const points = this.buckets.get(name);
    if (!points) return new Response(JSON.stringify({ message: 'could not find bucket' }), { status: 404 });
    const [, start, stop] = /start: ([^,]+), stop: ([^)]+)\)/.exec(query) ?? [];
    if (start === undefined) return new Response('\r\n', { status: 200 });
    const from = nanos(start);
    const to = nanos(stop!);
    const only = [...query.matchAll(/_measurement == "(.*?)"/g)].map((match) => match[1]);
    const found = points.filter(
      ({ time, measurement }) => time >= from && time < to && (only.length === 0 || only.includes(measurement)),
    );
    if (query.includes('first()')) return new Response(first(found), { status: 200 });
    return new Response(this.#stream(found), { status: 200 });
  }

  // In chunks of odd lengths, so that lines are cut anywhere.
  #stream(points: readonly Stored[]): ReadableStream<Uint8Array> {
    const bytes = Buffer.from(tables(points));
    let at = 0;
    return new ReadableStream({
      pull: (controller) => {
        if (at >= bytes.length) return controller.close();
        controller.enqueue(bytes.subarray(at, at + 97));
        at += 97;
        this.mostTaken = Math.max(this.mostTaken, at);
      },
    });
  }
}

function first(points: readonly Stored[]): string {
  if (points.length === 0) return '\r\n';
  const time = points.reduce((least, point) => (point.time < least ? point.time : least), points[0]!.time);
  return `#datatype,string,long,dateTime:RFC3339\r\n#group,false,false,false\r\n#default,_result,,\r\n,result,table,_time\r\n,,0,${iso(time)}\r\n\r\n`;
}

const quoted = (text: string) => (/[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);

/** Each field of a series is a table, as behind `from`. */
function tables(points: readonly Stored[]): string {
  const all = new Map<string, Stored[]>();
  for (const point of points) {
    const id = JSON.stringify([point.field, point.type, point.measurement, point.tags]);
    all.set(id, [...(all.get(id) ?? []), point]);
  }
  let header = '';
  let text = '';
  let table = 0;
  for (const id of [...all.keys()].sort()) {
    const of = all.get(id)!;
    const { tags, type } = of[0]!;
    const names = Object.keys(tags);
    const types = ['string', 'long', 'dateTime:RFC3339', type, 'string', 'string', ...names.map(() => 'string')];
    const next = [
      `#datatype,${types.join(',')}`,
      `#group,false,false,false,false,true,true${names.map(() => ',true').join('')}`,
      `#default,_result,,,,,${names.map(() => ',').join('')}`,
      `,result,table,_time,_value,_field,_measurement${names.map((name) => `,${name}`).join('')}\r\n`,
    ].join('\r\n');
    // Tables with the same columns share a header.
    if (next !== header) text += `${header === '' ? '' : '\r\n'}${next}`;
    header = next;
    for (const { time, text: value, field, measurement } of of) {
      text += `,,${table},${iso(time)},${[value, field, measurement, ...Object.values(tags)].map(quoted).join(',')}\r\n`;
    }
    table++;
  }
  return `${text}\r\n`;
}
