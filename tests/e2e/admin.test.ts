/**
 * What the operator does with keys over HTTP; live.test.ts and audit.test.ts test the rest. Without an ADMIN_API_KEY
 * none of these routes exists, and a key of a client is refused.
 */
import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from 'bun:test';
import { ask, requestBytes, RawClient } from '../support/rawclient.ts';
import { key, runCommand, startGateway, type Gateway } from '../support/gatewayprocess.ts';
import { admin, adminKey, bearer, issueKey, startOperated } from '../support/operator.ts';
import { until } from '../support/wait.ts';

setDefaultTimeout(60_000);

const stage = await startOperated(1);
const { engine, gateway, folder } = stage;
afterAll(() => stage[Symbol.asyncDispose]());

type Json = Record<string, unknown>;

const issue = (policy: Json = {}) => issueKey(gateway, { name: 'someone', ...policy });

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
  { method: 'GET', path: '/admin/requests' },
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

  test('the page is open to everybody, and contains no data', async () => {
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
    const made = await admin(gateway, 'POST /admin/keys', policy);
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
    const shown = await admin(gateway, `GET ${path}`);
    expect(shown.json).toEqual({ id, ...view });
    const list = await admin(gateway, 'GET /admin/keys');
    expect(list.json['data']).toContainEqual({ id, ...view });
    expect(list.answer.text).not.toContain(secret.slice(-43));

    const changed = await admin(gateway, `PATCH ${path}`, {
      weight: 3,
      limits: { requestsPerMinute: null },
    });
    const { requestsPerMinute: _, ...limits } = policy.limits;
    expect(changed).toMatchObject({ status: 200, json: { id, ...view, weight: 3, limits } });

    const rotated = await admin(gateway, `POST ${path}/rotate`, { grace: '1h' });
    expect(rotated.status).toBe(200);
    const fresh = String(rotated.json['key']);
    expect([await statusOf(secret), await statusOf(fresh)]).toEqual([200, 200]);
    expect(Date.parse(String(rotated.json['replacedUntil']))).toBeGreaterThan(Date.now());

    const revoked = await admin(gateway, `DELETE ${path}`);
    expect(revoked).toMatchObject({ status: 200, json: { id, state: 'revoked' } });
    expect([await statusOf(secret), await statusOf(fresh)]).toEqual([403, 403]);
  });

  test('that does not exist is 404', async () => {
    for (const id of ['0123456789', 'alice', '__proto__', '%00', 'x%2Frotate']) {
      const path = `/admin/keys/${id}`;
      const missing = { status: 404, code: 'key_not_found' };
      expect(await admin(gateway, `GET ${path}`)).toMatchObject(missing);
      expect(await admin(gateway, `PATCH ${path}`, { weight: 2 })).toMatchObject(missing);
      expect(await admin(gateway, `DELETE ${path}`)).toMatchObject(missing);
      expect(await admin(gateway, `POST ${path}/rotate`, {})).toMatchObject(missing);
    }
  });

  test('is shared with the command line', async () => {
    const args = ['keys', 'add', '--name', 'of the command line'];
    const secret = (await runCommand(args, { DATA_DIR: folder })).stdout.trim();
    const list = await admin(gateway, 'GET /admin/keys');
    const data = list.json['data'] as Json[];
    expect(data.at(-1)).toMatchObject({ name: 'of the command line', state: 'active' });
    const { stdout } = await runCommand(['keys', 'list', '--json'], { DATA_DIR: folder });
    expect(JSON.parse(stdout)).toEqual(list.json);
    await until('it is accepted', async () => (await statusOf(secret)) === 200);
  });
});

describe('a body that is wrong', () => {
  async function expectNothingMade(body: object | string, code: string): Promise<string> {
    const before = await admin(gateway, 'GET /admin/keys');
    const refused = await admin(gateway, 'POST /admin/keys', body);
    expect(refused).toMatchObject({ status: code === 'body_too_large' ? 413 : 400, code });
    expect(refused.json).toMatchObject({ error: { code, type: 'invalid_request_error' } });
    expect((await admin(gateway, 'GET /admin/keys')).json).toEqual(before.json);
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

  test('gets every problem in one answer', async () => {
    const limits = { requestsPerMinute: 0, tokensPerMinute: 'x', concurrentRequests: -1, rpm: 1 };
    const body = { name: '', limits, models: [], weight: 0, priority: 'x', userHeader: 'cookie' };
    const text = await expectNothingMade({ ...body, expiresAt: 'x', nmae: 'x' }, 'invalid_field');
    const labels = [...Object.keys(limits), ...Object.keys(body), 'expiresAt', 'nmae'];
    for (const label of labels) {
      if (label !== 'limits') expect(text).toContain(label);
    }
  });

  test('changes nothing of an existing key', async () => {
    const { id } = await issue();
    const before = await admin(gateway, `GET /admin/keys/${id}`);
    for (const body of [{}, { weight: 0, name: 'new' }, { id: 'other' }, { state: 'active' }]) {
      const refused = await admin(gateway, `PATCH /admin/keys/${id}`, body);
      expect(refused).toMatchObject({ status: 400, code: 'invalid_field' });
    }
    for (const body of [{ grace: 'long' }, { grace: 5 }, { more: 1 }, { grace: '1h', more: 1 }]) {
      const refused = await admin(gateway, `POST /admin/keys/${id}/rotate`, body);
      expect(refused).toMatchObject({ status: 400, code: 'invalid_field' });
    }
    expect((await admin(gateway, `GET /admin/keys/${id}`)).json).toEqual(before.json);
  });

  test('since it is larger than 64 KiB, with a length or in chunks', async () => {
    const large = JSON.stringify({ name: 'x', models: ['m'.repeat(66_000)] });
    await expectNothingMade(large, 'body_too_large');
    const exchange = await RawClient.open(gateway.url);
    const headers = { ...bearer(adminKey), 'Transfer-Encoding': 'chunked' };
    exchange.write(requestBytes({ method: 'POST', path: '/admin/keys', headers }));
    const piece = Buffer.from(large);
    exchange.write(`${piece.length.toString(16)}\r\n`);
    exchange.write(piece);
    await exchange.ended();
    expect([exchange.status, exchange.header('x-gateway-error')]).toEqual([413, 'body_too_large']);
  });
});
