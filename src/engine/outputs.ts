import { type Observable, Subject } from 'rxjs';
import type { StreamRecord } from '../record.ts';

/** The ends of a run's streams, for whoever watches them, whichever task the records come from. */
export class Outputs {
  readonly #subjects = new Map<string, Subject<readonly StreamRecord[]>>();

  /** Where the records at the end of a stream are handed over, in batches. */
  of(stream: string): Subject<readonly StreamRecord[]> {
    let subject = this.#subjects.get(stream);
    if (subject === undefined) {
      subject = new Subject();
      this.#subjects.set(stream, subject);
    }
    return subject;
  }

  /** The same, to read only. */
  watch(stream: string): Observable<readonly StreamRecord[]> {
    return this.of(stream).asObservable();
  }

  /** Nothing more comes. */
  complete(): void {
    for (const subject of this.#subjects.values()) subject.complete();
  }
}
