/**
 * The error that a client is told when an exchange with an engine has failed. It names the failure by its code, and keeps
 * the error of the runtime, whose message can hold addresses, for the log alone.
 */
import { failureOf, type EngineFailure } from '../engines/failure.ts';
import { GatewayError, type ErrorCode } from '../wire/errors.ts';
import type { LiveRequest } from '../request/live.ts';

/** The request has not run: another gateway, or this one in a moment, can take it. */
export function shuttingDown(): GatewayError {
  return new GatewayError('shutting_down', { headers: { 'retry-after': '1' } });
}

const codes: Record<EngineFailure, ErrorCode> = {
  unreachable: 'upstream_unreachable',
  certificate: 'upstream_unreachable',
  reset: 'upstream_reset',
  slow: 'upstream_malformed',
  malformed: 'upstream_malformed',
};

/**
 * Returns the error for what `fetch` or the body of an answer threw: for a request that was ended from outside the reason
 * of that, whatever broke then.
 */
export function explainFailure(thrown: unknown, request: LiveRequest): GatewayError {
  if (request.code !== undefined) {
    if (request.code !== 'shutting_down') {
      // It may know when a repeat has a chance.
      if (thrown instanceof GatewayError && thrown.code === request.code) return thrown;
      return request.endedBy ?? new GatewayError(request.code);
    }
    if (request.phase === 'queued') return shuttingDown();
    // The engine had the request: a repeat by the client's SDK would only add load.
    return new GatewayError('shutting_down', {
      message:
        'The gateway shut down before the answer was complete. Send the request again if you still need it.',
      headers: { 'x-should-retry': 'false' },
    });
  }
  if (thrown instanceof GatewayError) return thrown;
  return new GatewayError(codes[failureOf(thrown)], { cause: thrown });
}
