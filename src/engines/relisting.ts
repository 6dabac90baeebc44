/**
 * Reads the engines' lists of models again for requests that name a model which nobody knows: it may have come a moment
 * ago. At most one reading a second begins, whoever asks.
 */
import type { SetTimer } from '../request/timer.ts';
import { unlessAborted } from '../request/unlessaborted.ts';

export interface RelistingOptions {
  /** Reads every list; never rejects. */
  readLists(): Promise<void>;
  /** Milliseconds of a clock that never goes back. */
  now(): number;
  setTimer: SetTimer;
}

const pauseMs = 1_000;

export class Relisting {
  #beganAt = Number.NEGATIVE_INFINITY;
  /** The reading that has not begun yet. */
  #next: Promise<void> | undefined;

  constructor(private readonly options: RelistingOptions) {}

  /** Resolves when the lists have been read since the call. Throws the reason of the signal when that is aborted. */
  async read(signal: AbortSignal): Promise<void> {
    await unlessAborted((this.#next ??= this.#readSoon()), signal);
  }

  async #readSoon(): Promise<void> {
    const { readLists, now, setTimer } = this.options;
    const waitMs = Math.max(0, this.#beganAt + pauseMs - now());
    // Also without a wait: until it begins, those who ask share it.
    await (waitMs === 0 ? undefined : new Promise<void>((done) => setTimer(done, waitMs)));
    this.#next = undefined;
    this.#beganAt = now();
    await readLists();
  }
}
