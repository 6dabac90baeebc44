/**
 * What a request reserves of its caller's limits, what it has used of them in the end, and how a client is told. It
 * keeps no counters: limiter.ts does.
 */
import { GatewayError } from '../wire/errors.ts';
import type { Fields } from '../wire/json.ts';
import type { Admission, Standing } from './limits.ts';
import { answersInTokens, type Route } from '../wire/routes.ts';
import { spentTokens } from './usage.ts';
import type { Settlement } from '../request/settlement.ts';

/** What the families call the most tokens of an answer. */
const maxima = ['max_tokens', 'max_completion_tokens', 'max_output_tokens', 'n_predict'];

/**
 * Estimates the tokens of an answer.
 * @param usual how long this caller's answers usually are, where the body sets no maximum
 * @param units how many answers it asks for
 */
export function answerTokens(route: Route, fields: Fields, usual: number, units: number): number {
  if (!answersInTokens(route)) return 0;
  // Engines differ in which of several counts.
  const named = maxima.map((name) => fields[name]).filter((value) => Number.isInteger(value));
  const maximum = Math.max(...(named as number[]));
  return (maximum >= 0 ? maximum : usual) * Math.max(1, units);
}

/** Codes with which a request ends that no engine has had. */
const unsent = new Set(['upstream_unreachable', 'connect_timeout']);

/** Gives the tokens that a request has used in the end; `undefined` where no engine had it. */
export function usedTokens(record: Settlement): number | undefined {
  const isUnsent = record.engineMs === 0 || unsent.has(record.code ?? '');
  return isUnsent && !record.isCacheHit ? undefined : spentTokens(record);
}

/** Gives a duration as OpenAI writes it, such as `1m2.5s` or `20ms`. */
function duration(ms: number): string {
  if (ms < 1_000) return `${ms}ms`;
  const minutes = Math.floor(ms / 60_000);
  return `${minutes > 0 ? `${minutes}m` : ''}${(ms % 60_000) / 1_000}s`;
}

/** Gives the headers that tell how a caller stands; none where it has no such limit. */
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

/** Makes the error of a request that a limit refuses. */
export function refusalOf({
  code,
  retryAfterMs,
  standing,
}: Omit<Extract<Admission, { isAdmitted: false }>, 'isAdmitted'>): GatewayError {
  return new GatewayError(code, {
    headers: {
      ...standingHeaders(standing),
      'retry-after': `${Math.ceil(retryAfterMs / 1000)}`,
      'retry-after-ms': `${retryAfterMs}`,
    },
  });
}
