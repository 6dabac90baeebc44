/**
 * What happens to a key that changes while it is in use: revoked, rotated, or with other limits and models. A revoked
 * key ends its running requests at once and with its reason; all other requests go on.
 */
import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from 'bun:test';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { startDemoEngine } from '../../src/demo/engine.ts';
import { ask, send, type Asked, type RawClient } from '../support/rawclient.ts';
import { runCommand, startGateway, type Gateway } from '../support/gatewayprocess.ts';
import { admin, adminKey, bearer, issueKey, type Issued } from '../support/operator.ts';
import { healthOf, untilUpstream, untilIdle } from '../support/gatewayhealth.ts';
import { until } from '../support/wait.ts';
import { clientIdOf } from '../support/requestid.ts';

setDefaultTimeout(60_000);

/** A second, and what a busy machine adds to it. */
const withinMs = 3_000;
const folder = mkdtempSync(join(tmpdir(), 'llm-gateway-test-'));
const engine = startDemoEngine({ slots: 2, tokensPerSecond: 50 });
let gateway: Gateway;
let count = 0;

const start = () =>
  startGateway({ LLM_SERVER_URL: engine.url, DATA_DIR: folder, ADMIN_API_KEY: adminKey });

beforeAll(async () => {
  gateway = await start();
  await untilUpstream(gateway, 'engine', { state: 'up', slots: 2 });
});

afterAll(async () => {
  await gateway?.[Symbol.asyncDispose]();
  await engine.stop();
  rmSync(folder, { recursive: true });
});

const issue = (policy: object = {}) => issueKey(gateway, { name: `k${++count}`, ...policy });

/** Runs `llm-gateway keys …`, and returns what it prints. */
async function keys(...args: string[]): Promise<{ out: string; err: string; code: number }> {
  const { stdout, stderr, code } = await runCommand(['keys', ...args], { DATA_DIR: folder });
  return { out: stdout.trim(), err: stderr.trim(), code };
}

const messages = [{ role: 'user', content: 'x' }];
const endless = { prompt: 'x', input: 'x', messages, max_tokens: 3000, stream: true };
const brief = { prompt: 'x', max_tokens: 1 };

function withKey({ key }: Issued, asked: Asked = {}): Asked {
  const { headers, ...others } = asked;
  return { body: brief, ...others, headers: { ...bearer(key), ...headers } };
}

/** Returns the status that a key gets, and why. */
async function look(issued: Issued): Promise<string> {
  const headers = bearer(issued.key);
  const answer = await ask(gateway.url, { path: '/v1/models', headers });
  return `${answer.status} ${answer.header('x-gateway-error') ?? ''}`.trim();
}

function atEngine(id: string) {
  return engine.requests.find(({ headers }) => clientIdOf(headers) === id);
}

const idle = () => untilIdle(gateway, engine);

describe('a key that is revoked at the command line', () => {
  const families = [
    {
      path: '/v1/chat/completions',
      end: /data: \{"error":\{.*"code":"key_revoked".*\}\}\n\n$/,
    },
    {
      path: '/v1/messages',
      end: /event: error\ndata: \{"type":"error","error":\{"type":"permission_error".*\}\}\n\n$/,
    },
    {
      path: '/v1/responses',
      end: /event: error\ndata: \{"type":"error","code":"key_revoked".*"sequence_number":\d+\}\n\n$/,
    },
  ];
  test.each(families)('ends its stream at $path with an error event', async ({ path, end }) => {
    const issued = await issue();
    const id = `revoked${path.replaceAll('/', '-')}`;
    const headers = { 'X-Request-Id': id };
    const stream = await send(gateway.url, withKey(issued, { path, body: endless, headers }));
    await stream.hasBytes(300);
    expect((await keys('revoke', issued.id)).code).toBe(0);
    await until('the stream has ended', () => stream.ending !== 'open', withinMs);
    expect(stream.ending).toBe('whole');
    expect(stream.text).toMatch(end);
    expect(stream.text).not.toContain('[DONE]');
    await until('the engine has ended it', () => atEngine(id)?.state === 'aborted');
    await idle();
    expect(await look(issued)).toBe('403 key_revoked');
  });

  test('ends what has not answered yet with 403', async () => {
    const issued = await issue();
    const headers = { 'X-Request-Id': 'revoked-plain' };
    const body = { ...endless, stream: false };
    const plain = await send(gateway.url, withKey(issued, { body, headers }));
    await until('the engine has it', () => atEngine('revoked-plain')?.state === 'running');
    await keys('revoke', issued.id);
    await plain.ended();
    expect([plain.status, plain.header('x-gateway-error')]).toEqual([403, 'key_revoked']);
    await until('the engine has ended it', () => atEngine('revoked-plain')?.state === 'aborted');
    await idle();
  });
});

describe('a key that is revoked over HTTP', () => {
  test('is refused by the next request', async () => {
    const issued = await issue();
    expect(await look(issued)).toBe('200');
    const { status, json } = await admin(gateway, `DELETE /admin/keys/${issued.id}`);
    expect([status, json['state']]).toEqual([200, 'revoked']);
    expect(await look(issued)).toBe('403 key_revoked');
  });

  test('ends what waits, which never reaches the engine; others go on', async () => {
    const [other, issued] = [await issue(), await issue()];
    const running = await Promise.all(
      [1, 2].map(() => send(gateway.url, withKey(other, { body: endless }))),
    );
    for (const stream of running) await stream.hasBytes();
    const headers = { 'X-Request-Id': 'revoked-waiting' };
    const waiting = await send(gateway.url, withKey(issued, { body: endless, headers }));
    await until('it waits', async () => (await healthOf(gateway)).queued === 1);
    await admin(gateway, `DELETE /admin/keys/${issued.id}`);
    await waiting.ended();
    expect([waiting.status, waiting.header('x-gateway-error')]).toEqual([403, 'key_revoked']);
    expect((await healthOf(gateway)).queued).toBe(0);
    for (const stream of running) {
      await stream.hasBytes(stream.length + 1);
      stream.leaveByReset();
    }
    await idle();
    expect(atEngine('revoked-waiting')).toBeUndefined();
  });

  test('ends what all of its users have running', async () => {
    const issued = await issue({ userHeader: 'x-user' });
    const streams: RawClient[] = [];
    for (const user of ['alice', 'bob']) {
      const headers = { 'X-User': user };
      streams.push(await send(gateway.url, withKey(issued, { body: endless, headers })));
    }
    for (const stream of streams) await stream.hasBytes();
    await admin(gateway, `DELETE /admin/keys/${issued.id}`);
    for (const stream of streams) {
      await stream.ended();
      expect(stream.text).toContain('"code":"key_revoked"');
    }
    await idle();
  });

  test('cannot be changed, rotated or revoked once more', async () => {
    const issued = await issue();
    const path = `/admin/keys/${issued.id}`;
    const first = await admin(gateway, `DELETE ${path}`);
    const again = await admin(gateway, `DELETE ${path}`);
    expect([again.status, again.json]).toEqual([first.status, first.json]);
    expect((await admin(gateway, `PATCH ${path}`, { weight: 2 })).status).toBe(400);
    expect((await admin(gateway, `POST ${path}/rotate`, {})).status).toBe(400);
    expect((await keys('revoke', issued.id)).code).toBe(1);
    expect((await keys('rotate', issued.id)).code).toBe(1);
    expect(await look(issued)).toBe('403 key_revoked');
  });
});

describe('a key that is rotated', () => {
  test('with a grace has two secrets until that is over', async () => {
    const old = await issue();
    const { out: key } = await keys('rotate', old.id, '--grace', '2s');
    const fresh = { id: old.id, key };
    expect(key).toStartWith(`sk-gw-${old.id}-`);
    expect(key).not.toBe(old.key);
    await until('the new one is accepted', async () => (await look(fresh)) === '200', withinMs);
    const { json } = await admin(gateway, `GET /admin/keys/${old.id}`);
    const graceEnds = Date.parse(String(json['replacedUntil']));
    const whileGrace = await look(old);
    if (Date.now() < graceEnds) expect(whileGrace).toBe('200');
    await until('the grace is over', async () => (await look(old)) === '403 invalid_api_key');
    expect(Date.now()).toBeGreaterThanOrEqual(graceEnds);
    expect(await look(fresh)).toBe('200');
    expect((await admin(gateway, `GET /admin/keys/${old.id}`)).json['replacedUntil']).toBeNull();
  });

  test('without a grace has the new one alone, at once', async () => {
    const old = await issue();
    const { json } = await admin(gateway, `POST /admin/keys/${old.id}/rotate`, {});
    expect(await look(old)).toBe('403 invalid_api_key');
    expect(await look({ id: old.id, key: String(json['key']) })).toBe('200');
  });

  test('twice keeps the latest replaced secret alone', async () => {
    const first = await issue();
    const rotate = async () => {
      const { json } = await admin(gateway, `POST /admin/keys/${first.id}/rotate`, { grace: '1h' });
      return { id: first.id, key: String(json['key']) };
    };
    const second = await rotate();
    expect([await look(first), await look(second)]).toEqual(['200', '200']);
    const third = await rotate();
    expect(await look(first)).toBe('403 invalid_api_key');
    expect([await look(second), await look(third)]).toEqual(['200', '200']);
  });

  test('is revoked with both of its secrets', async () => {
    const old = await issue();
    const { json } = await admin(gateway, `POST /admin/keys/${old.id}/rotate`, { grace: '1h' });
    await admin(gateway, `DELETE /admin/keys/${old.id}`);
    const fresh = { id: old.id, key: String(json['key']) };
    expect([await look(old), await look(fresh)]).toEqual(['403 key_revoked', '403 key_revoked']);
  });

  test('leaves requests running that came with the old secret', async () => {
    const old = await issue();
    const stream = await send(gateway.url, withKey(old, { body: endless }));
    await stream.hasBytes();
    await admin(gateway, `POST /admin/keys/${old.id}/rotate`, {});
    await stream.hasBytes(stream.length + 200);
    expect(stream.ending).toBe('open');
    stream.leaveByReset();
    await idle();
  });
});

describe('a policy that changes', () => {
  test('limits the next request', async () => {
    const issued = await issue();
    const path = `/admin/keys/${issued.id}`;
    expect((await ask(gateway.url, withKey(issued))).status).toBe(200);
    await admin(gateway, `PATCH ${path}`, { limits: { requestsPerMinute: 1 } });
    expect((await ask(gateway.url, withKey(issued))).status).toBe(200);
    const refused = await ask(gateway.url, withKey(issued));
    expect([refused.status, refused.header('x-gateway-error')]).toEqual([429, 'rate_limited']);
    await admin(gateway, `PATCH ${path}`, { limits: null });
    const free = await ask(gateway.url, withKey(issued));
    expect(free.status).toBe(200);
    expect(free.header('x-ratelimit-limit-requests')).toBeUndefined();
  });

  test('at the command line limits the running gateway within a second', async () => {
    const issued = await issue();
    const limit = async () => {
      return (await ask(gateway.url, withKey(issued))).header('x-ratelimit-limit-requests');
    };
    expect((await keys('edit', issued.id, '--rpm', '900')).code).toBe(0);
    await until('it is limited', async () => (await limit()) === '900', withinMs);
    expect((await keys('edit', issued.id, '--rpm', 'none')).code).toBe(0);
    await until('it is free again', async () => (await limit()) === undefined, withinMs);
    const { data } = (await admin(gateway, 'GET /admin/audit?limit=2')).json;
    const entry = { actor: 'cli', action: 'key_changed', keyId: issued.id };
    expect(data).toMatchObject([entry, entry]);
  });

  test('in several limits at once, by as many commands, loses none', async () => {
    const issued = await issue();
    const flags = [
      ['--rpm', '900'],
      ['--tpm', '20k'],
      ['--concurrent', '8'],
    ] as const;
    const edits = await Promise.all(flags.map((each) => keys('edit', issued.id, ...each)));
    expect(edits.map(({ code }) => code)).toEqual([0, 0, 0]);
    expect((await admin(gateway, `GET /admin/keys/${issued.id}`)).json['limits']).toEqual({
      requestsPerMinute: 900,
      tokensPerMinute: 20_000,
      concurrentRequests: 8,
    });
  });

  test('on open requests counts what a limited key has open already', async () => {
    const issued = await issue({ limits: { requestsPerMinute: 1000 } });
    const stream = await send(gateway.url, withKey(issued, { body: endless }));
    await stream.hasBytes();
    await admin(gateway, `PATCH /admin/keys/${issued.id}`, { limits: { concurrentRequests: 1 } });
    const refused = await ask(gateway.url, withKey(issued));
    expect(refused.header('x-gateway-error')).toBe('too_many_concurrent');
    stream.leaveByReset();
    await idle();
    expect((await ask(gateway.url, withKey(issued))).status).toBe(200);
  });

  test('takes models away, and allows them again', async () => {
    const issued = await issue();
    const path = `/admin/keys/${issued.id}`;
    await admin(gateway, `PATCH ${path}`, { models: ['another'] });
    const refused = await ask(gateway.url, withKey(issued));
    expect([refused.status, refused.header('x-gateway-error')]).toEqual([403, 'model_not_allowed']);
    await admin(gateway, `PATCH ${path}`, { models: null });
    expect((await ask(gateway.url, withKey(issued))).status).toBe(200);
  });

  test('can let the key expire in a moment', async () => {
    const issued = await issue();
    const expiresAt = new Date(Date.now() + 300).toISOString();
    await admin(gateway, `PATCH /admin/keys/${issued.id}`, { expiresAt });
    await until('it has expired', async () => (await look(issued)) === '403 key_expired');
    expect(Date.now()).toBeGreaterThanOrEqual(Date.parse(expiresAt));
    await admin(gateway, `PATCH /admin/keys/${issued.id}`, { expiresAt: 'never' });
    expect(await look(issued)).toBe('200');
  });
});

test('what has changed is still so after a restart', async () => {
  const [revoked, rotated, limited] = [await issue(), await issue(), await issue()];
  await admin(gateway, `DELETE /admin/keys/${revoked.id}`);
  const { json } = await admin(gateway, `POST /admin/keys/${rotated.id}/rotate`, { grace: '1h' });
  await admin(gateway, `PATCH /admin/keys/${limited.id}`, { limits: { requestsPerMinute: 7 } });
  gateway.kill('SIGKILL');
  await gateway.exited;
  gateway = await start();
  expect(await look(revoked)).toBe('403 key_revoked');
  expect(await look(rotated)).toBe('200');
  expect(await look({ id: rotated.id, key: String(json['key']) })).toBe('200');
  const answer = await ask(gateway.url, withKey(limited));
  expect(answer.header('x-ratelimit-limit-requests')).toBe('7');
});

test('a store whose file is deleted is noticed: known keys go on, and no change is lost unseen', async () => {
  const own = mkdtempSync(join(tmpdir(), 'llm-gateway-test-'));
  const env = { LLM_SERVER_URL: engine.url, DATA_DIR: own, ADMIN_API_KEY: adminKey };
  await using stage = await startGateway(env);
  const issued = await issueKey(stage, { name: 'before' });
  rmSync(own, { recursive: true });
  const line = await stage.logged(({ msg }) => String(msg).startsWith('the store cannot be read'));
  expect(line['reason']).toContain('was deleted or replaced');
  const known = await ask(stage.url, { path: '/v1/models', headers: bearer(issued.key) });
  expect(known.status).toBe(200);
  const asked = { method: 'POST', path: '/admin/keys', body: { name: 'after' } };
  const refused = await ask(stage.url, { ...asked, headers: bearer(adminKey) });
  expect([refused.status, refused.header('x-gateway-error')]).toEqual([503, 'store_unavailable']);
  const ledger = await stage.logged(({ msg }) => String(msg).startsWith('the usage ledger cannot'));
  expect(ledger['reason']).toContain('was deleted or replaced');
});
