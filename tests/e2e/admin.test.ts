/**
 * What the operator does over HTTP on a running gateway: keys, the requests in flight, the audit log. Without an
 * ADMIN_API_KEY none of it is there, and a key of a client opens nothing.
 */
import {
  afterAll,
  afterEach,
  beforeAll,
  describe,
  expect,
  setDefaultTimeout,
  test,
} from 'bun:test';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { startDemoEngine } from '../../src/demo.ts';
import { ask, open, requestBytes, send, type Asked, type Exchange } from '../exchange.ts';
import { key, runCommand, startGateway, type Gateway } from '../gateway.ts';
import { healthOf, untilUpstream, untilIdle } from '../stage.ts';
import { until } from '../wait.ts';

setDefaultTimeout(60_000);

const adminKey = 'sk-admin-of-all-keys';
const folder = mkdtempSync(join(tmpdir(), 'llm-gateway-test-'));
const engine = startDemoEngine({ slots: 1 });
let gateway: Gateway;

beforeAll(async () => {
  gateway = await startGateway({
    LLM_SERVER_URL: engine.url,
    DATA_DIR: folder,
    ADMIN_API_KEY: adminKey,
    LOG_LEVEL: 'DEBUG',
  });
  await untilUpstream(gateway, 'engine', { state: 'up', slots: 1 });
});

afterAll(async () => {
  await gateway?.[Symbol.asyncDispose]();
  await engine.stop();
  rmSync(folder, { recursive: true });
});

type Json = Record<string, unknown>;

const bearer = (secret: string | undefined) => ({
  Authorization: secret === undefined ? undefined : `Bearer ${secret}`,
});

/** Asks as the operator does. */
async function admin(method: string, path: string, body?: Asked['body'], secret = adminKey) {
  const asked = { method, path, headers: bearer(secret), ...(body !== undefined && { body }) };
  const answer = await ask(gateway.url, asked);
  const json = (answer.text.startsWith('{') ? JSON.parse(answer.text) : {}) as Json;
  return { status: answer.status, code: answer.header('x-gateway-error'), json, answer };
}

async function issue(policy: Json = {}): Promise<{ id: string; key: string }> {
  const { json } = await admin('POST', '/admin/keys', { name: 'someone', ...policy });
  return json as { id: string; key: string };
}

async function statusOf(secret: string): Promise<number> {
  return (await ask(gateway.url, { path: '/v1/models', headers: bearer(secret) })).status;
}

interface Route {
  method: string;
  path: string;
  body?: object;
}

const routes: Route[] = [
  { method: 'GET', path: '/admin/keys' },
  { method: 'POST', path: '/admin/keys', body: { name: 'intruder' } },
  { method: 'GET', path: '/admin/keys/0123456789' },
  { method: 'PATCH', path: '/admin/keys/0123456789', body: { weight: 2 } },
  { method: 'DELETE', path: '/admin/keys/0123456789' },
  { method: 'POST', path: '/admin/keys/0123456789/rotate', body: {} },
  { method: 'GET', path: '/admin/usage' },
  { method: 'GET', path: '/admin/audit' },
  { method: 'GET', path: '/admin/live' },
  { method: 'DELETE', path: '/admin/requests/some-id' },
];

describe('without an ADMIN_API_KEY', () => {
  let closed: Gateway;
  beforeAll(async () => {
    closed = await startGateway({ LLM_SERVER_URL: engine.url });
  });
  afterAll(() => closed?.[Symbol.asyncDispose]());

  const pages = ['/dashboard', '/dashboard/page.js'].map((path) => ({ method: 'GET', path }));
  test.each([...routes, ...pages])('$method $path is 404, whatever the key', async (route) => {
    for (const secret of [undefined, key, adminKey, '']) {
      const answer = await ask(closed.url, { ...route, headers: bearer(secret) });
      expect([answer.status, answer.header('x-gateway-error')]).toEqual([404, 'unknown_route']);
    }
  });
});

describe('with one', () => {
  test.each(routes)('$method $path needs it', async (route) => {
    const client = await issue();
    const cases = [
      [undefined, 401, 'missing_api_key'],
      ['', 401, 'missing_api_key'],
      [adminKey.slice(0, -1), 403, 'invalid_api_key'],
      [`${adminKey}x`, 403, 'invalid_api_key'],
      [key, 403, 'invalid_api_key'],
      [client.key, 403, 'invalid_api_key'],
    ] as const;
    for (const [secret, status, code] of cases) {
      const answer = await ask(gateway.url, { ...route, headers: bearer(secret) });
      expect([answer.status, answer.header('x-gateway-error')]).toEqual([status, code]);
      expect(answer.text).not.toContain('intruder');
    }
  });

  test('it is presented as Bearer or as x-api-key', async () => {
    const headers = { Authorization: undefined, 'X-Api-Key': adminKey };
    expect((await ask(gateway.url, { path: '/admin/keys', headers })).status).toBe(200);
  });

  test('it is no key of a client', async () => {
    expect(await statusOf(adminKey)).toBe(403);
    const body = { prompt: 'x', max_tokens: 1 };
    const refused = await ask(gateway.url, { headers: bearer(adminKey), body });
    expect(refused.header('x-gateway-error')).toBe('invalid_api_key');
  });

  test('the page is there for everybody, and says nothing', async () => {
    const page = await ask(gateway.url, { path: '/dashboard', headers: bearer(undefined) });
    expect(page.status).toBe(200);
    expect(page.header('content-security-policy')).toContain("default-src 'none'");
  });
});

describe('a key', () => {
  test('is made, shown once, changed, rotated and revoked', async () => {
    const policy = {
      name: 'alice',
      limits: {
        requestsPerMinute: 60,
        tokensPerMinute: 20_000,
        concurrentRequests: 2,
        budgets: [{ tokens: 1_000_000, per: 'day' }],
      },
      models: ['demo', 'other'],
      weight: 2,
      priority: 'batch',
      expiresAt: '90d',
      userHeader: 'X-User',
    };
    const made = await admin('POST', '/admin/keys', policy);
    expect(made.status).toBe(201);
    expect(made.answer.header('cache-control')).toBe('no-store');
    const { id, key: secret, ...view } = made.json as { id: string; key: string };
    expect(secret).toStartWith(`sk-gw-${id}-`);
    expect(view).toEqual({
      ...policy,
      hint: `sk-gw-${id}-…`,
      state: 'active',
      userHeader: 'x-user',
      createdAt: expect.any(String),
      expiresAt: expect.any(String),
      revokedAt: null,
      replacedUntil: null,
    } as never);
    expect(await statusOf(secret)).toBe(200);

    const path = `/admin/keys/${id}`;
    const shown = await admin('GET', path);
    expect(shown.json).toEqual({ id, ...view });
    const list = await admin('GET', '/admin/keys');
    expect(list.json['data']).toContainEqual({ id, ...view });
    expect(list.answer.text).not.toContain(secret.slice(-43));

    const changed = await admin('PATCH', path, { weight: 3, limits: { requestsPerMinute: null } });
    const { requestsPerMinute: _, ...limits } = policy.limits;
    expect(changed).toMatchObject({ status: 200, json: { id, ...view, weight: 3, limits } });

    const rotated = await admin('POST', `${path}/rotate`, { grace: '1h' });
    expect(rotated.status).toBe(200);
    const fresh = String(rotated.json['key']);
    expect([await statusOf(secret), await statusOf(fresh)]).toEqual([200, 200]);
    expect(Date.parse(String(rotated.json['replacedUntil']))).toBeGreaterThan(Date.now());

    const revoked = await admin('DELETE', path);
    expect(revoked).toMatchObject({ status: 200, json: { id, state: 'revoked' } });
    expect([await statusOf(secret), await statusOf(fresh)]).toEqual([403, 403]);
  });

  test('that is not there is 404', async () => {
    for (const id of ['0123456789', 'alice', '__proto__', '%00', 'x%2Frotate']) {
      const path = `/admin/keys/${id}`;
      const missing = { status: 404, code: 'key_not_found' };
      expect(await admin('GET', path)).toMatchObject(missing);
      expect(await admin('PATCH', path, { weight: 2 })).toMatchObject(missing);
      expect(await admin('DELETE', path)).toMatchObject(missing);
      expect(await admin('POST', `${path}/rotate`, {})).toMatchObject(missing);
    }
  });

  test('is shared with the command line', async () => {
    const args = ['keys', 'add', '--name', 'of the command line'];
    const secret = (await runCommand(args, { DATA_DIR: folder })).stdout.trim();
    const list = await admin('GET', '/admin/keys');
    const data = list.json['data'] as Json[];
    expect(data.at(-1)).toMatchObject({ name: 'of the command line', state: 'active' });
    await until('it is accepted', async () => (await statusOf(secret)) === 200);
  });
});

describe('a body that is wrong', () => {
  async function expectNothingMade(body: Asked['body'], code: string): Promise<string> {
    const before = await admin('GET', '/admin/keys');
    const refused = await admin('POST', '/admin/keys', body);
    expect(refused).toMatchObject({ status: code === 'body_too_large' ? 413 : 400, code });
    expect(refused.json).toMatchObject({ error: { code, type: 'invalid_request_error' } });
    expect((await admin('GET', '/admin/keys')).json).toEqual(before.json);
    return refused.answer.text;
  }

  test.each(['', '{', '[]', 'null', '"name"', '{"name":"x"} {}'])(
    'since it is no JSON object: %s',
    async (body) => {
      await expectNothingMade(body, 'invalid_json');
    },
  );

  const wrong: [label: string, values: unknown[]][] = [
    ['name', ['', ' ', 'x'.repeat(101), 'two\nlines', 'a\u202Eb', 7, null]],
    ['limits', ['none', 7, []]],
    ['limits.requestsPerMinute', [0, -1, 1.5, '60', 1e300, true]],
    ['limits.tokensPerMinute', [0, 'many']],
    ['limits.concurrentRequests', [0, '2']],
    [
      'limits.budgets',
      [
        [],
        '1M/day',
        [{ tokens: 0, per: 'day' }],
        [{ tokens: 1, per: 'week' }],
        [{ tokens: 1 }],
        [{ tokens: 1, per: 'day', more: 1 }],
        [
          { tokens: 1, per: 'day' },
          { tokens: 2, per: 'day' },
        ],
      ],
    ],
    ['models', [[], 'demo', ['a', 'a'], [1], ['two\nlines'], [''], ['x'.repeat(201)]]],
    ['weight', [0, 101, '2', -1]],
    ['priority', ['urgent', 1, 'BATCH ']],
    ['expiresAt', ['yesterday', '2001-01-01', '2027-02-30', 90, '0d', '40000d']],
    ['userHeader', ['authorization', 'X-Api-Key', 'cookie', 'two words', '', 7]],
    ['nmae', ['typo']],
    ['limits.rpm', [60]],
  ];

  function policyWith(label: string, value: unknown): object {
    const [first = '', second] = label.split('.');
    const member = second === undefined ? { [first]: value } : { [first]: { [second]: value } };
    return { name: 'wrong', ...member };
  }

  test.each(wrong)('since its %s is not allowed', async (label, values) => {
    for (const value of values) {
      const text = await expectNothingMade(policyWith(label, value), 'invalid_field');
      expect(text).toContain(label.split('.').at(-1) as string);
    }
  });

  test('is told everything that is wrong at once', async () => {
    const limits = { requestsPerMinute: 0, tokensPerMinute: 'x', concurrentRequests: -1, rpm: 1 };
    const body = { name: '', limits, models: [], weight: 0, priority: 'x', userHeader: 'cookie' };
    const text = await expectNothingMade({ ...body, expiresAt: 'x', nmae: 'x' }, 'invalid_field');
    const labels = [...Object.keys(limits), ...Object.keys(body), 'expiresAt', 'nmae'];
    for (const label of labels) {
      if (label !== 'limits') expect(text).toContain(label);
    }
  });

  test('changes nothing of a key that is there', async () => {
    const { id } = await issue();
    const before = await admin('GET', `/admin/keys/${id}`);
    for (const body of [{}, { weight: 0, name: 'new' }, { id: 'other' }, { state: 'active' }]) {
      const refused = await admin('PATCH', `/admin/keys/${id}`, body);
      expect(refused).toMatchObject({ status: 400, code: 'invalid_field' });
    }
    for (const body of [{ grace: 'long' }, { grace: 5 }, { more: 1 }, { grace: '1h', more: 1 }]) {
      const refused = await admin('POST', `/admin/keys/${id}/rotate`, body);
      expect(refused).toMatchObject({ status: 400, code: 'invalid_field' });
    }
    expect((await admin('GET', `/admin/keys/${id}`)).json).toEqual(before.json);
  });

  test('since it is larger than 64 KiB, however it comes', async () => {
    const large = JSON.stringify({ name: 'x', models: ['m'.repeat(66_000)] });
    await expectNothingMade(large, 'body_too_large');
    const exchange = await open(gateway.url);
    const headers = { ...bearer(adminKey), 'Transfer-Encoding': 'chunked' };
    exchange.write(requestBytes({ method: 'POST', path: '/admin/keys', headers }));
    const piece = Buffer.from(large);
    exchange.write(`${piece.length.toString(16)}\r\n`);
    exchange.write(piece);
    await exchange.ended();
    expect([exchange.status, exchange.header('x-gateway-error')]).toEqual([413, 'body_too_large']);
  });
});

interface LiveRow extends Json {
  id: string;
  phase: string;
}

interface LiveEvent {
  at: string;
  requests: LiveRow[];
  upstreams: Json[];
  queued: number;
}

/** Watches as the page does. */
async function watch() {
  const stream = await send(gateway.url, { path: '/admin/live', headers: bearer(adminKey) });
  await stream.hasText('\n\n');
  function last(): LiveEvent {
    const events = stream.text.split('\n\n').slice(0, -1);
    return JSON.parse(events.at(-1)?.replace(/^event: live\ndata: /, '') ?? '') as LiveEvent;
  }
  return { stream, last };
}

describe('what is in flight', () => {
  const endless = { model: 'demo', prompt: 'x', max_tokens: 3000, stream: true };
  const opened: Exchange[] = [];

  async function openWith(id: string, asked: Asked = {}): Promise<Exchange> {
    const headers = { ...asked.headers, 'X-Request-Id': id };
    const exchange = await send(gateway.url, { body: endless, ...asked, headers });
    opened.push(exchange);
    return exchange;
  }

  const idle = () => untilIdle(gateway, engine);

  afterEach(async () => {
    for (const exchange of opened.splice(0)) exchange.leaveByReset();
    await idle();
  });

  test('is shown at once and then each second, with its phase', async () => {
    const web = await issue({ name: 'web', userHeader: 'x-user' });
    const { stream, last } = await watch();
    opened.push(stream);
    expect(stream.header('content-type')).toStartWith('text/event-stream');
    expect(stream.header('cache-control')).toBe('no-store');
    expect(last()).toMatchObject({ requests: [], queued: 0 });
    const headers = { ...bearer(web.key), 'X-User': 'alice', 'X-Demo-Fault': 'stall=5' };
    const running = await openWith('live-running', { headers });
    await running.until('5 frames are here', () => running.text.split('\n\n').length === 6);
    await openWith('live-waiting');
    await stream.until('both are shown', () => last().requests.length === 2);
    const event = last();
    expect(Math.abs(Date.parse(event.at) - Date.now())).toBeLessThan(30_000);
    expect(event.queued).toBe(1);
    expect(event.upstreams).toEqual([
      {
        id: 'engine',
        kind: 'llama.cpp',
        state: 'up',
        slots: 1,
        usedSlots: 1,
        models: ['demo'],
      },
    ]);
    expect(event.requests).toEqual([
      {
        id: 'live-running',
        key: web.id,
        name: 'web',
        principal: `${web.id}/alice`,
        route: '/v1/completions',
        model: 'demo',
        phase: 'decode',
        tokens: expect.any(Number),
        tokensPerSecond: expect.any(Number),
        ageMs: expect.any(Number),
        queuedMs: expect.any(Number),
        upstream: 'engine',
        stream: true,
      },
      expect.objectContaining({
        id: 'live-waiting',
        phase: 'queued',
        tokens: 0,
        tokensPerSecond: null,
        upstream: null,
      }),
    ]);
    expect(stream.text).not.toContain(web.key);
    expect(stream.text).not.toContain(key);
  });

  test('is shown with as many tokens as its client has got', async () => {
    const running = await openWith('live-tokens', { headers: { 'X-Demo-Fault': 'stall=5' } });
    await running.until('5 frames are here', () => running.text.split('\n\n').length === 6);
    const { stream, last } = await watch();
    opened.push(stream);
    expect(last().requests).toEqual([
      expect.objectContaining({ id: 'live-tokens', phase: 'decode', tokens: 5 }),
    ]);
  });

  test('is shown while its body comes, and while it has no token yet', async () => {
    const half = requestBytes({ body: endless, headers: { 'X-Request-Id': 'live-body' } });
    const sending = await open(gateway.url);
    opened.push(sending);
    sending.write(half.subarray(0, half.length - 5));
    await openWith('live-prefill', { headers: { 'X-Demo-Fault': 'hang' } });
    await until('the engine has it', () => engine.busySlots() === 1);
    const { stream, last } = await watch();
    opened.push(stream);
    await stream.until('both are shown', () => last().requests.length === 2);
    const phases = Object.fromEntries(last().requests.map(({ id, phase }) => [id, phase]));
    expect(phases).toEqual({ 'live-body': 'body', 'live-prefill': 'prefill' });
  });

  test('is stopped: a stream with an event, its slot free for who waits', async () => {
    const running = await openWith('stop-running', { headers: { 'X-Demo-Fault': 'stall=2' } });
    await running.hasBytes();
    const next = await openWith('stop-next', { body: { ...endless, max_tokens: 2 } });
    await until('it waits', async () => (await healthOf(gateway)).queued === 1);
    const stopped = await admin('DELETE', '/admin/requests/stop-running');
    expect([stopped.status, stopped.answer.length]).toEqual([204, 0]);
    await running.ended();
    expect(running.ending).toBe('whole');
    expect(running.text).toMatch(/data: \{"error":\{.*"code":"stopped_by_operator".*\}\}\n\n$/);
    await next.ended();
    expect([next.status, next.text.endsWith('data: [DONE]\n\n')]).toEqual([200, true]);
  });

  test('is stopped while it waits: 503 that says that a repeat does not help', async () => {
    const running = await openWith('stop-holder', { headers: { 'X-Demo-Fault': 'stall=1' } });
    await running.hasBytes();
    const waiting = await openWith('stop-waiting');
    await until('it waits', async () => (await healthOf(gateway)).queued === 1);
    expect((await admin('DELETE', '/admin/requests/stop-waiting')).status).toBe(204);
    await waiting.ended();
    expect(waiting.status).toBe(503);
    expect(waiting.header('x-gateway-error')).toBe('stopped_by_operator');
    expect(waiting.header('x-should-retry')).toBe('false');
    expect(running.ending).toBe('open');
    const ids = engine.requests.map(({ headers }) => headers['x-request-id']);
    expect(ids).not.toContain('stop-waiting');
  });

  test('is stopped before its first token, and while it sends its body', async () => {
    const prefill = await openWith('stop-prefill', { headers: { 'X-Demo-Fault': 'hang' } });
    await until('the engine has it', () => engine.busySlots() === 1);
    const half = requestBytes({ body: endless, headers: { 'X-Request-Id': 'stop-body' } });
    const sending = await open(gateway.url);
    sending.write(half.subarray(0, half.length - 5));
    await until('both are there', async () => (await healthOf(gateway)).inFlight === 2);
    for (const [id, exchange] of [
      ['stop-prefill', prefill],
      ['stop-body', sending],
    ] as const) {
      expect((await admin('DELETE', `/admin/requests/${id}`)).status).toBe(204);
      await exchange.ended();
      expect(exchange.header('x-gateway-error')).toBe('stopped_by_operator');
    }
  });

  test('is not what has ended', async () => {
    const done = await openWith('stop-done', { body: { prompt: 'x', max_tokens: 1 } });
    await done.ended();
    const gone = await admin('DELETE', '/admin/requests/stop-done');
    expect(gone).toMatchObject({ status: 404, code: 'request_not_found' });
  });
});

describe('the audit log', () => {
  interface Entry extends Json {
    detail: string | null;
  }
  const entries = async (limit: number) =>
    (await admin('GET', `/admin/audit?limit=${limit}`)).json['data'] as Entry[];

  test('says who did what and when, the last first, and never a secret', async () => {
    const from = Date.now();
    const made = await issue({ name: 'audited', weight: 2 });
    const path = `/admin/keys/${made.id}`;
    await admin('PATCH', path, { weight: 3 });
    const { json } = await admin('POST', `${path}/rotate`, { grace: '1h' });
    await admin('DELETE', path);
    // What was refused or changed nothing is no entry.
    await admin('DELETE', path);
    await admin('PATCH', path, { weight: 4 });
    const log = await entries(4);
    expect(log.map(({ action }) => action)).toEqual([
      'key_revoked',
      'key_rotated',
      'key_changed',
      'key_added',
    ]);
    for (const entry of log) {
      expect(entry).toMatchObject({ actor: 'admin', keyId: made.id, name: 'audited' });
      expect(Date.parse(String(entry['at']))).toBeGreaterThanOrEqual(from);
    }
    expect(log[2]?.detail).toBe('{"weight":3}');
    const text = JSON.stringify(await entries(1000));
    for (const secret of [made.key, String(json['key'])]) {
      expect(text).not.toContain(secret.slice(-43));
      expect(text).not.toContain(new Bun.CryptoHasher('sha256').update(secret).digest('hex'));
    }
  });

  test('has what the operator has stopped, and what came from the command line', async () => {
    const headers = { 'X-Request-Id': 'audited-stop', 'X-Demo-Fault': 'stall=1' };
    const body = { prompt: 'x', max_tokens: 3000, stream: true };
    const stream = await send(gateway.url, { body, headers });
    await stream.hasBytes();
    await admin('DELETE', '/admin/requests/audited-stop');
    await stream.ended();
    expect((await entries(1))[0]).toMatchObject({
      actor: 'admin',
      action: 'request_stopped',
      detail: 'audited-stop',
    });
    const args = ['keys', 'revoke', (await issue()).id];
    expect((await runCommand(args, { DATA_DIR: folder })).code).toBe(0);
    expect((await entries(1))[0]).toMatchObject({ actor: 'cli', action: 'key_revoked' });
  });

  test('is as long as is asked for', async () => {
    expect(await entries(2)).toHaveLength(2);
    for (const wrong of ['limit=0', 'limit=x', 'limit=1001', 'limit=1&limit=2', 'more=1']) {
      const refused = await admin('GET', `/admin/audit?${wrong}`);
      expect(refused).toMatchObject({ status: 400, code: 'invalid_field' });
    }
  });
});
