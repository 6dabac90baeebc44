/**
 * Which headers cross the gateway, in both directions, and the request id. It copies names and values; it never
 * changes a value that it lets through.
 */

/** RFC 9110 section 7.6.1 and RFC 9112: these speak of one connection, not of the message. */
const hopByHop = [
  'connection',
  'keep-alive',
  'proxy-authenticate',
  'proxy-authorization',
  'proxy-connection',
  'te',
  'trailer',
  'transfer-encoding',
  'upgrade',
];

const keptFromEngine = new Set([
  ...hopByHop,
  'host',
  'content-length',
  'expect',
  'accept-encoding',
  // The client's credentials are the gateway's business alone.
  'authorization',
  'x-api-key',
  'cookie',
  // llama.cpp answers an origin with CORS headers of its own.
  'origin',
  // Makes llama.cpp generate on after a disconnect and keep the text for whoever knows the id.
  'x-conversation-id',
  // Set by the gateway, checked.
  'x-request-id',
  // Said to the gateway.
  'x-priority',
  'x-queue-feedback',
]);

const keptFromClient = [
  ...hopByHop,
  'content-length',
  'x-request-id',
  // It says that the gateway itself failed: an engine, perhaps a gateway too, cannot say that.
  'x-gateway-error',
  // A browser refuses two answers about origins.
  'access-control-allow-origin',
  'access-control-allow-credentials',
  'access-control-allow-headers',
  'access-control-allow-methods',
  'access-control-allow-private-network',
  'access-control-expose-headers',
  'access-control-max-age',
];

/** Gives the names that a Connection header adds to the hop-by-hop ones. */
function namedByConnection(value: string | null): string[] {
  if (value === null) return [];
  return value.split(',').flatMap((name) => name.trim().toLowerCase() || []);
}

/**
 * Gives the headers of the request to the engine.
 * @param client the client's own
 * @param sent.id becomes `x-request-id`
 * @param sent.traceparent becomes `traceparent`
 * @param apiKey the engine's key from the configuration, never the client's
 */
export function upstreamHeaders(
  client: Headers,
  sent: { readonly id: string; readonly traceparent: string | undefined },
  apiKey: string | undefined,
): Record<string, string> {
  const all = client.toJSON() as Record<string, string>;
  const headers: Record<string, string> = {};
  for (const name in all) {
    if (!keptFromEngine.has(name)) headers[name] = all[name] as string;
  }
  for (const name of namedByConnection(all['connection'] ?? null)) delete headers[name];
  headers['accept-encoding'] = 'identity';
  headers['x-request-id'] = sent.id;
  if (sent.traceparent !== undefined) headers['traceparent'] = sent.traceparent;
  if (apiKey !== undefined) headers['authorization'] = `Bearer ${apiKey}`;
  return headers;
}

/**
 * Gives the headers of the engine's answer as they go to the client: without those of the connection, without the
 * length (the body sets it anew) and without the engine's CORS headers.
 */
export function answerHeaders(upstream: Headers): Headers {
  const headers = new Headers(upstream);
  for (const name of namedByConnection(upstream.get('connection'))) headers.delete(name);
  for (const name of keptFromClient) headers.delete(name);
  return headers;
}

const validRequestId = /^(?=.*[A-Za-z0-9])[A-Za-z0-9._-]{1,128}$/;

/** Gives the client's `x-request-id` where it is 1 to 128 of `[A-Za-z0-9._-]`, not dots alone, else a new UUID. */
export function requestIdOf(headers: Headers): string {
  const given = headers.get('x-request-id');
  return given !== null && validRequestId.test(given) ? given : crypto.randomUUID();
}

/** Gives the presented API key: Bearer wins over `x-api-key`, and another scheme counts as no key. */
export function presentedKey(headers: Headers): string | undefined {
  const authorization = headers.get('authorization');
  if (authorization !== null && authorization.slice(0, 7).toLowerCase() === 'bearer ') {
    return authorization.slice(7).trim() || undefined;
  }
  return headers.get('x-api-key')?.trim() || undefined;
}

/** Under this name the gateway asks; whoever reads an engine's log can tell it from its clients. */
export const watchAgent = 'llm-gateway-watch';
