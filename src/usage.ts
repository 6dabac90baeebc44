/**
 * The usage ledger: one row for every request that has ended, written in batches aside from traffic. A store that fails
 * costs log lines and memory up to a bound, never a request.
 */
import type { LiveRequest, Outcome, RequestObserver, Settlement, Tokens } from './live.ts';
import type { Log } from './log.ts';

/** One request that has ended. Times in milliseconds, to a tenth. */
export interface UsageRow {
  /** When it ended, in epoch milliseconds. */
  at: number;
  /** Can be the client's choice, so two rows can have the same. */
  requestId: string;
  keyId: string;
  principal: string;
  keyName: string;
  route: string;
  model: string | undefined;
  upstream: string | undefined;
  status: number;
  code: string | undefined;
  outcome: Outcome;
  stream: boolean;
  queuedMs: number;
  /** From the engine having the request to its first byte; only of streams that an engine has answered well. */
  firstTokenMs: number | undefined;
  engineMs: number;
  totalMs: number;
  promptTokens: number | undefined;
  cachedTokens: number | undefined;
  completionTokens: number | undefined;
  tokensAre: 'exact' | 'estimated' | undefined;
  isCacheHit: boolean;
}

/** What totals can be grouped by; days, hours and minutes are those of UTC. */
export const usageColumns = [
  'key',
  'principal',
  'model',
  'upstream',
  'route',
  'code',
  'day',
  'hour',
  'minute',
] as const;

export type UsageColumn = (typeof usageColumns)[number];

/** Which rows to add up: those with `since` <= at < `until`, in epoch milliseconds. */
export interface UsageQuery {
  since: number;
  until: number;
  /** None gives one group of everything. */
  by: readonly UsageColumn[];
  /** The rows of this key alone. */
  keyId?: string | undefined;
}

/** Beyond this many groups, those whose last request is the oldest are left out. */
export const maxGroups = 10_000;

/** Sums of a group. Tokens are those that engines have worked for: hits of the response cache add none. */
export interface UsageFigures {
  requests: number;
  failed: number;
  cancelled: number;
  cacheHits: number;
  promptTokens: number;
  cachedTokens: number;
  completionTokens: number;
  /** Requests whose tokens are estimated. */
  estimated: number;
  engineSeconds: number;
  /** Percentiles by nearest rank; `null` where there is nothing to rank. */
  firstTokenMsP50: number | null;
  firstTokenMsP95: number | null;
  queuedMsP50: number | null;
  queuedMsP95: number | null;
}

/**
 * One group: the columns asked for, and its sums. `key` is the public id, beside it `name` as of its latest request;
 * `day` is `2026-11-05`, `hour` and `minute` are `2026-11-05T13:00Z`; `null` where a request had no such thing.
 */
export type UsageTotals = { [column in UsageColumn | 'name']?: string | null } & UsageFigures;

/** Tokens that count for a principal's budgets: prompt and completion, without hits of the response cache. */
export interface Spent {
  principal: string;
  /** Since the beginning of the day. */
  day: number;
  /** Since the beginning of the month. */
  month: number;
}

type Awaitable<T> = T | Promise<T>;

/** Where the ledger is kept: here, or in a database that gateways share. */
export interface UsageStore {
  /** All of them or none; throws, or rejects, when it cannot. It does not wait long: the caller tries again. */
  insertUsage(rows: readonly UsageRow[]): Awaitable<void>;
  /** In the order of time where that is a column, and then most tokens first. */
  usage(query: UsageQuery): Awaitable<UsageTotals[]>;
  /** @param since the beginnings of the day and of the month, in epoch milliseconds */
  spent(since: { day: number; month: number }): Awaitable<Spent[]>;
  /** Deletes some of the rows before that time and gives how many; 0 says that none is left. */
  dropUsageBefore(at: number): Awaitable<number>;
}

/** The client names the model, at whatever length. */
const maxTextLength = 200;
/** No request has more; a sum over any number of rows stays exact. */
const maxTokens = 1e9;

function countOf(tokens: number | undefined): number | undefined {
  const isCount = Number.isInteger(tokens) && tokens !== undefined;
  return isCount && tokens >= 0 && tokens <= maxTokens ? tokens : undefined;
}

function tenths(milliseconds: number): number {
  return Math.max(0, Math.round(milliseconds * 10) / 10);
}

/** Pure: gives the row of a request. Whatever a client or an engine has sent, a store can keep it. */
export function rowOf(record: Settlement, at: number): UsageRow {
  const { caller, stream, status, firstByteMs, isCacheHit } = record;
  const isAnswer = stream && status < 400 && !isCacheHit && firstByteMs !== undefined;
  const tokens: { [name in keyof Tokens]-?: number | undefined } = {
    promptTokens: countOf(record.promptTokens),
    cachedTokens: countOf(record.cachedTokens),
    completionTokens: countOf(record.completionTokens),
  };
  return {
    at: Math.round(at),
    requestId: record.requestId,
    keyId: caller.keyId,
    principal: caller.principal,
    keyName: caller.name.slice(0, maxTextLength),
    route: record.route,
    model: record.model?.slice(0, maxTextLength),
    upstream: record.upstream,
    status,
    code: record.code,
    outcome: record.outcome,
    stream,
    queuedMs: tenths(record.queuedMs),
    firstTokenMs: isAnswer ? tenths(firstByteMs) : undefined,
    engineMs: tenths(record.engineMs),
    totalMs: tenths(record.totalMs),
    ...tokens,
    tokensAre: record.tokensAre,
    isCacheHit,
  };
}

/** Rows of one transaction: some milliseconds of work, and the event loop has its turn before the next. */
const batchRows = 1_000;
/** Rows that wait for a store that fails. */
export const maxWaitingRows = 100_000;
/** How long after a failure the store is tried again. */
const retryMs = 1_000;
/** How often a failing store is tried at the end, and how far apart. */
const lastTries = 5;
const lastTryMs = 100;

const dayMs = 86_400_000;
const dropAgainMs = 3_600_000;
/** Between two deletions of some rows, so that traffic comes first. */
const dropPauseMs = 50;

export interface LedgerOptions {
  store: UsageStore;
  log: Log;
  /** Epoch milliseconds. */
  epochNow: () => number;
  /** How long rows are kept; 0 for ever. */
  retentionDays: number;
  /** How long a row waits for others. */
  flushMs?: number;
}

/** Gives every request that has ended to the store. */
export class Ledger implements RequestObserver {
  readonly #options: LedgerOptions;
  readonly #flushMs: number;
  #rows: UsageRow[] = [];
  #writing: Promise<void> | undefined;
  #isFailing = false;
  /** Rows lost since the store began to fail. */
  #lost = 0;
  #isClosed = false;
  #flushTimer: Timer | undefined;
  #dropTimer: Timer | undefined;

  constructor(options: LedgerOptions) {
    this.#options = options;
    this.#flushMs = options.flushMs ?? 500;
    if (options.retentionDays > 0) this.#dropIn(0);
  }

  /** Rows that are not written yet. */
  get waiting(): number {
    return this.#rows.length;
  }

  /** For how long the oldest of them has waited. */
  get lagMs(): number {
    const [oldest] = this.#rows;
    return oldest === undefined ? 0 : Math.max(0, this.#options.epochNow() - oldest.at);
  }

  /** Whether the store has refused the latest batch. */
  get isFailing(): boolean {
    return this.#isFailing;
  }

  started(_request: LiveRequest): void {}

  isLong(_request: LiveRequest): void {}

  settled(record: Settlement): void {
    this.#rows.push(rowOf(record, this.#options.epochNow()));
    this.#flushIn(this.#isFailing ? retryMs : this.#flushMs);
  }

  /** Writes one batch of what waits. Never rejects. */
  async flush(): Promise<void> {
    clearTimeout(this.#flushTimer);
    this.#flushTimer = undefined;
    this.#writing ??= this.#write().finally(() => {
      this.#writing = undefined;
    });
    await this.#writing;
  }

  /** Writes all that waits; what a failing store does not take in half a second is lost. The store stays open. */
  async close(): Promise<void> {
    this.#isClosed = true;
    clearTimeout(this.#dropTimer);
    for (let tries = 0; this.#rows.length > 0 && tries < lastTries;) {
      if (this.#isFailing && tries > 0) await Bun.sleep(lastTryMs);
      await this.flush();
      if (this.#isFailing) tries++;
    }
    clearTimeout(this.#flushTimer);
    const rows = this.#rows.length;
    if (rows > 0) this.#options.log.error({ rows }, 'usage is lost: the ledger cannot be written');
  }

  #flushIn(milliseconds: number): void {
    if (this.#rows.length === 0) return;
    this.#flushTimer ??= setTimeout(() => void this.flush(), milliseconds).unref();
  }

  async #write(): Promise<void> {
    const batch = this.#rows.slice(0, batchRows);
    if (batch.length === 0) return;
    try {
      await this.#options.store.insertUsage(batch);
    } catch (error) {
      this.#fail(error);
      return;
    }
    if (this.#isFailing) this.#recover();
    // What has come meanwhile is behind them.
    this.#rows.splice(0, batch.length);
    this.#flushIn(this.#rows.length >= batchRows ? 0 : this.#flushMs);
  }

  #fail(error: unknown): void {
    const { log } = this.#options;
    if (!this.#isFailing) {
      log.error(
        { reason: reasonOf(error), rows: this.#rows.length },
        'the usage ledger cannot be written; its rows wait in memory',
      );
    }
    this.#isFailing = true;
    const excess = this.#rows.length - maxWaitingRows;
    if (excess > 0) {
      if (this.#lost === 0) log.warn({ rows: excess }, 'too much usage waits: the oldest is lost');
      this.#lost += excess;
      this.#rows.splice(0, excess);
    }
    this.#flushIn(retryMs);
  }

  #recover(): void {
    const { log } = this.#options;
    log.info(
      { rows: this.#rows.length },
      'the usage ledger is written again, rows that waited too',
    );
    if (this.#lost > 0)
      log.warn({ rows: this.#lost }, 'usage was lost while it could not be written');
    this.#isFailing = false;
    this.#lost = 0;
  }

  #dropIn(milliseconds: number): void {
    if (this.#isClosed) return;
    this.#dropTimer = setTimeout(() => void this.#drop(), milliseconds).unref();
  }

  async #drop(): Promise<void> {
    const { store, log, epochNow, retentionDays } = this.#options;
    try {
      const dropped = await store.dropUsageBefore(epochNow() - retentionDays * dayMs);
      this.#dropIn(dropped > 0 ? dropPauseMs : dropAgainMs);
    } catch (error) {
      log.warn({ reason: reasonOf(error) }, 'old usage cannot be deleted; next try in an hour');
      this.#dropIn(dropAgainMs);
    }
  }
}

function reasonOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
