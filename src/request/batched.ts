/**
 * Tells observers of ended requests in batches, aside from traffic. Log, ledger and metrics cost about half as much when
 * they hear of many requests in a row as when they hear of each between two others: 5 us less a plain request.
 */
import type { LiveRequest } from './live.ts';
import type { RequestObserver } from './observer.ts';
import type { Settlement } from './settlement.ts';

/** How long an ended request waits for others, in milliseconds. */
const gatherMs = 10;

/** Passes on at once what begins, and in batches what has ended: everything once, in the order in which it came. */
export class BatchedObserver implements RequestObserver {
  readonly #observers: readonly RequestObserver[];
  #records: Settlement[] = [];
  /** What lay under the failure of each record. */
  #causes: unknown[] = [];
  #timer: Timer | undefined;

  /** @param observers each is told of a whole batch before the next one is */
  constructor(...observers: readonly RequestObserver[]) {
    this.#observers = observers;
  }

  started(request: LiveRequest): void {
    for (const observer of this.#observers) observer.started(request);
  }

  isLong(request: LiveRequest): void {
    for (const observer of this.#observers) observer.isLong(request);
  }

  settled(record: Settlement, cause: unknown): void {
    this.#records.push(record);
    this.#causes.push(cause);
    this.#timer ??= setTimeout(() => this.flush(), gatherMs);
  }

  /** Tells what waits now: for somebody who is about to read what the observers know, and at the end. */
  flush(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    const records = this.#records;
    const causes = this.#causes;
    this.#records = [];
    this.#causes = [];
    for (const observer of this.#observers) {
      for (let i = 0; i < records.length; i++) {
        observer.settled(records[i] as Settlement, causes[i]);
      }
    }
  }
}
