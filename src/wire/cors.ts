/**
 * CORS for web UIs. Preflights are answered by @elysiajs/cors, before any key is asked for; the answers themselves get
 * their headers from `corsHeaders`, since the plugin's hook on every request would cost the hot path a fifth of its time.
 * Credentials are never allowed: a page sends its key, not a cookie.
 */

/** What a page may read of an answer. */
const exposedHeaders = [
  'x-request-id',
  'request-id',
  'x-gateway-error',
  'x-gateway-queue-ms',
  'x-gateway-cache',
  'retry-after',
  'retry-after-ms',
  'x-should-retry',
  ...['limit', 'remaining', 'reset'].flatMap((what) => [
    `x-ratelimit-${what}-requests`,
    `x-ratelimit-${what}-tokens`,
  ]),
].join(', ');

/** Gives the CORS headers of an answer to a request from `origin`; a request without one asks for none. */
export type CorsHeaders = (origin: string | null) => Readonly<Record<string, string>>;

/** @param allowedOrigins the origins of pages that may read answers; `*` for any */
export function corsHeaders(allowedOrigins: readonly string[]): CorsHeaders {
  const exposed = { 'access-control-expose-headers': exposedHeaders };
  const any = { 'access-control-allow-origin': '*', ...exposed };
  const none = {};
  // What pages of other origins can read is never cached, so none of them gets an answer without the headers.
  if (allowedOrigins.includes('*')) return (origin) => (origin === null ? none : any);
  // Also without an origin: a cache must not give that answer to a page.
  const refused = { vary: 'Origin' };
  const byOrigin = new Map(
    allowedOrigins.map((origin) => [
      origin,
      { 'access-control-allow-origin': origin, vary: 'Origin', ...exposed },
    ]),
  );
  return (origin) => (origin === null ? undefined : byOrigin.get(origin)) ?? refused;
}

/** Gives a function that makes answers in JSON, which no cache keeps and the pages that CORS allows may read. */
export function answering(corsHeaders: CorsHeaders) {
  return function answer(request: Request, body: object, status = 200): Response {
    const headers = {
      ...corsHeaders(request.headers.get('origin')),
      'cache-control': 'no-store',
    };
    return Response.json(body, { status, headers });
  };
}
