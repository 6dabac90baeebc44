/**
 * Sends the requests of these tests to an engine or a gateway. The key is always sent; an engine without keys ignores
 * it. Every request has its own connection.
 */
import { key } from '../support/gatewayprocess.ts';

export type Json = Record<string, unknown>;

const json = { 'content-type': 'application/json' };

/** Posts a JSON body, or bytes of another type when `headers` says so. */
export function post(
  url: string,
  body: Json | string,
  headers: Record<string, string> = json,
): Promise<Response> {
  return fetch(url, {
    method: 'POST',
    headers: { authorization: `Bearer ${key}`, ...headers },
    body: typeof body === 'string' ? body : JSON.stringify(body),
    keepalive: false,
  });
}

export function get(url: string): Promise<Response> {
  return fetch(url, { headers: { authorization: `Bearer ${key}` }, keepalive: false });
}
