/**
 * Why an exchange with an engine failed, in the gateway's own words. It names a failure by its code, and keeps the
 * message of the runtime, which can hold addresses, for the log alone.
 */
import { isUnreachable } from '../engines/probe.ts';
import { GatewayError } from '../wire/errors.ts';
import type { LiveRequest } from '../request/live.ts';

/** The request has not run: another gateway, or this one in a moment, can take it. */
export function shuttingDown(): GatewayError {
  return new GatewayError('shutting_down', { headers: { 'retry-after': '1' } });
}

const badCertificate = /CERT|TLS|SSL|SIGNATURE/;

/** Turns what `fetch` or the body of an answer threw into the error that the client is told. */
export function explainFailure(thrown: unknown, request: LiveRequest): GatewayError {
  if (request.code !== undefined) {
    if (request.code !== 'shutting_down') {
      // It may know when a repeat has a chance.
      if (thrown instanceof GatewayError && thrown.code === request.code) return thrown;
      return new GatewayError(request.code);
    }
    if (request.phase === 'queued') return shuttingDown();
    // The engine had the request: a repeat by the client's SDK would only add load.
    return new GatewayError('shutting_down', {
      message: 'The gateway shut down before the answer was whole.',
      headers: { 'x-should-retry': 'false' },
    });
  }
  if (thrown instanceof GatewayError) return thrown;
  const code = thrown instanceof Error && 'code' in thrown ? String(thrown.code) : '';
  if (isUnreachable(thrown) || badCertificate.test(code)) {
    return new GatewayError('upstream_unreachable', { cause: thrown });
  }
  const isReset = code === 'ECONNRESET' || code === 'EPIPE';
  return new GatewayError(isReset ? 'upstream_reset' : 'upstream_malformed', { cause: thrown });
}
