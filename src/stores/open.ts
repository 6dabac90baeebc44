/**
 * The one place that chooses where keys, usage, limits, slots and shares are kept. Everything else knows their contracts
 * alone.
 */
import type { Calendar } from '../accounts/calendar.ts';
import type { AccountStore } from '../accounts/keystore.ts';
import type { LimitStore, MaybePromise } from '../accounts/limits.ts';
import type { UsageStore } from '../accounts/usage.ts';
import type { ShareStore } from '../scheduling/sharestore.ts';
import type { SlotBroker } from '../scheduling/slotbroker.ts';
import { MemoryLimits } from './memory/limits.ts';
import { MemoryShares } from './memory/shares.ts';
import { LocalSlots } from './memory/slots.ts';
import { SqliteKeys } from './sqlite/keys.ts';
import { openDatabase, placeOf } from './sqlite/schema.ts';
import { maxRowsInMemory, SqliteUsage } from './sqlite/usage.ts';

export { backUp, restore } from './sqlite/backup.ts';
export { countIssuedKeys } from './sqlite/datadir.ts';

/** Where a command or a gateway keeps what outlives a request. */
export interface LedgerStores {
  accounts: AccountStore;
  usage: UsageStore;
  /** Where both are, for people. */
  place: string;
  /** Ends both; reports that are being made fail with `shutting_down`. */
  close(): MaybePromise<void>;
}

export interface Stores extends LedgerStores {
  limits: LimitStore;
  /** The pool closes it. */
  slots: SlotBroker;
  shares: ShareStore;
}

/**
 * Opens keys and usage: gateway.sqlite in that folder, which is made if need be.
 * @param dir `undefined` keeps everything in memory, of usage the latest rows
 * @param busyTimeoutMs how long a write waits for another process, in milliseconds; the event loop waits with it
 * @throws Error that names the file if it cannot be used
 */
export async function openLedger(
  dir: string | undefined,
  busyTimeoutMs?: number,
): Promise<LedgerStores> {
  const db = openDatabase(dir, busyTimeoutMs);
  const usage = new SqliteUsage(db, dir === undefined ? maxRowsInMemory : undefined);
  return {
    accounts: new SqliteKeys(db),
    usage,
    place: placeOf(db),
    close() {
      usage.close();
      db.close(true);
    },
  };
}

/**
 * Opens all stores of a gateway; its limits, slots and shares are in memory.
 * @param calendar says when the days and months of budgets begin
 * @throws Error as `openLedger`
 */
export async function openStores(dir: string | undefined, calendar: Calendar): Promise<Stores> {
  return {
    ...(await openLedger(dir)),
    limits: new MemoryLimits(calendar),
    slots: new LocalSlots(),
    shares: new MemoryShares(),
  };
}
