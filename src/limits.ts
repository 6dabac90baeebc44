/**
 * What a caller may use: requests and tokens a minute, open requests, tokens a day or a month. Pure decisions about
 * counters in memory; time is an argument.
 */

/** An amount of tokens for a day or a calendar month. */
export interface Budget {
  tokens: number;
  per: 'day' | 'month';
}

/** What a key allows; `undefined` is no limit. */
export interface Limits {
  readonly requestsPerMinute?: number | undefined;
  readonly tokensPerMinute?: number | undefined;
  /** Open requests, queued ones included. */
  readonly concurrentRequests?: number | undefined;
  readonly budgets?: readonly Budget[] | undefined;
}
