/**
 * What the operator may do over HTTP, and which usage a key may read: which keys are accepted, what each route changes
 * and answers, and the view of the requests in flight.
 */
import { afterEach, beforeEach, describe, expect, spyOn, test } from 'bun:test';
import { Elysia } from 'elysia';
import pino from 'pino';
import { admin } from '../../../src/http/admin.ts';
import { corsHeaders } from '../../../src/wire/cors.ts';
import { errorBody, errorHeaders, GatewayError } from '../../../src/wire/errors.ts';
import { LiveRequest } from '../../../src/request/live.ts';
import { LiveRequests } from '../../../src/request/inflight.ts';
import { LiveFeed } from '../../../src/observe/liveview.ts';
import { routes } from '../../../src/wire/routes.ts';
import { SqliteKeys } from '../../../src/stores/sqlite/keys.ts';
import { openDatabase } from '../../../src/stores/sqlite/schema.ts';
import { SqliteUsage } from '../../../src/stores/sqlite/usage.ts';
import { rowOf } from '../../../src/accounts/usage.ts';
import { until } from '../../support/wait.ts';
import { uuids } from '../../support/samples.ts';
import { ownUsage } from '../../../src/http/usage.ts';
import { KeyRing } from '../../../src/accounts/keyring.ts';

const adminKey = 'sk-operator-of-this-gateway';
const epoch = Date.parse('2026-11-24T12:00:00Z');
const hourMs = 3_600_000;
const [route] = routes;
if (route === undefined) throw new Error('there is no route');
const chat = route;

/** Returns an app as the gateway composes it, with a clock that stands at `epoch`. */
function setUp() {
  const db = openDatabase(undefined);
  const store = new SqliteKeys(db);
  const usage = new SqliteUsage(db);
  const live = new LiveRequests();
  const feed = new LiveFeed(() => ({ ids: Array.from(live, ({ id }) => id) }));
  const keys = new KeyRing(['sk-client-one', 'sk-client-two'], {
    trusted: [],
    batch: [],
    userHeader: undefined,
    hintOf: () => '…',
  });
  const state = { changes: 0, epoch };
  const lines: Record<string, unknown>[] = [];
  const epochNow = () => state.epoch;
  const shared = { accountStore: store, usage, epochNow, corsHeaders: corsHeaders(['*']) };
  const app = new Elysia({ handler: { standardHostname: false } })
    .onError(({ error, code }) => {
      if (code === 'NOT_FOUND') return new Response('unknown', { status: 404 });
      const known =
        error instanceof GatewayError
          ? error
          : new GatewayError('internal_error', { cause: error });
      if (known.code === 'internal_error') console.error(error);
      return new Response(errorBody(known, 'openai'), {
        status: known.status,
        headers: errorHeaders(known),
      });
    })
    .use(
      admin({
        ...shared,
        mask: (text) => text,
        log: pino({ base: null }, { write: (line: string) => lines.push(JSON.parse(line)) }),
        adminKey,
        live,
        feed,
        accountSync: {
          async changed() {
            state.changes++;
            keys.replaceIssued(await store.keys());
          },
          revoke: (id) => keys.revoke(id),
        },
      }),
    )
    .use(ownUsage({ ...shared, keys, invalidKeyStatus: 403 }))
    .get('/open', () => 'open');

  async function ask(method: string, path: string, body?: unknown, key: string | null = adminKey) {
    const response = await app.handle(
      new Request(`http://gateway${path}`, {
        method,
        headers: { ...(key !== null && { authorization: `Bearer ${key}` }), origin: 'http://page' },
        ...(body !== undefined && { body: typeof body === 'string' ? body : JSON.stringify(body) }),
      }),
    );
    const text = await response.text();
    const { status, headers } = response;
    // Only the members that the tests read.
    return { status, headers, text, json: text.startsWith('{') ? JSON.parse(text) : undefined };
  }
  return { app, ask, db, store, usage, live, feed, keys, state, lines };
}

let world: ReturnType<typeof setUp>;
beforeEach(() => {
  world = setUp();
});
afterEach(() => world.db.close(true));

/** Makes a request of the first client that is in flight. */
function inFlight(id: string, uniqueId = id): LiveRequest {
  const caller = world.keys.find('sk-client-one', new Headers(), epoch);
  const entry = new LiveRequest(id, chat, caller, 4_000, uniqueId);
  world.live.add(entry);
  return entry;
}

/** Writes a settled request of a key into the ledger. */
function spend(key: string, model: string, completionTokens: number, at = epoch - hourMs): void {
  const caller = world.keys.find(key, new Headers(), epoch);
  const entry = Object.assign(new LiveRequest('r', chat, caller, 0), {
    askedModel: model,
    status: 200,
    sentAt: 1,
    tokens: { promptTokens: 1, completionTokens },
  });
  const row = rowOf(entry.settlement('done', undefined, 10), at);
  world.usage.insertUsage([{ ...row, uuid: uuids.next() }]);
}

const adminRoutes = [
  ['GET', '/admin/keys'],
  ['POST', '/admin/keys'],
  ['GET', '/admin/keys/x'],
  ['PATCH', '/admin/keys/x'],
  ['DELETE', '/admin/keys/x'],
  ['POST', '/admin/keys/x/rotate'],
  ['GET', '/admin/usage'],
  ['GET', '/admin/audit'],
  ['GET', '/admin/live'],
  ['HEAD', '/admin/live'],
  ['GET', '/admin/requests'],
  ['DELETE', '/admin/requests/x'],
] as const;

describe('who gets in', () => {
  test('the next tests try every route under /admin', () => {
    const { routes: all } = world.app;
    const found = all.filter(({ path }) => path.startsWith('/admin'));
    const tried = adminRoutes.filter(([method]) => method !== 'HEAD');
    expect(found.map(({ method, path }) => `${method} ${path.replace(':id', 'x')}`).sort()).toEqual(
      tried.map((each) => each.join(' ')).sort(),
    );
  });

  test.each(adminRoutes)(
    '%s %s asks for a key and refuses any but the operator’s',
    async (...at) => {
      const [method, path] = at;
      const without = await world.ask(method, path, undefined, null);
      expect(without.status).toBe(401);
      expect(without.headers.get('x-gateway-error')).toBe('missing_api_key');
      for (const key of ['sk-client-one', adminKey.slice(0, -1), `${adminKey}x`]) {
        const wrong = await world.ask(method, path, undefined, key);
        expect(wrong.status).toBe(403);
        expect(wrong.headers.get('x-gateway-error')).toBe('invalid_api_key');
      }
      expect(world.store.audit(10)).toEqual([]);
    },
  );

  test('the body of a request without a valid key is not read', async () => {
    let pulls = 0;
    const body = new ReadableStream(
      { pull: (controller) => void (pulls++, controller.enqueue(Buffer.from('{}'))) },
      { highWaterMark: 0 },
    );
    const response = await world.app.handle(
      new Request('http://gateway/admin/keys', { method: 'POST', body }),
    );
    expect(response.status).toBe(401);
    expect(pulls).toBe(0);
  });

  test('the plugins guard no route but their own', async () => {
    expect((await world.ask('GET', '/open', undefined, null)).text).toBe('open');
  });

  test('the operator’s key is not accepted as a key of a client', async () => {
    expect((await world.ask('GET', '/usage')).headers.get('x-gateway-error')).toBe(
      'invalid_api_key',
    );
  });
});

describe('keys', () => {
  /** Makes a key; returns it with its view. */
  async function make(body: object = { name: 'alice' }) {
    const { status, json } = await world.ask('POST', '/admin/keys', body);
    expect(status).toBe(201);
    const { key, ...view } = json;
    return { key: key as string, view: view as { id: string } & Record<string, unknown> };
  }

  function accepts(key: string, at = epoch): boolean {
    try {
      return world.keys.find(key, new Headers(), at).keyId !== '';
    } catch {
      return false; // The tests ask only whether.
    }
  }

  test('a new one is shown once and works at once', async () => {
    const { key, view } = await make({ name: 'alice', limits: { requestsPerMinute: 60 } });
    expect(key).toStartWith(`sk-gw-${view.id}-`);
    expect(view).toMatchObject({
      name: 'alice',
      state: 'active',
      limits: { requestsPerMinute: 60 },
      createdAt: '2026-11-24T12:00:00.000Z',
    });
    expect(accepts(key)).toBeTrue();
    expect(world.state.changes).toBe(1);
    for (const path of ['/admin/keys', `/admin/keys/${view.id}`, '/admin/audit']) {
      const { status, text, headers } = await world.ask('GET', path);
      expect(status).toBe(200);
      expect(headers.get('cache-control')).toBe('no-store');
      expect(headers.get('access-control-allow-origin')).toBe('*');
      expect(text).toContain(view.id);
      expect(text).not.toContain(key);
      expect(text).not.toContain(world.store.keys()[0]?.digest as string);
    }
    expect((await world.ask('GET', '/admin/keys')).json).toEqual({ data: [view] });
    expect((await world.ask('GET', `/admin/keys/${view.id}`)).json).toEqual(view);
  });

  test('a wrong one is refused with every problem and not stored', async () => {
    const { status, json } = await world.ask('POST', '/admin/keys', { weight: 0, color: 'red' });
    expect(status).toBe(400);
    expect(json.error).toEqual({
      message:
        'name: missing; allowed is 1 to 100 printable characters; "color": a policy has no such member; weight: found 0; allowed is a number from 0.01 to 100.',
      type: 'invalid_request_error',
      param: null,
      code: 'invalid_field',
    });
    expect(world.store.keys()).toEqual([]);
    expect(world.state.changes).toBe(0);
  });

  test.each(['', '{', '[]', 'null', '"name"'])('a body of %j is no object', async (body) => {
    const { status, json } = await world.ask('POST', '/admin/keys', body);
    expect(status).toBe(400);
    expect(json.error.code).toBe('invalid_json');
  });

  test('a body is read up to 64 KiB', async () => {
    const models = Array.from({ length: 300 }, (_, index) => `${index}`.padEnd(190, 'x'));
    expect((await world.ask('POST', '/admin/keys', { name: 'a', models })).status).toBe(201);
    const padding = ' '.repeat(65_536);
    const { status, json } = await world.ask('POST', '/admin/keys', `{"name": "b"}${padding}`);
    expect(status).toBe(413);
    expect(json.error.code).toBe('body_too_large');
    expect(world.store.keys()).toHaveLength(1);
  });

  test('a client that leaves while it sends is no failure of the gateway', async () => {
    const gone = new AbortController();
    const body = new ReadableStream({
      pull(controller) {
        gone.abort();
        controller.error(new Error('cut'));
      },
    });
    const response = await world.app.handle(
      new Request('http://gateway/admin/keys', {
        method: 'POST',
        headers: { authorization: `Bearer ${adminKey}` },
        body,
        signal: gone.signal,
      }),
    );
    expect(response.headers.get('x-gateway-error')).toBe('client_closed_request');
    expect(world.store.keys()).toEqual([]);
  });

  test('a change leaves what it does not name', async () => {
    const { key, view } = await make({ name: 'alice', weight: 2, models: ['a'] });
    const path = `/admin/keys/${view.id}`;
    const changed = await world.ask('PATCH', path, {
      models: null,
      limits: { tokensPerMinute: 5 },
    });
    expect(changed.status).toBe(200);
    expect(changed.json).toEqual({ ...view, models: null, limits: { tokensPerMinute: 5 } });
    expect(world.state.changes).toBe(2);
    expect(accepts(key)).toBeTrue();
    expect((await world.ask('PATCH', path, { expiresAt: 'gone' })).json.error.code).toBe(
      'invalid_field',
    );
    expect((await world.ask('PATCH', path, {})).status).toBe(400);
    expect(world.state.changes).toBe(2);
  });

  test('a rotated one has a new secret, and the old one for the grace', async () => {
    const { key, view } = await make();
    const path = `/admin/keys/${view.id}/rotate`;
    const { status, json } = await world.ask('POST', path, { grace: '24h' });
    expect(status).toBe(200);
    expect(json.replacedUntil).toBe('2026-11-25T12:00:00.000Z');
    expect(json.key).toStartWith(`sk-gw-${view.id}-`);
    expect(accepts(json.key)).toBeTrue();
    expect(accepts(key, epoch + 24 * hourMs - 1)).toBeTrue();
    expect(accepts(key, epoch + 24 * hourMs)).toBeFalse();
    expect((await world.ask('GET', '/admin/audit')).text).not.toContain(json.key);
  });

  test('without a grace the old secret ends at once', async () => {
    const { key, view } = await make();
    const { json } = await world.ask('POST', `/admin/keys/${view.id}/rotate`);
    expect(json.replacedUntil).toBeNull();
    expect(accepts(key)).toBeFalse();
    expect(accepts(json.key)).toBeTrue();
  });

  test.each([{ grace: 'long' }, { grace: 24 }, { grace: null }, { grace: '1h', force: true }])(
    'does not rotate by %j',
    async (body) => {
      const { key, view } = await make();
      const { status, json } = await world.ask('POST', `/admin/keys/${view.id}/rotate`, body);
      expect(status).toBe(400);
      expect(json.error.code).toBe('invalid_field');
      expect(accepts(key)).toBeTrue();
    },
  );

  test('a revoked one stays so', async () => {
    const { key, view } = await make();
    const path = `/admin/keys/${view.id}`;
    const { status, json } = await world.ask('DELETE', path);
    expect(status).toBe(200);
    expect(json).toEqual({ ...view, state: 'revoked', revokedAt: '2026-11-24T12:00:00.000Z' });
    expect(accepts(key)).toBeFalse();
    world.state.epoch += hourMs;
    expect((await world.ask('DELETE', path)).json).toEqual(json);
    expect(world.state.changes).toBe(2);
    expect((await world.ask('PATCH', path, { name: 'bob' })).status).toBe(400);
    expect((await world.ask('POST', `${path}/rotate`)).status).toBe(400);
    expect((await world.ask('GET', path)).json).toEqual(json);
  });

  test('a failed write says what has changed', async () => {
    const { key, view } = await make();
    const path = `/admin/keys/${view.id}`;
    spyOn(world.store, 'changeKey').mockImplementation(() => {
      throw new Error('database is locked');
    });
    const messageOf = async (method: string, at: string, body?: object) => {
      const { status, json } = await world.ask(method, at, body);
      expect([status, json.error.code]).toEqual([503, 'store_unavailable']);
      return json.error.message;
    };
    const unchanged =
      'The store cannot be written (database is locked). Nothing has changed; try again.';
    expect(await messageOf('PATCH', path, { weight: 2 })).toBe(unchanged);
    expect(await messageOf('POST', `${path}/rotate`)).toBe(unchanged);
    expect(accepts(key)).toBeTrue();
    expect(await messageOf('DELETE', path)).toBe(
      'The store cannot be written (database is locked). The key is refused until this gateway ends; try again.',
    );
    expect(accepts(key)).toBeFalse();
  });

  test('a store that answers later is waited for, also when it fails', async () => {
    const { key, view } = await make();
    const path = `/admin/keys/${view.id}`;
    const { store } = world;
    for (const name of ['keys', 'addKey', 'changeKey', 'audit'] as const) {
      const atOnce = store[name].bind(store) as (...args: unknown[]) => unknown;
      const later = async (...args: unknown[]) => (await Bun.sleep(1), atOnce(...args));
      Object.defineProperty(store, name, { value: later, configurable: true });
    }
    expect((await world.ask('GET', '/admin/keys')).json).toEqual({ data: [view] });
    expect((await world.ask('POST', '/admin/keys', { name: 'bob' })).status).toBe(201);
    expect((await world.ask('PATCH', path, { weight: 2 })).json).toEqual({ ...view, weight: 2 });
    expect((await world.ask('GET', path)).json.weight).toBe(2);
    expect((await world.ask('GET', '/admin/audit')).json.data).toHaveLength(3);
    const fails = () => Promise.reject(new Error('no answer'));
    Object.defineProperty(store, 'changeKey', { value: fails });
    const { status, json } = await world.ask('DELETE', path);
    expect([status, json.error.code]).toEqual([503, 'store_unavailable']);
    expect(accepts(key)).toBeFalse();
  });

  test.each([
    ['GET', ''],
    ['PATCH', ''],
    ['DELETE', ''],
    ['POST', '/rotate'],
  ])('%s of one that is not there says so', async (method, more) => {
    const body = method === 'PATCH' ? { name: 'x' } : undefined;
    const { status, json } = await world.ask(method, `/admin/keys/0123456789${more}`, body);
    expect(status).toBe(404);
    expect(json.error.code).toBe('key_not_found');
  });

  test('the audit log has each change once, the latest first', async () => {
    const { view } = await make();
    await world.ask('PATCH', `/admin/keys/${view.id}`, { weight: 3 });
    await world.ask('POST', `/admin/keys/${view.id}/rotate`);
    await world.ask('DELETE', `/admin/keys/${view.id}`);
    await world.ask('DELETE', `/admin/keys/${view.id}`);
    const { json } = await world.ask('GET', '/admin/audit');
    const actions = json.data.map(({ action }: { action: string }) => action);
    expect(actions).toEqual(['key_revoked', 'key_rotated', 'key_changed', 'key_added']);
    expect(json.data[2]).toEqual({
      at: '2026-11-24T12:00:00.000Z',
      actor: 'admin',
      action: 'key_changed',
      keyId: view.id,
      name: 'alice',
      detail: '{"weight":3}',
    });
    const latest = await world.ask('GET', '/admin/audit?limit=1');
    expect(latest.json.data).toHaveLength(1);
    for (const limit of ['0', '-1', 'x', '1001', '']) {
      expect((await world.ask('GET', `/admin/audit?limit=${limit}`)).status).toBe(400);
    }
  });
});

describe('usage', () => {
  beforeEach(() => {
    spend('sk-client-one', 'small', 10);
    spend('sk-client-one', 'large', 20);
    spend('sk-client-two', 'large', 400);
    spend('sk-client-two', 'large', 8_000, epoch - 8 * 24 * hourMs);
  });

  /** Returns the tokens of each group. */
  function tokensBy(column: string, { data }: { data: Record<string, unknown>[] }) {
    return Object.fromEntries(data.map((row) => [row[column], row['completionTokens']]));
  }

  test('of all keys can be read by the operator', async () => {
    const one = world.keys.find('sk-client-one', new Headers(), epoch).keyId;
    const two = world.keys.find('sk-client-two', new Headers(), epoch).keyId;
    const { status, json } = await world.ask('GET', '/admin/usage');
    expect(status).toBe(200);
    expect(json.since).toBe('2026-11-17T12:00:00.000Z');
    expect(json.until).toBe('2026-11-24T12:00:00.000Z');
    expect(tokensBy('key', json)).toEqual({ [one]: 30, [two]: 400 });
    const all = await world.ask('GET', '/admin/usage?by=model&since=30d');
    expect(tokensBy('model', all.json)).toEqual({ small: 10, large: 8_420 });
    const before = await world.ask('GET', '/admin/usage?by=model&since=30d&until=7d');
    expect(tokensBy('model', before.json)).toEqual({ large: 8_000 });
  });

  test('of itself can be read by any key', async () => {
    const { status, json } = await world.ask('GET', '/usage', undefined, 'sk-client-one');
    expect(status).toBe(200);
    expect(tokensBy('model', json)).toEqual({ small: 10, large: 20 });
    const other = await world.ask('GET', '/usage?by=day&since=30d', undefined, 'sk-client-two');
    expect(tokensBy('day', other.json)).toEqual({ '2026-11-16': 8_000, '2026-11-24': 400 });
  });

  test('of a client that has left is no failure of the gateway', async () => {
    const gone = new AbortController();
    gone.abort();
    const headers = { authorization: `Bearer ${adminKey}` };
    const asked = new Request('http://gateway/admin/usage', { headers, signal: gone.signal });
    const response = await world.app.handle(asked);
    expect(response.headers.get('x-gateway-error')).toBe('client_closed_request');
  });

  test('of itself cannot be grouped by columns that would show others', async () => {
    for (const column of ['key', 'upstream', 'code', 'minute']) {
      const path = `/usage?by=${column}`;
      expect((await world.ask('GET', path, undefined, 'sk-client-one')).status).toBe(400);
    }
    const path = '/usage?keyId=x';
    expect((await world.ask('GET', path, undefined, 'sk-client-one')).status).toBe(400);
    expect((await world.ask('GET', '/usage', undefined, null)).status).toBe(401);
  });

  test.each(['by=color', 'since=x', 'since=1d&until=2d', 'from=1d', 'by=key&by=model'])(
    'is not asked by %s',
    async (query) => {
      const { status, json } = await world.ask('GET', `/admin/usage?${query}`);
      expect(status).toBe(400);
      expect(json.error.code).toBe('invalid_field');
    },
  );
});

describe('the live feed', () => {
  test('comes over HTTP, and ends for a client that leaves', async () => {
    const app = world.app.listen({ port: 0, hostname: '127.0.0.1', reusePort: false });
    try {
      inFlight('r1');
      const gone = new AbortController();
      const headers = { authorization: `Bearer ${adminKey}` };
      const response = await fetch(`${app.server?.url}admin/live`, {
        headers,
        signal: gone.signal,
      });
      expect(response.headers.get('content-type')).toBe('text/event-stream; charset=utf-8');
      expect(response.headers.get('cache-control')).toBe('no-store');
      const reader = (response.body as ReadableStream<Uint8Array>).getReader();
      const { value } = await reader.read();
      expect(Buffer.from(value ?? []).toString()).toBe('event: live\ndata: {"ids":["r1"]}\n\n');
      expect(world.feed.viewers).toBe(1);
      gone.abort();
      await until('nobody watches', () => world.feed.viewers === 0);
    } finally {
      await app.stop(true);
    }
  });

  test('is not opened by HEAD, and refused once it is closed', async () => {
    const open = spyOn(world.feed, 'open');
    const { status, headers, text } = await world.ask('HEAD', '/admin/live');
    expect(status).toBe(200);
    expect(headers.get('content-type')).toBe('text/event-stream; charset=utf-8');
    expect(text).toBe('');
    expect(open).not.toHaveBeenCalled();
    world.feed.close();
    const late = await world.ask('GET', '/admin/live');
    expect(late.status).toBe(503);
    expect(late.json.error.code).toBe('shutting_down');
  });
});

test('the open requests are listed once, as those who watch see them', async () => {
  const first = inFlight('r1');
  const { status, json, headers } = await world.ask('GET', '/admin/requests');
  expect([status, json]).toEqual([200, { ids: ['r1'] }]);
  expect(headers.get('cache-control')).toBe('no-store');
  world.live.remove(first);
});

describe('stopping a request', () => {
  test('ends the one with that id and no other, and is noted', async () => {
    const [first, other] = [inFlight('r1'), inFlight('r2')];
    const { status, text, headers } = await world.ask('DELETE', '/admin/requests/r1');
    expect(status).toBe(204);
    expect(text).toBe('');
    expect(headers.get('cache-control')).toBe('no-store');
    expect(first.code).toBe('stopped_by_operator');
    expect(first.signal.aborted).toBeTrue();
    expect(other.code).toBeUndefined();
    const { keyId, name } = first.caller;
    const entry = {
      at: epoch,
      actor: 'admin',
      action: 'request_stopped',
      keyId,
      name,
      detail: 'r1',
    };
    expect<unknown>(world.store.audit(10)).toEqual([entry]);
  });

  test('of two with the same client id needs the unique id of one', async () => {
    const [first, second] = [inFlight('job', 'job-1'), inFlight('job', 'job-2')];
    const unclear = await world.ask('DELETE', '/admin/requests/job');
    expect([unclear.status, unclear.json.error.code]).toEqual([400, 'invalid_field']);
    expect(unclear.json.error.message).toContain('2 open requests');
    expect((await world.ask('DELETE', '/admin/requests/job-2')).status).toBe(204);
    expect([first.code, second.code]).toEqual([undefined, 'stopped_by_operator']);
    expect(world.store.audit(10)).toMatchObject([{ detail: 'job-2' }]);
  });

  test('prefers the unique id to the id of a client', async () => {
    const [meant, other] = [inFlight('job', 'job-1'), inFlight('job-1', 'job-1-2')];
    expect((await world.ask('DELETE', '/admin/requests/job-1')).status).toBe(204);
    expect([meant.code, other.code]).toEqual(['stopped_by_operator', undefined]);
  });

  test('also happens if it cannot be noted; then it is logged', async () => {
    const entry = inFlight('r1');
    spyOn(world.store, 'note').mockImplementation(() => {
      throw new Error('database is locked');
    });
    expect((await world.ask('DELETE', '/admin/requests/r1')).status).toBe(204);
    expect(entry.code).toBe('stopped_by_operator');
    const { keyId } = entry.caller;
    expect(world.lines).toMatchObject([
      { level: 50, requestId: 'r1', keyId, reason: 'database is locked' },
    ]);
    expect(world.lines[0]?.['msg']).toContain('the audit log cannot be written');
  });

  test('that does not exist is request_not_found', async () => {
    const { status, json } = await world.ask('DELETE', '/admin/requests/r1');
    expect(status).toBe(404);
    expect(json.error.code).toBe('request_not_found');
    expect(world.store.audit(10)).toEqual([]);
  });
});
