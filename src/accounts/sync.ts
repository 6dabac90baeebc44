/**
 * The accounts of a running gateway: the keys in the store, what each may use, and what it has used. It carries what has
 * changed in the stores into the running gateway, and decides nothing itself.
 */
import { messageOf } from '../wire/errors.ts';
import type { Calendar } from './calendar.ts';
import type { IssuedKey } from './keys.ts';
import type { AccountStore } from './keystore.ts';
import type { LimitStore, Moment, Spent } from './limits.ts';
import type { LiveRequests } from '../request/inflight.ts';
import type { Log } from '../log/log.ts';
import type { Ledger } from './ledger.ts';
import { rowOf, spentTokens, type NewRow, type UsageStore } from './usage.ts';
import type { BatchedObserver } from '../request/batched.ts';
import type { RequestObserver } from '../request/observer.ts';
import type { Settlement } from '../request/settlement.ts';
import type { KeyRing } from './keyring.ts';

export interface AccountSyncOptions {
  accounts: AccountStore;
  usage: UsageStore;
  limits: LimitStore;
  keys: KeyRing;
  ledger: Ledger;
  /** Tells the ledger, among others, what has ended. */
  batched: Pick<BatchedObserver, 'flush'>;
  live: LiveRequests;
  log: Log;
  /** Says when the days and months of budgets begin. */
  calendar: Calendar;
  /** Milliseconds: of a clock that never goes back, and since the epoch. */
  now: () => number;
  epochNow: () => number;
}

/** How long after a failure a store is tried again. */
const retryMs = 500;
/** How often callers are forgotten who stand as if they had never come. */
const sweepMs = 60_000;

/** What the log says of a store that fails. */
const complaints = {
  keys: 'the store cannot be read; keys stay as they are',
  spent: 'what keys have spent cannot be read; their budgets begin anew meanwhile',
  limits: 'the store of limits fails; some of what was used is not counted',
};

export class AccountSync implements RequestObserver {
  readonly #options: AccountSyncOptions;
  /** Keys of which all that they spend is counted: from when they are known to have a budget, to the end. */
  readonly #counted = new Set<string>();
  /** Of those, the keys whose earlier spending is still to be added, with the uuid before which a row is earlier. */
  readonly #toRestore = new Map<string, string>();
  /** Whether the keys in the store may differ from those that are accepted. */
  #isStale = true;
  #readings: Promise<void> = Promise.resolve();
  #isRestoring = false;
  #isClosed = false;
  #unwatch: (() => void) | undefined;
  /** Why a store fails; nothing of one that answered last time. */
  readonly #complaints: { [what in keyof typeof complaints]?: string | undefined } = {};
  readonly #timers: Timer[] = [];

  constructor(options: AccountSyncOptions) {
    this.#options = options;
  }

  /** Accepts the keys of the store, and follows their changes from now on. Never rejects. */
  async start(): Promise<void> {
    this.#unwatch = this.#options.accounts.watch(() => void this.changed());
    this.#timers.push(
      setInterval(() => void this.#catchUp(), retryMs),
      setInterval(() => void this.#sweep(), sweepMs),
    );
    await this.#catchUp();
  }

  /** Takes note that the keys in the store have changed. If they cannot be read, they are read later. Never rejects. */
  async changed(): Promise<void> {
    this.#isStale = true;
    await this.#catchUp();
  }

  /** Ends a key at once, whether or not the store can be written. */
  revoke(id: string): void {
    this.#options.keys.revoke(id);
    this.#endRevoked();
  }

  /** Writes what waits. The stores stay open. */
  async close(): Promise<void> {
    this.#isClosed = true;
    this.#unwatch?.();
    for (const timer of this.#timers) clearInterval(timer);
    this.#options.batched.flush();
    await this.#options.ledger.close();
  }

  /** Reads what has changed; one reading after the other, so that an older answer never replaces a newer one. */
  #catchUp(): Promise<void> {
    this.#readings = this.#readings.then(() => this.#read());
    return this.#readings;
  }

  async #read(): Promise<void> {
    if (this.#isClosed) return;
    if (this.#isStale) await this.#readKeys();
    if (this.#toRestore.size > 0 && !this.#isRestoring) void this.#restore();
  }

  async #readKeys(): Promise<void> {
    this.#isStale = false;
    try {
      this.#accept(await this.#options.accounts.keys());
      this.#complaints.keys = undefined;
    } catch (error) {
      this.#isStale = true;
      this.#complain('keys', error);
    }
  }

  /** Accepts these keys of the store and no others, and ends what revoked ones have running. */
  #accept(issued: readonly IssuedKey[]): void {
    this.#options.keys.replaceIssued(issued);
    this.#endRevoked();
    const isNew = (id: string) => !this.#counted.has(id);
    const budgeted = issued.filter(({ id, limits }) => limits.budgets?.length && isNew(id));
    if (budgeted.length > 0) this.#beginCounting(new Set(budgeted.map(({ id }) => id)));
  }

  /**
   * Has all counted that these keys spend. Every row counts once: those that are written are read later, those that wait
   * are counted here, and all later ones as they come. Nothing is awaited in here, so that no row changes sides.
   */
  #beginCounting(ids: ReadonlySet<string>): void {
    const { ledger, batched } = this.#options;
    batched.flush();
    const before = ledger.part();
    for (const id of ids) {
      this.#counted.add(id);
      this.#toRestore.set(id, before);
    }
    for (const row of ledger.waitingRows) if (ids.has(row.keyId)) void this.#count(row);
  }

  started(): void {}

  isLong(): void {}

  /** Counts what was sent while its key had no budget; the store of limits counts what it has admitted under one. */
  settled(record: Settlement): void {
    const { keyId, limits } = record.caller;
    if (this.#counted.size === 0 || !this.#counted.has(keyId) || limits.budgets?.length) return;
    void this.#count(rowOf(record, this.#options.epochNow()));
  }

  async #count(row: NewRow): Promise<void> {
    const moment = this.#moment();
    const { day, month } = this.#startsAt(moment);
    const tokens = spentTokens(row);
    const spent: Spent = {
      principal: row.principal,
      day: row.at >= day ? tokens : 0,
      month: row.at >= month ? tokens : 0,
    };
    await this.#tellLimits((limits) => limits.count(spent, moment));
  }

  async #sweep(): Promise<void> {
    await this.#tellLimits((limits) => limits.sweep(this.#moment()));
  }

  /** Tells the store of limits something; a failure goes to the log. */
  async #tellLimits(tell: (limits: LimitStore) => void | Promise<void>): Promise<void> {
    try {
      await tell(this.#options.limits);
      this.#complaints.limits = undefined;
    } catch (error) {
      this.#complain('limits', error);
    }
  }

  #endRevoked(): void {
    const { keys, live } = this.#options;
    for (const request of live) {
      if (keys.isRevoked(request.caller.keyId)) request.abort('key_revoked');
    }
  }

  /** Logs a failure once while it goes on; again when it has gone and comes back. */
  #complain(what: keyof typeof complaints, error: unknown): void {
    const reason = messageOf(error);
    if (reason !== this.#complaints[what]) this.#options.log.error({ reason }, complaints[what]);
    this.#complaints[what] = reason;
  }

  #moment(): Moment {
    const { now, epochNow } = this.#options;
    return { ms: now(), epochMs: epochNow() };
  }

  /** Returns when the day and the month of a moment began, in epoch milliseconds. */
  #startsAt({ epochMs }: Moment): { day: number; month: number } {
    const { calendar } = this.#options;
    return {
      day: calendar.periodOf('day', epochMs).start,
      month: calendar.periodOf('month', epochMs).start,
    };
  }

  /** Adds what keys had spent before it was counted here. What fails is tried again later. */
  async #restore(): Promise<void> {
    const { usage, limits } = this.#options;
    this.#isRestoring = true;
    try {
      for (const [keyId, before] of this.#toRestore) {
        const starts = this.#startsAt(this.#moment());
        const spent = await usage.spent({ keyId, ...starts, before });
        const moment = this.#moment();
        // The day has ended meanwhile: its sum is none of the next one.
        if (this.#startsAt(moment).day !== starts.day) continue;
        await limits.restore(spent, moment);
        this.#toRestore.delete(keyId);
      }
      this.#complaints.spent = undefined;
    } catch (error) {
      // Closing the stores interrupts the reading.
      if (!this.#isClosed) this.#complain('spent', error);
    }
    this.#isRestoring = false;
  }
}
