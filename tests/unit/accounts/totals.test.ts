/**
 * Rows that are added up by group: the sums, the percentiles, the order, and how many groups there can be. The store's
 * tests hold them against a naive computation of random rows.
 */
import { describe, expect, test } from 'bun:test';
import { refusalCodes } from '../../../src/accounts/limits.ts';
import { Totals, unitMs, type CountedRow } from '../../../src/accounts/totals.ts';
import { maxGroups, type UsageColumn } from '../../../src/accounts/usage.ts';

const now = Date.UTC(2026, 10, 5, 13, 30);

function row(fields: Partial<CountedRow> = {}): CountedRow {
  return {
    at: now,
    id: 1,
    keyName: 'alice',
    status: 200,
    code: null,
    outcome: 'done',
    isCacheHit: 0,
    tokensAre: 'exact',
    promptTokens: 7,
    cachedTokens: 4,
    completionTokens: 3,
    engineMs: 900,
    firstTokenMs: 80,
    queuedMs: 5,
    ...fields,
  };
}

function totalsOf(by: readonly UsageColumn[], rows: readonly CountedRow[]) {
  const groups = new Totals(by);
  for (const each of rows) groups.add(each);
  return groups.totals();
}

const nothing = {
  requests: 0,
  refused: 0,
  failed: 0,
  cancelled: 0,
  cacheHits: 0,
  promptTokens: 0,
  cachedTokens: 0,
  completionTokens: 0,
  estimated: 0,
  engineSeconds: 0,
  firstTokenMsP50: null,
  firstTokenMsP95: null,
  queuedMsP50: null,
  queuedMsP95: null,
};

describe('the sums', () => {
  test('of nothing are zero, and of no group there are none', () => {
    expect(totalsOf([], [])).toEqual([nothing]);
    expect(totalsOf(['key'], [])).toEqual([]);
  });

  test('count how requests ended and what engines worked', () => {
    const rows = [
      row(),
      row({ outcome: 'failed', promptTokens: null, cachedTokens: null, completionTokens: null }),
      row({ outcome: 'aborted', tokensAre: 'estimated', firstTokenMs: null }),
    ];
    expect(totalsOf([], rows)).toEqual([
      {
        ...nothing,
        requests: 3,
        failed: 1,
        cancelled: 1,
        estimated: 1,
        promptTokens: 14,
        cachedTokens: 8,
        completionTokens: 6,
        engineSeconds: 2.7,
        firstTokenMsP50: 80,
        firstTokenMsP95: 80,
        queuedMsP50: 5,
        queuedMsP95: 5,
      },
    ]);
  });

  test('count what an engine refuses as failed, too', () => {
    const rows = [
      row({ status: 500 }),
      row({ status: 400 }),
      row({ status: 499, outcome: 'aborted' }),
    ];
    expect(totalsOf([], rows)).toMatchObject([{ requests: 3, failed: 2, cancelled: 1 }]);
  });

  test('count what the gateway refuses apart, which has not waited', () => {
    const refused = {
      outcome: 'failed',
      tokensAre: null,
      engineMs: 0,
      firstTokenMs: null,
    } as const;
    const none = { promptTokens: null, cachedTokens: null, completionTokens: null, queuedMs: 0 };
    const of = (status: number, code: string | null) => row({ ...refused, ...none, status, code });
    const rows = [
      row({ queuedMs: 70 }),
      ...[...refusalCodes].map((code) => of(429, code)),
      of(503, 'queue_full'),
      { ...of(503, 'queue_timeout'), queuedMs: 400 },
      // An engine's own 429 is an answer.
      row({ status: 429, promptTokens: null, queuedMs: 80 }),
    ];
    expect(totalsOf([], rows)).toMatchObject([
      { requests: 8, refused: 5, failed: 2, queuedMsP50: 80, queuedMsP95: 400 },
    ]);
    expect(totalsOf(['code'], rows)).toHaveLength(7);
  });

  test('have of a cache hit that it came and how long it waited, and nothing else', () => {
    expect(totalsOf([], [row({ isCacheHit: 1, tokensAre: 'estimated', queuedMs: 2 })])).toEqual([
      { ...nothing, requests: 1, cacheHits: 1, queuedMsP50: 2, queuedMsP95: 2 },
    ]);
  });

  test('have the percentiles by nearest rank', () => {
    const rows = Array.from({ length: 20 }, (_, i) => row({ queuedMs: 20 - i, firstTokenMs: i }));
    const [totals] = totalsOf([], rows);
    expect(totals).toMatchObject({ queuedMsP50: 10, queuedMsP95: 19 });
    expect(totals).toMatchObject({ firstTokenMsP50: 9, firstTokenMsP95: 18 });
  });

  test('have the percentiles to two significant digits', () => {
    const times = [0, 0.3, 9.94, 9.96, 812.4, 3_600_000];
    const shown = times.map((queuedMs) => totalsOf([], [row({ queuedMs })])[0]?.queuedMsP50);
    expect(shown).toEqual([0, 0.3, 9.9, 10, 810, 3_600_000]);
    const many = Array.from({ length: 10_000 }, (_, i) => row({ queuedMs: i }));
    expect(totalsOf([], many)[0]).toMatchObject({ queuedMsP50: 5_000, queuedMsP95: 9_500 });
  });

  test('have no wait of what ended before the queue', () => {
    const before = { engineMs: 0, firstTokenMs: null, queuedMs: 0 };
    const rows = [
      row({ ...before, status: 400, outcome: 'failed', code: 'invalid_json' }),
      row({ ...before, status: 403, outcome: 'failed', code: 'model_not_allowed' }),
      row({ ...before, status: 499, outcome: 'aborted', code: 'client_closed_request' }),
    ];
    expect(totalsOf([], rows)).toMatchObject([{ requests: 3, queuedMsP50: null }]);
    // Who has left the queue has been in it, and who was let in at once has, too.
    const waited = row({ ...before, status: 499, outcome: 'aborted', queuedMs: 40 });
    const hit = row({ ...before, isCacheHit: 1 });
    const more = [...rows, waited, hit, row({ queuedMs: 0 })];
    expect(totalsOf([], more)).toMatchObject([{ queuedMsP50: 0, queuedMsP95: 40 }]);
  });
});

describe('the groups', () => {
  test('are told apart whatever a client calls its model', () => {
    const models = ['a', '"]', '["a"]', '', null];
    const totals = totalsOf(
      ['model'],
      [...models, ...models].map((model) => row({ model })),
    );
    expect(totals.map(({ model, requests }) => [model, requests])).toEqual(
      models.map((model) => [model, 2]),
    );
  });

  test('name a key as its latest request did', () => {
    const rows = [row({ key: 'k1', keyName: 'new' }), row({ key: 'k1', keyName: 'old' })];
    expect(totalsOf(['key'], rows)).toMatchObject([{ key: 'k1', name: 'new', requests: 2 }]);
  });

  test('come in the order of time, and then most tokens first', () => {
    const at = (hours: number, model: string, promptTokens = 1) =>
      row({ hour: Math.floor(now / unitMs.hour) + hours, model, promptTokens });
    const rows = [at(1, 'small'), at(0, 'small'), at(0, 'large', 100), at(-1, 'small')];
    const totals = totalsOf(['model', 'hour'], rows);
    expect(totals.map(({ hour, model }) => [hour, model])).toEqual([
      ['2026-11-05T12:00Z', 'small'],
      ['2026-11-05T13:00Z', 'large'],
      ['2026-11-05T13:00Z', 'small'],
      ['2026-11-05T14:00Z', 'small'],
    ]);
  });

  test('show a unit of time by its beginning', () => {
    const units = {
      day: Math.floor(now / unitMs.day),
      hour: Math.floor(now / unitMs.hour),
      minute: Math.floor(now / unitMs.minute),
    };
    expect(totalsOf(['day', 'hour', 'minute'], [row(units)])).toMatchObject([
      { day: '2026-11-05', hour: '2026-11-05T13:00Z', minute: '2026-11-05T13:30Z' },
    ]);
  });

  test('are bounded: what comes beyond is added up as other', () => {
    const rows = Array.from({ length: maxGroups }, (_, i) => row({ model: `model-${i}` }));
    expect(totalsOf(['model'], [...rows, ...rows])).toHaveLength(maxGroups);
    const more = [row({ model: 'one' }), row({ model: 'two' }), row({ model: 'model-3' })];
    const totals = totalsOf(['model'], [...rows, ...more]);
    expect(totals).toHaveLength(maxGroups + 1);
    expect(totals.find(({ model }) => model === 'other')).toMatchObject({ requests: 2 });
    expect(totals.find(({ model }) => model === 'model-3')).toMatchObject({ requests: 2 });
  });

  test('beyond the bound keep their time, and are no key', () => {
    const day = Math.floor(now / unitMs.day);
    const rows = Array.from({ length: maxGroups }, (_, i) => row({ key: `key-${i}`, day }));
    const more = [day, day, day - 1].map((each) => row({ key: 'one', keyName: 'One', day: each }));
    const totals = totalsOf(['key', 'day'], [...rows, ...more]);
    expect(totals.filter(({ key }) => key === 'other')).toMatchObject([
      { name: 'other', day: '2026-11-04', requests: 1 },
      { name: 'other', day: '2026-11-05', requests: 2 },
    ]);
  });

  test('by time alone are bounded: more are refused, with what to do', () => {
    const rows = Array.from({ length: maxGroups }, (_, minute) => row({ minute }));
    expect(() => totalsOf(['minute'], [...rows, row({ minute: maxGroups })])).toThrow(
      'shorter time',
    );
  });
});
