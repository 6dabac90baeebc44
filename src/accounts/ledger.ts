/**
 * The usage ledger: a row for every request that has ended, written in batches aside from traffic. A store that fails
 * costs log lines and memory up to a bound, never a request.
 *
 * A row gets its uuid when it is about to be written, and keeps it when writing fails: a batch that is written again,
 * because nobody knows whether the store took it, counts once.
 */
import { messageOf } from '../wire/errors.ts';
import type { LiveRequest } from '../request/live.ts';
import type { Log } from '../log/log.ts';
import { rowOf, type NewRow, type UsageRow, type UsageStore } from './usage.ts';
import { Uuids } from './uuids.ts';
import type { Settlement } from '../request/settlement.ts';
import type { RequestObserver } from '../request/observer.ts';

/** Rows of one transaction: some milliseconds of work, and the event loop has its turn before the next. */
const batchRows = 1_000;
/** How many rows wait for a store that fails. */
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
  /** Takes keys out of a text: clients put them in wrong places, such as the name of a model. */
  mask: (text: string) => string;
  /**
   * Returns whether an engine serves a model under that name, or the upstream of that id may. Without it all names are
   * believed to be served.
   */
  isServed?: (model: string, upstream: string | undefined) => boolean;
  /** The highest uuid in the store; `undefined` if it has none. */
  latestUuid?: string | undefined;
  /** How long rows are kept; 0 for ever. */
  retentionDays: number;
  /** How long a row waits for others. */
  flushMs?: number;
}

/** Hands every request that has ended to the store. */
export class Ledger implements RequestObserver {
  readonly #options: LedgerOptions;
  readonly #flushMs: number;
  readonly #uuids: Uuids;
  #rows: NewRow[] = [];
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
    this.#uuids = new Uuids(options.epochNow, options.latestUuid);
    if (options.retentionDays > 0) this.#dropIn(0);
  }

  /** How many rows are not written yet. */
  get waiting(): number {
    return this.#rows.length;
  }

  /** Those rows; a batch that is being written is among them. */
  get waitingRows(): readonly NewRow[] {
    return this.#rows;
  }

  /**
   * Returns a uuid that parts the rows: every row that is written and no longer waits has a lower one, and every row
   * that waits or is still to come has this one or a higher one.
   */
  part(): string {
    const [oldest] = this.#rows;
    return oldest === undefined ? this.#uuids.next() : this.#uuidOf(oldest);
  }

  /** Returns the uuid of a row; rows get theirs in the order in which they came. */
  #uuidOf(row: NewRow): string {
    row.uuid ??= this.#uuids.next();
    return row.uuid;
  }

  /** For how long the oldest of them has waited, in milliseconds. */
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
    const { isServed, epochNow } = this.#options;
    const { askedModel, upstream } = record;
    const isName = askedModel === undefined || (isServed?.(askedModel, upstream) ?? true);
    this.#rows.push(rowOf(record, epochNow(), isName));
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
      const written = this.#options.store.insertUsage(batch.map((row) => this.#masked(row)));
      if (written !== undefined) await written;
    } catch (error) {
      this.#fail(error);
      return;
    }
    if (this.#isFailing) this.#recover();
    // What has come meanwhile is behind them.
    this.#rows.splice(0, batch.length);
    this.#flushIn(this.#rows.length >= batchRows ? 0 : this.#flushMs);
  }

  /** Returns a row as it may lie on a disk: clients have named some of it. */
  #masked(row: NewRow): UsageRow {
    const { mask } = this.#options;
    const { requestId, principal, user, model, servedModel } = row;
    return {
      ...row,
      uuid: this.#uuidOf(row),
      requestId: mask(requestId),
      principal: mask(principal),
      user: user && mask(user),
      model: model && mask(model),
      servedModel: servedModel && mask(servedModel),
    };
  }

  #fail(error: unknown): void {
    const { log } = this.#options;
    if (!this.#isFailing) {
      log.error(
        { reason: messageOf(error), rows: this.#rows.length },
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
      log.warn({ reason: messageOf(error) }, 'old usage cannot be deleted; next try in an hour');
      this.#dropIn(dropAgainMs);
    }
  }
}
