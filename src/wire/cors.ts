/**
 * CORS for web UIs. @elysiajs/cors answers preflights, before any key is checked. All other answers get their headers
 * from `corsHeaders`: the plugin's hook on every request would cost the hot path a fifth of its time. Credentials are
 * never allowed: a page sends its key, not a cookie.
 */

/** The response headers that a page may read. */
const exposedHeaders = [
  'x-request-id',
  'request-id',
  'x-gateway-error',
  'x-gateway-queue-ms',
  'x-gateway-queue-place',
  'x-gateway-cache',
  'retry-after',
  'retry-after-ms',
  'x-should-retry',
  ...['limit', 'remaining', 'reset'].flatMap((what) => [
    `x-ratelimit-${what}-requests`,
    `x-ratelimit-${what}-tokens`,
  ]),
].join(', ');

/** Returns the CORS headers of an answer to a request from `origin`, `null` when the request has no Origin header. */
export type CorsHeaders = (origin: string | null) => Readonly<Record<string, string>>;

/**
 * Makes the function that returns the CORS headers of an answer.
 * @param allowedOrigins the origins of pages that may read answers; `*` for any
 */
export function corsHeaders(allowedOrigins: readonly string[]): CorsHeaders {
  const exposed = { 'access-control-expose-headers': exposedHeaders };
  const any = { 'access-control-allow-origin': '*', ...exposed };
  const none = {};
  // No `vary` is needed: answers that pages may read are never cached, so no cache returns one without these headers.
  if (allowedOrigins.includes('*')) return (origin) => (origin === null ? none : any);
  // Sent without an origin too: a cache must not serve that answer to a page.
  const refused = { vary: 'Origin' };
  const byOrigin = new Map(
    allowedOrigins.map((origin) => [
      origin,
      { 'access-control-allow-origin': origin, vary: 'Origin', ...exposed },
    ]),
  );
  return (origin) => (origin === null ? undefined : byOrigin.get(origin)) ?? refused;
}

/**
 * Returns the origins that are listed by name. They alone may read the routes of the operator: `*` is there for web UIs,
 * and no page that happens to be open next to the dashboard needs those.
 */
export function namedOrigins(allowedOrigins: readonly string[]): string[] {
  return allowedOrigins.filter((origin) => origin !== '*');
}

/** Returns whether a path is one of the operator's, or could be. */
export function isOperatorPath(path: string): boolean {
  return path === '/admin' || path.startsWith('/admin/');
}

/** Returns a function that makes JSON answers with CORS headers and `cache-control: no-store`. */
export function answering(corsHeaders: CorsHeaders) {
  return function answer(request: Request, body: object, status = 200): Response {
    const headers = {
      ...corsHeaders(request.headers.get('origin')),
      'cache-control': 'no-store',
    };
    return Response.json(body, { status, headers });
  };
}
