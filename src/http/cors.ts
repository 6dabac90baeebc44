/**
 * Answers the preflights of web UIs with @elysiajs/cors, before any key is needed. Credentials are never allowed: a page
 * sends its key, not a cookie.
 */
import { Elysia } from 'elysia';
import { isOperatorPath, namedOrigins } from '../wire/cors.ts';
import { keyHeaders } from '../wire/headers.ts';

/** The `x-stainless-*` names that the official SDKs send from a browser. */
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

/** The headers that a page may send. */
const allowedHeaders = [
  'authorization',
  'content-type',
  ...keyHeaders,
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

/** The plugin that answers every OPTIONS request; @elysiajs/cors is loaded at the first one. */
export function preflight(allowedOrigins: readonly string[]) {
  async function makePlugin(origins: readonly string[]) {
    // Used because the project's requirements name it: ten lines of our own would answer the same.
    const { cors } = await import('@elysiajs/cors');
    return new Elysia({ handler: { standardHostname: false } }).use(
      cors({
        origin: [...origins],
        methods: ['GET', 'POST', 'OPTIONS'],
        allowedHeaders,
        exposeHeaders: [],
        credentials: false,
        maxAge: 7200,
      }),
    );
  }

  let plugin: ReturnType<typeof makePlugin> | undefined;
  let operatorPlugin: ReturnType<typeof makePlugin> | undefined;
  return new Elysia({ name: 'preflight' }).options(
    '/*',
    async function answerPreflight({ request, path }) {
      const made = isOperatorPath(path)
        ? (operatorPlugin ??= makePlugin(namedOrigins(allowedOrigins)))
        : (plugin ??= makePlugin(allowedOrigins));
      const answer = await (await made).handle(request);
      // Which headers a page may read is a matter of the answer, not of the preflight.
      answer.headers.delete('access-control-expose-headers');
      return answer;
    },
  );
}
