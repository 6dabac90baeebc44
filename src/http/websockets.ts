/**
 * A request for a WebSocket: none are served, and the status 426 tells clients such as Codex to go on over HTTP at once.
 */
import { GatewayError } from '../wire/errors.ts';

/** Returns the refusal of a request that asks for a WebSocket. Pure. */
export function webSocketRefusal({ method, headers }: Request): GatewayError | undefined {
  // Only a GET can ask for one: the header of all others need not be read.
  if (method !== 'GET' || headers.get('upgrade')?.toLowerCase() !== 'websocket') return undefined;
  return new GatewayError('websocket_unsupported', { headers: { upgrade: 'HTTP/1.1' } });
}
