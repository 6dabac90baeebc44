/**
 * The accounts of a running gateway: keys of the store, what each may use, and what it has used. It carries what has
 * changed in the store into the running gateway, and decides nothing itself.
 */
import { messageOf } from '../wire/errors.ts';
import type { Limiter } from '../stores/memory/limits.ts';
import type { Moment } from './limits.ts';
import type { LiveRequests } from '../request/inflight.ts';
import type { Log } from '../log/log.ts';
import type { Store } from '../stores/sqlite/store.ts';
import type { Ledger } from './ledger.ts';
import { spentTokens, type UsageRow } from './usage.ts';
import type { Caller } from '../request/caller.ts';
import type { KeyRing } from './keyring.ts';

export interface AccountsOptions {
  store: Store;
  keys: KeyRing;
  limits: Limiter;
  ledger: Ledger;
  live: LiveRequests;
  log: Log;
  /** Milliseconds: of a clock that never goes back, and since the epoch. */
  now: () => number;
  epochNow: () => number;
}

/** How often it is looked whether another process has changed the store: a change takes effect within a second. */
const lookMs = 500;
/** How often callers are forgotten who stand as if they had never come. */
const sweepMs = 60_000;

/** What is said of something that cannot be read. */
const complaints = {
  keys: 'the store cannot be read; keys stay as they are',
  spent: 'what keys have spent cannot be read; their budgets begin anew meanwhile',
};

export class Accounts {
  readonly #options: AccountsOptions;
  /** Keys of which the limiter counts all that they spend: from when they are known to have a budget, to the end. */
  readonly #counted = new Set<string>();
  /** Of those, the ones whose earlier spending is still to be added, with the last row of the ledger that is earlier. */
  readonly #toRestore = new Map<string, number>();
  /** Whether the store has changed since the keys were taken from it. */
  #isStale = true;
  #isRestoring = false;
  #isClosed = false;
  /** Why something cannot be read; nothing of what could be read last time. */
  readonly #complaints: { [what in keyof typeof complaints]?: string | undefined } = {};
  readonly #timers: Timer[] = [];

  constructor(options: AccountsOptions) {
    this.#options = options;
    options.ledger.onRow = (row, caller) => this.#settled(row, caller);
  }

  /** Takes the keys of the store, and goes on to do so when they change. */
  start(): void {
    const { limits } = this.#options;
    this.#look();
    this.#timers.push(
      setInterval(() => this.#look(), lookMs),
      setInterval(() => limits.sweep(this.#moment()), sweepMs),
    );
  }

  /** Takes note that the keys in the store have changed. What cannot be read now is read at the next look. */
  changed(): void {
    this.#isStale = true;
    this.#look();
  }

  /** Ends a key at once, whether or not the store can be written. */
  revoke(id: string): void {
    this.#options.keys.revoke(id);
    this.#endRevoked();
  }

  /** Takes the keys as they are in the store now, and ends what revoked ones have running. */
  #reload(): void {
    const { store, keys } = this.#options;
    const issued = store.keys();
    // Before anything is changed here, for reading can fail.
    const lastRow = store.lastRow();
    keys.replaceIssued(issued);
    this.#endRevoked();
    const isNew = (id: string) => !this.#counted.has(id);
    const budgeted = issued.filter(({ id, limits }) => limits.budgets?.length && isNew(id));
    this.#beginCounting(new Set(budgeted.map(({ id }) => id)), lastRow);
  }

  /**
   * Has the limiter count what these keys spend. Every row counts once: those that are written are read later, those
   * that wait are counted here, and all later ones as they come.
   */
  #beginCounting(ids: ReadonlySet<string>, lastRow: number): void {
    for (const id of ids) {
      this.#counted.add(id);
      this.#toRestore.set(id, lastRow);
    }
    for (const row of this.#options.ledger.waitingRows) if (ids.has(row.keyId)) this.#count(row);
  }

  /** Counts what was sent while its key had no budget; the limiter itself counts what it has admitted under one. */
  #settled(row: UsageRow, { limits }: Caller): void {
    if (this.#counted.has(row.keyId) && !limits.budgets?.length) this.#count(row);
  }

  #count(row: UsageRow): void {
    const moment = this.#moment();
    const { day, month } = this.#startsAt(moment);
    const tokens = spentTokens(row);
    const spent = { day: row.at >= day ? tokens : 0, month: row.at >= month ? tokens : 0 };
    this.#options.limits.restore(row.principal, spent, moment);
  }

  #endRevoked(): void {
    const { keys, live } = this.#options;
    for (const request of live) {
      if (keys.isRevoked(request.caller.keyId)) request.abort('key_revoked');
    }
  }

  /** Writes what waits, and closes the store. */
  async close(): Promise<void> {
    this.#isClosed = true;
    for (const timer of this.#timers) clearInterval(timer);
    await this.#options.ledger.close();
    this.#options.store.close();
  }

  #look(): void {
    const { store } = this.#options;
    try {
      if (store.hasOtherWrites()) this.#isStale = true;
      if (this.#isStale) this.#reload();
      this.#isStale = false;
      this.#complaints.keys = undefined;
    } catch (error) {
      this.#complain('keys', error);
    }
    if (this.#toRestore.size > 0 && !this.#isRestoring) void this.#restore();
  }

  /** Says once what goes on failing; again when it has recovered and fails anew. */
  #complain(what: keyof typeof complaints, error: unknown): void {
    const reason = messageOf(error);
    if (reason !== this.#complaints[what]) this.#options.log.error({ reason }, complaints[what]);
    this.#complaints[what] = reason;
  }

  #moment(): Moment {
    const { now, epochNow } = this.#options;
    return { ms: now(), epochMs: epochNow() };
  }

  /** Gives when the day and the month of a moment began, in epoch milliseconds. */
  #startsAt({ epochMs }: Moment): { day: number; month: number } {
    const { calendar } = this.#options.limits;
    return {
      day: calendar.periodOf('day', epochMs).start,
      month: calendar.periodOf('month', epochMs).start,
    };
  }

  /** Adds what the keys had spent before the limiter began to count. What fails is tried again at the next look. */
  async #restore(): Promise<void> {
    const { store, limits } = this.#options;
    this.#isRestoring = true;
    try {
      for (const [keyId, lastRow] of this.#toRestore) {
        const starts = this.#startsAt(this.#moment());
        const spent = await store.spent({ keyId, ...starts, lastRow });
        const moment = this.#moment();
        // The day has ended meanwhile: its sum is none of the next one.
        if (this.#startsAt(moment).day !== starts.day) continue;
        for (const { principal, ...sums } of spent) limits.restore(principal, sums, moment);
        this.#toRestore.delete(keyId);
      }
      this.#complaints.spent = undefined;
    } catch (error) {
      // Whoever closes the store interrupts the reading.
      if (!this.#isClosed) this.#complain('spent', error);
    }
    this.#isRestoring = false;
  }
}
