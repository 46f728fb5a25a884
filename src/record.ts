/** What a key may be. Keys compare by type and value: `1` and `"1"` are two keys. */
export type Key = string | number | boolean;

/** Decoded payload of a record: what `JSON.parse` gives. Steps never change it in place; they make a new one. */
export type Data = unknown;

/** Where a record came from beyond its payload. One object per topic or message, shared, never changed. */
export interface Meta {
  /** MQTT or Kafka topic, or the path of a file. */
  readonly topic?: string;
  /** Header values as text. A header that stands several times keeps all of them. */
  readonly headers?: Readonly<Record<string, string | readonly string[]>>;
  /** MQTT: the broker held this message for new subscribers. */
  readonly retained?: boolean;
  /** The name that the source's routes give to the topic. */
  readonly route?: string;
}

/** The window a record is the result of: `[start, end)` in ms since the epoch. */
export interface Window {
  /** Id of the step that closed the window. */
  readonly step: string;
  readonly start: number;
  readonly end: number;
  /** The time that sinks write for the result, in ms: the chosen record's own, or the window's start or end, as the step's `label` says. */
  readonly label: number;
  /**
   * Why there is a result: `final`, the window has closed; `early`, it is still open; `late`, a late record has changed a result that was
   * final; `drained`, the input has ended before event time had come to the end of the window, which may be partial.
   */
  readonly pane: 'early' | 'final' | 'late' | 'drained';
  /** How many results of this window came before: with 1 and more, the result takes the place of the one before. */
  readonly seq: number;
}

/**
 * One event on its way through a topology. Immutable: `with…` return a new record.
 * The constructor sets every field in one order, so that all records share one hidden class.
 */
export class StreamRecord<T = Data> {
  readonly value: T;
  readonly key: Key | undefined;
  /** Event time in ms since the epoch; `NaN` when the source declares no `time`. */
  readonly time: number;
  /** Position of the input record inside its source partition, for messages and ids. */
  readonly offset: number;
  readonly meta: Meta | undefined;
  readonly window: Window | undefined;
  /** Partition chosen by a `partition` step, else `undefined`. */
  readonly partition: number | undefined;
  /** Source step and partition that the input record came from, such as `readings.mqtt/0`. */
  readonly origin: string;
  /** Which of several records made from one input this is, such as `2` or `orders.join/prices.mqtt/0/17`; else `undefined`. */
  readonly part: string | undefined;

  constructor(
    value: T,
    key: Key | undefined = undefined,
    time = Number.NaN,
    offset = 0,
    meta: Meta | undefined = undefined,
    window: Window | undefined = undefined,
    partition: number | undefined = undefined,
    origin = '',
    part: string | undefined = undefined,
  ) {
    this.value = value;
    this.key = key;
    this.time = time;
    this.offset = offset;
    this.meta = meta;
    this.window = window;
    this.partition = partition;
    this.origin = origin;
    this.part = part;
  }

  withValue<U>(value: U): StreamRecord<U> {
    return new StreamRecord(
      value,
      this.key,
      this.time,
      this.offset,
      this.meta,
      this.window,
      this.partition,
      this.origin,
      this.part,
    );
  }

  withKey(key: Key): StreamRecord<T> {
    const { value, time, offset, meta, window, origin, part } = this;
    return new StreamRecord(value, key, time, offset, meta, window, undefined, origin, part);
  }

  withMeta(meta: Meta): StreamRecord<T> {
    const { value, key, time, offset, window, partition, origin, part } = this;
    return new StreamRecord(value, key, time, offset, meta, window, partition, origin, part);
  }

  withPartition(partition: number): StreamRecord<T> {
    return new StreamRecord(
      this.value,
      this.key,
      this.time,
      this.offset,
      this.meta,
      this.window,
      partition,
      this.origin,
      this.part,
    );
  }

  /** The result of a window, the only and final one unless said otherwise: event time is `end - 1` ms, so that a second window of the same size catches it. */
  withWindow(of: Omit<Window, 'pane' | 'seq'> & Partial<Window>): StreamRecord<T> {
    const { step, start, end, label, pane = 'final', seq = 0 } = of;
    const window: Window = { step, start, end, label, pane, seq };
    return new StreamRecord(
      this.value,
      this.key,
      window.end - 1,
      this.offset,
      this.meta,
      window,
      this.partition,
      this.origin,
    );
  }

  /** One of several records made from this one. The part is added to the record's own, so that parts of parts differ too. */
  withPart(part: string): StreamRecord<T> {
    const { value, key, time, offset, meta, window, partition, origin } = this;
    const whole = this.part === undefined ? part : `${this.part}#${part}`;
    return new StreamRecord(value, key, time, offset, meta, window, partition, origin, whole);
  }
}

/**
 * The same text for the same result, after any restart and in any replay: `step/key/window start`, with `/` and its number for
 * an update, or `source/partition/offset`; with `#` and the part behind it when several records are made from one.
 */
export function recordId({ window, key, origin, offset, part }: StreamRecord): string {
  const update = window !== undefined && window.seq > 0 ? `/${window.seq}` : '';
  const whole = window ? `${window.step}/${String(key)}/${window.start}${update}` : `${origin}/${offset}`;
  return part === undefined ? whole : `${whole}#${part}`;
}
