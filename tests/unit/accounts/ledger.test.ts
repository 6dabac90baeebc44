/**
 * The ledger: one row a request, written in batches, kept while the store fails and through a kill. The stores here are
 * in memory or on real files.
 */
import { afterAll, afterEach, describe, expect, test } from 'bun:test';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import pino from 'pino';
import { openDatabase } from '../../../src/stores/sqlite/schema.ts';
import { SqliteUsage } from '../../../src/stores/sqlite/usage.ts';
import { Ledger, maxWaitingRows, type LedgerOptions } from '../../../src/accounts/ledger.ts';
import type { UsageRow, UsageStore } from '../../../src/accounts/usage.ts';
import { until } from '../../support/wait.ts';
import { settlement } from '../../support/samples.ts';

const root = mkdtempSync(join(tmpdir(), 'llm-gateway-usage-'));
afterAll(() => rmSync(root, { recursive: true, force: true }));

const now = Date.UTC(2026, 10, 5, 13, 30);
const dayMs = 86_400_000;
/** So long that no timer fires unless a test wants it. */
const neverMs = 2 ** 30;

/** A store that keeps rows in an array and fails while it is told to. */
class FakeStore implements UsageStore {
  rows: UsageRow[] = [];
  batches: number[] = [];
  failure: Error | undefined;
  dropped: number[] = [];
  old = 0;

  insertUsage(rows: readonly UsageRow[]): void | Promise<void> {
    if (this.failure !== undefined) throw this.failure;
    this.batches.push(rows.length);
    this.rows.push(...rows);
  }

  usage() {
    return [];
  }

  latestUuid() {
    return this.rows.at(-1)?.uuid;
  }

  spent() {
    return [];
  }

  dropUsageBefore(at: number): number {
    if (this.failure !== undefined) throw this.failure;
    this.dropped.push(at);
    const dropped = Math.min(this.old, 10);
    this.old -= dropped;
    return dropped;
  }
}

const ledgers: Ledger[] = [];
afterEach(async () => {
  for (const ledger of ledgers.splice(0)) await ledger.close();
});

/** A ledger of that store, with the lines that it has logged. */
function ledgerOf(store: UsageStore, options: Partial<LedgerOptions> = {}) {
  const lines: { level: number; msg: string; rows?: number; reason?: string }[] = [];
  const log = pino({ base: null }, { write: (line: string) => lines.push(JSON.parse(line)) });
  const ledger = new Ledger({
    store,
    log,
    epochNow: () => now,
    mask: (text) => text.replaceAll('sk-secret', '***'),
    retentionDays: 0,
    flushMs: neverMs,
    ...options,
  });
  ledgers.push(ledger);
  return { ledger, lines, levels: () => lines.map(({ level }) => pino.levels.labels[level]) };
}

const countIn = (store: SqliteUsage) =>
  store.usage({ since: 0, until: now * 2, by: [] }).then(([all]) => all?.requests);

describe('a ledger', () => {
  test('writes nothing while requests end, and all of it in one go a little later', async () => {
    const store = new FakeStore();
    const { ledger } = ledgerOf(store, { flushMs: 1 });
    for (const requestId of ['a', 'b', 'c']) ledger.settled(settlement({ requestId }));
    expect(store.rows).toEqual([]);
    expect(ledger.waiting).toBe(3);
    await until('the batch is written', () => ledger.waiting === 0);
    expect(store.batches).toEqual([3]);
    expect(store.rows.map(({ requestId }) => requestId)).toEqual(['a', 'b', 'c']);
    ledger.settled(settlement({ requestId: 'd' }));
    await until('the next is written', () => store.rows.length === 4);
  });

  test('bounds a batch, and goes on with the rest', async () => {
    const store = new FakeStore();
    const { ledger } = ledgerOf(store);
    for (let row = 0; row < 2_500; row++) ledger.settled(settlement());
    await ledger.flush();
    await until('the full batches are written', () => store.batches.length === 2);
    await ledger.close();
    expect(store.batches).toEqual([1_000, 1_000, 500]);
  });

  test('has a row at once, and keeps it until the store has it', async () => {
    const store = new FakeStore();
    const { ledger } = ledgerOf(store);
    const record = settlement();
    ledger.settled(record);
    const [row] = ledger.waitingRows;
    expect(row?.requestId).toBe(record.requestId);
    store.failure = new Error('full');
    await ledger.flush();
    expect(ledger.waitingRows).toHaveLength(1);
    store.failure = undefined;
    const flushing = ledger.flush();
    // At every moment the row is in the ledger or in the store.
    expect([ledger.waitingRows.length, store.rows.length]).toEqual([0, 1]);
    await flushing;
  });

  test('says for how long its oldest row waits', async () => {
    let at = now;
    const { ledger } = ledgerOf(new FakeStore(), { epochNow: () => at });
    expect(ledger.lagMs).toBe(0);
    ledger.settled(settlement());
    at += 300;
    ledger.settled(settlement());
    expect(ledger.lagMs).toBe(300);
    at -= 1_000;
    expect(ledger.lagMs).toBe(0);
    await ledger.flush();
    expect(ledger.lagMs).toBe(0);
  });

  test('writes each row once when the store takes its time and rows come meanwhile', async () => {
    const store = new FakeStore();
    const gate = Promise.withResolvers<void>();
    store.insertUsage = async (rows) => {
      await gate.promise;
      store.rows.push(...rows);
    };
    const { ledger } = ledgerOf(store);
    ledger.settled(settlement({ requestId: 'a' }));
    const [first, second] = [ledger.flush(), ledger.flush()];
    ledger.settled(settlement({ requestId: 'b' }));
    gate.resolve();
    await Promise.all([first, second]);
    expect(ledger.waiting).toBe(1);
    await ledger.close();
    expect(store.rows.map(({ requestId }) => requestId)).toEqual(['a', 'b']);
  });

  test('writes a row again under the uuid that it has, since the store may have it', async () => {
    const store = new FakeStore();
    const { ledger } = ledgerOf(store);
    const tried: string[][] = [];
    store.insertUsage = async (rows) => {
      tried.push(rows.map(({ uuid }) => uuid));
      if (tried.length === 1) throw new Error('no answer');
    };
    ledger.settled(settlement());
    ledger.settled(settlement());
    await ledger.flush();
    ledger.settled(settlement());
    await ledger.flush();
    const [first, second] = tried;
    expect(second?.slice(0, 2)).toEqual(first as string[]);
    expect(second).toEqual((second as string[]).toSorted());
    expect(new Set(second).size).toBe(3);
  });

  test('has one name for all models that no engine serves', async () => {
    const store = new FakeStore();
    const asked: unknown[] = [];
    const isServed = (...of: unknown[]) => (asked.push(of), of[0] === 'qwen');
    const { ledger } = ledgerOf(store, { isServed });
    for (const askedModel of ['qwen', 'made-up', undefined]) {
      ledger.settled(settlement({ askedModel, servedModel: undefined, upstream: 'a' }));
    }
    await ledger.flush();
    expect(store.rows.map(({ model }) => model)).toEqual(['qwen', 'unknown', undefined]);
    expect(asked).toEqual([
      ['qwen', 'a'],
      ['made-up', 'a'],
    ]);
  });

  test('separates the rows that are written from those that wait or come, also in the middle of a write', async () => {
    const store = new FakeStore();
    const { ledger } = ledgerOf(store);
    const parts: string[] = [];
    const gate = Promise.withResolvers<void>();
    parts.push(ledger.part());
    ledger.settled(settlement({ requestId: 'a' }));
    parts.push(ledger.part());
    await ledger.flush();
    parts.push(ledger.part());
    store.insertUsage = async (rows) => {
      store.rows.push(...rows);
      await gate.promise;
    };
    for (const requestId of ['b', 'c']) ledger.settled(settlement({ requestId }));
    const flushing = ledger.flush();
    expect(store.rows).toHaveLength(3);
    parts.push(ledger.part());
    gate.resolve();
    await flushing;
    parts.push(ledger.part());
    const before = parts.map((part) => store.rows.filter(({ uuid }) => uuid < part).length);
    // While the write is not known to have succeeded, its rows count as waiting.
    expect(before).toEqual([0, 0, 1, 1, 3]);
  });

  test('makes ids above those of the existing rows, also if the clock was set back', async () => {
    const store = new FakeStore();
    const { ledger } = ledgerOf(store);
    ledger.settled(settlement());
    await ledger.flush();
    const latestUuid = store.latestUuid();
    const { ledger: next } = ledgerOf(store, { epochNow: () => now - dayMs, latestUuid });
    expect(next.part() > (latestUuid ?? '')).toBe(true);
  });

  test('writes all that waits when it is closed', async () => {
    const store = new FakeStore();
    const { ledger, lines } = ledgerOf(store);
    for (let row = 0; row < 1_500; row++) ledger.settled(settlement());
    await ledger.close();
    expect(store.rows).toHaveLength(1_500);
    expect(lines).toEqual([]);
  });
});

test('no key gets into a store where a client has put one in a wrong place', async () => {
  const store = new FakeStore();
  const { ledger } = ledgerOf(store);
  const caller = { ...settlement().caller, keyId: 'id', principal: 'id/sk-secret' };
  const models = { askedModel: 'a sk-secret', servedModel: 'b sk-secret' };
  ledger.settled(settlement({ requestId: 'sk-secret', ...models, caller }));
  await ledger.flush();
  expect(store.rows).toMatchObject([
    { requestId: '***', model: 'a ***', servedModel: 'b ***', principal: 'id/***', user: '***' },
  ]);
  expect(JSON.stringify(store.rows)).not.toContain('sk-secret');
});

describe('a store that fails', () => {
  test('is named once, and its rows are written when it works again', async () => {
    const store = new FakeStore();
    const { ledger, lines, levels } = ledgerOf(store);
    store.failure = new Error('database is locked');
    for (let attempt = 0; attempt < 5; attempt++) {
      ledger.settled(settlement());
      await ledger.flush();
    }
    expect(levels()).toEqual(['error']);
    expect(lines[0]).toMatchObject({ reason: 'database is locked', rows: 1 });
    expect(ledger.isFailing).toBe(true);
    store.failure = undefined;
    await ledger.flush();
    expect(levels()).toEqual(['error', 'info']);
    expect(lines[1]).toMatchObject({ rows: 5 });
    expect(store.rows).toHaveLength(5);
    expect(ledger.isFailing).toBe(false);
    store.failure = new Error('disk I/O error');
    ledger.settled(settlement());
    await ledger.flush();
    expect(levels()).toEqual(['error', 'info', 'error']);
    store.failure = undefined;
  });

  test('is tried again without a new request', async () => {
    const store = new FakeStore();
    const { ledger } = ledgerOf(store, { flushMs: 1 });
    store.failure = new Error('database is locked');
    ledger.settled(settlement());
    await until('it has failed', () => ledger.isFailing);
    store.failure = undefined;
    await until('the row is written', () => store.rows.length === 1);
  });

  test('costs the oldest rows beyond the bound, and they are counted', async () => {
    const store = new FakeStore();
    const { ledger, lines, levels } = ledgerOf(store);
    store.failure = new Error('database or disk is full');
    for (let row = 0; row < maxWaitingRows + 3; row++) {
      ledger.settled(settlement({ requestId: String(row) }));
    }
    await ledger.flush();
    expect(ledger.waiting).toBe(maxWaitingRows);
    ledger.settled(settlement({ requestId: 'last' }));
    await ledger.flush();
    expect(ledger.waiting).toBe(maxWaitingRows);
    expect(levels()).toEqual(['error', 'warn']);
    store.failure = undefined;
    await ledger.close();
    expect(store.rows).toHaveLength(maxWaitingRows);
    expect(store.rows[0]?.requestId).toBe('4');
    expect(store.rows.at(-1)?.requestId).toBe('last');
    expect(levels()).toEqual(['error', 'warn', 'info', 'warn']);
    expect(lines[3]).toMatchObject({ rows: 4 });
  });

  test('is logged when rows are lost at the end', async () => {
    const store = new FakeStore();
    const { ledger, lines, levels } = ledgerOf(store);
    store.failure = new Error('database or disk is full');
    ledger.settled(settlement());
    await ledger.close();
    expect(levels()).toEqual(['error', 'error']);
    expect(lines[1]).toMatchObject({ rows: 1 });
    store.failure = undefined;
  });

  test('may fail for a moment at the end', async () => {
    const store = new FakeStore();
    const { ledger } = ledgerOf(store);
    store.failure = new Error('database is locked');
    ledger.settled(settlement());
    const closed = ledger.close();
    await until('it has failed', () => ledger.isFailing);
    store.failure = undefined;
    await closed;
    expect(store.rows).toHaveLength(1);
  });

  test('a full disk loses no row', async () => {
    const db = openDatabase(join(root, 'full'));
    const store = new SqliteUsage(db);
    const { ledger, levels, lines } = ledgerOf(store);
    ledger.settled(settlement());
    await ledger.flush();
    const pages = Number(db.query('PRAGMA page_count').values()[0]?.[0]);
    db.run(`PRAGMA max_page_count = ${pages + 2}`);
    for (let row = 0; row < 900; row++) ledger.settled(settlement());
    await ledger.flush();
    await ledger.flush();
    expect(levels()).toEqual(['error']);
    expect(lines[0]).toMatchObject({ reason: 'database or disk is full', rows: 900 });
    expect(await countIn(store)).toBe(1);
    db.run('PRAGMA max_page_count = 1000000');
    await ledger.flush();
    expect(levels()).toEqual(['error', 'info']);
    expect(await countIn(store)).toBe(901);
    expect(ledger.waiting).toBe(0);
    db.close(true);
  });

  test('a lock that another process holds loses no row', async () => {
    const db = openDatabase(join(root, 'locked'));
    const store = new SqliteUsage(db);
    const other = openDatabase(join(root, 'locked'));
    const { ledger, levels } = ledgerOf(store);
    other.run('BEGIN IMMEDIATE');
    ledger.settled(settlement());
    await ledger.flush();
    expect(levels()).toEqual(['error']);
    other.run('COMMIT');
    await ledger.flush();
    expect(levels()).toEqual(['error', 'info']);
    expect(await countIn(store)).toBe(1);
    other.close(true);
    db.close(true);
  });
});

describe('rows that are old', () => {
  test('go at the start, some at a time', async () => {
    const store = new FakeStore();
    store.old = 25;
    ledgerOf(store, { retentionDays: 30 });
    await until('nothing is left', () => store.dropped.length === 4);
    expect(new Set(store.dropped)).toEqual(new Set([now - 30 * dayMs]));
    expect(store.old).toBe(0);
  });

  test('stay where they are kept for ever', async () => {
    const store = new FakeStore();
    const { ledger } = ledgerOf(store, { flushMs: 1 });
    ledger.settled(settlement());
    await until('a later timer has fired', () => store.rows.length === 1);
    expect(store.dropped).toEqual([]);
  });

  test('cost a line when they cannot be deleted', async () => {
    const store = new FakeStore();
    store.failure = new Error('database is locked');
    const { lines, levels } = ledgerOf(store, { retentionDays: 1 });
    await until('it is told', () => lines.length > 0);
    expect(levels()).toEqual(['warn']);
    store.failure = undefined;
  });
});

test('a kill loses no row that was written', async () => {
  const dir = join(root, 'killed');
  const src = join(import.meta.dir, '../../../src');
  const script = `
    const { openLedger } = await import(${JSON.stringify(join(src, 'stores/open.ts'))});
    const { usage } = await openLedger(${JSON.stringify(dir)});
    const { Ledger } = await import(${JSON.stringify(join(src, 'accounts/ledger.ts'))});
    const ledger = new Ledger({
      store: usage,
      log: { error: console.error },
      mask: (text) => text, epochNow: () => ${now},
      retentionDays: 0,
      flushMs: 1,
    });
    const record = ${JSON.stringify(settlement())};
    for (let rows = 0; ; ) {
      for (let i = 0; i < 7; i++, rows++) ledger.settled(record);
      while (ledger.waiting > 0) await Bun.sleep(0);
      process.stdout.write(rows + '\\n');
    }`;
  const child = Bun.spawn([process.execPath, '-e', script], { stdout: 'pipe', stderr: 'inherit' });
  let told = '';
  for await (const chunk of child.stdout) {
    told += Buffer.from(chunk).toString();
    if (told.split('\n').length > 50) child.kill('SIGKILL');
  }
  expect(await child.exited).not.toBe(0);
  expect(child.signalCode).toBe('SIGKILL');
  const written = Number(told.slice(0, told.lastIndexOf('\n')).split('\n').at(-1));
  expect(written).toBeGreaterThan(0);
  const db = openDatabase(dir);
  const found = (await countIn(new SqliteUsage(db))) ?? 0;
  expect(found).toBeGreaterThanOrEqual(written);
  // A batch was written as a whole or not at all.
  expect(found % 7).toBe(0);
  db.close(true);
});
