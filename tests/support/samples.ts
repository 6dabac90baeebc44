/**
 * Samples for tests: a caller, a request of its that has ended well, the row of one, an upstream, and policies
 * of keys. A test names only the fields that it is about.
 */
import type { KeyPolicy } from '../../src/accounts/keys.ts';
import { Upstream } from '../../src/engines/upstream.ts';
import type { UpstreamSettings } from '../../src/config/upstreams.ts';
import type { UsageRow } from '../../src/accounts/usage.ts';
import { Uuids } from '../../src/accounts/uuids.ts';
import type { Caller } from '../../src/request/caller.ts';
import type { Settlement } from '../../src/request/settlement.ts';

export const caller: Caller = {
  keyId: '00112233',
  principal: '00112233/eva',
  hint: 'sk-…4f2a',
  weight: 1,
  priority: 'interactive',
  name: 'alice',
  limits: {},
  models: undefined,
};

/** A stream of 11 tokens that waited 2 s, had its first byte after 0.3 s and its last after 1.3 s. */
export function settlement(fields: Partial<Settlement> = {}): Settlement {
  return {
    requestId: 'id-1',
    uniqueId: 'id-1',
    caller,
    route: '/v1/chat/completions',
    model: 'qwen',
    askedModel: 'qwen',
    servedModel: 'qwen-7b',
    priority: 'interactive',
    upstream: 'engine',
    status: 200,
    code: undefined,
    outcome: 'done',
    stream: true,
    bodyMs: 0,
    queuedMs: 2_000,
    firstByteMs: 300,
    engineMs: 1_300,
    totalMs: 3_302,
    promptTokens: 100,
    cachedTokens: 60,
    completionTokens: 11,
    tokensAre: 'exact',
    bytesIn: 500,
    bytesOut: 900,
    isCacheHit: false,
    traceparent: undefined,
    ...fields,
  };
}

/** UUIDs, each higher than the one before. */
export const uuids = new Uuids(Date.now);

/** Returns a row of the ledger with a new uuid. */
export function usageRow(fields: Partial<UsageRow> = {}): UsageRow {
  return {
    uuid: uuids.next(),
    at: Date.UTC(2026, 10, 5, 13, 30),
    requestId: 'request-1',
    keyId: 'k1',
    principal: 'k1/eva',
    user: 'eva',
    keyName: 'alice',
    route: '/v1/chat/completions',
    priority: 'interactive',
    model: 'qwen',
    servedModel: 'qwen-7b',
    upstream: 'engine',
    status: 200,
    code: undefined,
    outcome: 'done',
    stream: true,
    queuedMs: 5,
    firstTokenMs: 80,
    engineMs: 900,
    totalMs: 905,
    promptTokens: 7,
    cachedTokens: 4,
    completionTokens: 3,
    tokensAre: 'exact',
    isCacheHit: false,
    ...fields,
  };
}

/** An upstream that was never probed. */
export function upstream(id: string, fields: Partial<UpstreamSettings> = {}): Upstream {
  const settings: UpstreamSettings = {
    id,
    url: `http://127.0.0.1/${id}`,
    apiKey: undefined,
    kind: 'llama.cpp',
    models: ['qwen'],
    aliases: { fast: 'qwen' },
    slots: 4,
    weight: 1,
    drain: false,
    ...fields,
  };
  return new Upstream(settings, () => 0.5);
}

/** The policy of a key of which only the name was given. */
export const plainPolicy: KeyPolicy = {
  name: 'alice',
  limits: {},
  models: undefined,
  weight: 1,
  priority: 'interactive',
  userHeader: undefined,
  expiresAt: undefined,
};

/** A policy with every member that a policy can have. */
export const fullPolicy: KeyPolicy = {
  name: 'Bücher-Bot "№ 2"',
  limits: {
    requestsPerMinute: 60,
    tokensPerMinute: 20_000,
    concurrentRequests: 2,
    budgets: [
      { tokens: 1_000_000, per: 'day' },
      { tokens: 1_500_000, per: 'month' },
    ],
  },
  models: ['a', 'b/c:q4'],
  weight: 0.5,
  priority: 'batch',
  userHeader: 'x-openwebui-user-id',
  expiresAt: Date.UTC(2027, 1, 22, 12),
};
