/**
 * The proxied routes, one Elysia route for each of the table. It makes of each HTTP request what a run needs, and of its
 * client the reader of the answer; what becomes of a run stands in relay/exchange.ts.
 */
import { Elysia } from 'elysia';
import { clientAuth, presentedKeys, type ClientDoor } from './auth.ts';
import { Client, type TimeoutSetter } from './client.ts';
import { refusalOf } from './paths.ts';
import { Runs, type RunOptions } from '../relay/runs.ts';
import { withoutValues } from '../wire/headers.ts';
import { withoutKey } from '../wire/querykey.ts';
import { routes } from '../wire/routes.ts';
import { deploymentOf, deploymentsPath } from '../wire/spelling.ts';

export interface ProxyOptions extends RunOptions, ClientDoor {
  /** How long a client's connection may be idle. */
  idleSeconds: number;
}

/**
 * The plugin with every route of the table.
 * @param server returns Bun's server; `null` while nothing listens
 */
export function proxy(options: ProxyOptions, server: () => TimeoutSetter | null) {
  const runs = new Runs(options);
  const plugin = new Elysia({ name: 'proxy' })
    .use(deployments(options, runs, server))
    .use(clientAuth(options));
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
        return runs.start(input, new Client(request, server, options.idleSeconds));
      },
      { parse: 'none' },
    );
  }
  return plugin;
}

/** The plugin with the routes under the names of Azure's deployments; the name is that of the model. */
function deployments(options: ProxyOptions, runs: Runs, server: () => TimeoutSetter | null) {
  return (
    new Elysia({ name: 'deployments' })
      // Before the key: what is no route is a 404 to everybody.
      .derive({ as: 'local' }, function deriveDeployment({ path }) {
        const deployment = deploymentOf(path);
        if (deployment === undefined) throw refusalOf(path, []);
        return { deployment };
      })
      .use(clientAuth(options))
      .post(
        `${deploymentsPath}*`,
        function proxyDeployment({ request, requestId: id, uniqueId, caller, deployment }) {
          const { method, headers } = request;
          const { route, model: deployedModel } = deployment;
          const url = withoutKey(request.url);
          const input = { id, uniqueId, caller, route, method, url, headers, body: request };
          return runs.start(
            { ...input, deployedModel },
            new Client(request, server, options.idleSeconds),
          );
        },
        { parse: 'none' },
      )
  );
}
