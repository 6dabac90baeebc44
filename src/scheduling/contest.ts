/**
 * What is counted of a domain while anything waits there: how many tokens a job takes, and how much batch jobs get beside
 * interactive ones that wait for the same slots: a tenth of the weighted tokens. It knows no job and no caller.
 */
import type { Domain } from '../engines/slots.ts';
import type { Priority } from '../request/caller.ts';

/** How many tokens interactive jobs get for each token of a batch, while both wait. */
export const interactiveForBatch = 9;
/** How much earlier jobs still count for what a job takes, after another one. */
const earlierShare = 0.95;
/** Sums of fractions differ from the truth by less. */
const slack = 1e-6;

export class Contest {
  #tokens = 0;
  #grants = 0;
  /**
   * Tokens of interactive jobs that a batch has waited for, less what batches were served while interactive jobs waited,
   * times nine.
   */
  #credit = 0;

  constructor(readonly domain: Domain) {}

  /** Weighted tokens that a job takes; 1 before that is known. Later jobs count for more. */
  get jobTokens(): number {
    return this.#grants > 0 && this.#tokens > 0 ? this.#tokens / this.#grants : 1;
  }

  /** Whether it is the turn of a batch: nine usual jobs have gone past it, and earlier batches are paid for. */
  get isBatchDue(): boolean {
    // Before the first grant nobody knows what a job takes.
    if (this.#grants === 0) return false;
    return this.#credit >= interactiveForBatch * this.jobTokens * (1 - slack);
  }

  granted(): void {
    this.#tokens *= earlierShare;
    this.#grants = this.#grants * earlierShare + 1;
  }

  /**
   * Counts weighted tokens; a negative number corrects an estimate.
   * @param priority the class that was served
   * @param isContested whether the other class waits for the same slots
   */
  served(priority: Priority, tokens: number, isContested: boolean): void {
    this.#tokens += tokens;
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
