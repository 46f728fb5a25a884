import { RunError } from '../errors.ts';
import type { Position } from '../operator.ts';
import type { Decode } from './decode.ts';
import type { TimeRule } from './time.ts';

/** Where one source partition stands, as a checkpoint holds it. */
export interface StoredPartition {
  readonly position?: Position;
  /** Highest event time seen, in ms; absent before the first timed record. */
  readonly maxTime?: number;
  readonly idle?: true;
  /** Up to here event time had been moved on by idleness alone: older records are late with the reason `was-idle`. */
  readonly idleUntil?: number;
  readonly lastOffset?: number;
  /** The input had an end, it has been reached, and the windows have been closed. */
  readonly ended?: true;
}

/** One source partition as its task sees it: how to read it, where it stands, how far its event time is. */
export class InputPartition {
  /** `source step/partition`. */
  readonly name: string;
  /** Id of the source's step, for routes and messages. */
  readonly source: string;
  readonly decode: Decode;
  readonly time: TimeRule | undefined;
  position: Position | undefined = undefined;
  maxTime = Number.NEGATIVE_INFINITY;
  idle = false;
  idleUntil = Number.NEGATIVE_INFINITY;
  ended = false;
  /** It has come to its end, and is treated as if it went on another time. */
  held = false;
  lastOffset = -1;
  /** Records read, and refused before the first step. */
  readonly counts = { in: 0, rejected: 0 };

  constructor(name: string, source: string, decode: Decode, time: TimeRule | undefined, stored?: StoredPartition) {
    this.name = name;
    this.source = source;
    this.decode = decode;
    this.time = time;
    if (stored) {
      this.position = stored.position;
      this.maxTime = stored.maxTime ?? this.maxTime;
      this.idle = stored.idle ?? false;
      this.idleUntil = stored.idleUntil ?? this.idleUntil;
      this.lastOffset = stored.lastOffset ?? this.lastOffset;
      this.ended = stored.ended ?? false;
    }
  }

  /** Event time up to which this partition is complete; Infinity when it holds nothing back. */
  get watermark(): number {
    if (this.ended || this.idle || this.time === undefined) return Number.POSITIVE_INFINITY;
    return this.maxTime - this.time.outOfOrderMs;
  }

  /** An error with the place in the input where it came up; one that already says enough stays as it is. */
  placed(error: unknown): unknown {
    if (!(error instanceof Error) || error instanceof RunError) return error;
    const at = `${this.name}, offset ${this.lastOffset + 1}`;
    return new RunError(`${at}: ${error.message}`, { where: this.name, cause: error });
  }

  stored(): StoredPartition {
    return {
      ...(this.position !== undefined && { position: this.position }),
      ...(Number.isFinite(this.maxTime) && { maxTime: this.maxTime }),
      ...(this.idle && { idle: true }),
      ...(Number.isFinite(this.idleUntil) && { idleUntil: this.idleUntil }),
      ...(this.lastOffset >= 0 && { lastOffset: this.lastOffset }),
      ...(this.ended && { ended: true as const }),
    };
  }
}
