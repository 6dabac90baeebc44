/**
 * Why an exchange with an engine failed, in the gateway's own words. It names a failure by its code, and keeps the
 * message of the runtime, which can hold addresses, for the log alone.
 */
import { GatewayError } from './errors.ts';
import type { LiveRequest } from './live.ts';

/** What `fetch` calls a connection that was never made. */
const unreachable = new Set([
  'ECONNREFUSED',
  'ConnectionRefused',
  'ENOTFOUND',
  'EAI_AGAIN',
  'EHOSTUNREACH',
  'ENETUNREACH',
  'EADDRNOTAVAIL',
  'FailedToOpenSocket',
]);
const badCertificate = /CERT|TLS|SSL|SIGNATURE/;

/** Turns what `fetch` or the body of an answer threw into the error that the client is told. */
export function explainFailure(thrown: unknown, request: LiveRequest): GatewayError {
  if (request.code !== undefined) {
    // Once the engine had the request, a repeat by the client's SDK would only add load.
    const headers = request.sentAt > 0 ? { 'x-should-retry': 'false' } : {};
    return new GatewayError(request.code, { headers });
  }
  if (thrown instanceof GatewayError) return thrown;
  const code = thrown instanceof Error && 'code' in thrown ? String(thrown.code) : '';
  if (unreachable.has(code) || badCertificate.test(code)) {
    return new GatewayError('upstream_unreachable', { cause: thrown });
  }
  const isReset = code === 'ECONNRESET' || code === 'EPIPE';
  return new GatewayError(isReset ? 'upstream_reset' : 'upstream_malformed', { cause: thrown });
}
