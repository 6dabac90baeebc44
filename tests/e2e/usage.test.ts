/**
 * The ledger: every request has one row, however it ends, with the engine's own token counts if it reported them,
 * and marked as estimated if not. The reports for the operator, the command line and a key are sums of the rows.
 */
import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from 'bun:test';
import { Database } from 'bun:sqlite';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { startDemoEngine } from '../../src/demo/engine.ts';
import { ask, requestBytes, send, type Asked, RawClient } from '../support/rawclient.ts';
import { key, runCommand, startGateway, type Gateway } from '../support/gatewayprocess.ts';
import { admin, adminKey, bearer, issueKey } from '../support/operator.ts';
import { configFile, startWith } from '../support/configfile.ts';
import { healthOf, untilUpstream, untilIdle } from '../support/gatewayhealth.ts';
import { randomFrom } from '../support/random.ts';
import { until } from '../support/wait.ts';
import { clientIdOf } from '../support/requestid.ts';

setDefaultTimeout(60_000);

const folder = mkdtempSync(join(tmpdir(), 'llm-gateway-test-'));
// Slow enough that a reset does not overtake the frames before it.
const engine = startDemoEngine({ slots: 1, tokensPerSecond: 200 });
let gateway: Gateway;
let ledger: Database;
let count = 0;

beforeAll(async () => {
  gateway = await startGateway({
    LLM_SERVER_URL: engine.url,
    DATA_DIR: folder,
    ADMIN_API_KEY: adminKey,
    QUEUE_TIMEOUT_MS: '400',
    LOG_LEVEL: 'DEBUG',
  });
  await untilUpstream(gateway, 'engine', { state: 'up', slots: 1 });
  ledger = new Database(join(folder, 'gateway.sqlite'), { readonly: true });
});

afterAll(async () => {
  ledger?.close();
  await gateway?.[Symbol.asyncDispose]();
  await engine.stop();
  rmSync(folder, { recursive: true });
});

type Row = Record<string, string | number | null>;

/** Returns the rows of a request once there is one. */
async function rowsOf(id: string): Promise<Row[]> {
  const query = ledger.query<Row, [string]>('SELECT * FROM usage WHERE requestId = ?');
  await until(`${id} has a row`, () => query.all(id).length > 0);
  return query.all(id);
}

async function rowOf(id: string): Promise<Row> {
  const [row, ...others] = await rowsOf(id);
  expect(others).toEqual([]);
  return row as Row;
}

const issue = (policy: object) => issueKey(gateway, policy);

const brief = { model: 'demo', prompt: 'a b c', max_tokens: 5 };
const endless = { ...brief, max_tokens: 3000, stream: true };

/** Returns a request with its own id. */
function withId(asked: Asked = {}): { id: string; asked: Asked } {
  const id = `usage-${++count}`;
  return {
    id,
    asked: { body: brief, ...asked, headers: { ...asked.headers, 'X-Request-Id': id } },
  };
}

const fault = (name: string) => ({ 'X-Demo-Fault': name });

const idle = () => untilIdle(gateway, engine);

/** Sends a request to its end and returns its row. */
async function ended(asked?: Asked): Promise<Row> {
  const request = withId(asked);
  await ask(gateway.url, request.asked);
  return rowOf(request.id);
}

/** Sends a request, waits until it is that far, leaves, and returns its row. */
async function left(asked: Asked, isThere: (id: string) => Promise<unknown>): Promise<Row> {
  const request = withId(asked);
  const exchange = await send(gateway.url, request.asked);
  await isThere(request.id);
  exchange.leaveByReset();
  return rowOf(request.id);
}

function atEngine(id: string) {
  return engine.requests.find(({ headers }) => clientIdOf(headers) === id);
}

const unknown = { promptTokens: null, completionTokens: null, cachedTokens: null, tokensAre: null };

describe('a request has one row', () => {
  const requests = new Map<string, string>();
  const refused = { ...unknown, outcome: 'failed', upstream: null, engineMs: 0 };
  let limited: { id: string; key: string };
  let web: { id: string; key: string };

  /**
   * The requests are sent one after the other, and their rows are read when all exist: writing a row takes half a
   * second.
   */
  beforeAll(async () => {
    limited = await issue({ name: 'limited', limits: { requestsPerMinute: 1 } });
    web = await issue({ name: 'web', userHeader: 'x-user' });
    const bound = await issue({ name: 'bound', models: ['another'] });
    const all: Record<string, Asked> = {
      plain: {},
      stream: { body: { ...brief, stream: true } },
      'error of the engine': { headers: fault('error-500') },
      reset: { headers: fault('reset') },
      'within a limit': { headers: bearer(limited.key) },
      'over a limit': { headers: bearer(limited.key) },
      'no JSON': { body: '{' },
      'another model': { headers: bearer(bound.key) },
      'of a user': { headers: { ...bearer(web.key), 'X-User': 'alice' } },
    };
    for (const name in all) {
      const request = withId(all[name]);
      requests.set(name, request.id);
      await ask(gateway.url, request.asked);
    }
  });

  const rowNamed = (name: string) => rowOf(requests.get(name) ?? '');

  test('when it is answered', async () => {
    const row = await rowNamed('plain');
    expect(row).toMatchObject({
      principal: row['keyId'],
      route: '/v1/completions',
      model: 'demo',
      upstream: 'engine',
      status: 200,
      code: null,
      outcome: 'done',
      stream: 0,
      firstTokenMs: null,
      promptTokens: 3,
      completionTokens: 5,
      tokensAre: 'exact',
      isCacheHit: 0,
    });
    expect(Math.abs(Number(row['at']) - Date.now())).toBeLessThan(30_000);
    expect(Number(row['engineMs'])).toBeGreaterThan(0);
    expect(Number(row['totalMs'])).toBeGreaterThanOrEqual(Number(row['engineMs']));
  });

  test('with its user, its class, and both names of its model', async () => {
    using file = configFile({
      upstreams: [{ url: engine.url, models: ['demo'], aliases: { fast: 'demo' } }],
    });
    const data = mkdtempSync(join(tmpdir(), 'llm-gateway-test-'));
    await using aliased = await startWith(file, { DATA_DIR: data, ADMIN_API_KEY: adminKey });
    const { key } = await issueKey(aliased, { name: 'several', userHeader: 'x-user' });
    const asking = (id: string, model: object, headers: Record<string, string>) =>
      ask(aliased.url, {
        body: { ...brief, model: undefined, ...model },
        headers: { ...bearer(key), 'X-Request-Id': id, ...headers },
      });
    await asking('one', { model: 'fast' }, { 'X-User': 'eva/tom', 'X-Priority': 'batch' });
    await asking('two', {}, {});
    await asking('three', { model: 'other' }, {});
    aliased.kill('SIGTERM');
    await aliased.exited;
    using rows = new Database(join(data, 'gateway.sqlite'), { readonly: true });
    const sql = 'SELECT user, priority, model, servedModel, length(uuid) AS bytes FROM usage';
    const found = rows.query<Row, []>(`${sql} ORDER BY uuid`).all();
    rmSync(data, { recursive: true });
    expect(found).toEqual([
      { user: 'eva/tom', priority: 'batch', model: 'fast', servedModel: 'demo', bytes: 16 },
      { user: null, priority: 'interactive', model: null, servedModel: 'demo', bytes: 16 },
      // No engine has a model of that name.
      { user: null, priority: 'interactive', model: null, servedModel: 'demo', bytes: 16 },
    ]);
  });

  test('when it is streamed', async () => {
    const row = await rowNamed('stream');
    expect(row).toMatchObject({
      status: 200,
      outcome: 'done',
      code: null,
      stream: 1,
      promptTokens: 3,
      completionTokens: 5,
      tokensAre: 'exact',
    });
    expect(Number(row['firstTokenMs'])).toBeGreaterThan(0);
  });

  test('when the engine answers with an error', async () => {
    expect(await rowNamed('error of the engine')).toMatchObject({
      ...unknown,
      status: 500,
      code: null,
      upstream: 'engine',
    });
  });

  test('when the engine resets the connection', async () => {
    expect(await rowNamed('reset')).toMatchObject({
      ...unknown,
      status: 502,
      outcome: 'failed',
      code: 'upstream_reset',
    });
  });

  test('when it is over a limit', async () => {
    expect(await rowNamed('within a limit')).toMatchObject({ status: 200, keyId: limited.id });
    expect(await rowNamed('over a limit')).toMatchObject({
      ...refused,
      status: 429,
      code: 'rate_limited',
      keyId: limited.id,
      keyName: 'limited',
    });
  });

  test('when its body is invalid, or its model not allowed', async () => {
    expect(await rowNamed('no JSON')).toMatchObject({
      ...refused,
      status: 400,
      code: 'invalid_json',
      model: null,
    });
    expect(await rowNamed('another model')).toMatchObject({
      ...refused,
      status: 403,
      code: 'model_not_allowed',
      model: 'demo',
    });
  });

  test('under the user whom its key names', async () => {
    expect(await rowNamed('of a user')).toMatchObject({
      keyId: web.id,
      principal: `${web.id}/alice`,
      keyName: 'web',
    });
  });

  test('when its stream is cut: estimated by the frames that came', async () => {
    const { id, asked } = withId({ body: endless, headers: fault('cut=3') });
    const stream = await ask(gateway.url, asked);
    expect(stream.status).toBe(200);
    // After the frames come the error's frame and the empty rest of the text.
    const frames = stream.text.split('\n\n').length - 2;
    expect(frames).toBeGreaterThan(0);
    const row = await rowOf(id);
    expect(row).toMatchObject({
      status: 200,
      outcome: 'failed',
      code: 'upstream_reset',
      stream: 1,
      completionTokens: frames,
      cachedTokens: null,
      tokensAre: 'estimated',
    });
    expect(Number(row['promptTokens'])).toBeGreaterThan(0);
  });

  test('when its client leaves while it sends', async () => {
    const { id, asked } = withId();
    const bytes = requestBytes(asked);
    const exchange = await RawClient.open(gateway.url);
    exchange.write(bytes.subarray(0, bytes.length - 5));
    await gateway.logged(({ requestId }) => requestId === id);
    exchange.leaveByReset();
    expect(await rowOf(id)).toMatchObject({
      ...unknown,
      status: 499,
      outcome: 'aborted',
      code: 'client_closed_request',
      upstream: null,
      engineMs: 0,
    });
  });

  test('when its client leaves while it waits', async () => {
    const holder = await send(gateway.url, { body: endless, headers: fault('stall=1') });
    await holder.hasBytes();
    const row = await left({ body: endless }, () => {
      return until('it waits', async () => (await healthOf(gateway)).queued === 1);
    });
    holder.leaveByReset();
    await idle();
    expect(row).toMatchObject({
      ...unknown,
      status: 499,
      outcome: 'aborted',
      code: 'client_closed_request',
      upstream: null,
      engineMs: 0,
      firstTokenMs: null,
    });
    expect(Number(row['queuedMs'])).toBeGreaterThan(0);
  });

  test('when its client leaves before the first token: estimated by its prompt', async () => {
    const row = await left({ body: endless, headers: fault('hang') }, (id) => {
      return until('the engine has it', () => atEngine(id)?.state === 'running');
    });
    await idle();
    expect(row).toMatchObject({
      status: 499,
      outcome: 'aborted',
      code: 'client_closed_request',
      upstream: 'engine',
      completionTokens: 0,
      tokensAre: 'estimated',
      firstTokenMs: null,
    });
    expect(Number(row['promptTokens'])).toBeGreaterThan(0);
    expect(Number(row['engineMs'])).toBeGreaterThan(0);
  });

  test('when its client leaves in the stream: estimated by the frames sent to it', async () => {
    const request = withId({ body: endless, headers: fault('stall=4') });
    const exchange = await send(gateway.url, request.asked);
    await exchange.until('4 frames are here', () => exchange.text.split('\n\n').length === 5);
    exchange.leaveByReset();
    expect(await rowOf(request.id)).toMatchObject({
      status: 200,
      outcome: 'aborted',
      code: 'client_closed_request',
      stream: 1,
      completionTokens: 4,
      tokensAre: 'estimated',
    });
    await idle();
  });

  test('when it waits too long', async () => {
    const holder = await send(gateway.url, { body: endless, headers: fault('stall=1') });
    await holder.hasBytes();
    const row = await ended({ body: endless });
    holder.leaveByReset();
    await idle();
    expect(row).toMatchObject({
      ...unknown,
      status: 503,
      outcome: 'failed',
      code: 'queue_timeout',
      upstream: null,
      engineMs: 0,
    });
    expect(Number(row['queuedMs'])).toBeGreaterThanOrEqual(400);
  });

  test('when the operator stops it, or revokes its key', async () => {
    const revoked = await issue({ name: 'revoked' });
    for (const [code, headers, end] of [
      ['stopped_by_operator', {}, (id: string) => `/admin/requests/${id}`],
      ['key_revoked', bearer(revoked.key), () => `/admin/keys/${revoked.id}`],
    ] as const) {
      const request = withId({ body: endless, headers: { ...headers, ...fault('stall=2') } });
      const exchange = await send(gateway.url, request.asked);
      await exchange.hasBytes();
      expect((await admin(gateway, `DELETE ${end(request.id)}`)).status).toBeLessThan(300);
      expect(await rowOf(request.id)).toMatchObject({
        status: 200,
        outcome: 'failed',
        code,
        tokensAre: 'estimated',
      });
      await idle();
    }
  });

  test('and none if the request was not admitted', async () => {
    const asked = [
      { headers: { Authorization: undefined } },
      { headers: bearer('sk-of-nobody') },
      { path: '/slots', body: {} },
    ].map((more) => withId(more as Asked));
    for (const request of asked) await ask(gateway.url, request.asked);
    await ended();
    const ids = asked.map(({ id }) => `'${id}'`).join();
    expect(ledger.query(`SELECT * FROM usage WHERE requestId IN (${ids})`).all()).toEqual([]);
  });
});

describe('tokens are what the engine has counted', () => {
  const messages = [{ role: 'user', content: 'How many words are these?' }];
  const text = { prompt: 'How many words are these?', max_tokens: 9 };
  const cases: [path: string, body: object][] = [
    ['/v1/completions', text],
    ['/v1/chat/completions', { messages, max_tokens: 9 }],
    ['/v1/responses', { input: 'How many words are these?', max_output_tokens: 9 }],
    ['/v1/messages', { messages, max_tokens: 9 }],
    ['/completion', text],
  ];

  test('on every route, plain and streamed', async () => {
    const asked = cases.flatMap(([path, body]): Asked[] => [
      { path, body },
      { path, body: { ...body, stream: true } },
    ]);
    const sent: { id: string; path: string | undefined; counted: Row }[] = [];
    for (const each of [...asked, { path: '/v1/embeddings', body: { input: 'a b c d' } }]) {
      const request = withId(each);
      const before = { ...engine.figures };
      expect((await ask(gateway.url, request.asked)).status).toBe(200);
      const { promptTokens, cachedTokens, predictedTokens } = engine.figures;
      const counted = {
        promptTokens: promptTokens - before.promptTokens,
        cachedTokens: cachedTokens - before.cachedTokens,
        completionTokens: predictedTokens - before.predictedTokens,
      };
      sent.push({ id: request.id, path: each.path, counted });
    }
    for (const { id, path, counted } of sent) {
      const row = await rowOf(id);
      const { promptTokens, tokensAre } = row;
      expect({ path, promptTokens, tokensAre }).toEqual({
        path,
        promptTokens: counted['promptTokens'] as number,
        tokensAre: 'exact',
      });
      expect(row['completionTokens'] ?? 0).toBe(counted['completionTokens'] as number);
      // Not every answer reports the cached tokens.
      if (row['cachedTokens'] !== null)
        expect(row['cachedTokens']).toBe(counted['cachedTokens'] as number);
    }
  });

  test('in the sum of a mixed run with failures', async () => {
    const mixed = await issue({ name: 'mixed' });
    const before = { ...engine.figures };
    const random = randomFrom(5);
    async function client(): Promise<void> {
      for (let i = 0; i < 25; i++) {
        const [path, body] = random.pick(cases);
        const headers = { ...bearer(mixed.key), ...(random.oneIn(5) && fault('error-500')) };
        const max = { max_tokens: 1 + random.below(20) };
        const stream = random.oneIn(2);
        await ask(gateway.url, withId({ path, headers, body: { ...body, ...max, stream } }).asked);
      }
    }
    await Promise.all([client(), client(), client(), client()]);
    const sums = ledger.query<Row, [string]>(
      `SELECT count(*) AS requests, sum(promptTokens) AS promptTokens,
       sum(completionTokens) AS predictedTokens FROM usage WHERE keyId = ?`,
    );
    await until('all have rows', () => sums.get(mixed.id)?.['requests'] === 100);
    const { promptTokens, predictedTokens } = engine.figures;
    expect(sums.get(mixed.id)).toEqual({
      requests: 100,
      promptTokens: promptTokens - before.promptTokens,
      predictedTokens: predictedTokens - before.predictedTokens,
    });
  });
});

type Totals = Record<string, string | number | null>;

/** Returns the totals that a path answers with. */
async function totalsAt(path: string, secret: string): Promise<Totals[]> {
  const answer = await ask(gateway.url, { path, headers: bearer(secret) });
  expect(answer.status).toBe(200);
  return (JSON.parse(answer.text) as { data: Totals[] }).data;
}

/** Runs `llm-gateway usage …`, and returns what it prints. */
async function usage(...args: string[]): Promise<string> {
  const { stdout, stderr, code } = await runCommand(['usage', ...args], { DATA_DIR: folder });
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
  return stdout;
}

/** Reads CSV whose fields have no line breaks. */
function fromCsv(text: string): Record<string, string>[] {
  const [head = [], ...lines] = text
    .split('\r\n')
    .filter((line) => line !== '')
    .map((line) =>
      [...line.matchAll(/(?:^|,)(?:"((?:[^"]|"")*)"|([^,]*))/g)].map(
        ([, quoted, plain]) => quoted?.replaceAll('""', '"') ?? plain ?? '',
      ),
    );
  return lines.map((fields) =>
    Object.fromEntries(head.map((name, index) => [name, fields[index] ?? ''])),
  );
}

describe('a report', () => {
  const columns = [
    ...(['key', 'principal', 'model', 'upstream', 'route', 'code'] as const),
    ...(['day', 'hour', 'minute'] as const),
  ];
  /** All rows, and a fixed span of time that contains them. */
  const span = {
    since: new Date(Date.now() - 3_600_000).toISOString(),
    until: new Date(Date.now() + 3_600_000).toISOString(),
  };
  const query = (by: string) => `by=${by}&since=${span.since}&until=${span.until}`;
  let rows: Row[] = [];
  let nosy: { id: string; key: string };

  beforeAll(async () => {
    nosy = await issue({ name: '=nosy, "quoted"', userHeader: 'x-user' });
    for (const user of ['alice', 'bob', 'bob']) {
      await ended({ headers: { ...bearer(nosy.key), 'X-User': user } });
    }
    await idle();
    rows = ledger.query<Row, []>('SELECT * FROM usage').all();
  });

  const sum = (of: readonly Row[], name: string) =>
    of.reduce((total, row) => total + Number(row[name] ?? 0), 0);

  const isRefused = ({ code }: Row) => code === 'rate_limited' || code === 'queue_full';

  /** Returns what a column of a report shows of a row. */
  function shown(column: string, row: Row): string | null {
    if (column === 'key') return String(row['keyId']);
    if (column === 'model') return (row['model'] ?? row['servedModel']) as string | null;
    const at = new Date(Number(row['at'])).toISOString();
    if (column === 'day') return at.slice(0, 10);
    if (column === 'hour') return `${at.slice(0, 13)}:00Z`;
    if (column === 'minute') return `${at.slice(0, 16)}Z`;
    return row[column] === null ? null : String(row[column]);
  }

  test.each(columns)('by %s adds up every row once', async (column) => {
    const data = await totalsAt(`/admin/usage?${query(column)}`, adminKey);
    const expected = Map.groupBy(rows, (row) => shown(column, row));
    expect(data.length).toBe(expected.size);
    for (const totals of data) {
      const group = expected.get(totals[column] as string | null) ?? [];
      expect(totals).toMatchObject({
        requests: group.length,
        refused: group.filter(isRefused).length,
        failed: group.filter((row) => {
          const { outcome, status } = row;
          const isFailed = outcome === 'failed' || (outcome === 'done' && Number(status) >= 400);
          return isFailed && !isRefused(row);
        }).length,
        cancelled: group.filter(({ outcome }) => outcome === 'aborted').length,
        estimated: group.filter(({ tokensAre }) => tokensAre === 'estimated').length,
        promptTokens: sum(group, 'promptTokens'),
        cachedTokens: sum(group, 'cachedTokens'),
        completionTokens: sum(group, 'completionTokens'),
      });
      expect(totals['engineSeconds']).toBeCloseTo(sum(group, 'engineMs') / 1000, 2);
    }
  });

  test('of the command line is the same, as JSON and as CSV', async () => {
    for (const by of ['key,model', 'route,code', columns.join()]) {
      const data = await totalsAt(`/admin/usage?${query(by)}`, adminKey);
      const args = ['--by', by, '--since', span.since, '--until', span.until];
      const [json, csv] = await Promise.all([usage(...args, '--json'), usage(...args, '--csv')]);
      expect((JSON.parse(json) as { data: Totals[] }).data).toEqual(data);
      const asText = data.map((totals) =>
        Object.fromEntries(Object.entries(totals).map(([name, value]) => [name, `${value ?? ''}`])),
      );
      // A spreadsheet must not take a name for a formula.
      for (const totals of asText) totals['name'] = totals['name']?.replace(/^=/, "'=") as string;
      for (const totals of asText) if (totals['name'] === undefined) delete totals['name'];
      expect(fromCsv(csv)).toEqual(asText);
    }
  });

  test('for people has a line for each group', async () => {
    const table = await usage('--by', 'key', '--since', span.since, '--until', span.until);
    const keys = new Set(rows.map(({ keyId }) => String(keyId)));
    for (const id of keys)
      expect(table.split('\n').filter((line) => line.startsWith(id))).toHaveLength(1);
  });

  test('of a key has only its own rows', async () => {
    const own = await totalsAt(`/usage?${query('principal')}`, nosy.key);
    expect(own.map(({ principal, requests }) => [principal, requests]).sort()).toEqual([
      [`${nosy.id}/alice`, 1],
      [`${nosy.id}/bob`, 2],
    ]);
    const [all] = await totalsAt(`/usage?${query('day')}`, nosy.key);
    expect(all).toMatchObject({ requests: 3, promptTokens: 9, completionTokens: 15 });
    // A key of the configuration has one as well.
    const first = rows.find(({ requestId }) => requestId === 'usage-1');
    const mine = rows.filter(({ keyId }) => keyId === first?.['keyId']);
    const totals = await totalsAt(`/usage?${query('model')}`, key);
    expect(totals.reduce((total, { requests }) => total + Number(requests), 0)).toBe(mine.length);
  });

  test('of a key cannot have the rows of another', async () => {
    for (const wish of ['by=key', 'by=upstream', 'keyId=1', 'by=model&by=key']) {
      const answer = await ask(gateway.url, { path: `/usage?${wish}`, headers: bearer(nosy.key) });
      expect([answer.status, answer.header('x-gateway-error')]).toEqual([400, 'invalid_field']);
    }
    // In a client's query, `key` is an API key, and the Bearer header is tried before it.
    const [own, named] = [`/usage`, `/usage?key=${nosy.id}`].map(async (path) => {
      return (await ask(gateway.url, { path, headers: bearer(nosy.key) })).text;
    });
    expect(JSON.parse((await named) ?? '').data).toEqual(JSON.parse((await own) ?? '').data);
    expect((await ask(gateway.url, { path: '/usage', headers: bearer(adminKey) })).status).toBe(
      403,
    );
    const none = { Authorization: undefined };
    expect((await ask(gateway.url, { path: '/usage', headers: none })).status).toBe(401);
  });

  test('with wrong parameters names every problem', async () => {
    const wrong = 'by=key,colour&since=soon&until=-1';
    const { status, answer } = await admin(gateway, `GET /admin/usage?${wrong}`);
    expect(status).toBe(400);
    for (const part of ['colour', 'since', 'until']) expect(answer.text).toContain(part);
  });
});

test('counts refusals by a limit apart from failures, for the key and for the operator', async () => {
  const { id, key: secret } = await issue({ name: 'eager', limits: { requestsPerMinute: 1 } });
  for (let i = 0; i < 3; i++) await ended({ headers: bearer(secret) });
  const expected = { requests: 3, refused: 2, failed: 0, cancelled: 0, completionTokens: 5 };
  expect(await totalsAt('/usage?by=day', secret)).toMatchObject([expected]);
  const everybody = await totalsAt('/admin/usage', adminKey);
  expect(everybody.find((totals) => totals['key'] === id)).toMatchObject(expected);
});

test('no request has two rows', async () => {
  await idle();
  const twice = 'SELECT requestId FROM usage GROUP BY requestId HAVING count(*) > 1';
  expect(ledger.query(twice).all()).toEqual([]);
});
