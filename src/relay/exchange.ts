/**
 * One request of a client, taken through the chain: body -> limits -> queue -> engine -> answer -> settle. It is one
 * request to the engine; an answer of the engine, whatever its status, is never asked for again, but for "Loading
 * model". It knows nothing of logs, usage or metrics: it tells `observer`, and whoever composes the app fans that out.
 */
import { answerClient } from './answer.ts';
import { jobOf, type Job } from '../request/job.ts';
import { attempt, failureOf, readUnavailable, searchOf } from './attempt.ts';
import { inspect, readBody } from '../request/body.ts';
import { replay, type ResponseCache } from '../cache/cache.ts';
import { cacheKeyOf } from '../cache/key.ts';
import type { CorsHeaders } from '../wire/cors.ts';
import { errorBody, GatewayError } from '../wire/errors.ts';
import { explainFailure, shuttingDown } from './failure.ts';
import { withFeedback } from './queuefeedback.ts';
import { Filling } from '../cache/recording.ts';
import type { Fields } from '../wire/json.ts';
import { isUnlimited, type LimitStore, type Reservation } from '../accounts/limits.ts';
import { type LiveRequest, type LiveRequests } from '../request/live.ts';
import type { Lease, LeaseEnd, Pool } from '../scheduling/pool.ts';
import { answerTokens, refusalOf, standingHeaders, usedTokens } from '../accounts/quota.ts';
import { answersInTokens } from '../wire/routes.ts';
import type { Upstream } from '../engines/upstream.ts';
import { outcomeOf, type Outcome } from '../request/settlement.ts';
import type { RequestObserver } from '../request/observer.ts';
import { usageEdit } from './usageinjection.ts';
import { listAnswer, pickOf, type ModelPick } from '../wire/modellist.ts';

export interface ExchangeOptions {
  pool: Pool;
  live: LiveRequests;
  limits: LimitStore;
  maxBodyBytes: number;
  feedback: { isAlways: boolean; afterMs: number };
  /** Whether engines that count the tokens of a stream only when asked to are asked. */
  injectUsage: boolean;
  corsHeaders: CorsHeaders;
  /** `undefined` where no answers are kept. */
  cache: ResponseCache | undefined;
  /** Whether keys share what is kept. */
  isCacheShared: boolean;
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

/** What the engine gets of a request. */
interface Sent {
  job: Job;
  body: Uint8Array<ArrayBuffer> | undefined;
  /** The members of a JSON body. */
  fields: Fields | undefined;
}

/** Bun closes connections that stand still; the gateway's own deadlines decide instead, while a request is open. */
const idleSeconds = 30;
/** How often a request that waits is told its place. */
const feedbackMs = 2_000;

export class Exchange {
  readonly #pick: ModelPick | undefined;
  readonly #corsHeaders: Readonly<Record<string, string>>;
  #lease: Lease | undefined;
  #reservation: Reservation | undefined;
  #filling: Filling | undefined;
  /** How the caller stands with its limits. */
  #standing: Readonly<Record<string, string>> = {};

  constructor(
    private readonly options: ExchangeOptions,
    private readonly entry: LiveRequest,
    private readonly request: Request,
    private readonly server: TimeoutSetter | null,
  ) {
    const { route, caller } = entry;
    this.#pick = pickOf(route, request.url, caller.models);
    this.#corsHeaders = options.corsHeaders(request.headers.get('origin'));
  }

  /** Takes the request through the chain; the answer is there when its first byte is. */
  async answer(): Promise<Response> {
    const { entry, request, server } = this;
    const { live, observer } = this.options;
    entry.traceparent = request.headers.get('traceparent') ?? undefined;
    live.add(entry);
    // Bun closes a connection that stands still for its idle timeout: short requests never get there.
    entry.onLong = () => server?.timeout(request, 0);
    observer.started(entry);
    request.signal.addEventListener('abort', () => entry.abort('client_closed_request'));
    try {
      return await this.#answer();
    } catch (thrown) {
      return this.#fail(thrown);
    }
  }

  async #answer(): Promise<Response> {
    const { entry, request } = this;
    const { pool, maxBodyBytes, feedback, now } = this.options;
    const { route, caller } = entry;
    if (request.signal.aborted) throw new GatewayError('client_closed_request');
    if (this.options.isDraining()) throw shuttingDown();
    if (route.method === 'POST') this.#assertFewOpen();
    const body = route.body === 'none' ? undefined : await readBody(request, entry, maxBodyBytes);
    entry.bodyMs = now() - entry.startedAt;
    const fields =
      body !== undefined && route.body === 'json' ? inspect(route, body, entry) : undefined;
    if (route.method === 'GET' && !pool.hasOneList) {
      return await this.#answerWith(listAnswer(pool.models()));
    }
    const job = jobOf(entry, request.headers, body, fields, pool.upstreams.length > 1);
    const sent: Sent = { job, body, fields };
    entry.tokensPerByte = pool.tokensPerByte;
    entry.promptEstimate = Math.ceil(job.promptBytes * pool.tokensPerByte);
    if (route.method === 'POST' && !isUnlimited(caller.limits)) await this.#admit(sent);
    entry.queuedAt = now();
    entry.phase = 'queued';
    // The stream of an audio file has no comments.
    const isText = entry.stream && !route.path.endsWith('/audio/speech');
    const isTold = isText && (feedback.isAlways || request.headers.has('x-queue-feedback'));
    if (!isTold) return await this.#answerOnce(sent);
    return await withFeedback({
      answer: this.#answerOnce(sent).catch((thrown: unknown) => this.#fail(thrown)),
      afterMs: feedback.afterMs,
      everyMs: feedbackMs,
      report: () => pool.report(job),
      family: route.family,
      headers: {
        ...this.#corsHeaders,
        ...this.#standing,
        'x-request-id': entry.id,
        ...(route.family === 'anthropic' && { 'request-id': entry.id }),
      },
      onCancel: () => entry.abort('client_closed_request'),
    });
  }

  /** Refuses what is one too many before its body is read; also where the limit is younger than what is open. */
  #assertFewOpen(): void {
    const { principal, limits } = this.entry.caller;
    const { concurrentRequests: limit } = limits;
    if (limit === undefined || this.options.live.openOf(principal) <= limit) return;
    throw refusalOf({ code: 'too_many_concurrent', retryAfterMs: 1_000, standing: {} });
  }

  /** Reserves what the request may need of its caller's limits. Throws the refusal. */
  async #admit({ job, fields }: Sent): Promise<void> {
    const { limits } = this.options;
    const { caller, route, promptEstimate: promptTokens } = this.entry;
    const usual = await limits.usualTokens(caller.principal);
    const tokens = promptTokens + answerTokens(route, fields ?? {}, usual, job.units);
    const asked = {
      principal: caller.principal,
      limits: caller.limits,
      tokens,
      promptTokens: answersInTokens(route) ? promptTokens : undefined,
    };
    const admission = await limits.admit(asked, this.#moment());
    if (!admission.isAdmitted) throw refusalOf(admission);
    this.#reservation = admission.reservation;
    this.#standing = standingHeaders(admission.standing);
  }

  #moment() {
    const { now, epochNow } = this.options;
    return { ms: now(), epochMs: epochNow() };
  }

  /** Gives what is kept of an earlier answer, or asks an engine. */
  #answerOnce(sent: Sent): Promise<Response> {
    const { cache } = this.options;
    return cache === undefined ? this.#run(sent) : this.#answerFrom(cache, sent);
  }

  async #answerFrom(cache: ResponseCache, sent: Sent): Promise<Response> {
    const { entry } = this;
    const kept = await this.#lookUp(cache, sent);
    if (kept === undefined) return await this.#run(sent);
    entry.isCacheHit = true;
    entry.sentAt = this.options.now();
    return await this.#answerWith(kept);
  }

  /** Gives the answer that is kept; without one it has the answer collected where that may be kept. */
  async #lookUp(cache: ResponseCache, { job, body, fields }: Sent): Promise<Response | undefined> {
    const { entry, request } = this;
    const { isCacheShared, now } = this.options;
    const { route, caller, signal } = entry;
    if (body === undefined || fields === undefined) return undefined;
    // Also by the models of the key: what one may not use must not come from another that may.
    const scope = JSON.stringify([isCacheShared ? null : caller.keyId, caller.models]);
    const { headers, url } = request;
    const key = cacheKeyOf({ route, search: searchOf(url), headers, body, fields, scope });
    if (key === undefined) return undefined;
    const line = `${caller.principal} ${job.priority}`;
    const found = await cache.enter(key, { line, bytes: body.length, signal });
    entry.queuedMs += now() - entry.queuedAt;
    if (!(found instanceof Filling)) return replay(found);
    this.#filling = found;
    return undefined;
  }

  /** Waits for its turn and asks the engine; again where what came of it shows that nothing ran. */
  async #run(sent: Sent): Promise<Response> {
    const { entry } = this;
    const { pool } = this.options;
    const { job, body, fields } = sent;
    if (pool.isPreflighting && body !== undefined && fields !== undefined) {
      await pool.assertFits(job, { route: entry.route, body, fields, signal: entry.signal });
    }
    // For whoever looks at it while it waits.
    entry.model ??= pool.modelOf(job);
    for (let isAgain = false; ; isAgain = true) {
      const waitsFrom = this.options.now();
      entry.phase = 'queued';
      const lease = await pool.lease(job, entry.signal, isAgain);
      this.#begin(lease, job, waitsFrom);
      const { upstream } = lease;
      try {
        let answer = await this.#attempt(lease, sent);
        let isLoading = false;
        if (answer.status === 503) ({ answer, isLoading } = await readUnavailable(answer));
        if (isLoading) pool.noteLoading(upstream);
        if (!isLoading || !pool.mayRetry(upstream, 'loading', job)) {
          entry.hasHeaders = true;
          if (!isLoading) pool.answered(upstream, answer.status, job);
          return await this.#answerWith(answer);
        }
      } catch (thrown) {
        if (entry.hasHeaders || !this.#mayGoOn(thrown, upstream, job)) throw thrown;
      }
      this.#giveBack('unserved');
      // No engine has it, whoever ends it now.
      entry.sentAt = 0;
      entry.upstream = undefined;
    }
  }

  /** The engine gets it now. */
  #begin(lease: Lease, job: Job, waitsFrom: number): void {
    const { entry } = this;
    const { upstream } = lease;
    this.#lease = lease;
    entry.sentAt = this.options.now();
    entry.queuedMs += entry.sentAt - waitsFrom;
    entry.phase = 'waiting';
    entry.upstream = upstream;
    entry.model = job.model ?? lease.model;
    // No engine reads more than its context, whatever a body holds beside text.
    entry.promptEstimate = Math.min(
      entry.promptEstimate,
      (upstream.contextTokens ?? Infinity) * Math.max(1, job.units),
    );
    // llama.cpp counts the first of several answers.
    const isMany = job.units > 1 && answersInTokens(entry.route);
    entry.isPartial = isMany && upstream.kind === 'llama.cpp';
  }

  #attempt(lease: Lease, { body, fields }: Sent): Promise<Response> {
    const { entry, request } = this;
    const { kind } = lease.upstream;
    const usage = this.options.injectUsage && fields && usageEdit(entry.route, fields, kind);
    entry.hidesUsage = Boolean(usage);
    const edits = usage ? { ...lease.edits, ...usage } : lease.edits;
    return attempt({ lease, entry, request, body, edits, isRead: this.#pick !== undefined });
  }

  /** Tells the pool why no answer came, and says whether the request may be tried again. */
  #mayGoOn(thrown: unknown, upstream: Upstream, job: Job): boolean {
    const { pool } = this.options;
    const { code } = this.entry;
    const failure = failureOf(thrown);
    if (code === 'connect_timeout') pool.missed(upstream, false);
    else if (failure === 'unreachable') pool.missed(upstream, true);
    else if (failure === 'reset') pool.wasReset(upstream, job);
    return failure !== undefined && !code && pool.mayRetry(upstream, failure, job);
  }

  #answerWith(answer: Response): Response | Promise<Response> {
    return answerClient(answer, {
      entry: this.entry,
      corsHeaders: this.#corsHeaders,
      moreHeaders: this.#standing,
      pick: this.#pick,
      isHead: this.request.method === 'HEAD',
      now: this.options.now,
      filling: this.#filling,
      finish: (outcome, error) => this.#finish(outcome, error),
    });
  }

  /** Ends the lease that is held, if one is. */
  #giveBack(outcome: LeaseEnd['outcome']): void {
    const { tokens, firstByteAt, sentAt } = this.entry;
    this.#lease?.release({ outcome, tokens, firstByteMs: firstByteAt && firstByteAt - sentAt });
    this.#lease = undefined;
  }

  /** Settles the request, once. */
  #finish(outcome: Outcome, error?: GatewayError): void {
    const { entry, request, server } = this;
    const { live, limits, observer, now } = this.options;
    if (!live.remove(entry)) return;
    // Before the answer ends: afterwards it has no effect, and the connection would keep what `onLong` has set.
    if (entry.isLong) server?.timeout(request, idleSeconds);
    this.#filling?.end(outcome);
    this.#giveBack(outcome === 'done' && entry.status >= 400 ? 'unserved' : outcome);
    if (error !== undefined) entry.status ||= error.status;
    const record = entry.settlement(outcome, error?.code, now());
    // Nothing has gone out: the client gets the envelope, which counts for no token.
    if (error !== undefined && record.bytesOut === 0) record.bytesOut = this.#envelopeBytes(error);
    if (this.#reservation)
      void limits.settle(this.#reservation, usedTokens(record), this.#moment());
    observer.settled(record, error?.cause);
  }

  /** How long the answer is that tells of the error. */
  #envelopeBytes(error: GatewayError): number {
    const { entry, request } = this;
    const isUnread = error.code === 'client_closed_request' || request.method === 'HEAD';
    return isUnread ? 0 : Buffer.byteLength(errorBody(error, entry.route.family));
  }

  /** Ends the request with what was thrown, and throws what the client is told. */
  #fail(thrown: unknown): never {
    const { entry, request } = this;
    if (!this.options.live.has(entry)) throw thrown; // It has failed already.
    if (request.signal.aborted) entry.code = 'client_closed_request';
    const error = entry.phase === 'waiting' || entry.code ? explainFailure(thrown, entry) : thrown;
    if (!(error instanceof GatewayError)) {
      this.#finish('failed', new GatewayError('internal_error', { cause: thrown }));
      throw thrown;
    }
    entry.status = error.status;
    // An answer that nobody will read any more must not go on, and its connection ends before the lease does.
    entry.abort(error.code);
    this.#finish(outcomeOf(error), error);
    throw error;
  }
}
