/**
 * The ledger in SQLite: the contract, on a file and in memory; pages that leave time for traffic; what is kept in memory;
 * and the columns of a row.
 */
import { afterAll, afterEach, describe, expect, test } from 'bun:test';
import type { Database } from 'bun:sqlite';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { openLedger } from '../../../../src/stores/open.ts';
import { openDatabase } from '../../../../src/stores/sqlite/schema.ts';
import { maxRowsInMemory, SqliteUsage } from '../../../../src/stores/sqlite/usage.ts';
import type { UsageQuery } from '../../../../src/accounts/usage.ts';
import { usageContract } from '../../../contracts/usage.ts';
import { usageRow } from '../../../support/samples.ts';

const root = mkdtempSync(join(tmpdir(), 'llm-gateway-usage-'));
afterAll(() => rmSync(root, { recursive: true, force: true }));

let folders = 0;
const folder = () => join(root, String(++folders));

const databases: Database[] = [];
afterEach(() => {
  for (const db of databases.splice(0)) db.close(true);
});

/** Opens a ledger that is closed after the test. */
function open(dir?: string, maxRows?: number) {
  const db = openDatabase(dir);
  databases.push(db);
  return { store: new SqliteUsage(db, maxRows), db };
}

usageContract('SQLite on a file', () => {
  const dir = folder();
  const dbs = [openDatabase(dir)];
  return {
    store: new SqliteUsage(dbs[0] as Database),
    other() {
      const db = openDatabase(dir);
      dbs.push(db);
      return new SqliteUsage(db);
    },
    close() {
      for (const db of dbs) db.close(true);
    },
  };
});

usageContract('SQLite in memory', () => {
  const db = openDatabase(undefined);
  return { store: new SqliteUsage(db), close: () => db.close(true) };
});

const now = Date.UTC(2026, 10, 5, 13, 30);
const all: UsageQuery = { since: 0, until: now * 2, by: [] };

describe('reports', () => {
  test('are made one after the other, and one that fails does not stop the others', async () => {
    const { store } = open();
    store.insertUsage(Array.from({ length: 1_000 }, () => usageRow()));
    const gone = new AbortController();
    const done: string[] = [];
    const reports = [
      store.usage(all).then(() => done.push('first')),
      store.usage({ ...all, signal: gone.signal }).catch(() => done.push('second')),
      store.usage({ ...all, until: 1 }).then(() => done.push('third')),
    ];
    gone.abort();
    await Promise.all(reports);
    expect(done).toEqual(['first', 'second', 'third']);
  });

  test('that wait when the store is closed are not made', async () => {
    const { store } = open();
    store.insertUsage(Array.from({ length: 1_000 }, () => usageRow()));
    const reports = Promise.allSettled([store.usage(all), store.usage(all)]);
    await Promise.resolve();
    store.close();
    const reasons = (await reports).map((report) =>
      report.status === 'rejected' ? report.reason.code : report.status,
    );
    expect(reasons).toEqual(['shutting_down', 'shutting_down']);
  });

  test('leave time for traffic between pages', async () => {
    const { store } = open();
    store.insertUsage(Array.from({ length: 2_500 }, () => usageRow()));
    let turns = 0;
    setImmediate(() => turns++);
    await store.usage(all);
    expect(turns).toBe(1);
  });

  test('leave time for traffic between deletions', () => {
    const { store } = open();
    store.insertUsage(Array.from({ length: 1_050 }, () => usageRow()));
    const dropped = [1, 2, 3].map(() => store.dropUsageBefore(now + 1));
    expect(dropped).toEqual([1_000, 50, 0]);
  });
});

describe('in memory', () => {
  test('only the latest rows are kept', async () => {
    const { store } = open(undefined, 3);
    store.insertUsage(['a', 'b'].map((model) => usageRow({ model })));
    store.insertUsage(['c', 'd', 'e'].map((model) => usageRow({ model })));
    const found = await store.usage({ ...all, by: ['model'] });
    expect(found.map(({ model }) => model).sort()).toEqual(['c', 'd', 'e']);
    store.dropUsageBefore(now + 86_400_000);
    store.insertUsage([usageRow({ model: 'f' })]);
    expect((await store.usage(all))[0]?.requests).toBe(1);
  });

  test('there is a bound, and on a file there is none', async () => {
    const rows = Array.from({ length: maxRowsInMemory + 1 }, () => usageRow());
    const counts = [undefined, folder()].map(async (dir) => {
      const { usage, close } = await openLedger(dir);
      await usage.insertUsage(rows);
      const [totals] = await usage.usage(all);
      await close();
      return totals?.requests;
    });
    expect(await Promise.all(counts)).toEqual([maxRowsInMemory, maxRowsInMemory + 1]);
  });
});

test('a row has the user apart from the key, both models, and the class in which it waited', () => {
  const { store, db } = open();
  const served = { model: 'fast', servedModel: 'qwen-7b', priority: 'batch' as const };
  store.insertUsage([
    usageRow({ ...served, keyId: 'k1', principal: 'k1/eva/tom', user: 'eva/tom' }),
    usageRow({ keyId: 'k1', principal: 'k1', user: undefined, priority: undefined }),
  ]);
  const sql = 'SELECT user, model, servedModel, priority FROM usage ORDER BY id';
  expect(db.query(sql).all()).toEqual([
    { user: 'eva/tom', ...served },
    { user: null, model: 'qwen', servedModel: 'qwen-7b', priority: null },
  ]);
});
