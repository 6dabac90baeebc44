/**
 * The accounts of a running gateway: keys of the store, what each may use, and what it has used. It carries what has
 * changed in the store into the running gateway, and decides nothing itself.
 */
import { messageOf } from './errors.ts';
import type { KeyRing } from './keys.ts';
import type { Limiter } from './limiter.ts';
import type { LiveRequests } from './live.ts';
import type { Log } from './log.ts';
import type { Store } from './store.ts';
import type { Ledger } from './ledger.ts';

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
  /** Keys whose budgets the limiter keeps. */
  #budgeted = new Set<string>();
  /** Of those, the ones of which it is not known yet what they have spent. */
  readonly #toRestore = new Set<string>();
  /** Whether the store has changed since the keys were taken from it. */
  #isStale = true;
  #isRestoring = false;
  /** Why something cannot be read; nothing of what could be read last time. */
  readonly #complaints: { [what in keyof typeof complaints]?: string | undefined } = {};
  readonly #timers: Timer[] = [];

  constructor(options: AccountsOptions) {
    this.#options = options;
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
    keys.replaceIssued(issued);
    this.#endRevoked();
    const budgeted = issued.filter(({ limits }) => limits.budgets?.length).map(({ id }) => id);
    for (const id of budgeted) if (!this.#budgeted.has(id)) this.#toRestore.add(id);
    this.#budgeted = new Set(budgeted);
  }

  #endRevoked(): void {
    const { keys, live } = this.#options;
    for (const request of live) {
      if (keys.isRevoked(request.caller.keyId)) request.abort('key_revoked');
    }
  }

  /** Writes what waits, and closes the store. */
  async close(): Promise<void> {
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

  #moment() {
    const { now, epochNow } = this.#options;
    return { ms: now(), epochMs: epochNow() };
  }

  /** Has the limiter begin with what the ledger knows the keys have spent. What fails is tried again at the next look. */
  async #restore(): Promise<void> {
    const { store, limits, ledger } = this.#options;
    this.#isRestoring = true;
    try {
      while (ledger.waiting > 0 && !ledger.isFailing) await ledger.flush();
      const ids = [...this.#toRestore];
      const { epochMs } = this.#moment();
      const day = limits.calendar.periodOf('day', epochMs).start;
      const month = limits.calendar.periodOf('month', epochMs).start;
      for (const { principal, ...spent } of await store.spent(ids, { day, month })) {
        limits.restore(principal, spent, this.#moment());
      }
      for (const id of ids) this.#toRestore.delete(id);
      this.#complaints.spent = undefined;
    } catch (error) {
      this.#complain('spent', error);
    }
    this.#isRestoring = false;
  }
}
