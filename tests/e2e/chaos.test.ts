/**
 * 10,000 requests while everything goes wrong at once: clients that leave in any phase, engines that fail, freeze and
 * restart, keys that are added, revoked, rotated and limited. Afterwards no slot and no reservation is held, and the
 * ledger has one row for each request that was let in.
 */
import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from 'bun:test';
import { Database } from 'bun:sqlite';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { startDemoEngine, type DemoEngine } from '../../src/demo/engine.ts';
import { ask, requestBytes, send, RawClient } from '../support/rawclient.ts';
import { startGateway, type Gateway } from '../support/gatewayprocess.ts';
import { admin, adminKey, bearer } from '../support/operator.ts';
import { holdPort } from '../support/heldport.ts';
import { healthOf, untilIdle } from '../support/gatewayhealth.ts';
import { randomFrom, type Random } from '../support/random.ts';
import { until } from '../support/wait.ts';

setDefaultTimeout(180_000);

const seed = Number(process.env['FUZZ_SEED'] ?? 1);
const total = 10_000;
const clients = 64;
const folder = mkdtempSync(join(tmpdir(), 'llm-gateway-test-'));

const options = { slots: 8, firstTokenMs: 1, tokensPerSecond: 2_000 };
let engines: DemoEngine[] = [];
let gateway: Gateway;

type Json = Record<string, unknown>;

interface Key {
  id: string;
  /** The latest secret first; older ones may be accepted or not. */
  secrets: string[];
  users: string[];
  hasBudget: boolean;
}

const keys: Key[] = [];
/** What each client saw: the status, or 0 where it had none. */
const statuses = new Map<string, number>();
const inFlight = new Set<string>();
/** Those who were told their place while they waited: with a status of 200, whatever came of it. */
const followed = new Set<string>();

/** Limits that refuse some requests. */
function limitsFrom(random: Random): Json {
  return {
    requestsPerMinute: random.oneIn(2) ? null : 20 + random.below(200),
    tokensPerMinute: random.oneIn(2) ? null : 2_000 + random.below(20_000),
    concurrentRequests: random.oneIn(2) ? null : 2 + random.below(20),
  };
}

/** The first ones stay for the whole run, and count what they spend. */
const lasting = 2;

async function addKey(random: Random): Promise<void> {
  const isLasting = keys.length < lasting;
  const hasBudget = isLasting || random.oneIn(2);
  const speaksForUsers = !isLasting && random.oneIn(3);
  const { json: made } = await admin(gateway, 'POST /admin/keys', {
    name: `key ${keys.length}`,
    weight: 1 + random.below(4),
    priority: random.pick(['interactive', 'batch']),
    limits: { ...limitsFrom(random), ...(hasBudget && { budgets: [{ tokens: 1e9, per: 'day' }] }) },
    ...(speaksForUsers && { userHeader: 'x-user' }),
  });
  const users = speaksForUsers ? ['alice', 'bob'] : [];
  keys.push({ id: String(made['id']), secrets: [String(made['key'])], users, hasBudget });
}

/** Changes some key, or stops some request. */
async function disturbKeys(random: Random): Promise<void> {
  const chosen = random.pick(keys);
  const path = `/admin/keys/${chosen.id}`;
  const what = random.below(6);
  if (what === 0) return addKey(random);
  if (what === 1 && keys.indexOf(chosen) >= lasting) {
    await admin(gateway, `DELETE ${path}`);
    // Clients go on to use it for a while.
    await Bun.sleep(50);
    keys.splice(keys.indexOf(chosen), 1);
  } else if (what === 2) {
    const grace = random.pick(['0s', '1s', '1h']);
    const { key } = (await admin(gateway, `POST ${path}/rotate`, { grace })).json;
    if (typeof key === 'string') chosen.secrets = [key, ...chosen.secrets].slice(0, 2);
  } else if (what === 3) {
    const [id] = inFlight;
    if (id !== undefined) await admin(gateway, `DELETE /admin/requests/${id}`);
  } else {
    await admin(gateway, `PATCH ${path}`, { limits: limitsFrom(random) });
  }
}

async function disturbEngines(random: Random): Promise<void> {
  const index = random.below(engines.length);
  const engine = engines[index] as DemoEngine;
  const forMs = 20 + random.below(80);
  const what = random.below(5);
  if (what === 0) {
    await engine.stop();
    await Bun.sleep(forMs);
    engines[index] = startDemoEngine({ ...options, port: engine.port });
    return;
  }
  if (what === 1) engine.setFailing(random.pick([500, 503, 429]));
  else if (what === 2) engine.setLoading(true);
  else if (what === 3) engine.setFrozen(true);
  await Bun.sleep(forMs);
  engine.setFailing(undefined);
  engine.setLoading(false);
  engine.setFrozen(false);
}

const paths = ['/v1/completions', '/v1/chat/completions', '/v1/messages', '/v1/responses'];
/** Faults whose requests end by themselves. */
const endings = [
  'error-500',
  'reset',
  'not-http',
  'empty-close',
  'status=429',
  'error-401',
  'cut=2',
  'reset-mid=2',
  'cut-frame=1',
  'malformed=1',
  'close-delimited',
  'close-delimited-cut=1',
];
/** Faults whose requests end when the client leaves. */
const standstills = ['hang', 'hang-body', 'stall=2'];

/** A request as one client sends it, and when it leaves; `undefined` for never. */
function requestFrom(random: Random, id: string) {
  const key = random.pick(keys);
  const secret = random.oneIn(20) ? `sk-gw-${key.id}-wrong` : (key.secrets[0] as string);
  const older = key.secrets[1];
  const leavesAfterMs = random.oneIn(3) ? random.below(40) : undefined;
  const faults = leavesAfterMs === undefined ? endings : standstills;
  const text = 'word '.repeat(1 + random.below(30));
  const messages = [{ role: 'user', content: text }];
  const isFollowed = random.oneIn(8);
  const max = { max_tokens: 1 + random.below(20), stream: random.oneIn(2) };
  return {
    path: random.pick(paths),
    headers: {
      Authorization: `Bearer ${older !== undefined && random.oneIn(4) ? older : secret}`,
      'X-Request-Id': id,
      ...(random.oneIn(4) && { 'X-Demo-Fault': random.pick(faults) }),
      ...(key.users.length > 0 && { 'X-User': random.pick(key.users) }),
      ...(isFollowed && { 'X-Queue-Feedback': 'true' }),
    },
    isFollowed,
    body: { prompt: text, input: text, messages, ...max },
    leavesAfterMs,
    isHalf: random.oneIn(10),
    way: random.pick(['abort', 'leaveByFin', 'leaveByReset'] as const),
  };
}

type Request = ReturnType<typeof requestFrom>;

/** Sends by an HTTP client, which reads to the end or aborts. */
async function byFetch({ path, headers, body, leavesAfterMs }: Request): Promise<number> {
  const leaving = new AbortController();
  const timer = leavesAfterMs !== undefined && setTimeout(() => leaving.abort(), leavesAfterMs);
  let status = 0;
  try {
    const answer = await fetch(gateway.url + path, {
      method: 'POST',
      headers,
      body: JSON.stringify(body),
      signal: leaving.signal,
      // One connection for one request: none is sent twice because a connection was old.
      keepalive: false,
    });
    status = answer.status;
    await answer.bytes();
  } catch {
    // It has left, or the answer was cut: what it saw until then counts.
  } finally {
    if (timer) clearTimeout(timer);
  }
  return status;
}

/** Sends on a bare connection, perhaps half of it, and leaves. */
async function byHand(request: Request): Promise<number> {
  const { path, headers, body, leavesAfterMs = 0, isHalf, way } = request;
  const bytes = requestBytes({ path, headers, body });
  const exchange: RawClient = await RawClient.open(gateway.url);
  exchange.write(isHalf ? bytes.subarray(0, bytes.length - 10) : bytes);
  await Bun.sleep(leavesAfterMs);
  if (way === 'leaveByFin') exchange.leaveByFin();
  else exchange.leaveByReset();
  return exchange.status;
}

async function client(numbers: Iterator<number, undefined>): Promise<void> {
  for (let next = numbers.next(); !next.done; next = numbers.next()) {
    const id = `chaos-${next.value}`;
    const request = requestFrom(randomFrom(seed * total + next.value), id);
    const isByHand = request.leavesAfterMs !== undefined && request.way !== 'abort';
    inFlight.add(id);
    if (request.isFollowed) followed.add(id);
    statuses.set(id, await (isByHand ? byHand(request) : byFetch(request)));
    inFlight.delete(id);
  }
}

function* numbersTo(limit: number): Generator<number, undefined> {
  for (let number = 0; number < limit; number++) yield number;
}

/** Repeats `work` until `isOver`. */
async function repeat(everyMs: number, isOver: () => boolean, work: () => Promise<void>) {
  while (!isOver()) {
    await Bun.sleep(everyMs);
    await work();
  }
}

beforeAll(async () => {
  // The engines come back on the ports that they had.
  engines = [1, 2].map(() => startDemoEngine({ ...options, port: holdPort().port }));
  gateway = await startGateway({
    LLM_SERVER_URL: engines.map(({ url }) => url).join(),
    DATA_DIR: folder,
    ADMIN_API_KEY: adminKey,
    ALLOWED_API_KEYS: '',
    QUEUE_TIMEOUT_MS: '1000',
    QUEUE_FEEDBACK_AFTER_MS: '20',
  });
  await until('both are known', async () => {
    const { upstreams } = await healthOf(gateway);
    return upstreams.every(({ slots, state }) => slots === options.slots && state === 'up');
  });
  const random = randomFrom(seed);
  for (let i = 0; i < 8; i++) await addKey(random);

  let isOver = false;
  const disturbing = [
    repeat(
      30,
      () => isOver,
      () => disturbKeys(random),
    ),
    repeat(
      100,
      () => isOver,
      () => disturbEngines(random),
    ),
  ];
  const numbers = numbersTo(total);
  await Promise.all(Array.from({ length: clients }, () => client(numbers)));
  isOver = true;
  await Promise.all(disturbing);
});

afterAll(async () => {
  await gateway?.[Symbol.asyncDispose]();
  for (const engine of engines) await engine.stop();
  rmSync(folder, { recursive: true });
});

describe('after 10,000 requests in chaos', () => {
  test('most of what can happen has happened', () => {
    expect(statuses.size).toBe(total);
    const seen = new Set(statuses.values());
    for (const status of [0, 200, 403, 429, 500, 502, 503]) expect(seen).toContain(status);
    const codes = new Set(gateway.logs.flatMap(({ code }) => code ?? []));
    for (const code of ['client_closed_request', 'key_revoked', 'upstream_reset']) {
      expect(codes).toContain(code);
    }
    // Which other codes occur depends on timing.
    expect(codes.size).toBeGreaterThanOrEqual(8);
    const failures = gateway.logs.filter(({ code, msg }) => {
      return code === 'internal_error' || msg === 'gateway failed';
    });
    expect(failures).toEqual([]);
    expect(gateway.output).toEqual([]);
  });

  test('nothing is in flight and every slot is free', async () => {
    await untilIdle(gateway);
    await until('the engines are idle', () => engines.every((engine) => engine.busySlots() === 0));
    const { text } = await (async () => {
      const headers = bearer(adminKey);
      const live = await send(gateway.url, { path: '/admin/live', headers });
      await live.hasText('\n\n');
      live.leaveByReset();
      return live;
    })();
    expect(text).toContain('"requests":[]');
    expect(text).toContain('"queued":0');
  });

  test('the budgets have been charged what the ledger says, to the token', async () => {
    // One that has answered with errors is set aside until somebody needs it.
    await until('an engine takes requests', async () => {
      return (await fetch(`${gateway.url}/ready`)).status === 200;
    });
    using ledger = new Database(join(folder, 'gateway.sqlite'), { readonly: true });
    const spent = ledger.query<{ tokens: number | null }, [string]>(
      `SELECT sum(ifnull(promptTokens, 0) + ifnull(completionTokens, 0)) AS tokens
       FROM usage WHERE principal = ?`,
    );
    const budgeted = keys.filter(({ hasBudget }) => hasBudget);
    // A row takes half a second.
    const ended = gateway.logs.filter(({ msg }) => msg === 'request ended').length;
    const count = ledger.query<{ rows: number }, []>('SELECT count(*) AS rows FROM usage');
    await until('all rows are there', () => (count.get()?.rows ?? 0) >= ended);
    for (const { id, secrets } of budgeted) {
      const tokens = spent.get(id)?.tokens ?? 0;
      const headers = { Authorization: `Bearer ${secrets[0]}` };
      const free = { path: '/tokenize', headers, body: { content: 'x' } };
      const none = { requestsPerMinute: null, tokensPerMinute: null, concurrentRequests: null };
      const standing: number[] = [];
      for (const more of [1, 0]) {
        const budgets = [{ tokens: Math.max(1, tokens + more), per: 'day' }];
        await admin(gateway, `PATCH /admin/keys/${id}`, { limits: { ...none, budgets } });
        standing.push((await ask(gateway.url, free)).status);
      }
      // A caller with one token left is admitted, and one with none is not.
      expect({ id, tokens, standing }).toEqual({
        id,
        tokens,
        standing: tokens === 0 ? [200, 200] : [200, 429],
      });
    }
    for (const { id } of keys.slice(0, lasting)) {
      expect(spent.get(id)?.tokens ?? 0).toBeGreaterThan(0);
    }
  });

  test('each key may have open again as many as its limit says', async () => {
    const limits = {
      requestsPerMinute: null,
      tokensPerMinute: null,
      budgets: null,
      concurrentRequests: 3,
    };
    const body = { prompt: 'x', max_tokens: 5, stream: true };
    for (const { id, secrets, users } of keys) {
      await admin(gateway, `PATCH /admin/keys/${id}`, { limits });
      for (const user of [undefined, ...users]) {
        const headers = {
          Authorization: `Bearer ${secrets[0]}`,
          'X-User': user,
          'X-Demo-Fault': 'hang',
        };
        const opened: RawClient[] = [];
        for (let i = 0; i < 3; i++) opened.push(await send(gateway.url, { headers, body }));
        await until('they are open', async () => (await healthOf(gateway)).inFlight === 3);
        const refused = await ask(gateway.url, { headers, body });
        expect(refused.header('x-gateway-error')).toBe('too_many_concurrent');
        expect(opened.map(({ ending }) => ending)).toEqual(['open', 'open', 'open']);
        for (const exchange of opened) exchange.leaveByReset();
        await until('they are over', async () => (await healthOf(gateway)).inFlight === 0);
      }
    }
    await untilIdle(gateway);
  });

  test('the ledger has one row for each request that was let in', async () => {
    gateway.kill('SIGTERM');
    expect(await gateway.exited).toBe(0);
    await until('its last line is here', () => gateway.logs.at(-1)?.['msg'] === 'stopped');
    const idsOf = (msg: string) => {
      const lines = gateway.logs.filter((line) => line['msg'] === msg);
      return lines.map(({ requestId }) => String(requestId));
    };
    using db = new Database(join(folder, 'gateway.sqlite'), { readonly: true });
    const rows = db
      .query<{ requestId: string; status: number }, []>('SELECT requestId, status FROM usage')
      .all();
    const ids = rows.map(({ requestId }) => requestId);
    expect(new Set(ids).size).toBe(ids.length);
    expect(ids.toSorted()).toEqual(idsOf('request ended').toSorted());

    const statusOf = new Map(rows.map(({ requestId, status }) => [requestId, status]));
    const refused = new Set(idsOf('refused'));
    const answered = [...statuses].filter(([, status]) => status > 0);
    const wrong = answered.filter(([id, status]) => {
      if (refused.has(id)) return statusOf.has(id) || status !== 403;
      if (followed.has(id) && status === 200) return !statusOf.has(id);
      return statusOf.get(id) !== status;
    });
    expect(wrong).toEqual([]);
    // A client that left before its request was seen has no row; every other has an answer or a row.
    expect(answered.length).toBeGreaterThan(total / 2);
    expect(refused.size).toBeGreaterThan(0);
  });
});
