/**
 * The embedded store on real files: keys and their audit log, totals against a naive computation, two that have one
 * file open, and that no secret gets into it.
 */
import { afterAll, describe, expect, test } from 'bun:test';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  issueKey,
  rotateKey,
  type IssuedKey,
  type KeyPolicy,
} from '../../../../src/accounts/keys.ts';
import type { KeyChange } from '../../../../src/stores/sqlite/rows.ts';
import { openDatabase } from '../../../../src/stores/sqlite/schema.ts';
import { maxRowsInMemory, Store } from '../../../../src/stores/sqlite/store.ts';
import type {
  UsageColumn,
  UsageQuery,
  UsageRow,
  UsageTotals,
} from '../../../../src/accounts/usage.ts';
import { forSeeds, type Random } from '../../../support/random.ts';
import { fullPolicy, plainPolicy, usageRow } from '../../../support/samples.ts';
import type { Limits } from '../../../../src/request/caller.ts';

const root = mkdtempSync(join(tmpdir(), 'llm-gateway-store-'));
const stores: Store[] = [];
afterAll(() => {
  for (const store of stores) store.close();
  rmSync(root, { recursive: true, force: true });
});

let folders = 0;
const folder = () => join(root, String(++folders));

function open(dir: string | undefined): Store {
  const store = Store.open(dir);
  stores.push(store);
  return store;
}

const now = Date.UTC(2026, 10, 5, 13, 30);
const hourMs = 3_600_000;
const dayMs = 86_400_000;

const issued = (policy: KeyPolicy = plainPolicy, at = now): IssuedKey =>
  issueKey(policy, at).record;

describe('keys', () => {
  test('come back as they were, oldest first', () => {
    const dir = folder();
    const store = open(dir);
    const [first, second, third] = [
      issued(fullPolicy),
      issued(plainPolicy),
      issued(plainPolicy, now - 1),
    ];
    for (const key of [first, second, third]) store.addKey(key, 'cli');
    expect(store.keys()).toEqual([third, first, second]);
    expect(open(dir).keys()).toEqual([third, first, second]);
  });

  test('have an id of their own', () => {
    const store = open(undefined);
    const key = issued();
    store.addKey(key, 'cli');
    expect(() => store.addKey({ ...issued(), id: key.id }, 'cli')).toThrow('keys.id');
    expect(() => store.addKey({ ...issued(), digest: key.digest }, 'cli')).toThrow('keys.digest');
    expect(store.keys()).toEqual([key]);
    expect(store.audit(10)).toHaveLength(1);
  });

  test('change in what is named, and in nothing else', () => {
    const store = open(undefined);
    const [key, other] = [issued(fullPolicy), issued(plainPolicy)];
    store.addKey(key, 'cli');
    store.addKey(other, 'cli');
    const change: KeyChange = { weight: 4, models: undefined, expiresAt: undefined };
    const changed = store.changeKey(key.id, () => change, 'key_changed', 'admin', now);
    expect(changed).toEqual({ ...key, weight: 4, models: undefined, expiresAt: undefined });
    expect(store.keys()).toEqual([changed as IssuedKey, other]);
  });

  test('keep their id and their age whatever a change holds', () => {
    const store = open(undefined);
    const key = issued();
    store.addKey(key, 'cli');
    const change: KeyChange = Object.assign({ weight: 2 }, { id: 'another', createdAt: 1 });
    store.changeKey(key.id, () => change, 'key_changed', 'admin', now);
    expect(store.keys()).toEqual([{ ...key, weight: 2 }]);
  });

  test('are rotated and revoked', () => {
    const store = open(undefined);
    const key = issued();
    store.addKey(key, 'cli');
    const { change } = rotateKey(key, hourMs, now);
    store.changeKey(key.id, () => change, 'key_rotated', 'cli', now);
    const until = now + hourMs;
    expect(store.keys()[0]?.replaced).toEqual({ digest: key.digest, until });
    store.changeKey(key.id, () => ({ replaced: undefined }), 'key_changed', 'cli', now);
    expect(store.keys()[0]?.replaced).toBeUndefined();
    store.changeKey(key.id, () => ({ revokedAt: now }), 'key_revoked', 'cli', now);
    expect(store.keys()).toEqual([{ ...key, digest: change.digest, revokedAt: now }]);
  });

  test('that are not there cannot change', () => {
    const store = open(undefined);
    expect(
      store.changeKey('nobody', () => ({ weight: 2 }), 'key_changed', 'cli', now),
    ).toBeUndefined();
    expect(store.audit(10)).toEqual([]);
  });

  test('stay as they are where it is found that they must not change', () => {
    const store = open(undefined);
    const key = issued();
    store.addKey(key, 'cli');
    function refuse(current: IssuedKey): never {
      expect(current).toEqual(key);
      throw new Error('not that one');
    }
    expect(() => store.changeKey(key.id, refuse, 'key_changed', 'cli', now)).toThrow(
      'not that one',
    );
    expect(store.keys()).toEqual([key]);
    expect(store.audit(10)).toHaveLength(1);
  });
});

describe('the audit log', () => {
  test('says who did what and when, the latest first', () => {
    const store = open(undefined);
    const key = issued(fullPolicy);
    store.addKey(key, 'cli');
    store.changeKey(
      key.id,
      () => ({ weight: 3, models: undefined }),
      'key_changed',
      'admin',
      now + 1,
    );
    const { change } = rotateKey(key, hourMs, now);
    store.changeKey(key.id, () => change, 'key_rotated', 'admin', now + 2);
    const stopped = {
      at: now + 3.5,
      actor: 'admin',
      action: 'request_stopped' as const,
      keyId: undefined,
      name: undefined,
      detail: 'request-1',
    };
    store.note(stopped);
    const ofKey = { keyId: key.id, name: key.name };
    expect(store.audit(10)).toEqual([
      { ...stopped, at: now + 4 },
      {
        ...ofKey,
        at: now + 2,
        actor: 'admin',
        action: 'key_rotated',
        detail: JSON.stringify({ replacedUntil: now + hourMs }),
      },
      {
        ...ofKey,
        at: now + 1,
        actor: 'admin',
        action: 'key_changed',
        detail: JSON.stringify({ models: null, weight: 3 }),
      },
      { ...ofKey, at: now, actor: 'cli', action: 'key_added', detail: expect.any(String) },
    ]);
    expect(store.audit(1)).toHaveLength(1);
    const added = JSON.parse(store.audit(10)[3]?.detail ?? '{}');
    expect(added).toEqual(fullPolicy);
  });
});

describe('two that have one file open', () => {
  test('see what the other one writes, and are told so once', () => {
    const dir = folder();
    const [gateway, cli] = [open(dir), open(dir)];
    expect(gateway.hasOtherWrites()).toBe(false);
    const key = issued();
    cli.addKey(key, 'cli');
    expect(cli.hasOtherWrites()).toBe(false);
    expect(gateway.hasOtherWrites()).toBe(true);
    expect(gateway.hasOtherWrites()).toBe(false);
    expect(gateway.keys()).toEqual([key]);
    gateway.changeKey(key.id, () => ({ weight: 2 }), 'key_changed', 'admin', now);
    expect(gateway.hasOtherWrites()).toBe(false);
    expect(cli.hasOtherWrites()).toBe(true);
    expect(cli.keys()).toEqual([{ ...key, weight: 2 }]);
  });

  test('do not undo what the other one has changed', () => {
    const dir = folder();
    const [gateway, cli] = [open(dir), open(dir)];
    const key = issued();
    cli.addKey(key, 'cli');
    gateway.changeKey(key.id, () => ({ weight: 2 }), 'key_changed', 'admin', now);
    cli.changeKey(key.id, () => ({ name: 'bob' }), 'key_changed', 'cli', now);
    expect(gateway.keys()).toEqual([{ ...key, weight: 2, name: 'bob' }]);
  });

  test('change a key by what the other one has left of it', () => {
    const dir = folder();
    const [gateway, cli] = [open(dir), open(dir)];
    const key = issued();
    cli.addKey(key, 'cli');
    const limit = (store: Store, limits: Limits) =>
      store.changeKey(
        key.id,
        (current) => ({ limits: { ...current.limits, ...limits } }),
        'key_changed',
        'cli',
        now,
      );
    limit(gateway, { requestsPerMinute: 5 });
    limit(cli, { tokensPerMinute: 9 });
    expect(gateway.keys()[0]?.limits).toEqual({ requestsPerMinute: 5, tokensPerMinute: 9 });
  });

  test('do not change a key at the same time', () => {
    const dir = folder();
    const [gateway, cli] = [open(dir), open(dir)];
    const key = issued();
    cli.addKey(key, 'cli');
    function change() {
      expect(() => cli.changeKey(key.id, () => ({ weight: 3 }), 'key_changed', 'cli', now)).toThrow(
        'locked',
      );
      return { weight: 2 };
    }
    gateway.changeKey(key.id, change, 'key_changed', 'admin', now);
    expect(cli.keys()).toEqual([{ ...key, weight: 2 }]);
  });

  test('there is nobody else in memory', () => {
    expect(open(undefined).hasOtherWrites()).toBe(false);
  });
});

test('no secret of a key gets into the files', () => {
  const dir = folder();
  const store = open(dir);
  const { key: first, record } = issueKey(fullPolicy, now);
  // Whoever hands over more than a record must not have it kept.
  store.addKey(Object.assign({ key: first }, record), 'cli');
  const { key: second, change } = rotateKey(record, hourMs, now);
  const leak = Object.assign({ key: second }, change);
  store.changeKey(record.id, () => leak, 'key_rotated', 'cli', now);
  store.insertUsage([usageRow({ keyId: record.id, principal: record.id })]);
  const bytes = () =>
    Buffer.concat(readdirSync(dir).map((file) => readFileSync(join(dir, file)))).toString('latin1');
  const openBytes = bytes();
  store.close();
  for (const found of [openBytes, bytes()]) {
    expect(found).toContain(record.id);
    expect(found).toContain(record.digest);
    for (const key of [first, second]) {
      const secret = key.slice(`sk-gw-${record.id}-`.length);
      expect(secret).toHaveLength(43);
      expect(found).not.toContain(secret);
    }
  }
  const audit = JSON.stringify(open(dir).audit(10));
  for (const digest of [record.digest, change.digest]) expect(audit).not.toContain(digest);
});

function randomRow(random: Random): UsageRow {
  const keyId = random.pick(['k1', 'k2', 'k3']);
  const maybe = <T>(value: T) => (random.oneIn(4) ? undefined : value);
  return {
    at: now - random.below(40) * 20 * 60_000,
    requestId: `request-${random.below(100)}`,
    keyId,
    principal: `${keyId}/${random.pick(['eva', 'tom'])}`,
    keyName: `name of ${keyId}`,
    route: random.pick(['/v1/chat/completions', '/v1/embeddings']),
    model: maybe(random.pick(['qwen', 'llama', '"]', ''])),
    upstream: maybe(random.pick(['one', 'two'])),
    status: 200,
    code: random.oneIn(3) ? 'queue_full' : undefined,
    outcome: random.pick(['done', 'done', 'failed', 'aborted']),
    stream: random.oneIn(2),
    queuedMs: random.below(10_000) / 10,
    firstTokenMs: maybe(random.below(10_000) / 10),
    engineMs: random.below(100_000) / 10,
    totalMs: random.below(100_000) / 10,
    promptTokens: maybe(random.below(5_000)),
    cachedTokens: maybe(random.below(1_000)),
    completionTokens: maybe(random.below(1_000)),
    tokensAre: random.pick(['exact', 'estimated', undefined]),
    isCacheHit: random.oneIn(8),
  };
}

const valueOf: Record<UsageColumn, (row: UsageRow) => string | null> = {
  key: (row) => row.keyId,
  principal: (row) => row.principal,
  model: (row) => row.model ?? null,
  upstream: (row) => row.upstream ?? null,
  route: (row) => row.route,
  code: (row) => row.code ?? null,
  day: (row) => new Date(row.at).toISOString().slice(0, 10),
  hour: (row) => `${new Date(row.at).toISOString().slice(0, 13)}:00Z`,
  minute: (row) => `${new Date(row.at).toISOString().slice(0, 16)}Z`,
};

/** Rounds a time as totals do, or leaves nothing as it is. */
const twoDigits = (ms: number | null) => (ms === null ? null : Number(ms.toPrecision(2)));

/** The smallest value that at least `percent` of all do not exceed, by counting. */
function naivePercentile(values: number[], percent: number): number | null {
  const enough = values.filter(
    (value) => values.filter((other) => other <= value).length * 100 >= percent * values.length,
  );
  return twoDigits(enough.length === 0 ? null : Math.min(...enough));
}

function naiveTotals(rows: readonly UsageRow[], by: readonly UsageColumn[]): UsageTotals[] {
  const groups = Map.groupBy(rows, (row) =>
    JSON.stringify(by.map((column) => valueOf[column](row))),
  );
  return [...groups.values()].map((group) => {
    const [sample] = group as [UsageRow];
    const count = (is: (row: UsageRow) => boolean) => group.filter(is).length;
    const computed = group.filter((row) => !row.isCacheHit);
    const sum = (field: 'promptTokens' | 'cachedTokens' | 'completionTokens' | 'engineMs') =>
      computed.reduce((total, row) => total + (row[field] ?? 0), 0);
    const firstTokens = computed.flatMap(({ firstTokenMs }) => firstTokenMs ?? []);
    const admitted = group.filter(({ code }) => code !== 'queue_full');
    const queued = admitted.map(({ queuedMs }) => queuedMs);
    return {
      ...Object.fromEntries(by.map((column) => [column, valueOf[column](sample)])),
      ...(by.includes('key') ? { name: sample.keyName } : {}),
      requests: group.length,
      refused: group.length - admitted.length,
      failed: admitted.filter(({ outcome }) => outcome === 'failed').length,
      cancelled: admitted.filter(({ outcome }) => outcome === 'aborted').length,
      cacheHits: count((row) => row.isCacheHit),
      promptTokens: sum('promptTokens'),
      cachedTokens: sum('cachedTokens'),
      completionTokens: sum('completionTokens'),
      estimated: computed.filter((row) => row.tokensAre === 'estimated').length,
      engineSeconds: expect.closeTo(sum('engineMs') / 1_000, 2),
      firstTokenMsP50: naivePercentile(firstTokens, 50),
      firstTokenMsP95: naivePercentile(firstTokens, 95),
      queuedMsP50: naivePercentile(queued, 50),
      queuedMsP95: naivePercentile(queued, 95),
    };
  });
}

const all: UsageQuery = { since: 0, until: now * 2, by: [] };
const columnSets: UsageColumn[][] = [
  ['key'],
  ['principal'],
  ['model', 'key'],
  ['upstream', 'route'],
  ['code'],
  ['day'],
  ['hour', 'model'],
  ['day', 'minute'],
];

describe('totals', () => {
  test('are those of a naive computation, whatever the rows', async () => {
    await forSeeds(20, async (random) => {
      const store = Store.open(undefined);
      const rows = Array.from({ length: 1 + random.below(300) }, () => randomRow(random));
      store.insertUsage(rows);
      const since = now - random.below(15) * hourMs;
      const until = since + random.below(15) * hourMs;
      const keyId = random.oneIn(2) ? 'k2' : undefined;
      const chosen = rows.filter(
        (row) => row.at >= since && row.at < until && (keyId === undefined || row.keyId === keyId),
      );
      for (const by of columnSets) {
        const totals = await store.usage({ since, until, by, keyId });
        const expected = naiveTotals(chosen, by);
        expect(totals).toHaveLength(expected.length);
        expect(totals).toEqual(expect.arrayContaining(expected));
      }
      store.close();
    });
  });

  test('count every row once over many pages, also when all ended at the same time', async () => {
    const store = open(undefined);
    store.insertUsage(Array.from({ length: 3_500 }, (_, row) => usageRow({ queuedMs: row })));
    const [totals] = await store.usage(all);
    expect(totals).toMatchObject({ requests: 3_500, queuedMsP50: 1_700, queuedMsP95: 3_300 });
    const [ofKey] = await store.usage({ ...all, keyId: 'k1' });
    expect(ofKey).toEqual(totals as UsageTotals);
  });

  test('are made one after the other, and one that fails holds up none', async () => {
    const store = open(undefined);
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
    const store = Store.open(undefined);
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
    const store = open(undefined);
    store.insertUsage(Array.from({ length: 2_500 }, () => usageRow()));
    let turns = 0;
    setImmediate(() => turns++);
    await store.usage(all);
    expect(turns).toBe(1);
  });

  test('take their beginning in and leave their end out', async () => {
    const store = open(undefined);
    store.insertUsage([now - 1, now, now + 1].map((at) => usageRow({ at })));
    const [totals] = await store.usage({ since: now, until: now + 1, by: [] });
    expect(totals?.requests).toBe(1);
  });
});

describe('usage', () => {
  test('is written as a whole or not at all', async () => {
    const store = open(undefined);
    const bad = usageRow({ promptTokens: 1.5 });
    expect(() => store.insertUsage([usageRow(), bad, usageRow()])).toThrow();
    expect((await store.usage(all))[0]?.requests).toBe(0);
  });

  test('keeps the latest rows alone where it is in memory', async () => {
    const store = new Store(openDatabase(undefined), 3);
    stores.push(store);
    store.insertUsage(['a', 'b'].map((model) => usageRow({ model })));
    store.insertUsage(['c', 'd', 'e'].map((model) => usageRow({ model })));
    const found = await store.usage({ ...all, by: ['model'] });
    expect(found.map(({ model }) => model).sort()).toEqual(['c', 'd', 'e']);
    store.dropUsageBefore(now + dayMs);
    store.insertUsage([usageRow({ model: 'f' })]);
    expect((await store.usage(all))[0]?.requests).toBe(1);
  });

  test('in memory is bounded unless it is told otherwise, and in a file it is not', async () => {
    const rows = Array.from({ length: maxRowsInMemory + 1 }, () => usageRow());
    const counts = [undefined, folder()].map(async (dir) => {
      const store = open(dir);
      store.insertUsage(rows);
      return (await store.usage(all))[0]?.requests;
    });
    expect(await Promise.all(counts)).toEqual([maxRowsInMemory, maxRowsInMemory + 1]);
  });

  test('takes any text that a client can send', async () => {
    const store = open(undefined);
    const models = ['a\u0000b', '\u{1f600}', "'); DROP TABLE usage; --", ''];
    store.insertUsage(models.map((model) => usageRow({ model })));
    store.insertUsage([usageRow({ model: '\ud800' })]);
    const found = await store.usage({ ...all, by: ['model'] });
    expect(found.map(({ model }) => model).sort()).toEqual([...models, '\ufffd'].sort());
  });

  test('of the day and of the month is what budgets go by, of the key that is asked for', async () => {
    const store = open(undefined);
    const day = now - 13 * hourMs;
    const month = now - 5 * dayMs;
    store.insertUsage([
      usageRow({ at: month - 1, promptTokens: 1_000 }),
      usageRow({ at: month, promptTokens: 100, completionTokens: undefined }),
      usageRow({ at: day - 1, promptTokens: 200, completionTokens: 20 }),
      usageRow({ at: day, promptTokens: undefined, completionTokens: 4 }),
      usageRow({ at: now, promptTokens: 1, completionTokens: 2, tokensAre: 'estimated' }),
      usageRow({ at: now, isCacheHit: true, promptTokens: 5_000 }),
      usageRow({ at: now, principal: 'k2', promptTokens: undefined, completionTokens: undefined }),
      usageRow({ at: now, keyId: 'other' }),
    ]);
    const { keyId } = usageRow();
    const lastRow = store.lastRow();
    expect(await store.spent({ keyId: 'new', day, month, lastRow })).toEqual([]);
    const spent = await store.spent({ keyId, day, month, lastRow });
    expect(spent).toHaveLength(2);
    expect(spent).toContainEqual({ principal: 'k1/eva', day: 7, month: 327 });
    expect(spent).toContainEqual({ principal: 'k2', day: 0, month: 0 });
  });

  test('of a key is added up over all of its pages', async () => {
    const store = open(undefined);
    const rows = Array.from({ length: 2_500 }, () =>
      usageRow({ promptTokens: 1, completionTokens: 1 }),
    );
    store.insertUsage(rows);
    const { keyId, principal, at } = usageRow();
    const lastRow = store.lastRow();
    const spending = store.spent({ keyId, day: at, month: at, lastRow });
    // Counted by whoever has asked for the last row.
    store.insertUsage(rows);
    expect(await spending).toEqual([{ principal, day: 5_000, month: 5_000 }]);
    expect(lastRow).toBe(2_500);
    expect(store.lastRow()).toBe(5_000);
    expect(open(undefined).lastRow()).toBe(0);
  });

  test('is not searched on for somebody who has gone', async () => {
    const store = open(undefined);
    store.insertUsage(Array.from({ length: 1_000 }, () => usageRow()));
    const gone = new AbortController();
    const searching = store.usage({ ...all, by: [], signal: gone.signal });
    gone.abort(new Error('gone'));
    let thrown: unknown;
    try {
      await searching;
    } catch (error) {
      thrown = error;
    }
    expect(thrown).toEqual(new Error('gone'));
  });

  test('that is old goes some rows at a time', async () => {
    const store = open(undefined);
    store.insertUsage(Array.from({ length: 2_100 }, (_, row) => usageRow({ at: now + (row % 2) })));
    expect(store.dropUsageBefore(now + 1)).toBe(1_000);
    expect(store.dropUsageBefore(now + 1)).toBe(50);
    expect(store.dropUsageBefore(now + 1)).toBe(0);
    expect((await store.usage(all))[0]?.requests).toBe(1_050);
  });

  test('is given to both that have the file open', async () => {
    const dir = folder();
    const [gateway, cli] = [open(dir), open(dir)];
    gateway.insertUsage([usageRow()]);
    expect((await cli.usage(all))[0]?.requests).toBe(1);
  });
});
