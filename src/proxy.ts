/**
 * The proxied routes: body -> lease -> fetch -> relay -> settle. One request of a client is one request to the engine;
 * an answer of the engine, whatever its status, is never asked for again. It knows nothing of logs, usage or metrics:
 * it tells `observer`, and whoever composes the app fans that out.
 */
import { Elysia } from 'elysia';
import { answerClient } from './answer.ts';
import { auth } from './auth.ts';
import type { CorsHeaders } from './cors.ts';
import { GatewayError } from './errors.ts';
import { explainFailure } from './failure.ts';
import { upstreamHeaders } from './headers.ts';
import { inspect, readBody } from './body.ts';
import type { KeyRing } from './keys.ts';
import {
  isUnproven,
  LiveRequest,
  outcomeOf,
  overdue,
  type Deadlines,
  type LiveRequests,
  type Outcome,
  type RequestObserver,
} from './live.ts';
import type { Lease, Pool } from './pool.ts';
import { routes } from './routes.ts';

export interface ProxyOptions {
  keys: KeyRing;
  trustedUserHeader: string | undefined;
  pool: Pool;
  live: LiveRequests;
  deadlines: Deadlines;
  maxBodyBytes: number;
  corsHeaders: CorsHeaders;
  observer: RequestObserver;
  isDraining: () => boolean;
  now: () => number;
}

/** The part of Bun's server that is used here. */
interface TimeoutSetter {
  timeout(request: Request, seconds: number): void;
}

/** Bun closes connections that stand still; the gateway's own deadlines decide instead, while a request is open. */
const idleSeconds = 30;
/** How often deadlines are looked at, and when a request is worth a line and a connection worth a doubt. */
const sweepMs = 100;
const longMs = 2_000;
const doubtMs = 500;

/** The plugin with every route of the table. */
export function proxy(options: ProxyOptions) {
  const { pool, live, deadlines, maxBodyBytes, observer, isDraining, now } = options;
  let sweeping: ReturnType<typeof setInterval> | undefined;

  /** Looks at every open request: one timer for all of them, and none while there is none. */
  function sweep(): void {
    const at = now();
    for (const entry of live) {
      const { provenAt } = pool.upstream;
      const code = overdue(entry, deadlines, provenAt, at);
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
      if (
        connectTimeoutMs > 0 &&
        isUnproven(entry, provenAt) &&
        at - entry.sentAt >= Math.min(doubtMs, connectTimeoutMs / 2)
      ) {
        pool.proveByConnecting(pool.upstream, connectTimeoutMs);
      }
    }
    if (live.size === 0) {
      clearInterval(sweeping);
      sweeping = undefined;
    }
  }

  async function exchange(
    entry: LiveRequest,
    request: Request,
    server: TimeoutSetter | null,
    modelId: string | undefined,
  ): Promise<Response> {
    const { route } = entry;
    let lease: Lease | undefined;

    function finish(outcome: Outcome, error?: GatewayError): void {
      if (!live.remove(entry)) return;
      // Before the answer ends: afterwards it has no effect, and the connection would keep what `onLong` has set.
      if (entry.isLong) server?.timeout(request, idleSeconds);
      lease?.release(outcome);
      if (error !== undefined) entry.status ||= error.status;
      observer.settled(entry.settlement(outcome, error?.code, now()), error?.cause);
    }

    live.add(entry);
    sweeping ??= setInterval(sweep, sweepMs);
    // Bun closes a connection that stands still for its idle timeout: short requests never get there.
    entry.onLong = () => server?.timeout(request, 0);
    observer.started(entry);
    const { signal: clientGone } = request;
    clientGone.addEventListener('abort', () => entry.abort('client_closed_request'));
    try {
      if (clientGone.aborted) throw new GatewayError('client_closed_request');
      if (isDraining()) {
        throw new GatewayError('shutting_down', { headers: { 'retry-after': '1' } });
      }
      const body = route.body === 'none' ? undefined : await readBody(request, entry, maxBodyBytes);
      if (body !== undefined && route.body === 'json') inspect(route, body, entry);

      entry.phase = 'queued';
      lease = await pool.lease(entry.signal);
      const { upstream, connection } = lease;
      entry.phase = 'waiting';
      entry.upstream = upstream.id;
      entry.sentAt = now();
      const query = request.url.indexOf('?');
      const search = query === -1 ? '' : request.url.slice(query);
      const path = modelId === undefined ? route.path + search : '/v1/models';
      const answer = await fetch(upstream.url + path, {
        ...connection,
        method: route.method,
        headers: upstreamHeaders(request.headers, entry.id, upstream.apiKey),
        body: body ?? null,
        signal: entry.signal,
        // Only a list in which one model is looked up has to be read.
        decompress: modelId !== undefined,
        redirect: 'manual',
        timeout: false,
      });
      entry.hasHeaders = true;
      pool.prove(upstream);
      return await answerClient(answer, {
        entry,
        corsHeaders: options.corsHeaders(request.headers.get('origin')),
        modelId,
        isHead: request.method === 'HEAD',
        now,
        finish,
      });
    } catch (thrown) {
      if (clientGone.aborted) entry.code = 'client_closed_request';
      const error =
        entry.phase === 'waiting' || entry.code ? explainFailure(thrown, entry) : thrown;
      if (!(error instanceof GatewayError)) {
        finish('failed', new GatewayError('internal_error', { cause: thrown }));
        throw thrown;
      }
      const isAway = error.code === 'upstream_unreachable' || error.code === 'connect_timeout';
      if (isAway && lease) pool.missed(lease.upstream);
      entry.status = error.status;
      // An answer that nobody will read any more must not go on, and its connection ends before the lease does.
      entry.abort(error.code);
      finish(outcomeOf(error), error);
      throw error;
    }
  }

  const plugin = new Elysia({ name: 'proxy' }).use(auth(options));
  for (const route of routes) {
    const isLookup = route.path.endsWith('/*');
    plugin.route(
      route.method,
      route.path,
      function proxyRequest({ request, server, requestId, caller }) {
        const entry = new LiveRequest(requestId, route, caller, now());
        const modelId = isLookup ? lookedUp(request.url) : undefined;
        return exchange(entry, request, server, modelId);
      },
      { parse: 'none' },
    );
  }
  return plugin;
}

/** Gives the id that a path under /v1/models/ names; an absolute target, or none of a host, changes nothing. */
function lookedUp(url: string): string {
  const path = url.split('?', 1)[0] as string;
  const id = path.slice(path.indexOf(modelsPath) + modelsPath.length);
  try {
    return decodeURIComponent(id);
  } catch {
    return id; // A stray percent sign: no model is called that, and the answer says so.
  }
}

const modelsPath = '/v1/models/';
