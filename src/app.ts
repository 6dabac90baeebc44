/**
 * The whole HTTP surface on one page: every plugin, in the order in which they take a request, and the one renderer of
 * errors.
 */
import { Elysia } from 'elysia';
import type { Accounts } from './accounts.ts';
import { admin, ownUsage } from './admin.ts';
import { preflight } from './cors.ts';
import { dashboard } from './dashboard.ts';
import { docs } from './docs.ts';
import { errorBody, errorHeaders, GatewayError } from './errors.ts';
import { presentedKey, requestIdOf } from './headers.ts';
import { info, type InfoOptions } from './info.ts';
import { levelOf } from './accesslog.ts';
import { isOneOf } from './keys.ts';
import type { LiveFeed } from './liveview.ts';
import type { Log } from './log.ts';
import { metrics as metricsRoute, type Metrics } from './metrics.ts';
import { proxy, type ProxyOptions } from './proxy.ts';
import { familyOfPath } from './routes.ts';
import type { Store } from './store.ts';

export interface AppOptions extends ProxyOptions, InfoOptions {
  log: Log;
  allowedOrigins: readonly string[];
  store: Store;
  accounts: Accounts;
  feed: LiveFeed;
  metrics: Metrics;
  /** Takes keys out of a text. */
  mask: (text: string) => string;
  /** Of the operator; without it there is neither /admin nor the dashboard. */
  adminKey: string | undefined;
  /** What else may read /metrics. */
  metricsToken: string | undefined;
}

/**
 * Elysia looks for the path from the eighth character of the URL on: right behind `http://`, wrong behind `https://`,
 * and wrong in the bare path that HTTP/1.0 without Host leaves. This shows it such a URL as one that it reads right.
 */
function withReadableUrl(request: Request): Request {
  const { url } = request;
  if (url.startsWith('http://')) return request;
  const value = url.startsWith('/') ? `http://gateway${url}` : url.replace(/^https:/, 'http:');
  return Object.defineProperty(request, 'url', { value });
}

/** Says whether a route has that path; `:id` in it is any one part, `*` at its end any number of them. */
function isPathOf(route: string, path: string): boolean {
  if (route.endsWith('/*')) return path.startsWith(route.slice(0, -1));
  const given = path.split('/');
  const parts = route.split('/');
  const isSame = (part: string, i: number) =>
    part.startsWith(':') ? given[i] !== '' : part === given[i];
  return parts.length === given.length && parts.every(isSame);
}

/** What `renderError` gets of the context; the id is there once `deriveCaller` has run. */
interface Failed {
  code: string | number;
  error: unknown;
  request: Request;
  path: string;
  requestId?: string;
}

/** Composes the app; it listens nowhere yet. */
export function createApp(options: AppOptions) {
  const { log, corsHeaders, allowedOrigins } = options;

  /** Gives the methods that a path takes, as the routes say. */
  function allowedMethods(path: string): string[] {
    const matching = app.routes.filter(
      (route) => route.method !== 'OPTIONS' && isPathOf(route.path, path),
    );
    return [
      ...new Set(matching.flatMap(({ method }) => (method === 'GET' ? ['GET', 'HEAD'] : method))),
    ];
  }

  function refusal(path: string): GatewayError {
    const methods = allowedMethods(path);
    if (methods.length === 0) return new GatewayError('unknown_route');
    return new GatewayError('method_not_allowed', { headers: { allow: methods.join(', ') } });
  }

  const app = new Elysia({
    name: 'app',
    // A path is what it says: no other one with a slash more, and found whatever the Host header is.
    strictPath: true,
    // One router, whose routes are compiled as they are first used: handing all of them to Bun's costs start-up time.
    systemRouter: false,
    handler: { standardHostname: false },
  })
    .wrap((handle) => (request: Request) => handle(withReadableUrl(request)))
    // Elysia reads off the parameters what a hook needs and prepares that for every request: name only these.
    .onError(function renderError({
      code,
      error: thrown,
      request,
      path,
      requestId: derived,
    }: Failed) {
      const known = code === 'NOT_FOUND' ? refusal(path) : thrown;
      const error =
        known instanceof GatewayError
          ? known
          : new GatewayError('internal_error', { cause: known });
      // Past `deriveCaller` the proxy has told its observer; what was refused before is logged here.
      const requestId = derived ?? requestIdOf(request.headers);
      if (error.code === 'internal_error') {
        log.error({ requestId, path, err: thrown }, 'gateway failed');
      } else if (derived === undefined) {
        const { method } = request;
        log[levelOf(error.code)](
          { requestId, method, path, status: error.status, code: error.code },
          'refused',
        );
      }
      const family = familyOfPath(path);
      return new Response(errorBody(error, family), {
        status: error.status,
        headers: {
          ...errorHeaders(error),
          ...corsHeaders(request.headers.get('origin')),
          'x-request-id': requestId,
          ...(family === 'anthropic' ? { 'request-id': requestId } : {}),
        },
      });
    })
    .use(preflight(allowedOrigins))
    .use(info(options))
    .use(docs(options))
    .use(scraping(options))
    .use(administration(options))
    .use(ownUsage(options))
    .use(proxy(options));
  return app;
}

/** `/metrics`, where anybody may read it. */
function scraping({ metrics, adminKey, metricsToken }: AppOptions) {
  const secrets = [adminKey, metricsToken].filter((secret) => secret !== undefined);
  if (secrets.length === 0) return new Elysia({ name: 'no metrics' });
  const isReader = isOneOf(secrets);
  return metricsRoute({
    metrics,
    isAllowed: ({ headers }) => isReader(presentedKey(headers) ?? ''),
  });
}

/** `/admin` and the page on it, where there is an operator. */
function administration(options: AppOptions) {
  const { adminKey } = options;
  if (adminKey === undefined) return new Elysia({ name: 'no admin' });
  return new Elysia({ name: 'operator' }).use(dashboard()).use(admin({ ...options, adminKey }));
}
