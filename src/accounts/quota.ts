/**
 * What a request asks of its caller's limits, what it has used of them in the end, and how a client is told. It keeps no
 * counters: a LimitStore does.
 */
import { GatewayError } from '../wire/errors.ts';
import type { Fields } from '../wire/json.ts';
import type { Caller, Limits } from '../request/caller.ts';
import type { Decision, Demand, RefusalCode, Standing } from './limits.ts';
import { maxAnswerTokens } from '../wire/prompt.ts';
import { answersInTokens, type Route } from '../wire/routes.ts';
import { spentTokens } from './usage.ts';
import type { Settlement } from '../request/settlement.ts';

/**
 * Returns what a request asks of its caller's limits.
 * @param units how many answers it asks for
 * @param promptTokens an estimate
 */
export function demandOf(
  { principal, limits }: Caller,
  route: Route,
  fields: Fields,
  units: number,
  promptTokens: number,
): Demand {
  const hasTokens = answersInTokens(route);
  return {
    principal,
    limits,
    promptTokens,
    maxAnswerTokens: hasTokens ? maxAnswerTokens(route, fields) : undefined,
    answers: hasTokens ? Math.max(1, units) : 0,
  };
}

/** Codes of requests that no engine has had, though one was tried. */
const unsent = new Set(['upstream_unreachable', 'connect_timeout']);

/** Returns the tokens that a request has used in the end; `undefined` if no engine had it. */
export function usedTokens(record: Settlement): number | undefined {
  const isUnsent = record.engineMs === 0 || unsent.has(record.code ?? '');
  return isUnsent && !record.isCacheHit ? undefined : spentTokens(record);
}

/** Returns a duration as OpenAI writes it, such as `1m2.5s` or `20ms`. */
function duration(ms: number): string {
  if (ms < 1_000) return `${ms}ms`;
  const minutes = Math.floor(ms / 60_000);
  return `${minutes > 0 ? `${minutes}m` : ''}${(ms % 60_000) / 1_000}s`;
}

/** Returns the headers that tell how a caller stands; none for a limit that it does not have. */
export function standingHeaders(standing: Standing): Record<string, string> {
  const headers: Record<string, string> = {};
  for (const kind of ['requests', 'tokens'] as const) {
    const bucket = standing[kind];
    if (bucket === undefined) continue;
    headers[`x-ratelimit-limit-${kind}`] = `${bucket.limit}`;
    headers[`x-ratelimit-remaining-${kind}`] = `${bucket.remaining}`;
    headers[`x-ratelimit-reset-${kind}`] = duration(bucket.resetMs);
  }
  return headers;
}

/** Returns a wait for people, rounded up: `30 s`, `12 min` or `5 h`. */
function waitText(ms: number): string {
  const seconds = Math.ceil(ms / 1_000);
  if (seconds <= 120) return `${seconds} s`;
  return seconds <= 7_200 ? `${Math.ceil(seconds / 60)} min` : `${Math.ceil(seconds / 3_600)} h`;
}

/** Returns which limit refuses, with its figure, and when to retry. */
function refusalText(code: RefusalCode, limits: Limits, retryAfterMs: number): string {
  const retry = `Retry in ${waitText(retryAfterMs)}.`;
  switch (code) {
    case 'rate_limited':
      return `Rate limit reached: ${limits.requestsPerMinute} requests a minute. ${retry}`;
    case 'tokens_exhausted':
      return `Token limit reached: ${limits.tokensPerMinute} tokens a minute. ${retry}`;
    case 'too_many_concurrent':
      return `Too many open requests: this API key may have ${limits.concurrentRequests} at once. Retry when one has ended.`;
    case 'budget_spent': {
      const budgets = (limits.budgets ?? []).map(({ tokens, per }) => `${tokens} tokens a ${per}`);
      return `Token budget spent: ${budgets.join(', ')}. ${retry}`;
    }
  }
}

/** Makes the error of a request that a limit of its caller refuses. */
export function refusalOf(
  limits: Limits,
  { code, retryAfterMs, standing }: Omit<Extract<Decision, { isAdmitted: false }>, 'isAdmitted'>,
): GatewayError {
  return new GatewayError(code, {
    message: refusalText(code, limits, retryAfterMs),
    headers: {
      ...standingHeaders(standing),
      'retry-after': `${Math.ceil(retryAfterMs / 1000)}`,
      'retry-after-ms': `${retryAfterMs}`,
    },
  });
}

/**
 * Makes the error of a request whose limits cannot be checked. It is refused: what it would use could not be counted, and
 * a limit that fails open is none.
 * @param cause what the store has thrown
 */
export function limitsUnknown(cause: unknown): GatewayError {
  return new GatewayError('store_unavailable', {
    message:
      'The limits of this API key cannot be checked: the store that counts them does not answer. Retry in 1 s.',
    headers: { 'retry-after': '1' },
    cause,
  });
}
