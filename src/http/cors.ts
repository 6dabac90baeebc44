/**
 * Preflights of web UIs, answered by @elysiajs/cors before any key is asked for. Credentials are never allowed: a page
 * sends its key, not a cookie.
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
