/**
 * Changes of the store reach the running gateway, also when the store fails for a while.
 */
import { describe, expect, test } from 'bun:test';
import pino from 'pino';
import { AccountSync } from '../../../src/accounts/sync.ts';
import { GatewayError } from '../../../src/wire/errors.ts';
import { issueKey, type KeyPolicy } from '../../../src/accounts/keys.ts';
import { KeyRing } from '../../../src/accounts/keyring.ts';
import type { KeyChange, KeyEdit } from '../../../src/accounts/keystore.ts';
import { Ledger } from '../../../src/accounts/ledger.ts';
import { MemoryLimits } from '../../../src/stores/memory/limits.ts';
import { Calendar } from '../../../src/accounts/calendar.ts';
import { LateLimits } from '../../contracts/latelimits.ts';
import { isUnlimited, type LimitStore, type Reservation } from '../../../src/accounts/limits.ts';
import { LiveRequest } from '../../../src/request/live.ts';
import { BatchedObserver } from '../../../src/request/batched.ts';
import { observedBy } from '../../../src/request/observer.ts';
import { LiveRequests } from '../../../src/request/inflight.ts';
import { routes, type Route } from '../../../src/wire/routes.ts';
import { SqliteKeys } from '../../../src/stores/sqlite/keys.ts';
import { openDatabase } from '../../../src/stores/sqlite/schema.ts';
import { SqliteUsage } from '../../../src/stores/sqlite/usage.ts';
import { until } from '../../support/wait.ts';
import { forSeeds } from '../../support/random.ts';
import { plainPolicy, settlement, usageRow } from '../../support/samples.ts';
import type { SpentQuery, UsageQuery, UsageRow, UsageStore } from '../../../src/accounts/usage.ts';
import { Uuids } from '../../../src/accounts/uuids.ts';
import type { Budget } from '../../../src/request/caller.ts';

const epoch = Date.UTC(2026, 10, 5, 13, 30);
/** For rows from before the start of the gateway. */
const earlier = new Uuids(() => epoch - 60_000);

interface Wrappers {
  limits?: (limits: MemoryLimits) => LimitStore;
  usage?: (usage: SqliteUsage) => UsageStore;
}

/** @param wrap returns the stores to use, made from those of the test */
function stage(wrap: Wrappers = {}) {
  const lines: { level: number; msg: string }[] = [];
  const log = pino({ base: null }, { write: (line: string) => lines.push(JSON.parse(line)) });
  const db = openDatabase(undefined);
  const store = new SqliteKeys(db);
  const file = new SqliteUsage(db);
  const usage: UsageStore = wrap.usage?.(file) ?? file;
  const options = { trusted: [], batch: [], userHeader: undefined, hintOf: () => '…' };
  const keys = new KeyRing([], options);
  const calendar = new Calendar();
  const memory = new MemoryLimits(calendar);
  const limits: LimitStore = wrap.limits?.(memory) ?? memory;
  const live = new LiveRequests();
  const clock = { epochMs: epoch };
  const epochNow = () => clock.epochMs;
  const mask = (text: string) => text;
  const ledger = new Ledger({ store: usage, log, epochNow, mask, retentionDays: 0 });
  const batched = new BatchedObserver(ledger);
  const of = { accounts: store, usage, limits, keys, ledger, batched, live, log, calendar };
  const accounts = new AccountSync({ ...of, now: () => 0, epochNow });
  const add = (more: Partial<KeyPolicy> = {}) => {
    const issued = issueKey({ ...plainPolicy, ...more }, epoch);
    store.addKey(issued.record, 'cli');
    return issued;
  };
  const find = (key: string) => {
    try {
      return keys.find(key, new Headers(), epoch).name;
    } catch (error) {
      if (error instanceof GatewayError) return error.code;
      throw error;
    }
  };
  return {
    lines,
    db,
    store,
    usage,
    file,
    keys,
    limits,
    ledger,
    batched,
    live,
    accounts,
    add,
    find,
    clock,
    log,
    calendar,
  };
}

/** Lets a method of a store fail while the work runs. */
async function failing<T extends object>(
  store: T,
  name: keyof T & string,
  work: () => unknown,
): Promise<void> {
  const fail = () => {
    throw new Error('the disk is gone');
  };
  Object.defineProperty(store, name, { value: fail, configurable: true });
  await work();
  Reflect.deleteProperty(store, name);
}

describe('keys', () => {
  test('of the store are accepted once that is known to have changed', async () => {
    const { accounts, add, find } = stage();
    const { key } = add();
    expect(find(key)).toBe('invalid_api_key');
    await accounts.changed();
    expect(find(key)).toBe('alice');
  });

  test('that could not be read are read at the next look, and the log says so once', async () => {
    const { accounts, add, find, store, lines } = stage();
    const { key } = add();
    await failing(store, 'keys', async () => {
      await accounts.changed();
      await accounts.changed();
    });
    expect(find(key)).toBe('invalid_api_key');
    expect(lines.filter(({ level }) => level === 50)).toHaveLength(1);
    await accounts.changed();
    expect(find(key)).toBe('alice');
  });

  test('that could be read meanwhile are reported again', async () => {
    const { accounts, store, lines } = stage();
    const fail = () => failing(store, 'keys', () => accounts.changed());
    await fail();
    await accounts.changed();
    await fail();
    await fail();
    expect(lines.map(({ level, msg }) => [level, msg])).toEqual(
      Array(2).fill([50, 'the store cannot be read; keys stay as they are']),
    );
  });

  test('that are revoked end what they have running, whether or not the store could be written', async () => {
    const { accounts, add, find, keys, live } = stage();
    const { key, record } = add();
    await accounts.changed();
    const caller = keys.find(key, new Headers(), epoch);
    const request = new LiveRequest('id', routes[0] as Route, caller, 0);
    live.add(request);
    accounts.revoke(record.id);
    expect(request.code).toBe('key_revoked');
    // The store has no revocation, and reading it does not bring the key back.
    await accounts.changed();
    expect(find(key)).toBe('key_revoked');
  });
});

type World = ReturnType<typeof stage>;

function edit(id: string, change: KeyChange): KeyEdit {
  return { id, changeOf: () => change, action: 'key_changed', actor: 'cli', at: epoch };
}

/** Lets the rest of the event loop run. */
const turn = () => new Promise<void>((resolve) => setImmediate(resolve));

/** Takes a request through its limits, as an exchange does; what is returned settles it. */
async function begin(
  { limits, accounts, batched, keys, clock }: World,
  key: string,
): Promise<(tokens: number) => Promise<void>> {
  const moment = () => ({ ms: 0, epochMs: clock.epochMs });
  const caller = keys.find(key, new Headers(), clock.epochMs);
  let reservation: Reservation | undefined;
  if (!isUnlimited(caller.limits)) {
    const demand = { ...asked, principal: caller.principal, limits: caller.limits };
    const decision = await limits.admit(demand, moment());
    if (!decision.isAdmitted) throw new Error(decision.code);
    reservation = decision.reservation;
  }
  return async function settle(tokens) {
    const settling = reservation && limits.settle(reservation, tokens, moment());
    const record = settlement({ caller, promptTokens: tokens - 1, completionTokens: 1 });
    observedBy(accounts, batched).settled(record, undefined);
    await settling;
  };
}

/** Takes a request from its beginning to its end. */
async function spend(world: World, key: string, tokens: number): Promise<void> {
  const settle = await begin(world, key);
  await settle(tokens);
}

/** What a request asks of its limits, without the caller. */
const asked = { promptTokens: 0, maxAnswerTokens: undefined, answers: 0 };

/** Returns whether a principal has spent exactly that in this day, or month, as the limits count. */
async function hasSpent(
  { limits, clock }: Pick<World, 'limits' | 'clock'>,
  principal: string,
  per: Budget['per'],
  spent: number,
): Promise<boolean> {
  const moment = { ms: 0, epochMs: clock.epochMs };
  async function isWithin(tokens: number): Promise<boolean> {
    if (tokens === 0) return false;
    const demand = { ...asked, principal, limits: { budgets: [{ tokens, per }] } };
    const decision = await limits.admit(demand, moment);
    if (decision.isAdmitted) await limits.settle(decision.reservation, undefined, moment);
    return decision.isAdmitted;
  }
  return !(await isWithin(spent)) && (await isWithin(spent + 1));
}

describe('budgets', () => {
  const budgeted = { limits: { budgets: [{ tokens: 100, per: 'day' as const }] } };
  /** More than any test spends. */
  const wide = { limits: { budgets: [{ tokens: 1e9, per: 'month' as const }] } };

  /** Writes rows of 7 tokens each, more than are read in one go. */
  function fill({ file, clock }: World, keyId: string, count = 1_500): number {
    const row = {
      keyId,
      principal: keyId,
      at: clock.epochMs,
      promptTokens: 6,
      completionTokens: 1,
    };
    file.insertUsage(
      Array.from({ length: count }, () => usageRow({ ...row, uuid: earlier.next() })),
    );
    return count * 7;
  }

  test('that cannot be restored are reported once, though keys are read at every look', async () => {
    const { accounts, add, usage, lines } = stage();
    add(budgeted);
    const look = async () => {
      await accounts.changed();
      await turn();
    };
    await failing(usage, 'spent', async () => {
      await look();
      await look();
    });
    expect(lines).toHaveLength(1);
    expect(lines[0]?.msg).toStartWith('what keys have spent cannot be read');
    await look();
    add(budgeted);
    await failing(usage, 'spent', look);
    expect(lines).toHaveLength(2);
  });

  test('begin with what the ledger knows, also when it can be read only later', async () => {
    const world = stage();
    const { accounts, add, usage } = world;
    const { id } = add(budgeted).record;
    const spent = fill(world, id, 10);
    await failing(usage, 'spent', async () => {
      await accounts.changed();
      await turn();
    });
    expect(await hasSpent(world, id, 'day', 0)).toBe(true);
    await until('what it has spent is known', async () => {
      await accounts.changed();
      return await hasSpent(world, id, 'day', spent);
    });
  });

  test('lose nothing that is spent while the ledger is read', async () => {
    const world = stage();
    const { accounts, add } = world;
    const { key, record } = add(wide);
    const earlier = fill(world, record.id);
    await accounts.changed();
    await spend(world, key, 5_000);
    await world.ledger.flush();
    await spend(world, key, 100);
    const isAll = () => hasSpent(world, record.id, 'day', earlier + 5_100);
    await until('all of it is counted', isAll);
    await turn();
    await accounts.changed();
    await turn();
    expect(await isAll()).toBe(true);
  });

  test('that a key gets later count what waits to be written, and what is open', async () => {
    const world = stage();
    const { accounts, add, store, usage, ledger } = world;
    const { key, record } = add();
    await accounts.changed();
    const settle = await begin(world, key);
    await spend(world, key, 20);
    await failing(usage, 'insertUsage', async () => {
      await ledger.flush();
      store.changeKey(edit(record.id, wide));
      await accounts.changed();
      await turn();
    });
    expect(await hasSpent(world, record.id, 'day', 20)).toBe(true);
    await settle(300);
    await spend(world, key, 4_000);
    await ledger.flush();
    await turn();
    expect(await hasSpent(world, record.id, 'day', 4_320)).toBe(true);
  });

  test('go by the day in which the reading ends', async () => {
    const world = stage();
    const { accounts, add, clock, ledger } = world;
    const { key, record } = add(wide);
    const earlier = fill(world, record.id);
    await accounts.changed();
    await spend(world, key, 5);
    clock.epochMs += 24 * 3_600_000;
    await turn();
    await turn();
    await spend(world, key, 11);
    await ledger.flush();
    await until('all of it is counted', async () => {
      await accounts.changed();
      return await hasSpent(world, record.id, 'month', earlier + 16);
    });
    expect(await hasSpent(world, record.id, 'day', 11)).toBe(true);
  });

  const worlds: { stores: string; wrap: Wrappers }[] = [
    { stores: 'that answer at once', wrap: {} },
    {
      stores: 'that answer late',
      wrap: { limits: (limits) => new LateLimits(limits), usage: (usage) => new LateUsage(usage) },
    },
  ];
  test.each(worlds)(
    'count every request once with stores $stores, whatever fails and changes meanwhile, as after a restart',
    async ({ wrap }) => {
      await forSeeds(25, async (random) => {
        const world = stage(wrap);
        const { accounts, add, store, usage, ledger, batched, log, live, keys, calendar } = world;
        const issued = [add(), add(wide), add({ limits: { requestsPerMinute: 1e6 } })];
        const spent = new Map<string, number>();
        for (const { record } of issued) {
          spent.set(record.id, fill(world, record.id, random.below(2_500)));
        }
        await accounts.changed();
        const open: [string, (tokens: number) => Promise<void>][] = [];
        async function end() {
          const [id, settle] = open.splice(random.below(open.length), 1)[0] ?? [];
          if (id === undefined || settle === undefined) return;
          const tokens = 1 + random.below(50);
          spent.set(id, (spent.get(id) ?? 0) + tokens);
          await settle(tokens);
        }
        // Slow calls go on while other events happen.
        const pending: Promise<void>[] = [];
        for (let step = 0; step < 60; step++) {
          const { key, record } = random.pick(issued);
          const act = random.below(8);
          if (act < 2) open.push([record.id, await begin(world, key)]);
          else if (act < 4) pending.push(end());
          else if (act === 4) pending.push(ledger.flush());
          else if (act === 5) await failing(usage, 'insertUsage', () => ledger.flush());
          else if (act === 6) await turn();
          else {
            const limits = random.oneIn(3) ? { budgets: undefined } : wide.limits;
            store.changeKey(edit(record.id, { limits }));
            const look = () => accounts.changed();
            if (random.oneIn(3)) await failing(store, 'keys', look);
            else pending.push(look());
          }
        }
        for (const { record } of issued) store.changeKey(edit(record.id, wide));
        pending.push(accounts.changed());
        while (open.length > 0) await end();
        await Promise.all(pending);
        async function isAllCounted(counted: Pick<World, 'limits' | 'clock'>): Promise<boolean> {
          for (const [id, tokens] of spent) {
            if (!(await hasSpent(counted, id, 'day', tokens))) return false;
            if (!(await hasSpent(counted, id, 'month', tokens))) return false;
          }
          return true;
        }
        await until('all of it is counted', async () => {
          await accounts.changed();
          return await isAllCounted(world);
        });
        batched.flush();
        while (ledger.waiting > 0) await ledger.flush();
        const limits = new MemoryLimits(calendar);
        const epochNow = () => epoch;
        const mask = (text: string) => text;
        const latestUuid = await usage.latestUuid();
        const options = { store: usage, log, epochNow, mask, retentionDays: 0, latestUuid };
        const of = { accounts: store, usage, limits, keys, live, log, calendar };
        const ledgerAgain = new Ledger(options);
        const again = new AccountSync({
          ...of,
          ledger: ledgerAgain,
          batched: new BatchedObserver(ledgerAgain),
          now: () => 0,
          epochNow,
        });
        await again.changed();
        await until('all of it is known again', () => isAllCounted({ limits, clock: world.clock }));
        await accounts.close();
        world.db.close(true);
      });
    },
  );

  test('that are being restored when the gateway ends are no failure', async () => {
    const world = stage();
    const { accounts, add, file, lines, db } = world;
    fill(world, add(budgeted).record.id);
    await accounts.changed();
    await accounts.close();
    file.close();
    db.close(true);
    await turn();
    await turn();
    expect(lines).toEqual([]);
  });

  test('that cannot be counted are reported once, and counted again as soon as possible', async () => {
    const away = new Set<string>();
    const world = stage({ limits: (memory) => new LateLimits(memory, (call) => away.has(call)) });
    const { accounts, add, store, lines } = world;
    const { key, record } = add();
    await accounts.changed();
    const [first, second, third] = [
      await begin(world, key),
      await begin(world, key),
      await begin(world, key),
    ];
    store.changeKey(edit(record.id, wide));
    await accounts.changed();
    await until('it is restored', () => hasSpent(world, record.id, 'day', 0));
    away.add('count');
    await first(5);
    await second(7);
    await until('the log says so', () => lines.length > 0);
    away.clear();
    await third(11);
    await until('it is counted', () => hasSpent(world, record.id, 'day', 11));
    expect(lines.map(({ msg }) => msg)).toEqual([
      'the store of limits fails; some of what was used is not counted',
    ]);
  });
});

/** A store that is slow, and that writes also rows for which it reports a failure. */
class LateUsage implements UsageStore {
  #writes = 0;

  constructor(private readonly inner: SqliteUsage) {}

  async insertUsage(rows: readonly UsageRow[]): Promise<void> {
    await turn();
    this.inner.insertUsage(rows);
    await turn();
    if (++this.#writes % 3 === 0) throw new Error('no answer');
  }

  async usage(query: UsageQuery) {
    return await this.inner.usage(query);
  }

  async spent(query: SpentQuery) {
    await turn();
    return await this.inner.spent(query);
  }

  async latestUuid() {
    await turn();
    return this.inner.latestUuid();
  }

  async dropUsageBefore(at: number) {
    return this.inner.dropUsageBefore(at);
  }
}
