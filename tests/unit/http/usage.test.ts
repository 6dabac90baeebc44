/** The usage that a key may read over HTTP. */
import { describe, expect, test } from 'bun:test';
import { Elysia } from 'elysia';
import { KeyRing } from '../../../src/accounts/keyring.ts';
import type { UsageReader } from '../../../src/http/usage.ts';
import { ownUsage, usageFor } from '../../../src/http/usage.ts';
import { corsHeaders } from '../../../src/wire/cors.ts';
import { GatewayError } from '../../../src/wire/errors.ts';

const epoch = Date.parse('2026-11-24T12:00:00Z');
type Question = Parameters<UsageReader['usage']['usage']>[0];

/** A usage reader that a test answers by hand, with the queries it got. */
function store(answer: () => Promise<never[]> = async () => []) {
  const asked: Question[] = [];
  return { asked, usage: (question: Question) => (asked.push(question), answer()) };
}

function appOf(usage: UsageReader['usage']) {
  const keys = new KeyRing(['sk-client-one', 'sk-client-two'], {
    trusted: [],
    batch: [],
    userHeader: undefined,
    hintOf: () => '…',
  });
  const plugin = ownUsage({
    usage,
    keys,
    invalidKeyStatus: 403,
    corsHeaders: corsHeaders(['*']),
    epochNow: () => epoch,
  });
  const app = new Elysia()
    .onError(({ error }) => {
      const { code } = error as GatewayError;
      return new Response(code, { status: (error as GatewayError).status });
    })
    .use(plugin);
  return async (key: string | undefined, query = '') => {
    const headers: Record<string, string> =
      key === undefined ? {} : { authorization: `Bearer ${key}` };
    const answer = await app.handle(new Request(`http://gateway/usage${query}`, { headers }));
    return { status: answer.status, text: await answer.text() };
  };
}

describe('GET /usage', () => {
  test('reads the rows of its own key alone', async () => {
    const usage = store();
    const ask = appOf(usage);
    for (const key of ['sk-client-one', 'sk-client-two']) {
      expect((await ask(key, '?by=model')).status).toBe(200);
    }
    const ids = usage.asked.map(({ keyId }) => keyId);
    expect(ids.every((id) => typeof id === 'string')).toBe(true);
    expect(new Set(ids).size).toBe(2);
    expect(usage.asked[0]?.by).toEqual(['model']);
  });

  test('needs a key', async () => {
    const usage = store();
    expect(await appOf(usage)(undefined)).toEqual({ status: 401, text: 'missing_api_key' });
    expect(usage.asked).toEqual([]);
  });

  test.each(['?by=key', '?by=name', '?from=1', '?since=yesterday'])('refuses %s', async (query) => {
    const usage = store();
    expect(await appOf(usage)('sk-client-one', query)).toEqual({
      status: 400,
      text: 'invalid_field',
    });
    expect(usage.asked).toEqual([]);
  });

  test('makes one report of a key at a time, and the next one afterwards', async () => {
    const gate = Promise.withResolvers<never[]>();
    const usage = store(() => gate.promise);
    const ask = appOf(usage);
    const first = ask('sk-client-one');
    const other = ask('sk-client-two');
    expect(await ask('sk-client-one')).toEqual({ status: 429, text: 'too_many_concurrent' });
    gate.resolve([]);
    expect([(await first).status, (await other).status]).toEqual([200, 200]);
    expect((await ask('sk-client-one')).status).toBe(200);
  });

  test('can be asked for again after a report has failed', async () => {
    const failing = store(async () => {
      throw new GatewayError('internal_error');
    });
    const ask = appOf(failing);
    for (let i = 0; i < 2; i++) expect((await ask('sk-client-one')).text).toBe('internal_error');
    expect(failing.asked).toHaveLength(2);
  });
});

test('a report whose client has left ends as that', async () => {
  const usage = store(async () => {
    throw new Error('interrupted');
  });
  const request = new Request('http://gateway/usage', { signal: AbortSignal.abort() });
  const report = usageFor(request, { usage, epochNow: () => epoch }, ['model']);
  await expect(report).rejects.toMatchObject({ code: 'client_closed_request' });
  expect(usage.asked[0]?.signal?.aborted).toBe(true);
});
