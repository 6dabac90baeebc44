/**
 * Whether a failed request may be sent again, and how often that may happen in all, so that an outage is not
 * multiplied. It neither waits nor sends; whether a byte has reached the client already is for the caller to know.
 */
import { lastValueOf } from '../wire/json.ts';

/** `unsent` repeats what provably did not run; `resets` also what may have run and had given no byte of an answer. */
export type RetryPolicy = 'never' | 'unsent' | 'resets';

/**
 * `unreachable`: no connection was made. `loading`: the engine refused because it loads its model. `reset`: the
 * connection broke before the first byte of an answer.
 */
export type RetryFailure = 'unreachable' | 'loading' | 'reset';

/** Says whether the policy lets a request that failed so be sent again. */
export function mayRetry(policy: RetryPolicy, failure: RetryFailure): boolean {
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
export class RetryBudget {
  #tenths = capacityTenths;

  /** Takes note of a request from a client; a retry is none. */
  deposit(): void {
    this.#tenths = Math.min(this.#tenths + depositTenths, capacityTenths);
  }

  /** Takes one retry, `false` when none is left. Waiting for a model to load costs nothing: it repeats no work. */
  tryTake(failure: RetryFailure): boolean {
    if (failure === 'loading') return true;
    if (this.#tenths < retryTenths) return false;
    this.#tenths -= retryTenths;
    return true;
  }
}

/** The engine's own answer has about 80 bytes. */
const maxLoadingBytes = 1_024;

/** Says whether this is llama.cpp's 503 while it loads its model. A longer body is not read. */
export function isLoadingModel(status: number, body: Uint8Array): boolean {
  if (status !== 503 || body.length > maxLoadingBytes) return false;
  const error = lastValueOf(body, 'error');
  if (typeof error !== 'object' || error === null) return false;
  return 'message' in error && error.message === 'Loading model';
}
