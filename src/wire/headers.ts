/**
 * Which headers the gateway passes on, in both directions, and the request id. A header is dropped or passed on with
 * its value unchanged.
 */

/** Headers about one connection, not about the message (RFC 9110 section 7.6.1 and RFC 9112). */
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

/** The headers in which clients send an API key, other than `authorization`. */
export const keyHeaders = ['x-api-key', 'api-key', 'x-goog-api-key'] as const;

const keptFromEngine = new Set<string>([
  ...hopByHop,
  'host',
  'content-length',
  // A body is decoded before it is sent on.
  'content-encoding',
  'expect',
  'accept-encoding',
  // The client's credentials are for the gateway; the engine must not see them.
  'authorization',
  ...keyHeaders,
  'cookie',
  // The page that a request comes from, with its query, and nothing that an engine needs.
  'referer',
  // llama.cpp would answer an origin with its own CORS headers.
  'origin',
  // Makes llama.cpp continue after a disconnect and keep the text for any client that knows the id.
  'x-conversation-id',
  // The gateway sets it, after checking the client's value.
  'x-request-id',
  // Instructions to the gateway itself; the engine must not see them.
  'x-priority',
  'x-queue-feedback',
]);

const keptFromClient = new Set<string>([
  ...hopByHop,
  'content-length',
  'x-request-id',
  // Means that this gateway failed. An upstream, which may itself be such a gateway, must not claim that.
  'x-gateway-error',
  // The gateway sets these; a browser refuses an answer that has them twice.
  'access-control-allow-origin',
  'access-control-allow-credentials',
  'access-control-allow-headers',
  'access-control-allow-methods',
  'access-control-allow-private-network',
  'access-control-expose-headers',
  'access-control-max-age',
  // They name hosts inside the operator's network, which are not for clients, and another server is not this gateway.
  'via',
  'forwarded',
  'alt-svc',
  'x-forwarded-for',
  'x-forwarded-host',
  'x-forwarded-server',
  'x-real-ip',
  'x-served-by',
  'x-backend',
  'x-backend-server',
  'x-upstream',
]);

/** Headers whose values are addresses. One that is relative passes. */
const addresses = new Set(['location', 'content-location', 'link', 'refresh']);
const absolute = /[\\/]{2}|^[a-z][\w+.-]*:/i;

/** Returns the header names that a Connection header lists, which are hop-by-hop too. */
function namedByConnection(value: string | null): string[] {
  if (value === null) return [];
  return value.split(',').flatMap((name) => name.trim().toLowerCase() || []);
}

/**
 * Returns the headers of the request to the engine.
 * @param client the headers that the client sent
 * @param sent.uniqueId the value of `x-request-id`
 * @param sent.traceparent the value of `traceparent`
 * @param apiKey the engine's key from the configuration, never the client's
 */
export function upstreamHeaders(
  client: Headers,
  sent: { readonly uniqueId: string; readonly traceparent: string | undefined },
  apiKey: string | undefined,
): Record<string, string> {
  const all = client.toJSON() as Record<string, string>;
  const headers: Record<string, string> = {};
  for (const name in all) {
    if (!keptFromEngine.has(name)) headers[name] = all[name] as string;
  }
  dropRepeats(headers, all);
  for (const name of namedByConnection(all['connection'] ?? null)) delete headers[name];
  headers['accept-encoding'] = 'identity';
  headers['x-request-id'] = sent.uniqueId;
  if (sent.traceparent !== undefined) headers['traceparent'] = sent.traceparent;
  if (apiKey !== undefined) headers['authorization'] = `Bearer ${apiKey}`;
  return headers;
}

/** The headers that clients put keys into. */
const credentialHeaders = ['authorization', ...keyHeaders];

/** No key of a client is shorter. */
export const minKeyLength = 8;

/** Drops the headers in which a key stands that the request presents elsewhere. */
function dropRepeats(headers: Record<string, string>, all: Record<string, string>): void {
  for (const place of credentialHeaders) {
    const credentials = all[place];
    if (credentials === undefined) continue;
    for (const word of credentials.split(' ')) {
      if (word.length < minKeyLength) continue;
      const keys = word.includes(',') ? word.split(',') : undefined;
      for (const name in headers) {
        const value = headers[name] as string;
        const isIn = keys?.some((key) => key.length >= minKeyLength && value.includes(key));
        if (isIn ?? value.includes(word)) delete headers[name];
      }
    }
  }
}

/** Returns the headers without those in which one of the keys stands. */
export function withoutValues(headers: Headers, keys: readonly string[]): Headers {
  const left = new Headers(headers);
  const long = keys.filter(({ length }) => length >= minKeyLength);
  for (const [name, value] of headers) {
    if (long.some((key) => value.includes(key))) left.delete(name);
  }
  return left;
}

/**
 * Returns the headers of the engine's answer for the client: without hop-by-hop headers, without the length (the server
 * sets it from the body), without the engine's CORS headers, and without what names an address inside the network.
 * @param answer.url what the engine was asked; empty if the answer is none of an engine
 */
export function answerHeaders({ headers: given, url }: Pick<Response, 'headers' | 'url'>): Headers {
  const headers = new Headers(given);
  for (const name of namedByConnection(given.get('connection'))) headers.delete(name);
  const engine = addressOf(url);
  // Few of them are ever there: to delete each costs twice as much as to look at those that came.
  const all = given.toJSON() as Record<string, string | string[]>;
  for (const name in all) {
    const value = String(all[name]);
    const isAddress = addresses.has(name) && absolute.test(value);
    const namesEngine = engine !== '' && value.includes(engine);
    if (isAddress || namesEngine || keptFromClient.has(name)) headers.delete(name);
  }
  return headers;
}

/** Returns `host:port` of a URL; `//host` if it names no port, since a bare name can be any word. */
function addressOf(url: string): string {
  const start = url.indexOf('//');
  if (start === -1) return '';
  const end = url.indexOf('/', start + 2);
  const host = url.slice(start + 2, end === -1 ? undefined : end);
  return host.includes(':') ? host : `//${host}`;
}

const validRequestId = /^(?=.*[A-Za-z0-9])[A-Za-z0-9._-]{1,128}$/;

/** Returns the client's `x-request-id` if it has 1 to 128 of `[A-Za-z0-9._-]` and a letter or digit. */
export function givenIdOf(headers: Headers): string | undefined {
  const given = headers.get('x-request-id');
  return given !== null && validRequestId.test(given) ? given : undefined;
}

/** The user agent of the gateway's own requests, so that they differ from clients' requests in an engine's log. */
export const watchAgent = 'llm-gateway-watch';
