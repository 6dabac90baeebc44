/**
 * The accounts of a running gateway: keys of the store, what each may use, and what it has used. It carries what has
 * changed in the store into the running gateway, and decides nothing itself.
 */
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

export class Accounts {
  readonly #options: AccountsOptions;
  /** Keys whose budgets the limiter keeps. */
  #budgeted = new Set<string>();
  readonly #timers: Timer[] = [];

  constructor(options: AccountsOptions) {
    this.#options = options;
  }

  /** Takes the keys of the store, and goes on to do so when they change. */
  start(): void {
    const { limits } = this.#options;
    this.reload();
    this.#timers.push(
      setInterval(() => this.#look(), lookMs),
      setInterval(() => limits.sweep(this.#moment()), sweepMs),
    );
  }

  /** Takes the keys as they are in the store now, and ends what revoked ones have running. */
  reload(): void {
    const { store, keys, live } = this.#options;
    const issued = store.keys();
    keys.replaceIssued(issued);
    for (const request of live) {
      if (keys.isRevoked(request.caller.keyId)) request.abort('key_revoked');
    }
    const budgeted = issued.filter(({ limits }) => limits.budgets?.length).map(({ id }) => id);
    const added = new Set(budgeted).difference(this.#budgeted);
    this.#budgeted = new Set(budgeted);
    if (added.size > 0) void this.#restore(added);
  }

  /** Writes what waits, and closes the store. */
  async close(): Promise<void> {
    for (const timer of this.#timers) clearInterval(timer);
    await this.#options.ledger.close();
    this.#options.store.close();
  }

  #look(): void {
    const { store, log } = this.#options;
    try {
      if (store.hasOtherWrites()) this.reload();
    } catch (error) {
      log.error({ reason: String(error) }, 'the store cannot be read; keys stay as they are');
    }
  }

  #moment() {
    const { now, epochNow } = this.#options;
    return { ms: now(), epochMs: epochNow() };
  }

  /** Has the limiter begin with what the ledger knows these keys have spent. */
  async #restore(ids: ReadonlySet<string>): Promise<void> {
    const { store, limits, ledger } = this.#options;
    while (ledger.waiting > 0 && !ledger.isFailing) await ledger.flush();
    const at = this.#moment();
    const day = limits.calendar.periodOf('day', at.epochMs).start;
    const month = limits.calendar.periodOf('month', at.epochMs).start;
    for (const { principal, ...spent } of store.spent({ day, month })) {
      // A principal is a key, or a user of one.
      const [id = ''] = principal.split('/', 1);
      if (ids.has(id)) limits.restore(principal, spent, at);
    }
  }
}
