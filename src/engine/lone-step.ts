import type { StepDefinition } from '../operator.ts';
import type { StreamRecord } from '../record.ts';
import { KeyedState } from './keyed-state.ts';
import { KeyedNode, Node, type Rejection, type Routes, type Surroundings } from './node.ts';

/** One step without a topology around it: records go in, event time is moved by hand. */
export class LoneStep implements Surroundings {
  watermark = Number.NEGATIVE_INFINITY;
  readonly keyed = new KeyedState<unknown>('state\u0000');
  readonly #node: Node;
  readonly #reject: (rejection: Rejection) => void;

  constructor(
    definition: StepDefinition,
    options: unknown,
    to: {
      id: string;
      emit(record: StreamRecord): void;
      reject(rejection: Rejection): void;
      watermark?: number;
      /** What takes the records of the streams that the options name. */
      routes?: Routes;
    },
  ) {
    this.watermark = to.watermark ?? this.watermark;
    this.#reject = to.reject;
    const step = definition.create(options as never, to.id);
    this.#node = definition.keyed ? new KeyedNode(to.id, step, this, this.keyed) : new Node(to.id, step, this);
    this.#node.next = { push: to.emit };
    if (to.routes) this.#node.routes = to.routes;
  }

  push(record: StreamRecord): void {
    this.#node.push(record);
  }

  /** Pushes a record of a stream that is a further input of the step. */
  pushInput(record: StreamRecord, stream: string): void {
    this.#node.pushInput(record, stream);
  }

  /** Moves event time on, never back: what is due fires. */
  advance(watermark: number): void {
    if (!(watermark > this.watermark)) return;
    this.watermark = watermark;
    if (this.#node instanceof KeyedNode) this.#node.advance(watermark);
  }

  onRejected(_node: Node, rejection: Rejection): void {
    this.#reject(rejection);
  }

  lateCode(): 'late' {
    return 'late';
  }
}
