/**
 * Who sends a request, and what its key allows.
 */

export type Priority = 'interactive' | 'batch';

export type PeriodName = 'day' | 'month';

/** An amount of tokens for a day or a calendar month. */
export interface Budget {
  tokens: number;
  per: PeriodName;
}

/** What a key allows, in whole numbers above 0; `undefined` is no limit. */
export interface Limits {
  readonly requestsPerMinute?: number | undefined;
  readonly tokensPerMinute?: number | undefined;
  /** Open requests, queued ones included. */
  readonly concurrentRequests?: number | undefined;
  readonly budgets?: readonly Budget[] | undefined;
}

/** Who sent a request, and who is served. */
export interface Caller {
  /** Names the key in logs and records; derived from its digest. */
  keyId: string;
  /** Who is served: the key itself, or the user whom a trusted key names. Queues, limits and counters go by this. */
  principal: string;
  /** The end of the key, for people: `sk-…4f2a`. */
  hint: string;
  /** The caller's share of the engines' time, relative to others of the same class. */
  weight: number;
  /** The best class that its requests can have. */
  priority: Priority;
  /** What people call the key; its hint where nobody has named it. */
  name: string;
  limits: Limits;
  /** Names of the models that it may use; `undefined` for all. */
  models: readonly string[] | undefined;
}
