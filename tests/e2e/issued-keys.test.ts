/**
 * Keys that are made while the gateway runs, at the command line, in the store that both share: accepted within a second,
 * refused with the reason, and known to the scheduler. Their models stand in key-models.test.ts, what changes a key later
 * in key-changes.test.ts.
 */
import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from 'bun:test';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { startDemoEngine } from '../../src/demo/engine.ts';
import { ask, send, type Asked, type RawClient } from '../support/rawclient.ts';
import {
  cleanEnvironment,
  gatewayCommand,
  runCommand,
  startGateway,
  type Gateway,
} from '../support/gatewayprocess.ts';
import { adminKey, bearer, issueKey } from '../support/operator.ts';
import { healthOf, untilUpstream } from '../support/gatewayhealth.ts';
import { clientIdOf } from '../support/requestid.ts';
import { until } from '../support/wait.ts';

setDefaultTimeout(60_000);

const models = ['alpha', 'beta', 'gamma'] as const;
const folder = mkdtempSync(join(tmpdir(), 'llm-gateway-test-'));
const engine = startDemoEngine({ models: [...models] });
let gateway: Gateway;

beforeAll(async () => {
  gateway = await startGateway({
    LLM_SERVER_URL: engine.url,
    DATA_DIR: folder,
    ALLOWED_API_KEYS: '',
    ADMIN_API_KEY: adminKey,
  });
  await untilUpstream(gateway, 'engine', { state: 'up', slots: 4 });
});

afterAll(async () => {
  await gateway?.[Symbol.asyncDispose]();
  await engine.stop();
  rmSync(folder, { recursive: true });
});

/** Runs `llm-gateway keys …` as a user does. */
async function keys(...args: string[]) {
  const { stdout, stderr, code } = await runCommand(['keys', ...args], { DATA_DIR: folder });
  return { out: stdout.trim(), err: stderr.trim(), code };
}

async function issue(policy: object, at: Gateway = gateway): Promise<string> {
  return (await issueKey(at, policy)).key;
}

const idOf = (key: string) => key.slice('sk-gw-'.length).split('-', 1)[0] as string;
const brief = { model: 'alpha', prompt: 'x', max_tokens: 1 };

function askWith(key: string, asked: Asked = {}, at: Gateway = gateway): Promise<RawClient> {
  const { headers, ...others } = asked;
  return ask(at.url, { body: brief, ...others, headers: { ...bearer(key), ...headers } });
}

describe('a key that is made at the command line', () => {
  test('is accepted by the running gateway within a second', async () => {
    const { out: key, err, code } = await keys('add', '--name', 'alice');
    expect(code).toBe(0);
    expect(key).toMatch(/^sk-gw-[0-9a-f]{10}-[\w-]{43}$/);
    expect(err).toContain(`alice (${idOf(key)})`);
    expect(err).not.toContain(key);
    // A second, and what a busy machine adds to it.
    await until('it is accepted', async () => (await askWith(key)).status === 200, 3_000);
  });

  test('is shown by its name and public id, never again itself', async () => {
    const args = 'add --name bob --rpm 60 --models alpha,beta'.split(' ');
    const { out: key } = await keys(...args);
    const [list, show, json] = await Promise.all([
      keys('list'),
      keys('show', 'bob'),
      keys('show', idOf(key), '--json'),
    ]);
    expect(list.out).toContain('bob');
    expect(list.out).toContain('60 requests/min');
    expect(show.out).toContain(idOf(key));
    expect(JSON.parse(json.out)).toMatchObject({
      name: 'bob',
      state: 'active',
      limits: { requestsPerMinute: 60 },
      models: ['alpha', 'beta'],
    });
    const secret = key.slice(`sk-gw-${idOf(key)}-`.length);
    expect([list, show, json].map(({ out }) => out).join()).not.toContain(secret);
  });

  test('is named in the log by its public id', async () => {
    const key = await issue({ name: 'logged' });
    const headers = { 'X-Request-Id': 'logged-by-id' };
    expect((await askWith(key, { headers })).status).toBe(200);
    const line = await gateway.logged(({ requestId }) => requestId === 'logged-by-id');
    expect(line).toMatchObject({ caller: `sk-gw-${idOf(key)}-…`, principal: idOf(key) });
  });

  test('is presented like any other', async () => {
    const key = await issue({ name: 'two ways' });
    const headers = { Authorization: undefined, 'X-Api-Key': key };
    expect((await ask(gateway.url, { headers, body: brief })).status).toBe(200);
  });
});

describe('is refused with 403 and the reason', () => {
  async function expectRefusal(key: string, code: string): Promise<void> {
    const id = crypto.randomUUID();
    const refused = await askWith(key, { headers: { 'X-Request-Id': id } });
    expect(refused.status).toBe(403);
    expect(refused.header('x-gateway-error')).toBe(code);
    expect(JSON.parse(refused.text)).toMatchObject({ error: { code, type: 'permission_error' } });
    expect(engine.requests.filter(({ headers }) => clientIdOf(headers) === id)).toEqual([]);
    const message = await askWith(key, { path: '/v1/messages' });
    expect(message.status).toBe(403);
    expect(JSON.parse(message.text)).toMatchObject({
      type: 'error',
      error: { type: 'permission_error' },
    });
  }

  test('a wrong secret behind a right id', async () => {
    const key = await issue({ name: 'guessed' });
    const last = key.endsWith('A') ? 'B' : 'A';
    await expectRefusal(key.slice(0, -1) + last, 'invalid_api_key');
    await expectRefusal(key.slice(0, -1), 'invalid_api_key');
    await expectRefusal(`sk-gw-${idOf(key)}-`, 'invalid_api_key');
    expect((await askWith(key)).status).toBe(200);
  });

  test('an id that nobody has', async () => {
    const key = await issue({ name: 'known' });
    await expectRefusal(key.replace(idOf(key), '0123456789'), 'invalid_api_key');
  });

  test('an expired key, unless its secret is wrong: then it is invalid', async () => {
    const expiresAt = new Date(Date.now() + 300).toISOString();
    const key = await issue({ name: 'short', expiresAt });
    await until('it has expired', async () => (await askWith(key)).status === 403);
    await expectRefusal(key, 'key_expired');
    await expectRefusal(key.slice(0, -3), 'invalid_api_key');
  });

  test('a revoked key', async () => {
    const { out: key } = await keys('add', '--name', 'leaver');
    await until('it is accepted', async () => (await askWith(key)).status === 200);
    expect((await keys('revoke', 'leaver')).code).toBe(0);
    await until('it is refused', async () => (await askWith(key)).status === 403, 3_000);
    await expectRefusal(key, 'key_revoked');
    await expectRefusal(key.slice(0, -3), 'invalid_api_key');
  });
});

describe('the scheduler', () => {
  const stack = new AsyncDisposableStack();
  const small = startDemoEngine({ slots: 1, tokensPerSecond: 20 });
  let busy: Gateway;

  beforeAll(async () => {
    stack.defer(() => small.stop());
    busy = stack.use(await startGateway({ LLM_SERVER_URL: small.url, ADMIN_API_KEY: adminKey }));
    await untilUpstream(busy, 'engine', { state: 'up', slots: 1 });
  });

  afterAll(() => stack.disposeAsync());

  /** Takes the only slot, has these wait in that order, and returns the order in which the engine got them. */
  async function orderOf(waiting: readonly { key: string; id: string }[]): Promise<string[]> {
    const hold = { prompt: 'x', max_tokens: 2000, stream: true };
    const holder = await send(busy.url, { body: hold, headers: { 'X-Request-Id': 'holder' } });
    await holder.hasBytes();
    const sent: RawClient[] = [];
    for (const { key, id } of waiting) {
      const headers = { ...bearer(key), 'X-Request-Id': id };
      sent.push(await send(busy.url, { body: { prompt: 'x', max_tokens: 1 }, headers }));
      const count = sent.length;
      await until('it waits', async () => (await healthOf(busy)).queued === count);
    }
    small.requests.length = 0;
    holder.leaveByReset();
    for (const each of sent) await each.ended();
    return small.requests.map(({ headers }) => clientIdOf(headers) ?? '');
  }

  test('lets a batch key wait behind an interactive one', async () => {
    const batch = await issue({ name: 'batch', priority: 'batch' }, busy);
    const interactive = await issue({ name: 'interactive', priority: 'interactive' }, busy);
    const order = await orderOf([
      { key: batch, id: 'batch' },
      { key: interactive, id: 'interactive' },
    ]);
    expect(order).toEqual(['interactive', 'batch']);
  });

  test('serves a key of more weight more often', async () => {
    const heavy = await issue({ name: 'heavy', weight: 4 }, busy);
    const light = await issue({ name: 'light', weight: 1 }, busy);
    const rounds = Array.from({ length: 10 }, (_, round) => [
      { key: light, id: `light-${round}` },
      { key: heavy, id: `heavy-${round}` },
    ]);
    const order = await orderOf(rounds.flat());
    expect(order).toHaveLength(20);
    const firstTen = order.slice(0, 10).filter((id) => id.startsWith('heavy'));
    // Four of five, except for the first request and the end of a turn.
    expect(firstTen.length).toBeGreaterThanOrEqual(7);
    expect(firstTen.length).toBeLessThan(10);
  });
});

describe('a key that speaks for users', () => {
  test('has a separate principal for each of them', async () => {
    const args = 'add --name web --user-header X-OpenWebUI-User-Id --rpm 1'.split(' ');
    const { out: key } = await keys(...args);
    await until('it is accepted', async () => {
      const answer = await ask(gateway.url, { path: '/v1/models', headers: bearer(key) });
      return answer.status === 200;
    });
    async function principalOf(headers: Record<string, string>): Promise<unknown> {
      const id = `user-${Object.values(headers).join('-')}`;
      const answer = await askWith(key, { headers: { ...headers, 'X-Request-Id': id } });
      expect(answer.status).toBe(200);
      return (await gateway.logged(({ requestId }) => requestId === id))['principal'];
    }
    // One request a minute: each of them has its own.
    expect(await principalOf({ 'x-openwebui-user-id': 'alice' })).toBe(`${idOf(key)}/alice`);
    expect(await principalOf({ 'x-openwebui-user-id': 'bob' })).toBe(`${idOf(key)}/bob`);
    expect(await principalOf({})).toBe(idOf(key));
    const again = await askWith(key, { headers: { 'x-openwebui-user-id': 'alice' } });
    expect(again.header('x-gateway-error')).toBe('rate_limited');
  });

  test('is the only one that may name a user; another is always its own principal', async () => {
    const key = await issue({ name: 'alone', limits: { requestsPerMinute: 1 } });
    const headers = (user: string) => ({ 'x-openwebui-user-id': user });
    expect((await askWith(key, { headers: headers('alice') })).status).toBe(200);
    expect((await askWith(key, { headers: headers('bob') })).status).toBe(429);
  });
});

describe('a gateway without keys of its configuration', () => {
  const env = { LLM_SERVER_URL: engine.url, ALLOWED_API_KEYS: '' };

  async function expectNoStart(dataDir: string): Promise<void> {
    const child = Bun.spawn(gatewayCommand(), {
      cwd: '/tmp',
      env: cleanEnvironment({ ...env, HOST: '127.0.0.1', PORT: '0', DATA_DIR: dataDir }),
      stdin: 'ignore',
      stdout: 'pipe',
      stderr: 'pipe',
    });
    const [err, code] = await Promise.all([child.stderr.text(), child.exited]);
    expect(code).toBe(1);
    expect(err).toContain('no API key');
    expect(err).toContain('llm-gateway keys add');
  }

  test('does not start on an empty store, nor on none', async () => {
    const empty = mkdtempSync(join(tmpdir(), 'llm-gateway-test-'));
    await expectNoStart(empty);
    await expectNoStart('none');
    rmSync(empty, { recursive: true });
  });

  test('starts where the store has keys', async () => {
    const key = await issue({ name: 'there before' });
    await using second = await startGateway({ ...env, DATA_DIR: folder });
    expect((await askWith(key, {}, second)).status).toBe(200);
  });

  test('starts where an operator can make keys', async () => {
    await using second = await startGateway({ ...env, ADMIN_API_KEY: adminKey });
    const key = await issue({ name: 'first' }, second);
    expect((await askWith(key, {}, second)).status).toBe(200);
  });
});
