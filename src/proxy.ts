/**
 * The proxied routes: body -> lease -> fetch -> relay -> settle. One request of a client is one request to the engine;
 * an answer of the engine, whatever its status, is never asked for again, but for "Loading model". It knows nothing of
 * logs, usage or metrics: it tells `observer`, and whoever composes the app fans that out.
 */
import { Elysia } from 'elysia';
import { answerClient } from './answer.ts';
import { askOf, type Ask } from './ask.ts';
import { auth } from './auth.ts';
import { inspect, readBody } from './body.ts';
import type { CorsHeaders } from './cors.ts';
import { isUnreachable } from './engine.ts';
import { GatewayError } from './errors.ts';
import { explainFailure, shuttingDown } from './failure.ts';
import { withFeedback } from './feedback.ts';
import { upstreamHeaders } from './headers.ts';
import { editJson } from './json.ts';
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
import { replaceModel } from './multipart.ts';
import type { Edits, Lease, LeaseEnd, Pool } from './pool.ts';
import { isLoadingModel, type RetryFailure } from './retry.ts';
import { routes, type Route } from './routes.ts';
import type { Upstream } from './upstream.ts';

type Body = Uint8Array<ArrayBuffer> | undefined;

export interface ProxyOptions {
  keys: KeyRing;
  pool: Pool;
  live: LiveRequests;
  deadlines: Deadlines;
  maxBodyBytes: number;
  feedback: { isAlways: boolean; afterMs: number };
  corsHeaders: CorsHeaders;
  observer: RequestObserver;
  isDraining: () => boolean;
  /** Milliseconds: of a clock that never goes back, and since the epoch. */
  now: () => number;
  epochNow: () => number;
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
/** How often a request that waits is told its place. */
const feedbackMs = 2_000;

/** The plugin with every route of the table. */
export function proxy(options: ProxyOptions) {
  const { pool, live, deadlines, maxBodyBytes, feedback, observer, isDraining, now } = options;
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

  /** Takes a request through the chain; the answer is there when its first byte is. */
  async function exchange(
    entry: LiveRequest,
    request: Request,
    server: TimeoutSetter | null,
    modelId: string | undefined,
  ): Promise<Response> {
    const { route } = entry;
    const { headers, signal: clientGone } = request;
    let lease: Lease | undefined;
    const corsHeaders = options.corsHeaders(headers.get('origin'));

    /** Ends the lease that is held, if one is. */
    function giveBack(outcome: LeaseEnd['outcome']): void {
      const { tokens, firstByteAt, sentAt } = entry;
      lease?.release({ outcome, tokens, firstByteMs: firstByteAt && firstByteAt - sentAt });
      lease = undefined;
    }

    function finish(outcome: Outcome, error?: GatewayError): void {
      if (!live.remove(entry)) return;
      // Before the answer ends: afterwards it has no effect, and the connection would keep what `onLong` has set.
      if (entry.isLong) server?.timeout(request, idleSeconds);
      giveBack(outcome === 'done' && entry.status >= 400 ? 'unserved' : outcome);
      if (error !== undefined) entry.status ||= error.status;
      observer.settled(entry.settlement(outcome, error?.code, now()), error?.cause);
    }

    /** Ends the request with what was thrown, and throws what the client is told. */
    function fail(thrown: unknown): never {
      if (!live.has(entry)) throw thrown; // It has failed already.
      if (clientGone.aborted) entry.code = 'client_closed_request';
      const error =
        entry.phase === 'waiting' || entry.code ? explainFailure(thrown, entry) : thrown;
      if (!(error instanceof GatewayError)) {
        finish('failed', new GatewayError('internal_error', { cause: thrown }));
        throw thrown;
      }
      entry.status = error.status;
      // An answer that nobody will read any more must not go on, and its connection ends before the lease does.
      entry.abort(error.code);
      finish(outcomeOf(error), error);
      throw error;
    }

    /** Tells the pool why no answer came, and says whether the request may be tried again. */
    function mayGoOn(thrown: unknown, upstream: Upstream, ask: Ask): boolean {
      const failure = failureOf(thrown);
      if (entry.code === 'connect_timeout') pool.missed(upstream, false);
      else if (failure === 'unreachable') pool.missed(upstream, true);
      else if (failure === 'reset') pool.wasReset(upstream, ask);
      return failure !== undefined && !entry.code && pool.mayRetry(upstream, failure, ask);
    }

    async function send(held: Lease, body: Body): Promise<Response> {
      const { upstream, connection, edits } = held;
      const query = request.url.indexOf('?');
      const search = query === -1 ? '' : request.url.slice(query);
      const path = modelId === undefined ? route.path + search : modelsPath;
      return await fetch(upstream.settings.url + path, {
        ...connection,
        method: route.method,
        headers: upstreamHeaders(headers, entry.id, upstream.settings.apiKey),
        body: body === undefined ? null : edited(route, body, edits, headers),
        signal: entry.signal,
        // Only a list in which one model is looked up has to be read.
        decompress: modelId !== undefined,
        redirect: 'manual',
        timeout: false,
      });
    }

    /** Waits for its turn and asks the engine; again where what came of it shows that nothing ran. */
    async function run(ask: Ask, body: Body): Promise<Response> {
      for (let isAgain = false; ; isAgain = true) {
        const waitsFrom = now();
        entry.phase = 'queued';
        lease = await pool.lease(ask, entry.signal, isAgain);
        const { upstream } = lease;
        entry.sentAt = now();
        entry.queuedMs += entry.sentAt - waitsFrom;
        entry.phase = 'waiting';
        entry.upstream = upstream;
        const answer = await send(lease, body).catch((thrown: unknown) => {
          if (mayGoOn(thrown, upstream, ask)) return undefined;
          throw thrown;
        });
        const heard = answer && (await hear(answer));
        if (heard?.isLoading) pool.noteLoading(upstream);
        if (heard !== undefined && !(heard.isLoading && pool.mayRetry(upstream, 'loading', ask))) {
          entry.hasHeaders = true;
          if (!heard.isLoading) pool.answered(upstream, heard.answer.status, ask);
          return await answerHere(heard.answer);
        }
        giveBack('unserved');
      }
    }

    function answerHere(answer: Response): Promise<Response> {
      const isHead = request.method === 'HEAD';
      return answerClient(answer, { entry, corsHeaders, modelId, isHead, now, finish });
    }

    live.add(entry);
    sweeping ??= setInterval(sweep, sweepMs);
    // Bun closes a connection that stands still for its idle timeout: short requests never get there.
    entry.onLong = () => server?.timeout(request, 0);
    observer.started(entry);
    clientGone.addEventListener('abort', () => entry.abort('client_closed_request'));
    try {
      if (clientGone.aborted) throw new GatewayError('client_closed_request');
      if (isDraining()) throw shuttingDown();
      const body = route.body === 'none' ? undefined : await readBody(request, entry, maxBodyBytes);
      const fields =
        body !== undefined && route.body === 'json' ? inspect(route, body, entry) : undefined;
      if (route.method === 'GET' && !pool.hasOneList) {
        return await answerHere(modelList(pool.models()));
      }
      entry.queuedAt = now();
      entry.phase = 'queued';
      const ask = askOf(entry, headers, body, fields, pool.upstreams.length > 1);
      if (body !== undefined && fields !== undefined) {
        await pool.assertFits(ask, { route, body, fields, signal: entry.signal });
      }
      // The stream of an audio file has no comments.
      const isText = entry.stream && !route.path.endsWith('/audio/speech');
      const isTold = isText && (feedback.isAlways || headers.has('x-queue-feedback'));
      if (!isTold) return await run(ask, body);
      return await withFeedback({
        answer: run(ask, body).catch(fail),
        afterMs: feedback.afterMs,
        everyMs: feedbackMs,
        report: () => pool.report(ask),
        family: route.family,
        headers: {
          ...corsHeaders,
          'x-request-id': entry.id,
          ...(route.family === 'anthropic' && { 'request-id': entry.id }),
        },
        onCancel: () => entry.abort('client_closed_request'),
      });
    } catch (thrown) {
      return fail(thrown);
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
  const id = path.slice(path.indexOf(`${modelsPath}/`) + modelsPath.length + 1);
  try {
    return decodeURIComponent(id);
  } catch {
    return id; // A stray percent sign: no model is called that, and the answer says so.
  }
}

const modelsPath = '/v1/models';

/** Says what a failure of `fetch` shows of the engine; `undefined` where nothing certain. */
function failureOf(thrown: unknown): RetryFailure | undefined {
  if (isUnreachable(thrown)) return 'unreachable';
  const code = thrown instanceof Error && 'code' in thrown ? thrown.code : undefined;
  return code === 'ECONNRESET' || code === 'EPIPE' ? 'reset' : undefined;
}

/** Reads a 503 to its end, since it may say that the model is still being loaded. */
async function hear(answer: Response): Promise<{ answer: Response; isLoading: boolean }> {
  if (answer.status !== 503) return { answer, isLoading: false };
  const length = Number(answer.headers.get('content-length') ?? Number.NaN);
  if (!(length <= maxNoticeBytes)) return { answer, isLoading: false };
  const bytes = await answer.bytes();
  const { status, headers } = answer;
  return {
    answer: new Response(bytes, { status, headers }),
    isLoading: isLoadingModel(status, bytes),
  };
}

/** No engine says in more that it is loading. */
const maxNoticeBytes = 4_096;

/** Gives the body with what has to be changed in it; the same bytes where nothing has. */
function edited(
  route: Route,
  body: Uint8Array<ArrayBuffer>,
  edits: Edits | undefined,
  headers: Headers,
): Uint8Array<ArrayBuffer> {
  if (edits === undefined) return body;
  if (route.body === 'json') return editJson(body, edits) as Uint8Array<ArrayBuffer>;
  const type = headers.get('content-type') ?? '';
  const { model } = edits;
  if (typeof model !== 'string') return body;
  return replaceModel(body, type, model) as Uint8Array<ArrayBuffer>;
}

function modelList(list: Uint8Array): Response {
  return new Response(list as Uint8Array<ArrayBuffer>, {
    headers: { 'content-type': 'application/json' },
  });
}
