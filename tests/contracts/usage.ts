/**
 * What every UsageStore does, whatever it is made of: totals as a naive computation has them, what budgets go by, rows
 * that are written as a whole and once, and old ones that go.
 */
import { afterEach, describe, expect, test } from 'bun:test';
import type {
  UsageColumn,
  UsageQuery,
  UsageRow,
  UsageStore,
  UsageTotals,
} from '../../src/accounts/usage.ts';
import { forSeeds, type Random } from '../support/random.ts';
import { usageRow, uuids } from '../support/samples.ts';

const now = Date.UTC(2026, 10, 5, 13, 30);
const hourMs = 3_600_000;
const dayMs = 86_400_000;

/** A store that has no rows yet. */
export interface OpenUsage {
  store: UsageStore;
  /** Opens the same rows as another process does; absent if no other can. */
  other?: () => UsageStore;
  close(): void | Promise<void>;
}

function randomRow(random: Random): UsageRow {
  const keyId = random.pick(['k1', 'k2', 'k3']);
  const maybe = <T>(value: T) => (random.oneIn(4) ? undefined : value);
  const user = random.pick(['eva', 'tom']);
  return {
    uuid: uuids.next(),
    at: now - random.below(40) * 20 * 60_000,
    requestId: `request-${random.below(100)}`,
    keyId,
    principal: `${keyId}/${user}`,
    user,
    keyName: `name of ${keyId}`,
    route: random.pick(['/v1/chat/completions', '/v1/embeddings']),
    priority: maybe(random.pick(['interactive', 'batch'])),
    model: maybe(random.pick(['qwen', 'llama', '"]', ''])),
    servedModel: maybe(random.pick(['qwen', 'qwen-7b'])),
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
  model: (row) => row.model ?? row.servedModel ?? null,
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

export function usageContract(name: string, open: () => OpenUsage | Promise<OpenUsage>) {
  describe(`usage, ${name}`, () => {
    const opened: OpenUsage[] = [];
    afterEach(async () => {
      for (const each of opened.splice(0)) await each.close();
    });

    async function fresh(): Promise<OpenUsage> {
      const made = await open();
      opened.push(made);
      return made;
    }

    const requests = async (store: UsageStore) => (await store.usage(all))[0]?.requests;

    describe('totals', () => {
      test('are those of a naive computation, whatever the rows', async () => {
        await forSeeds(20, async (random) => {
          const { store, close } = await open();
          const rows = Array.from({ length: 1 + random.below(300) }, () => randomRow(random));
          await store.insertUsage(rows);
          const since = now - random.below(15) * hourMs;
          const until = since + random.below(15) * hourMs;
          const keyId = random.oneIn(2) ? 'k2' : undefined;
          const chosen = rows.filter(
            (row) =>
              row.at >= since && row.at < until && (keyId === undefined || row.keyId === keyId),
          );
          for (const by of columnSets) {
            const totals = await store.usage({ since, until, by, keyId });
            const expected = naiveTotals(chosen, by);
            expect(totals).toHaveLength(expected.length);
            expect(totals).toEqual(expect.arrayContaining(expected));
          }
          await close();
        });
      });

      test('count every row once, also when thousands ended at the same time', async () => {
        const { store } = await fresh();
        await store.insertUsage(
          Array.from({ length: 3_500 }, (_, row) => usageRow({ queuedMs: row })),
        );
        const [totals] = await store.usage(all);
        expect(totals).toMatchObject({ requests: 3_500, queuedMsP50: 1_700, queuedMsP95: 3_300 });
        const [ofKey] = await store.usage({ ...all, keyId: 'k1' });
        expect(ofKey).toEqual(totals as UsageTotals);
      });

      test('that fail hold up no others', async () => {
        const { store } = await fresh();
        await store.insertUsage(Array.from({ length: 1_000 }, () => usageRow()));
        const gone = new AbortController();
        const reports = [
          store.usage(all),
          store.usage({ ...all, signal: gone.signal }),
          store.usage({ ...all, until: 1 }),
        ];
        gone.abort(new Error('gone'));
        const [first, second, third] = await Promise.allSettled(reports);
        expect(first).toMatchObject({ status: 'fulfilled', value: [{ requests: 1_000 }] });
        expect(second).toMatchObject({ status: 'rejected', reason: new Error('gone') });
        expect(third).toMatchObject({ status: 'fulfilled', value: [{ requests: 0 }] });
      });

      test('take their beginning in and leave their end out', async () => {
        const { store } = await fresh();
        await store.insertUsage([now - 1, now, now + 1].map((at) => usageRow({ at })));
        const [totals] = await store.usage({ since: now, until: now + 1, by: [] });
        expect(totals?.requests).toBe(1);
      });

      test('go by the model that was asked for, or else by the one that was served', async () => {
        const { store } = await fresh();
        const models = [
          { model: 'fast', servedModel: 'qwen-7b' },
          { model: undefined, servedModel: 'qwen-7b' },
          { model: undefined, servedModel: undefined },
        ];
        await store.insertUsage(models.map(usageRow));
        const found = await store.usage({ ...all, by: ['model'] });
        const counts = Object.fromEntries(found.map(({ model, requests }) => [model, requests]));
        expect(counts).toEqual({ fast: 1, 'qwen-7b': 1, null: 1 });
      });
    });

    describe('rows', () => {
      test('are written as a whole or not at all', async () => {
        const { store } = await fresh();
        const bad = usageRow({ promptTokens: 1.5 });
        let hasFailed = false;
        try {
          await store.insertUsage([usageRow(), bad, usageRow()]);
        } catch {
          hasFailed = true;
        }
        expect(hasFailed).toBe(true);
        expect(await requests(store)).toBe(0);
      });

      test('are written once, however often they are handed over', async () => {
        const { store } = await fresh();
        const rows = [usageRow(), usageRow(), usageRow()];
        await store.insertUsage(rows.slice(0, 2));
        await store.insertUsage(rows);
        await store.insertUsage(rows);
        expect(await requests(store)).toBe(3);
        const [first] = rows as [UsageRow];
        const before = uuids.next();
        const query = { keyId: first.keyId, day: first.at, month: first.at, before };
        expect(await store.spent(query)).toEqual([
          { principal: first.principal, day: 30, month: 30 },
        ]);
      });

      test('have the highest uuid of all that are there', async () => {
        const { store } = await fresh();
        expect(await store.latestUuid()).toBeUndefined();
        const [first, second, third] = [usageRow(), usageRow(), usageRow()];
        await store.insertUsage([second, third]);
        await store.insertUsage([first]);
        expect(await store.latestUuid()).toBe(third.uuid);
      });

      test('have any text that a client can send', async () => {
        const { store } = await fresh();
        const models = ['a\u0000b', '\u{1f600}', "'); DROP TABLE usage; --", ''];
        await store.insertUsage(models.map((model) => usageRow({ model })));
        await store.insertUsage([usageRow({ model: '\ud800' })]);
        const found = await store.usage({ ...all, by: ['model'] });
        expect(found.map(({ model }) => model).sort()).toEqual([...models, '\ufffd'].sort());
      });

      test('that are old go some at a time', async () => {
        const { store } = await fresh();
        await store.insertUsage(
          Array.from({ length: 2_100 }, (_, row) => usageRow({ at: now + (row % 2) })),
        );
        let dropped = 0;
        for (let rounds = 0; ; rounds++) {
          const more = await store.dropUsageBefore(now + 1);
          dropped += more;
          if (more === 0) break;
          expect(rounds).toBeLessThan(1_050);
        }
        expect(dropped).toBe(1_050);
        expect(await requests(store)).toBe(1_050);
      });

      test('are there for every process', async () => {
        const { store, other } = await fresh();
        await store.insertUsage([usageRow()]);
        if (other) expect(await requests(other())).toBe(1);
        expect(await requests(store)).toBe(1);
      });
    });

    describe('what budgets go by', () => {
      test('is of the day and of the month, of the key that is asked for', async () => {
        const { store } = await fresh();
        const day = now - 13 * hourMs;
        const month = now - 5 * dayMs;
        await store.insertUsage([
          usageRow({ at: month - 1, promptTokens: 1_000 }),
          usageRow({ at: month, promptTokens: 100, completionTokens: undefined }),
          usageRow({ at: day - 1, promptTokens: 200, completionTokens: 20 }),
          usageRow({ at: day, promptTokens: undefined, completionTokens: 4 }),
          usageRow({ at: now, promptTokens: 1, completionTokens: 2, tokensAre: 'estimated' }),
          usageRow({ at: now, isCacheHit: true, promptTokens: 5_000 }),
          usageRow({
            at: now,
            principal: 'k2',
            promptTokens: undefined,
            completionTokens: undefined,
          }),
          usageRow({ at: now, keyId: 'other' }),
        ]);
        const { keyId } = usageRow();
        const before = uuids.next();
        expect(await store.spent({ keyId: 'new', day, month, before })).toEqual([]);
        const spent = await store.spent({ keyId, day, month, before });
        expect(spent).toHaveLength(2);
        expect(spent).toContainEqual({ principal: 'k1/eva', day: 7, month: 327 });
        expect(spent).toContainEqual({ principal: 'k2', day: 0, month: 0 });
      });

      test('is added up over thousands of rows, without those that are not before', async () => {
        const { store } = await fresh();
        const rows = () =>
          Array.from({ length: 2_500 }, () => usageRow({ promptTokens: 1, completionTokens: 1 }));
        await store.insertUsage(rows());
        const { keyId, principal, at, uuid: before } = usageRow();
        const spending = store.spent({ keyId, day: at, month: at, before });
        // The caller of `spent` counts these itself.
        await store.insertUsage(rows());
        expect(await spending).toEqual([{ principal, day: 5_000, month: 5_000 }]);
        const all = { keyId, day: at, month: at, before: uuids.next() };
        expect(await store.spent(all)).toEqual([{ principal, day: 10_000, month: 10_000 }]);
      });

      test('leaves out the row that has the uuid itself', async () => {
        const { store } = await fresh();
        const [first, second] = [usageRow(), usageRow()];
        await store.insertUsage([first, second]);
        const { keyId, principal, at } = first;
        const spent = await store.spent({ keyId, day: at, month: at, before: second.uuid });
        expect(spent).toEqual([{ principal, day: 10, month: 10 }]);
      });
    });
  });
}
