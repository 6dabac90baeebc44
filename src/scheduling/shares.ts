/**
 * What each caller was served: its virtual token counter, its units in use, and for how long an idle one is remembered.
 * It orders nobody; the lanes do.
 */

/** One caller. */
export interface Account<L> {
  readonly principal: string;
  weight: number;
  /** The tokens served to it, divided by its weight. */
  counter: number;
  /** Units in use. */
  running: number;
  waiting: number;
  /** Where its requests wait. */
  readonly lines: Set<L>;
}

/** Callers that have nothing here and whose counters are remembered. */
const maxIdleCallers = 10_000;

export class Shares<L> {
  readonly #accounts = new Map<string, Account<L>>();
  /** Those that have nothing here; the one that was seen longest ago is first. */
  readonly #idle = new Set<Account<L>>();
  #lastGranted: Account<L> | undefined;

  find(principal: string): Account<L> | undefined {
    return this.#accounts.get(principal);
  }

  /** Gives the caller's account, which is not idle from now on. */
  open(principal: string, weight: number): Account<L> {
    let account = this.#accounts.get(principal);
    if (account === undefined) {
      account = { principal, weight, counter: 0, running: 0, waiting: 0, lines: new Set() };
      this.#accounts.set(principal, account);
    }
    this.#idle.delete(account);
    account.weight = weight;
    return account;
  }

  /**
   * Lifts a caller that comes back to those that wait, so that idling banks nothing.
   * @param least the lowest counter of those that wait; Infinity where nobody does, then who was granted last counts
   */
  lift(account: Account<L>, least: number): void {
    const floor = Number.isFinite(least) ? least : (this.#lastGranted?.counter ?? 0);
    account.counter = Math.max(account.counter, floor);
  }

  take(account: Account<L>, units: number): void {
    account.running += units;
    this.#lastGranted = account;
  }

  /** Remembers a caller that has nothing here any more, and forgets who was seen longest ago. */
  settle(account: Account<L>): void {
    if (account.waiting > 0 || account.running > 0) return;
    this.#idle.delete(account);
    this.#idle.add(account);
    if (this.#idle.size <= maxIdleCallers) return;
    const [oldest] = this.#idle;
    if (oldest === undefined) return;
    this.#idle.delete(oldest);
    this.#accounts.delete(oldest.principal);
  }
}
