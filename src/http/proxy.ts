/**
 * The proxied routes, one Elysia route for each of the table. It makes of each HTTP request what a run needs, and of its
 * client the reader of the answer; what becomes of a run stands in relay/exchange.ts.
 */
import { Elysia } from 'elysia';
import { clientAuth, presentedKeys } from './auth.ts';
import { Client, type TimeoutSetter } from './client.ts';
import { Runs, type RunOptions } from '../relay/runs.ts';
import type { KeyRing } from '../accounts/keyring.ts';
import { withoutValues } from '../wire/headers.ts';
import { withoutKey } from '../wire/querykey.ts';
import { routes } from '../wire/routes.ts';

export interface ProxyOptions extends RunOptions {
  keys: KeyRing;
}

/**
 * The plugin with every route of the table.
 * @param server returns Bun's server; `null` while nothing listens
 */
export function proxy(options: ProxyOptions, server: () => TimeoutSetter | null) {
  const runs = new Runs(options);
  const plugin = new Elysia({ name: 'proxy' }).use(clientAuth(options));
  for (const route of routes) {
    plugin.route(
      route.method,
      route.path,
      // Elysia reads off the source of a handler what to prepare: `server` as a parameter would be defined as a property
      // of each request. A promise that is returned is waited for.
      function proxyRequest({ request, requestId: id, uniqueId, caller }) {
        const { method } = request;
        const url = withoutKey(request.url, () => presentedKeys(request));
        // Of a key in the query nothing else knows.
        const hadKey = url !== request.url;
        const headers = hadKey
          ? withoutValues(request.headers, presentedKeys(request))
          : request.headers;
        const input = { id, uniqueId, caller, route, method, url, headers, body: request };
        return runs.start(input, new Client(request, server));
      },
      { parse: 'none' },
    );
  }
  return plugin;
}
