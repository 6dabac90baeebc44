/**
 * What has changed in the store reaches the running gateway, also when the store fails for a while.
 */
import { describe, expect, test } from 'bun:test';
import pino from 'pino';
import { Accounts } from '../../src/accounts.ts';
import { GatewayError } from '../../src/errors.ts';
import { issueKey, KeyRing, type KeyPolicy } from '../../src/keys.ts';
import { Ledger } from '../../src/ledger.ts';
import { Limiter } from '../../src/limiter.ts';
import { LiveRequest, LiveRequests } from '../../src/live.ts';
import { routes, type Route } from '../../src/routes.ts';
import { Store } from '../../src/store.ts';
import { until } from '../wait.ts';
import { plainPolicy, usageRow } from './samples.ts';

const epoch = Date.UTC(2026, 10, 5, 13, 30);

function stage() {
  const lines: { level: number; msg: string }[] = [];
  const log = pino({ base: null }, { write: (line: string) => lines.push(JSON.parse(line)) });
  const store = Store.open(undefined);
  const options = { trusted: [], batch: [], userHeader: undefined, hintOf: () => '…' };
  const keys = new KeyRing([], options);
  const limits = new Limiter();
  const live = new LiveRequests();
  const epochNow = () => epoch;
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
  return { lines, store, keys, limits, live, accounts, add, find };
}

/** Has a method of the store fail while the work runs. */
async function failing(store: Store, name: 'keys' | 'spent', work: () => unknown): Promise<void> {
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

describe('budgets', () => {
  const budgeted = { limits: { budgets: [{ tokens: 100, per: 'day' as const }] } };

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
    const { accounts, add, store, limits, keys } = stage();
    const { key, record } = add(budgeted);
    const spent = { keyId: record.id, principal: record.id, at: epoch };
    store.insertUsage([usageRow({ ...spent, promptTokens: 60, completionTokens: 40 })]);
    const { principal } = { principal: record.id };
    const isSpent = () => {
      const caller = keys.find(key, new Headers(), epoch);
      const moment = { ms: 0, epochMs: epoch };
      const admission = limits.admit({ principal, limits: caller.limits, tokens: 1 }, moment);
      if (admission.isAdmitted) limits.settle(admission.reservation, undefined, moment);
      return !admission.isAdmitted && admission.code === 'budget_spent';
    };
    await failing(store, 'spent', async () => {
      accounts.changed();
      await Promise.resolve();
    });
    expect(isSpent()).toBe(false);
    await until('its budget is spent', () => {
      accounts.changed();
      return isSpent();
    });
  });
});
