/**
 * What has changed in the store reaches the running gateway, also when the store fails for a while.
 */
import { describe, expect, test } from 'bun:test';
import pino from 'pino';
import { Accounts } from '../../../src/accounts/sync.ts';
import { GatewayError } from '../../../src/wire/errors.ts';
import { issueKey, type KeyPolicy } from '../../../src/accounts/keys.ts';
import { Ledger } from '../../../src/accounts/ledger.ts';
import { Limiter } from '../../../src/stores/memory/limits.ts';
import { isUnlimited, type Reservation } from '../../../src/accounts/limits.ts';
import { LiveRequest } from '../../../src/request/live.ts';
import { LiveRequests } from '../../../src/request/inflight.ts';
import { routes, type Route } from '../../../src/wire/routes.ts';
import { Store } from '../../../src/stores/sqlite/store.ts';
import { until } from '../../support/wait.ts';
import { forSeeds } from '../../support/random.ts';
import { plainPolicy, settlement, usageRow } from '../../support/samples.ts';
import type { Budget } from '../../../src/request/caller.ts';
import { KeyRing } from '../../../src/accounts/keyring.ts';

const epoch = Date.UTC(2026, 10, 5, 13, 30);

function stage() {
  const lines: { level: number; msg: string }[] = [];
  const log = pino({ base: null }, { write: (line: string) => lines.push(JSON.parse(line)) });
  const store = Store.open(undefined);
  const options = { trusted: [], batch: [], userHeader: undefined, hintOf: () => '…' };
  const keys = new KeyRing([], options);
  const limits = new Limiter();
  const live = new LiveRequests();
  const clock = { epochMs: epoch };
  const epochNow = () => clock.epochMs;
  const mask = (text: string) => text;
  const ledger = new Ledger({ store, log, epochNow, mask, retentionDays: 0 });
  const accounts = new Accounts({ store, keys, limits, ledger, live, log, now: () => 0, epochNow });
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
  return { lines, store, keys, limits, ledger, live, accounts, add, find, clock, log };
}

/** Has a method of the store fail while the work runs. */
async function failing(
  store: Store,
  name: 'keys' | 'spent' | 'lastRow' | 'insertUsage',
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
  test('of the store are accepted once that is known to have changed', () => {
    const { accounts, add, find } = stage();
    const { key } = add();
    expect(find(key)).toBe('invalid_api_key');
    accounts.changed();
    expect(find(key)).toBe('alice');
  });

  test('that could not be read are read at the next look, and the log says so once', async () => {
    const { accounts, add, find, store, lines } = stage();
    const { key } = add();
    await failing(store, 'keys', () => {
      accounts.changed();
      accounts.changed();
    });
    expect(find(key)).toBe('invalid_api_key');
    expect(lines.filter(({ level }) => level === 50)).toHaveLength(1);
    accounts.changed();
    expect(find(key)).toBe('alice');
  });

  test('that could be read meanwhile are complained of again', async () => {
    const { accounts, store, lines } = stage();
    const fail = () => failing(store, 'keys', () => accounts.changed());
    await fail();
    accounts.changed();
    await fail();
    await fail();
    expect(lines.map(({ level, msg }) => [level, msg])).toEqual(
      Array(2).fill([50, 'the store cannot be read; keys stay as they are']),
    );
  });

  test('that are revoked end what they have running, whether or not the store could be written', () => {
    const { accounts, add, find, keys, live } = stage();
    const { key, record } = add();
    accounts.changed();
    const caller = keys.find(key, new Headers(), epoch);
    const request = new LiveRequest('id', routes[0] as Route, caller, 0);
    live.add(request);
    accounts.revoke(record.id);
    expect(request.code).toBe('key_revoked');
    // Nothing of that is in the store, and what is there does not bring it back.
    accounts.changed();
    expect(find(key)).toBe('key_revoked');
  });
});

type World = ReturnType<typeof stage>;

/** Gives other parts of the event loop their turn. */
const turn = () => new Promise<void>((resolve) => setImmediate(resolve));

/** Takes a request through its limits, as an exchange does; what is given back settles it. */
function begin({ limits, ledger, keys, clock }: World, key: string): (tokens: number) => void {
  const moment = () => ({ ms: 0, epochMs: clock.epochMs });
  const caller = keys.find(key, new Headers(), clock.epochMs);
  let reservation: Reservation | undefined;
  if (!isUnlimited(caller.limits)) {
    const asked = { principal: caller.principal, limits: caller.limits, tokens: 1 };
    const admission = limits.admit(asked, moment());
    if (!admission.isAdmitted) throw new Error(admission.code);
    reservation = admission.reservation;
  }
  return function settle(tokens) {
    if (reservation) limits.settle(reservation, tokens, moment());
    ledger.settled(settlement({ caller, promptTokens: tokens - 1, completionTokens: 1 }));
  };
}

/** Says whether a principal has spent exactly that in this day, or month, as the limiter counts. */
function hasSpent(
  { limits, clock }: Pick<World, 'limits' | 'clock'>,
  principal: string,
  per: Budget['per'],
  spent: number,
): boolean {
  const moment = { ms: 0, epochMs: clock.epochMs };
  const [isBelow, isAbove] = [spent, spent + 1].map((tokens) => {
    if (tokens === 0) return false;
    const asked = { principal, limits: { budgets: [{ tokens, per }] }, tokens: 0 };
    const admission = limits.admit(asked, moment);
    if (admission.isAdmitted) limits.settle(admission.reservation, undefined, moment);
    return admission.isAdmitted;
  });
  return !isBelow && isAbove === true;
}

describe('budgets', () => {
  const budgeted = { limits: { budgets: [{ tokens: 100, per: 'day' as const }] } };
  /** More than any test spends. */
  const wide = { limits: { budgets: [{ tokens: 1e9, per: 'month' as const }] } };

  /** Writes rows of 7 tokens each, more than are read in one go. */
  function fill({ store, clock }: World, keyId: string, count = 1_500): number {
    const row = usageRow({ keyId, principal: keyId, at: clock.epochMs });
    store.insertUsage(
      Array.from({ length: count }, () => ({ ...row, promptTokens: 6, completionTokens: 1 })),
    );
    return count * 7;
  }

  test('that cannot be restored are complained of once, though keys are read at every look', async () => {
    const { accounts, add, store, lines } = stage();
    add(budgeted);
    const look = async () => {
      accounts.changed();
      // Whatever is awaited in between is there at once.
      for (let i = 0; i < 9; i++) await Promise.resolve();
    };
    await failing(store, 'spent', async () => {
      await look();
      await look();
    });
    expect(lines).toHaveLength(1);
    expect(lines[0]?.msg).toStartWith('what keys have spent cannot be read');
    await look();
    add(budgeted);
    await failing(store, 'spent', look);
    expect(lines).toHaveLength(2);
  });

  test('begin with what the ledger knows, also when it can be read only later', async () => {
    const world = stage();
    const { accounts, add, store } = world;
    const { id } = add(budgeted).record;
    const spent = fill(world, id, 10);
    await failing(store, 'spent', async () => {
      accounts.changed();
      await turn();
    });
    expect(hasSpent(world, id, 'day', 0)).toBe(true);
    await until('what it has spent is known', () => {
      accounts.changed();
      return hasSpent(world, id, 'day', spent);
    });
  });

  test('lose nothing that is spent while the ledger is read', async () => {
    const world = stage();
    const { accounts, add } = world;
    const { key, record } = add(wide);
    const earlier = fill(world, record.id);
    accounts.changed();
    begin(world, key)(5_000);
    await world.ledger.flush();
    begin(world, key)(100);
    await until('all of it is counted', () => hasSpent(world, record.id, 'day', earlier + 5_100));
    await turn();
    accounts.changed();
    await turn();
    expect(hasSpent(world, record.id, 'day', earlier + 5_100)).toBe(true);
  });

  test('that a key gets later count what waits to be written, and what is open', async () => {
    const world = stage();
    const { accounts, add, store, ledger } = world;
    const { key, record } = add();
    accounts.changed();
    const settle = begin(world, key);
    begin(world, key)(20);
    await failing(store, 'insertUsage', async () => {
      await ledger.flush();
      store.changeKey(record.id, () => wide, 'key_changed', 'cli', epoch);
      accounts.changed();
      await turn();
    });
    expect(hasSpent(world, record.id, 'day', 20)).toBe(true);
    settle(300);
    begin(world, key)(4_000);
    await ledger.flush();
    await turn();
    expect(hasSpent(world, record.id, 'day', 4_320)).toBe(true);
  });

  test('go by the day in which the reading ends', async () => {
    const world = stage();
    const { accounts, add, clock, ledger } = world;
    const { key, record } = add(wide);
    const earlier = fill(world, record.id);
    accounts.changed();
    begin(world, key)(5);
    clock.epochMs += 24 * 3_600_000;
    await turn();
    await turn();
    begin(world, key)(11);
    await ledger.flush();
    await until('all of it is counted', () => {
      accounts.changed();
      return hasSpent(world, record.id, 'month', earlier + 16);
    });
    expect(hasSpent(world, record.id, 'day', 11)).toBe(true);
  });

  test('count every request once, whatever fails and changes meanwhile, as after a restart', async () => {
    await forSeeds(25, async (random) => {
      const world = stage();
      const { accounts, add, store, ledger, log, live, keys } = world;
      const issued = [add(), add(wide), add({ limits: { requestsPerMinute: 1e6 } })];
      const spent = new Map<string, number>();
      for (const { record } of issued) {
        spent.set(record.id, fill(world, record.id, random.below(2_500)));
      }
      accounts.changed();
      const open: [string, (tokens: number) => void][] = [];
      function end() {
        const [id, settle] = open.splice(random.below(open.length), 1)[0] ?? [];
        if (id === undefined || settle === undefined) return;
        const tokens = 1 + random.below(50);
        settle(tokens);
        spent.set(id, (spent.get(id) ?? 0) + tokens);
      }
      for (let step = 0; step < 60; step++) {
        const { key, record } = random.pick(issued);
        const act = random.below(8);
        if (act < 2) open.push([record.id, begin(world, key)]);
        else if (act < 4) end();
        else if (act === 4) await ledger.flush();
        else if (act === 5) await failing(store, 'insertUsage', () => ledger.flush());
        else if (act === 6) await turn();
        else {
          const limits = random.oneIn(3) ? { budgets: undefined } : wide.limits;
          store.changeKey(record.id, () => ({ limits }), 'key_changed', 'cli', epoch);
          const look = () => accounts.changed();
          if (random.oneIn(3)) await failing(store, random.pick(['lastRow', 'keys']), look);
          else look();
        }
      }
      for (const { record } of issued) {
        store.changeKey(record.id, () => wide, 'key_changed', 'cli', epoch);
      }
      accounts.changed();
      while (open.length > 0) end();
      const isAllCounted = (counted: Pick<World, 'limits' | 'clock'>) =>
        [...spent].every(
          ([id, tokens]) =>
            hasSpent(counted, id, 'day', tokens) && hasSpent(counted, id, 'month', tokens),
        );
      await until('all of it is counted', () => isAllCounted(world));
      await ledger.flush();
      expect(ledger.waiting).toBe(0);
      const limits = new Limiter();
      const epochNow = () => epoch;
      const again = new Ledger({ store, log, epochNow, mask: (text) => text, retentionDays: 0 });
      new Accounts({
        store,
        keys,
        limits,
        ledger: again,
        live,
        log,
        now: () => 0,
        epochNow,
      }).changed();
      await until('all of it is known again', () => isAllCounted({ limits, clock: world.clock }));
      await accounts.close();
    });
  });

  test('that are being restored when the gateway ends are no failure', async () => {
    const world = stage();
    const { accounts, add, lines } = world;
    fill(world, add(budgeted).record.id);
    accounts.changed();
    await accounts.close();
    await turn();
    await turn();
    expect(lines).toEqual([]);
  });
});
