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

/** The headers that a page may send, whatever it asks for. */
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

const token = /^[!#$%&'+.^_`|~\w-]{1,100}$/;
/** More names than these are none that a page sends. */
const maxAsked = 100;

/** Returns the names that a preflight asks for beyond those above, in lower case. */
function furtherHeaders({ headers }: Request): string[] {
  const asked = (headers.get('access-control-request-headers') ?? '').split(',', maxAsked);
  const names = asked.map((name) => name.trim().toLowerCase()).filter((name) => token.test(name));
  return [...new Set(names)].filter((name) => !allowedHeaders.includes(name));
}

/** Lets a page that may call the gateway send what it asks for: engines and clients have headers of their own. */
function allowAsked(request: Request, { headers }: Response): void {
  if (!headers.has('access-control-allow-origin')) return;
  const further = furtherHeaders(request);
  headers.set('access-control-allow-headers', [...allowedHeaders, ...further].join(', '));
  // For any origin the plugin says `*`, which forbids a cache more than it must.
  const byOrigin = headers.get('vary') === 'Origin' ? 'Origin, ' : '';
  headers.set('vary', `${byOrigin}Access-Control-Request-Headers`);
}

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
      const isOperators = isOperatorPath(path);
      const made = isOperators
        ? (operatorPlugin ??= makePlugin(namedOrigins(allowedOrigins)))
        : (plugin ??= makePlugin(allowedOrigins));
      const answer = await (await made).handle(request);
      // Which headers a page may read is a matter of the answer, not of the preflight.
      answer.headers.delete('access-control-expose-headers');
      if (!isOperators) allowAsked(request, answer);
      return answer;
    },
  );
}
