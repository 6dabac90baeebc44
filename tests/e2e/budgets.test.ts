/**
 * Tokens for a day or a month: a caller that has spent them is refused until the next one begins, and neither a restart
 * nor a kill of the gateway returns anything. The time zone of the budgets is one where it is about noon now, so that no
 * day ends while a test runs.
 */
import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from 'bun:test';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import OpenAI from 'openai';
import { startDemoEngine } from '../../src/demo/engine.ts';
import { ask, send, type Asked, type RawClient } from '../support/rawclient.ts';
import { runCommand, type Gateway, limitStores } from '../support/gatewayprocess.ts';
import { admin, adminKey, issueKey } from '../support/operator.ts';
import { healthOf } from '../support/gatewayhealth.ts';
import { until } from '../support/wait.ts';

setDefaultTimeout(60_000);

describe.each(limitStores)('limits $limits', ({ start: startGateway }) => {
  const hourMs = 3_600_000;
  const dayMs = 24 * hourMs;
  const engine = startDemoEngine({ tokensPerSecond: 500 });
  const folders: string[] = [];
  /** The gateway of the tests that need no other. */
  let gateway: Gateway;

  /** Hours to add to UTC for a clock that shows about noon. */
  const offset = 12 - new Date().getUTCHours();
  /** In these names the sign is the other way round. */
  const noonZone = `Etc/GMT${offset > 0 ? '-' : '+'}${Math.abs(offset)}`;

  beforeAll(async () => {
    gateway = await start(freshFolder());
  });

  afterAll(async () => {
    await gateway?.[Symbol.asyncDispose]();
    await engine.stop();
    for (const folder of folders) rmSync(folder, { recursive: true });
  });

  function freshFolder(): string {
    const folder = mkdtempSync(join(tmpdir(), 'llm-gateway-test-'));
    folders.push(folder);
    return folder;
  }

  function start(folder: string): Promise<Gateway> {
    return startGateway({
      LLM_SERVER_URL: engine.url,
      DATA_DIR: folder,
      ADMIN_API_KEY: adminKey,
      BUDGET_TIME_ZONE: noonZone,
    });
  }

  function issue(gateway: Gateway, budgets: object[] | undefined, more: object = {}) {
    const limits = budgets === undefined ? {} : { budgets };
    return issueKey(gateway, { name: 'spender', limits, ...more });
  }

  /** Costs one token of the prompt and these. */
  function spending(tokens: number, key: string, headers: Record<string, string> = {}): Asked {
    const body = { prompt: 'x', max_tokens: tokens };
    return { body, headers: { Authorization: `Bearer ${key}`, ...headers } };
  }

  async function spend(gateway: Gateway, tokens: number, key: string): Promise<void> {
    expect((await ask(gateway.url, spending(tokens, key))).status).toBe(200);
  }

  function expectSpent(refused: RawClient): void {
    expect([refused.status, refused.header('x-gateway-error')]).toEqual([429, 'budget_spent']);
  }

  /** The time until the next day begins where the budgets are. */
  function untilNextDay(now: number): number {
    return dayMs - ((now + offset * hourMs) % dayMs);
  }

  describe('a budget', () => {
    test('that is spent refuses until the next day, and tells the client not to retry', async () => {
      const { key } = await issue(gateway, [{ tokens: 10, per: 'day' }]);
      await spend(gateway, 10, key);
      const before = engine.requests.length;
      const refused = await ask(gateway.url, spending(1, key));
      expectSpent(refused);
      expect(refused.header('x-should-retry')).toBe('false');
      const waitMs = Number(refused.header('retry-after-ms'));
      expect(Math.abs(waitMs - untilNextDay(Date.now()))).toBeLessThan(60_000);
      expect(Number(refused.header('retry-after'))).toBe(Math.ceil(waitMs / 1000));
      expect(engine.requests.length).toBe(before);
      const list = { path: '/v1/models', headers: { Authorization: `Bearer ${key}` } };
      expect((await ask(gateway.url, list)).status).toBe(200);
    });

    test('of a month lasts longer than one of a day', async () => {
      const { key } = await issue(gateway, [
        { tokens: 10, per: 'month' },
        { tokens: 1000, per: 'day' },
      ]);
      await spend(gateway, 10, key);
      const refused = await ask(gateway.url, spending(1, key));
      expectSpent(refused);
      const local = new Date(Date.now() + offset * hourMs);
      const nextMonth = Date.UTC(local.getUTCFullYear(), local.getUTCMonth() + 1);
      const waitMs = Number(refused.header('retry-after-ms'));
      expect(Math.abs(waitMs - (nextMonth - local.getTime()))).toBeLessThan(60_000);
    });

    test('lets through whatever begins before it is spent', async () => {
      const { key } = await issue(gateway, [{ tokens: 20, per: 'day' }]);
      await spend(gateway, 9, key);
      await spend(gateway, 50, key);
      expectSpent(await ask(gateway.url, spending(1, key)));
    });

    test('is not spent by what failed, and by no more than what a client left had', async () => {
      const { key } = await issue(gateway, [{ tokens: 100, per: 'day' }]);
      for (let i = 0; i < 3; i++) {
        const headers = { 'X-Demo-Fault': 'error-500' };
        expect((await ask(gateway.url, spending(1000, key, headers))).status).toBe(500);
      }
      const body = { prompt: 'x', max_tokens: 1000, stream: true };
      const headers = { Authorization: `Bearer ${key}`, 'X-Demo-Fault': 'stall=5' };
      const stream = await send(gateway.url, { body, headers });
      await stream.hasBytes();
      // All that is left is reserved while the request is open, and comes back when its client leaves.
      const refused = await ask(gateway.url, spending(1, key));
      expectSpent(refused);
      expect(Number(refused.header('retry-after-ms'))).toBeLessThan(hourMs);
      stream.leaveByReset();
      await until('it is over', async () => (await healthOf(gateway)).inFlight === 0);
      await spend(gateway, 1, key);
    });

    test('is each user’s own, where the key speaks for several', async () => {
      const { key } = await issue(gateway, [{ tokens: 10, per: 'day' }], { userHeader: 'x-user' });
      const alice = { 'X-User': 'alice' };
      expect((await ask(gateway.url, spending(10, key, alice))).status).toBe(200);
      expectSpent(await ask(gateway.url, spending(1, key, alice)));
      expect((await ask(gateway.url, spending(10, key, { 'X-User': 'bob' }))).status).toBe(200);
      expect((await ask(gateway.url, spending(10, key))).status).toBe(200);
    });

    test('is not repeated by the official client', async () => {
      const { key: apiKey } = await issue(gateway, [{ tokens: 10, per: 'day' }]);
      await spend(gateway, 10, apiKey);
      const openai = new OpenAI({
        baseURL: `${gateway.url}/v1`,
        apiKey,
        maxRetries: 3,
        defaultHeaders: { 'x-request-id': 'once-only' },
      });
      let thrown: unknown;
      try {
        await openai.completions.create({ model: 'demo', prompt: 'x', max_tokens: 1 });
      } catch (error) {
        thrown = error;
      }
      expect(thrown).toBeInstanceOf(OpenAI.RateLimitError);
      await gateway.logged(({ requestId }) => requestId === 'once-only');
      const lines = gateway.logs.filter(({ requestId }) => requestId === 'once-only');
      expect(lines).toHaveLength(1);
    });
  });

  describe('a budget that a key gets later', () => {
    test('counts what it has spent already', async () => {
      const { id, key } = await issue(gateway, undefined);
      await spend(gateway, 10, key);
      const patch = (tokens: number) =>
        admin(gateway, `PATCH /admin/keys/${id}`, {
          limits: { budgets: [{ tokens, per: 'day' }] },
        });
      await patch(11);
      expectSpent(await ask(gateway.url, spending(1, key)));
      await patch(12);
      await spend(gateway, 1, key);
      expectSpent(await ask(gateway.url, spending(1, key)));
    });

    test('counts what it has open', async () => {
      const { id, key } = await issue(gateway, undefined);
      const body = { prompt: 'x', max_tokens: 200, stream: true };
      const stream = await send(gateway.url, { body, headers: { Authorization: `Bearer ${key}` } });
      await stream.hasBytes();
      const limits = { budgets: [{ tokens: 202, per: 'day' }] };
      await admin(gateway, `PATCH /admin/keys/${id}`, { limits });
      await stream.ended();
      await spend(gateway, 1, key);
      expectSpent(await ask(gateway.url, spending(1, key)));
    });
  });

  describe('what has been spent', () => {
    test('is known after a restart, for each user', async () => {
      const folder = freshFolder();
      const budgets = [{ tokens: 10, per: 'day' }];
      const keys = await (async () => {
        await using first = await start(folder);
        const own = await issue(first, budgets);
        const shared = await issue(first, budgets, { userHeader: 'x-user' });
        await spend(first, 10, own.key);
        const alice = spending(10, shared.key, { 'X-User': 'alice' });
        expect((await ask(first.url, alice)).status).toBe(200);
        first.kill('SIGTERM');
        expect(await first.exited).toBe(0);
        return { own: own.key, shared: shared.key };
      })();
      await using again = await start(folder);
      expectSpent(await ask(again.url, spending(1, keys.own)));
      expectSpent(await ask(again.url, spending(1, keys.shared, { 'X-User': 'alice' })));
      const bob = spending(10, keys.shared, { 'X-User': 'bob' });
      expect((await ask(again.url, bob)).status).toBe(200);
    });

    test('is known to the token after a restart', async () => {
      const folder = freshFolder();
      const key = await (async () => {
        await using first = await start(folder);
        const issued = await issue(first, [{ tokens: 25, per: 'day' }]);
        // 12 and 12 of 25: one is left.
        await spend(first, 11, issued.key);
        await spend(first, 11, issued.key);
        first.kill('SIGTERM');
        await first.exited;
        return issued.key;
      })();
      await using again = await start(folder);
      await spend(again, 1, key);
      expectSpent(await ask(again.url, spending(1, key)));
    });

    test('a second ago is not lost by a gateway that is killed', async () => {
      const folder = freshFolder();
      const key = await (async () => {
        await using first = await start(folder);
        const issued = await issue(first, [{ tokens: 10, per: 'month' }]);
        await spend(first, 10, issued.key);
        // The promise is about time, so this waits for time alone.
        await Bun.sleep(1_200);
        first.kill('SIGKILL');
        await first.exited;
        return issued.key;
      })();
      await using again = await start(folder);
      expectSpent(await ask(again.url, spending(1, key)));
    });
  });

  test('keys of the command line have budgets by words', async () => {
    const folder = freshFolder();
    const args = ['add', '--name', 'words', '--budget-tokens', '10/day,1k/month'];
    const { stdout } = await runCommand(['keys', ...args], { DATA_DIR: folder });
    const key = stdout.trim();
    await using first = await start(folder);
    await spend(first, 10, key);
    expectSpent(await ask(first.url, spending(1, key)));
  });
});
