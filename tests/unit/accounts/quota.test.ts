/**
 * What a request reserves of its caller's limits, what it has used in the end, and the headers with the caller's
 * standing.
 */
import { describe, expect, test } from 'bun:test';
import type { Limits } from '../../../src/request/caller.ts';
import {
  demandOf,
  limitsUnknown,
  refusalOf,
  standingHeaders,
  usedTokens,
} from '../../../src/accounts/quota.ts';
import { routes, type Route } from '../../../src/wire/routes.ts';
import { caller as sample } from '../../support/samples.ts';
import type { Settlement } from '../../../src/request/settlement.ts';

function route(path: string): Route {
  const found = routes.find((each) => each.path === path);
  if (found === undefined) throw new Error(`no route ${path}`);
  return found;
}

describe('demandOf', () => {
  const caller = { ...sample, limits: { tokensPerMinute: 5 } };

  test('is whose limits are asked, and for what', () => {
    const demand = demandOf(caller, route('/v1/completions'), { max_tokens: 10 }, 3, 7);
    const { principal, limits } = caller;
    expect(demand).toEqual({ principal, limits, promptTokens: 7, maxAnswerTokens: 10, answers: 3 });
  });

  test.each([
    ['/v1/completions', { max_tokens: 10 }, 10],
    ['/v1/chat/completions', { max_completion_tokens: 20 }, 20],
    ['/v1/responses', { max_output_tokens: 30 }, 30],
    ['/completion', { n_predict: 40 }, 40],
    ['/v1/messages', { max_tokens: 0 }, 0],
    ['/v1/completions', { max_tokens: 3, max_completion_tokens: 9 }, 9],
  ] as const)('%s has the maximum that %j says', (path, fields, tokens) => {
    expect(demandOf(caller, route(path), fields, 1, 0).maxAnswerTokens).toBe(tokens);
  });

  test.each([{}, { max_tokens: null }, { max_tokens: '10' }, { n_predict: -1 }])(
    'has no maximum if %j says nothing',
    (fields) => {
      const demand = demandOf(caller, route('/v1/completions'), fields, 0, 0);
      expect(demand).toMatchObject({ maxAnswerTokens: undefined, answers: 1 });
    },
  );

  test.each(['/v1/embeddings', '/v1/rerank', '/tokenize', '/v1/audio/transcriptions'])(
    '%s has no answers with tokens',
    (path) => {
      const demand = demandOf(caller, route(path), { max_tokens: 10 }, 1, 7);
      expect(demand).toMatchObject({ maxAnswerTokens: undefined, answers: 0, promptTokens: 7 });
    },
  );
});

describe('usedTokens', () => {
  const record = { engineMs: 5, code: undefined, promptTokens: 7, completionTokens: 3 };
  const used = (more: Partial<Settlement>) => usedTokens({ ...record, ...more } as Settlement);

  test('are those of the prompt and of the answer', () => {
    expect(used({})).toBe(10);
    expect(used({ code: 'client_closed_request' })).toBe(10);
  });

  test('are none of an answer that was kept', () => {
    expect(used({ isCacheHit: true })).toBe(0);
  });

  test('are none of an answer that says nothing of tokens', () => {
    expect(usedTokens({ engineMs: 5, code: undefined } as Settlement)).toBe(0);
  });

  test('are not there if no engine had the request', () => {
    expect(used({ engineMs: 0 })).toBeUndefined();
    expect(used({ code: 'upstream_unreachable' })).toBeUndefined();
    expect(used({ code: 'connect_timeout' })).toBeUndefined();
  });
});

describe('standingHeaders', () => {
  test('exist for each limit that is set', () => {
    expect(standingHeaders({})).toEqual({});
    expect(standingHeaders({ requests: { limit: 60, remaining: 59, resetMs: 1_000 } })).toEqual({
      'x-ratelimit-limit-requests': '60',
      'x-ratelimit-remaining-requests': '59',
      'x-ratelimit-reset-requests': '1s',
    });
  });

  test.each([
    [0, '0ms'],
    [999, '999ms'],
    [1_500, '1.5s'],
    [60_000, '1m0s'],
    [62_500, '1m2.5s'],
    [3_600_000, '60m0s'],
  ])('give %d ms as %s', (resetMs, text) => {
    const headers = standingHeaders({ tokens: { limit: 1, remaining: 0, resetMs } });
    expect(headers['x-ratelimit-reset-tokens']).toBe(text);
  });
});

describe('refusalOf', () => {
  test('is an error that says when to retry, in seconds rounded up and in milliseconds', () => {
    const standing = { requests: { limit: 60, remaining: 0, resetMs: 60_000 } };
    const refused = { isAdmitted: false as const, retryAfterMs: 1_001, standing };
    const error = refusalOf({ requestsPerMinute: 60 }, { ...refused, code: 'rate_limited' });
    expect(error).toMatchObject({ code: 'rate_limited', status: 429 });
    expect(error?.headers).toMatchObject({
      'retry-after': '2',
      'retry-after-ms': '1001',
      'x-ratelimit-remaining-requests': '0',
    });
  });

  test.each([
    ['rate_limited', 30_000, 'Rate limit reached: 2 requests a minute. Retry in 30 s.'],
    ['tokens_exhausted', 121_000, 'Token limit reached: 500 tokens a minute. Retry in 3 min.'],
    [
      'too_many_concurrent',
      1_000,
      'Too many open requests: this API key may have 4 at once. Retry when one has ended.',
    ],
    [
      'budget_spent',
      7_200_001,
      'Token budget spent: 1000 tokens a day, 9000 tokens a month. Retry in 3 h.',
    ],
  ] as const)('says which limit refuses and what it is: %s', (code, retryAfterMs, message) => {
    const limits: Limits = {
      requestsPerMinute: 2,
      tokensPerMinute: 500,
      concurrentRequests: 4,
      budgets: [
        { tokens: 1_000, per: 'day' },
        { tokens: 9_000, per: 'month' },
      ],
    };
    expect(refusalOf(limits, { code, retryAfterMs, standing: {} }).message).toBe(message);
  });
});

test('limits that cannot be checked refuse, and say when to retry', () => {
  const cause = new Error('connection lost');
  const error = limitsUnknown(cause);
  expect(error).toMatchObject({ code: 'store_unavailable', status: 503, cause });
  expect(error.headers).toEqual({ 'retry-after': '1' });
  expect(error.message).not.toContain('connection lost');
});
