/**
 * The dashboard's plugin: it serves all files without a key, under a strict policy. And the pure parts of the page: how
 * it reads an event stream, a usage report and a form.
 */
import { describe, expect, expectTypeOf, test } from 'bun:test';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { dashboard } from '../../../src/pages/dashboard.ts';
import type * as Page from '../../../src/pages/dashboard/types.d.ts';
import type { KeyView } from '../../../src/accounts/keyview.ts';
import type { liveView } from '../../../src/observe/liveview.ts';
import { changeFromJson } from '../../../src/accounts/policy.ts';
import type { UsageTotals } from '../../../src/accounts/usage.ts';
import { forSeeds } from '../../support/random.ts';
import { plainPolicy } from '../../support/samples.ts';

const folder = join(import.meta.dir, '../../../src/pages/dashboard');
const files = readdirSync(folder);
const scripts = files.filter((name) => name.endsWith('.js'));
const sourceOf = (name: string) => readFileSync(join(folder, name), 'utf8');

const app = dashboard();
const paths = app.routes.map(({ path }) => path);
const get = (path: string) => app.handle(new Request(`http://gateway${path}`));

/** Imports a module of the page. For the gateway's compiler it is only a file. */
const load = async <T>(name: string): Promise<T> => (await import(join(folder, name))) as T;

describe('the plugin', () => {
  test('serves the page with a policy that allows only its own files', async () => {
    const answer = await get('/dashboard');
    expect(answer.status).toBe(200);
    expect(answer.headers.get('content-type')).toBe('text/html; charset=utf-8');
    expect(answer.headers.get('cache-control')).toBe('no-cache');
    expect(answer.headers.get('x-content-type-options')).toBe('nosniff');
    expect(answer.headers.get('referrer-policy')).toBe('no-referrer');
    const policy = answer.headers.get('content-security-policy') ?? '';
    expect(policy).not.toMatch(/unsafe|https?:|\*/);
    expect(policy.split('; ')).toContainValues([
      "default-src 'none'",
      "script-src 'self'",
      "style-src 'self'",
      "connect-src 'self'",
      "base-uri 'none'",
      "form-action 'none'",
      "frame-ancestors 'none'",
    ]);
  });

  test('serves every module and style in the folder, and the chart library', async () => {
    const own = files.filter((name) => /\.(js|css)$/.test(name));
    const wanted = [...own, 'uplot.js', 'uplot.css'].map((name) => `/dashboard/${name}`);
    expect(paths.toSorted()).toEqual(['/dashboard', ...wanted].toSorted());
    for (const path of wanted) {
      const answer = await get(path);
      const type = path.endsWith('.css') ? 'text/css' : 'text/javascript';
      expect([path, answer.status]).toEqual([path, 200]);
      expect(answer.headers.get('content-type')).toBe(`${type}; charset=utf-8`);
      expect(answer.headers.get('cache-control')).toBe('no-cache');
    }
  });

  test('adds a content hash to every URL, so that files may be cached for ever', async () => {
    const page = await (await get('/dashboard')).text();
    const addresses = [...page.matchAll(/(?:src|href)="(\/[^"]+)"/g)].map(([, path]) => `${path}`);
    const named = addresses.map((address) => address.replace(/\?.*/, ''));
    expect([...new Set(named)].toSorted()).toEqual(paths.slice(1).toSorted());
    expect(new Set(addresses.map((address) => address.split('?')[1])).size).toBe(1);
    for (const address of addresses) {
      const answer = await get(address);
      expect(answer.headers.get('cache-control')).toBe('public, max-age=31536000, immutable');
      if (!address.startsWith('/dashboard/uplot')) {
        const text = await answer.text();
        for (const [, name] of text.matchAll(/^(?:import\b.*|\}) from '\.\/([^']+)'/gm)) {
          expect(addresses).toContain(`/dashboard/${name}`);
        }
      }
    }
    const outdated = await get('/dashboard/page.js?v=other');
    expect(outdated.headers.get('cache-control')).toBe('no-cache');
  });

  test('has no script, style or handler in the markup', () => {
    const page = sourceOf('index.html');
    expect(page).not.toMatch(/<style|\sstyle=|\son\w+=|<script(?![^>]*\ssrc=)/);
    expect(page).not.toMatch(/https?:\/\//);
  });

  test.each(scripts)('%s writes text only, and stores nothing in the browser', (name) => {
    expect(sourceOf(name)).not.toMatch(
      /innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|localStorage|sessionStorage|indexedDB|document\.cookie|setAttribute\('style/,
    );
  });
});

test('the page’s types match the admin API’s', () => {
  // The compiler checks this, not the run.
  expectTypeOf<ReturnType<typeof liveView>>().toExtend<Page.Live>();
  expectTypeOf<UsageTotals>().toExtend<Page.UsageRow>();
  expectTypeOf<KeyView>().toExtend<Page.KeyView>();
});

describe('events', async () => {
  interface Event {
    event: string;
    data: string;
    comment: string;
  }
  const { EventParser } = await load<{ EventParser: new () => { push(text: string): Event[] } }>(
    'events.js',
  );
  const stream =
    'event: live\ndata: {"a":\ndata: 1}\n\n: queued, place 3\n\ndata:x\r\n\r\nid: 7\n\ndata: [DONE]\n\n';
  const expected = [
    { event: 'live', data: '{"a":\n1}', comment: '' },
    { event: 'message', data: '', comment: 'queued, place 3' },
    { event: 'message', data: 'x', comment: '' },
    { event: 'message', data: '[DONE]', comment: '' },
  ];

  test('are the same wherever the stream is cut', async () => {
    await forSeeds(100, ({ below }) => {
      const parser = new EventParser();
      const found: Event[] = [];
      let rest = stream;
      while (rest !== '') {
        const length = 1 + below(9);
        found.push(...parser.push(rest.slice(0, length)));
        rest = rest.slice(length);
      }
      expect(found).toEqual(expected);
    });
  });

  test('are returned only when they have ended', () => {
    const parser = new EventParser();
    expect(parser.push('data: x\n')).toEqual([]);
    expect(parser.push('\n')).toHaveLength(1);
  });
});

test('waits between reconnections grow, up to 30 s', async () => {
  const { backoffMs } = await load<{ backoffMs(attempt: number, random: number): number }>(
    'feed.js',
  );
  expect([0, 1, 2, 3, 9].map((attempt) => backoffMs(attempt, 1))).toEqual([
    1000, 2000, 4000, 8000, 30_000,
  ]);
  expect(backoffMs(0, 0)).toBe(500);
});

describe('figures', async () => {
  type Write = (value: number | null) => string;
  const format = await load<{
    count: Write;
    rate: Write;
    wait: Write;
    age: (ms: number) => string;
  }>('format.js');

  test('are short', () => {
    const counts = [0, 950, 1_240, 12_400, 999_949, 999_960, 5_600_000, 2e9];
    expect(counts.map(format.count)).toEqual([
      '0',
      '950',
      '1.2k',
      '12k',
      '1.0M',
      '1.0M',
      '5.6M',
      '2.0G',
    ]);
    expect([0, 4.26, 31.4, 1234].map(format.rate)).toEqual(['0', '4.3', '31', '1,234']);
    expect([0, 84.4, 999.7, 3_210, 48_000, 125_000, 3_720_000].map(format.wait)).toEqual([
      '0 ms',
      '84 ms',
      '1.0 s',
      '3.2 s',
      '48 s',
      '2:05 min',
      '1:02 h',
    ]);
    expect(format.wait(null)).toBe('–');
    expect(format.age(59_600)).toBe('1:00 min');
  });
});

describe('charts', async () => {
  interface Line {
    label: string;
    color: number;
    values: (number | null)[];
  }
  type Charts = Record<'tokens' | 'firstToken' | 'queue' | 'errors', Line[]> & { times: number[] };
  const { chartsOf, stacked } = await load<{
    chartsOf(rows: object[], options: object): Charts;
    stacked(lines: Line[]): (number | null)[][];
  }>('series.js');

  const minute = 60_000;
  const range = { span: 'minute', since: 10.5 * minute, until: 14 * minute };
  function usage(at: number, name: string, values: object = {}) {
    return {
      minute: new Date(at * minute).toISOString(),
      key: `id-${name}`,
      name,
      promptTokens: 10,
      cachedTokens: 4,
      completionTokens: 5,
      refused: 3,
      failed: 1,
      cancelled: 2,
      firstTokenMsP50: 80,
      firstTokenMsP95: 300,
      queuedMsP50: 0,
      queuedMsP95: 20,
      ...values,
    };
  }

  test('have a point for each span, including spans without requests', () => {
    const charts = chartsOf([usage(11, 'a'), usage(13, 'a')], { ...range, split: 'key' });
    expect(charts.times).toEqual([600, 660, 720, 780]);
    expect(charts.tokens).toEqual([{ label: 'a', color: 1, values: [0, 15, 0, 15] }]);
    expect(charts.errors).toEqual([{ label: 'a', color: 1, values: [0, 1, 0, 1] }]);
    expect(charts.firstToken).toMatchObject([
      { label: 'a p50', values: [null, 80, null, 80] },
      { label: 'a p95', values: [null, 300, null, 300], isFaint: true },
    ]);
  });

  test('show the five largest groups, and the sum of the others', () => {
    const rows = ['a', 'b', 'c', 'd', 'e', 'f', 'g'].map((name, index) =>
      usage(11, name, { promptTokens: 100 * index, completionTokens: 0 }),
    );
    const { tokens, queue } = chartsOf(rows, { ...range, split: 'key' });
    expect(tokens.map(({ label }) => label)).toEqual(['g', 'f', 'e', 'd', 'c', '2 more']);
    expect(tokens.at(-1)).toEqual({ label: '2 more', color: 0, values: [0, 100, 0, 0] });
    expect(queue).toHaveLength(10);
  });

  test('show keys with the same name separately', () => {
    const rows = [usage(11, 'a'), usage(11, 'a', { key: 'other' })];
    expect(chartsOf(rows, { ...range, split: 'key' }).tokens).toHaveLength(2);
  });

  test('without a split show the kinds of tokens', () => {
    const { tokens, errors } = chartsOf([usage(11, 'a')], { ...range, split: 'all' });
    expect(tokens.map(({ label, values }) => [label, values[1]])).toEqual([
      ['completion', 5],
      ['prompt', 6],
      ['cached prompt', 4],
    ]);
    expect(errors.map(({ label, values }) => [label, values[1]])).toEqual([
      ['failed', 1],
      ['refused', 3],
      ['cancelled', 2],
    ]);
  });

  test('leave out rows outside their time range', () => {
    const rows = [usage(9, 'a'), usage(99, 'a'), usage(12, 'a', { minute: 'no time' })];
    expect(chartsOf(rows, { ...range, split: 'key' }).tokens).toEqual([]);
    expect(chartsOf([], { ...range, split: 'all' }).tokens[0]?.values).toEqual([0, 0, 0, 0]);
  });

  test('are stacked', () => {
    const line = (values: number[]) => ({ label: '', color: 1, values });
    expect(stacked([line([1, 2]), line([3, 0])])).toEqual([
      [1, 2],
      [4, 2],
    ]);
  });
});

test('totals are sorted by number or name, rows without a value last', async () => {
  type Row = { n: number | null; name: string };
  const { sorted } = await load<{
    sorted(rows: Row[], value: (row: Row) => unknown, isDescending: boolean): Row[];
  }>('totals.js');
  const rows = [
    { n: 2, name: 'key 10' },
    { n: null, name: 'key 9' },
    { n: 30, name: 'Key 1' },
  ];
  const numbers = (isDescending: boolean) =>
    sorted(rows, ({ n }) => n, isDescending).map(({ n }) => n);
  expect(numbers(true)).toEqual([30, 2, null]);
  expect(numbers(false)).toEqual([2, 30, null]);
  const names = sorted(rows, ({ name }) => name, false).map(({ name }) => name);
  expect(names).toEqual(['Key 1', 'key 9', 'key 10']);
});

describe('the form of a key', async () => {
  type Form = Record<string, string>;
  const { formOf, policyOf } = await load<{
    formOf(key: object | undefined): Form;
    policyOf(form: Form): Record<string, unknown>;
  }>('keyform.js');

  test('without values sets no limits', () => {
    expect(policyOf({ ...formOf(undefined), name: 'alice' })).toEqual({
      name: 'alice',
      limits: {
        requestsPerMinute: null,
        tokensPerMinute: null,
        concurrentRequests: null,
        budgets: null,
      },
      models: null,
      weight: null,
      priority: 'interactive',
      userHeader: null,
      expiresAt: null,
    });
  });

  test('returns the values of a key, and does not change when it expires', () => {
    const key = {
      name: 'web',
      limits: {
        requestsPerMinute: 60,
        tokensPerMinute: 20_000,
        concurrentRequests: 2,
        budgets: [
          { tokens: 1_000_000, per: 'day' },
          { tokens: 9_000_000, per: 'month' },
        ],
      },
      models: ['a', 'b'],
      weight: 2.5,
      priority: 'batch',
      userHeader: 'x-user',
    };
    const form = formOf({ ...key, expiresAt: '2027-01-01T00:00:00.000Z' });
    expect(policyOf(form)).toEqual(key);
    const policy = policyOf({ ...form, expires: '30d' });
    expect(policy).toEqual({ ...key, expiresAt: '30d' });
    expect(changeFromJson(policy, plainPolicy, 0)).toMatchObject(key);
  });
});

describe('the playground', async () => {
  const { piecesOf } = await load<{ piecesOf(data: string): object[] }>('chat.js');

  test('reads text, reasoning and token counts', () => {
    const delta = (value: object) => JSON.stringify({ choices: [{ delta: value }] });
    expect(piecesOf(delta({ content: 'Hi' }))).toEqual([{ kind: 'text', text: 'Hi' }]);
    expect(piecesOf(delta({ content: null, reasoning_content: 'Hm' }))).toEqual([
      { kind: 'thought', text: 'Hm' },
    ]);
    expect(piecesOf(delta({ role: 'assistant', content: '' }))).toEqual([]);
    expect(piecesOf('{"choices":[],"usage":{"completion_tokens":7}}')).toEqual([
      { kind: 'tokens', text: '7' },
    ]);
    expect(piecesOf('{"choices":[{"delta":{}}],"timings":{"predicted_n":8}}')).toEqual([
      { kind: 'tokens', text: '8' },
    ]);
    expect(piecesOf('[DONE]')).toEqual([]);
  });

  test('throws for an error inside the stream', () => {
    const data = '{"error":{"message":"The engine is gone.","code":"upstream_reset"}}';
    expect(() => piecesOf(data)).toThrow('The engine is gone.');
  });

  test('shows the speed of an answer', async () => {
    const { figuresOf } = await load<{ figuresOf(run: object): string }>('playground.js');
    const run = { askedAt: 1_000, firstAt: 1_120, now: 3_120, pieces: 41, tokens: undefined };
    expect(figuresOf(run)).toBe('first token 120 ms, ~41 tokens, 20 tokens/s');
    expect(figuresOf({ ...run, tokens: 81 })).toBe('first token 120 ms, 81 tokens, 40 tokens/s');
    expect(figuresOf({ ...run, firstAt: 0 })).toBe('waiting; 2.1 s so far');
    const queued = 'queued, place 3, about 12 s';
    expect(figuresOf({ ...run, firstAt: 0, queued })).toBe(`${queued}; 2.1 s so far`);
  });
});

test('an error has the gateway’s message, or the start of another body', async () => {
  const { messageOf } = await load<{ messageOf(text: string, status: number): string }>('api.js');
  expect(messageOf('{"error":{"message":"No."}}', 403)).toBe('No.');
  expect(messageOf('{"error":"No."}', 403)).toBe('No.');
  expect(messageOf('<html>Bad gateway', 502)).toBe('<html>Bad gateway');
  expect(messageOf('', 502)).toBe('The gateway answered with status 502.');
});
