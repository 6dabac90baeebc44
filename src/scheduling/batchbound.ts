/**
 * How much of a domain batch jobs get while interactive ones wait for the same slots: a tenth of the weighted tokens. It
 * counts what each class was served and decides whose turn it is, and knows no job and no caller.
 */
import type { Priority } from '../request/caller.ts';

/** How many tokens interactive jobs get for each token of a batch, while both wait. */
const interactiveForBatch = 9;

export class BatchBound {
  /**
   * What batches may have more: tokens of interactive jobs that a batch has waited for, less what batches were served while
   * interactive jobs waited, times nine. Whole tokens stay whole here.
   */
  #credit = 0;

  /** Whether it is the turn of a batch. */
  get isDue(): boolean {
    return this.#credit > 0;
  }

  /**
   * Counts weighted tokens; a negative number corrects an estimate.
   * @param priority the class that was served
   * @param isContested whether the other class waits for the same slots
   */
  served(priority: Priority, tokens: number, isContested: boolean): void {
    if (priority === 'batch') {
      // What nobody else wanted costs nothing.
      if (isContested) this.#credit -= tokens * interactiveForBatch;
    } else {
      const credit = this.#credit + tokens;
      // Not waiting banks nothing, and what batches had too much is paid back all the same.
      this.#credit = isContested ? credit : Math.min(0, credit);
    }
  }
}
