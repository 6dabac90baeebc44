/**
 * Whether a failed request may be sent again, and how often that may happen in all, so that an outage is not
 * multiplied. It neither waits nor sends; whether a byte has reached the client already is for the caller to know.
 */
import type { Fleet } from './fleet.ts';
import type { Upstream } from './upstream.ts';
import type { Job } from '../request/job.ts';

/** `unsent` repeats what provably did not run; `resets` also what may have run but sent no byte of an answer. */
export type RetryPolicy = 'never' | 'unsent' | 'resets';

/**
 * `unreachable`: no connection was made. `loading`: the engine refused because it loads its model. `reset`: the
 * connection broke before the first byte of an answer.
 */
export type RetryFailure = 'unreachable' | 'loading' | 'reset';

/** Returns whether the policy lets a request that failed so be sent again. */
function isAllowed(policy: RetryPolicy, failure: RetryFailure): boolean {
  if (policy === 'never') return false;
  return failure !== 'reset' || policy === 'resets';
}

/** In tenths of a retry, which add up exactly. */
const depositTenths = 1;
const retryTenths = 10;
const capacityTenths = 100;

/**
 * A token bucket that requests fill: at most 10 retries and one more for every 10 requests. The method is that of
 * Finagle's RetryBudget.
 */
class RetryBudget {
  #tenths = capacityTenths;

  /** Counts a request from a client; a retry is none. */
  deposit(): void {
    this.#tenths = Math.min(this.#tenths + depositTenths, capacityTenths);
  }

  /** Takes one retry; returns `false` when none is left. */
  tryTake(): boolean {
    if (this.#tenths < retryTenths) return false;
    this.#tenths -= retryTenths;
    return true;
  }
}

export interface RetryOptions {
  fleet: Fleet;
  policy(): RetryPolicy;
}

/** The retries of all requests: what the policy allows, where another upstream can do it, within one budget. */
export class Retries {
  readonly #budget = new RetryBudget();
  readonly #options: RetryOptions;

  constructor(options: RetryOptions) {
    this.#options = options;
  }

  /** Counts a request from a client; not when it is sent again. */
  counted(): void {
    this.#budget.deposit();
  }

  /**
   * Returns whether a request that failed at that upstream may be sent again; a yes takes one retry of the budget. To
   * wait for a model that loads takes none: it repeats no work.
   */
  mayRetry(upstream: Upstream, failure: RetryFailure, job: Job): boolean {
    const { fleet, policy } = this.#options;
    if (!isAllowed(policy(), failure)) return false;
    if (failure === 'loading') return true;
    return fleet.hasOther(upstream, job) && this.#budget.tryTake();
  }
}
