/**
 * The proxied routes, one Elysia route for each of the table. It makes of each HTTP request what a run needs, and of its
 * client the reader of the answer; what becomes of a run stands in relay/exchange.ts.
 */
import { Elysia } from 'elysia';
import { clientAuth, presentedKeys, type ClientDoor, type RequestIds } from './auth.ts';
import { Client, type TimeoutSetter } from './client.ts';
import { refusalOf } from './paths.ts';
import { Runs, type RunOptions } from '../relay/runs.ts';
import { withoutValues } from '../wire/headers.ts';
import { withoutKey } from '../wire/querykey.ts';
import type { Caller } from '../request/caller.ts';
import { routes, type Route } from '../wire/routes.ts';
import { deploymentOf, deploymentsPath } from '../wire/spelling.ts';

export interface ProxyOptions extends RunOptions, ClientDoor {
  /** How long a client's connection may be idle. */
  idleSeconds: number;
}

/** What a handler knows of a request that the door has let in. */
interface Admitted extends RequestIds {
  request: Request;
  caller: Caller;
}

/**
 * The plugin with every route of the table.
 * @param server returns Bun's server; `null` while nothing listens
 */
export function proxy(options: ProxyOptions, server: () => TimeoutSetter | null) {
  const runs = new Runs(options);

  /** Starts the run of a request, without the keys that it presents. */
  function start(
    { request, requestId: id, uniqueId, caller }: Admitted,
    route: Route,
    deployedModel?: string,
  ): Promise<Response> {
    const { method } = request;
    const url = withoutKey(request.url, () => presentedKeys(request));
    // Of a key in the query nothing else knows.
    const hadKey = url !== request.url;
    const headers = hadKey
      ? withoutValues(request.headers, presentedKeys(request))
      : request.headers;
    return runs.start(
      { id, uniqueId, caller, route, method, url, headers, body: request, deployedModel },
      new Client(request, server, options.idleSeconds),
    );
  }

  const plugin = new Elysia({ name: 'proxy' })
    .use(deployments(options, start))
    .use(clientAuth(options));
  for (const route of routes) {
    plugin.route(
      route.method,
      route.path,
      // Elysia reads off the source of a handler what to prepare: `server` as a parameter would be defined as a property
      // of each request. A promise that is returned is waited for.
      function proxyRequest({ request, requestId, uniqueId, caller }) {
        return start({ request, requestId, uniqueId, caller }, route);
      },
      { parse: 'none' },
    );
  }
  return plugin;
}

/** The plugin with the routes under the names of Azure's deployments; the name is that of the model. */
function deployments(
  door: ClientDoor,
  start: (admitted: Admitted, route: Route, deployedModel: string) => Promise<Response>,
) {
  return (
    new Elysia({ name: 'deployments' })
      // Before the key: what is no route is a 404 to everybody.
      .derive({ as: 'local' }, function deriveDeployment({ path }) {
        const deployment = deploymentOf(path);
        if (deployment === undefined) throw refusalOf(path, []);
        return { deployment };
      })
      .use(clientAuth(door))
      .post(
        `${deploymentsPath}*`,
        function proxyDeployment({ request, requestId, uniqueId, caller, deployment }) {
          const { route, model } = deployment;
          return start({ request, requestId, uniqueId, caller }, route, model);
        },
        { parse: 'none' },
      )
  );
}
