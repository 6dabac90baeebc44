/**
 * The whole HTTP surface on one page: every plugin, in the order in which they take a request, and the one renderer of
 * errors.
 */
import { Elysia } from 'elysia';
import type { AccountSync } from '../accounts/sync.ts';
import type { CorsHeaders } from '../wire/cors.ts';
import { admin } from './admin.ts';
import { metricsAuth } from './auth.ts';
import { dashboard } from '../pages/dashboard.ts';
import { docs } from '../pages/docs.ts';
import { info, type InfoOptions } from './info.ts';
import type { LiveFeed } from '../observe/liveview.ts';
import type { Log } from '../log/log.ts';
import type { Metrics } from '../observe/metrics.ts';
import { otherSpellings } from './otherspellings.ts';
import { withReadableUrl } from './paths.ts';
import { webSocketRefusal } from './websockets.ts';
import type { TimeoutSetter } from './client.ts';
import { hostRefusal } from './host.ts';
import { proxy, type ProxyOptions } from './proxy.ts';
import { errorRenderer } from './errorrenderer.ts';
import type { AccountStore } from '../accounts/keystore.ts';
import type { UsageStore } from '../accounts/usage.ts';
import { preflight } from './cors.ts';
import { ownUsage } from './usage.ts';

export interface AppOptions extends ProxyOptions, InfoOptions {
  log: Log;
  allowedOrigins: readonly string[];
  accountStore: AccountStore;
  usage: UsageStore;
  accountSync: AccountSync;
  /** Of the routes of the operator. */
  operatorCorsHeaders: CorsHeaders;
  feed: LiveFeed;
  metrics: Metrics;
  /** Takes keys out of a text. */
  mask: (text: string) => string;
  /** Of the operator; without it there is neither /admin nor the dashboard. */
  adminKey: string | undefined;
  /** What else may read /metrics. */
  metricsToken: string | undefined;
}

/** Composes the app; it listens nowhere yet. */
export function createApp(options: AppOptions) {
  const server = (): TimeoutSetter | null => app.server;
  const { arrived, renderError } = errorRenderer({
    ...options,
    routes: () => app.routes,
    isEncrypted: () => app.server?.protocol === 'https',
  });
  /** Handles a request anew, from the router on. */
  let again: (request: Request) => Response | Promise<Response>;
  const app = new Elysia({
    name: 'app',
    // A path is what it says: no other one with a slash more, and found whatever the Host header is.
    strictPath: true,
    // One router, whose routes are compiled as they are first used: handing all of them to Bun's costs start-up time.
    systemRouter: false,
    handler: { standardHostname: false },
  })
    .wrap((handle) => {
      again = handle as unknown as typeof again; // Elysia calls it a Function, no more.
      return (request: Request) => {
        arrived(request);
        const error = hostRefusal(request) ?? webSocketRefusal(request);
        if (error === undefined) return handle(withReadableUrl(request));
        return renderError({ code: error.code, error, request, path: '/' });
      };
    })
    .onError(renderError)
    .use(preflight(options.allowedOrigins))
    .use(info(options))
    .use(docs(options))
    .use(scraping(options))
    .use(administration(options))
    .use(ownUsage(options))
    .use(proxy(options, server))
    .use(otherSpellings((request) => again(request)));
  return app;
}

/** `GET /metrics`, if any secret may read it. */
function scraping({ metrics, adminKey, metricsToken }: AppOptions) {
  const secrets = [adminKey, metricsToken].filter((secret) => secret !== undefined);
  if (secrets.length === 0) return new Elysia({ name: 'no metrics' });
  return new Elysia({ name: 'metrics' })
    .use(metricsAuth(secrets))
    .get('/metrics', function scrape() {
      return metrics.answer();
    });
}

/** `/admin` and its page, if there is an operator. */
function administration(options: AppOptions) {
  const { adminKey, operatorCorsHeaders: corsHeaders } = options;
  if (adminKey === undefined) return new Elysia({ name: 'no admin' });
  return new Elysia({ name: 'operator' })
    .use(dashboard())
    .use(admin({ ...options, adminKey, corsHeaders }));
}
