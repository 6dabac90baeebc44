/**
 * CORS for web UIs. Preflights are answered by @elysiajs/cors, before any key is asked for; the answers themselves get
 * their headers from `corsHeaders`, since the plugin's hook on every request would cost the hot path a fifth of its time.
 * Credentials are never allowed: a page sends its key, not a cookie.
 */
import { Elysia } from 'elysia';

/** How the official SDKs describe themselves, read off what they send from a browser. */
const stainlessHeaders = [
  'arch',
  'async',
  'custom-poll-interval',
  'helper',
  'helper-method',
  'lang',
  'os',
  'package-version',
  'poll-helper',
  'read-timeout',
  'retry-count',
  'runtime',
  'runtime-version',
  'stream-helper',
  'timeout',
];

/** What a page may send; browser SDKs add their `x-stainless-*` names. */
const allowedHeaders = [
  'authorization',
  'content-type',
  'x-api-key',
  'x-request-id',
  'x-session-id',
  'x-priority',
  'x-queue-feedback',
  'anthropic-version',
  'anthropic-beta',
  'anthropic-dangerous-direct-browser-access',
  'openai-organization',
  'openai-project',
  'openai-beta',
  'idempotency-key',
  'traceparent',
  'cache-control',
  'user-agent',
  ...stainlessHeaders.map((name) => `x-stainless-${name}`),
];

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

/** The plugin that answers every OPTIONS request; what it needs is made at the first one. */
export function preflight(allowedOrigins: readonly string[]) {
  async function makePlugin() {
    const { cors } = await import('@elysiajs/cors');
    return new Elysia({ handler: { standardHostname: false } }).use(
      cors({
        origin: [...allowedOrigins],
        methods: ['GET', 'POST', 'OPTIONS'],
        allowedHeaders,
        exposeHeaders: [],
        credentials: false,
        maxAge: 7200,
      }),
    );
  }

  let plugin: ReturnType<typeof makePlugin> | undefined;
  return new Elysia({ name: 'preflight' }).options(
    '/*',
    async function answerPreflight({ request }) {
      plugin ??= makePlugin();
      const answer = await (await plugin).handle(request);
      // The plugin says that nothing is exposed; it is the answer itself that says what is.
      answer.headers.delete('access-control-expose-headers');
      return answer;
    },
  );
}
