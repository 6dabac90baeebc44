/**
 * The proxied routes, one Elysia route for each of the table, and the one timer that looks at their deadlines. What
 * becomes of a request stands in exchange.ts.
 */
import { Elysia } from 'elysia';
import { auth } from './auth.ts';
import { Exchange, type ExchangeOptions } from '../relay/exchange.ts';
import type { KeyRing } from '../accounts/keys.ts';
import { LiveRequest } from '../request/live.ts';
import { routes } from '../wire/routes.ts';
import { isUnproven, overdue, type Deadlines } from '../request/deadlines.ts';

export interface ProxyOptions extends ExchangeOptions {
  keys: KeyRing;
  deadlines: Deadlines;
}

/** How often deadlines are looked at, and when a request is worth a line and a connection worth a doubt. */
const sweepMs = 100;
const longMs = 2_000;
const doubtMs = 500;

/** The plugin with every route of the table. */
export function proxy(options: ProxyOptions) {
  const { pool, live, deadlines, observer, now } = options;
  let sweeping: ReturnType<typeof setInterval> | undefined;

  /** Looks at every open request: one timer for all of them, and none while there is none. */
  function sweep(): void {
    const at = now();
    for (const entry of live) {
      const code = overdue(entry, deadlines, at);
      if (code !== undefined) {
        entry.abort(code);
        continue;
      }
      if (!entry.isLong && at - entry.startedAt >= longMs) {
        entry.isLong = true;
        entry.onLong?.();
        observer.isLong(entry);
      }
      const { connectTimeoutMs } = deadlines;
      const doubtsAfterMs = Math.min(doubtMs, connectTimeoutMs / 2);
      if (connectTimeoutMs > 0 && isUnproven(entry) && at - entry.sentAt >= doubtsAfterMs) {
        pool.proveByConnecting(entry.upstream?.id ?? '', connectTimeoutMs);
      }
    }
    if (live.size === 0) {
      clearInterval(sweeping);
      sweeping = undefined;
    }
  }

  const plugin = new Elysia({ name: 'proxy' }).use(auth(options));
  for (const route of routes) {
    plugin.route(
      route.method,
      route.path,
      // Elysia reads off a handler's source whether it is asynchronous.
      async function proxyRequest({ request, server, requestId, caller }) {
        const entry = new LiveRequest(requestId, route, caller, now());
        sweeping ??= setInterval(sweep, sweepMs);
        return await new Exchange(options, entry, request, server).answer();
      },
      { parse: 'none' },
    );
  }
  return plugin;
}
