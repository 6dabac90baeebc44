/**
 * One run: a request taken through the chain body -> limits -> queue -> engine -> answer -> settled. It is one request to
 * the engine; an answer of the engine, whatever its status, is never asked for again, but for "Loading model" and the
 * refusal of a field that the gateway had added. It knows nothing of logs, usage or metrics, which hear of it by
 * `observer`, nor of who reads the answer: that is the reader's.
 */
import { answerClient } from './answer.ts';
import { attempt } from './attempt.ts';
import { explainFailure, shuttingDown } from './failure.ts';
import { Holdings, type HoldingOptions } from './holdings.ts';
import { lookUpAtOllama } from './ollamalookups.ts';
import { withFeedback } from './queuefeedback.ts';
import { reuse } from './reuse.ts';
import { mayRefuseField, readRefusal, usageEdit, type UsageEdit } from './usageinjection.ts';
import { ridEdit } from './uniquerid.ts';
import { demandOf, limitsUnknown, refusalOf, standingHeaders } from '../accounts/quota.ts';
import { isUnlimited, type Decision, type MaybePromise } from '../accounts/limits.ts';
import { replay, type ResponseCache } from '../cache/cache.ts';
import { Recording } from '../cache/recording.ts';
import { failureOf } from '../engines/failure.ts';
import { readUnavailable } from '../engines/loading.ts';
import type { StreamUsage } from '../engines/streamusage.ts';
import type { Upstream } from '../engines/upstream.ts';
import {
  assertQueryWithoutModel,
  inspect,
  readBody,
  readJson,
  type BodySource,
} from '../request/body.ts';
import type { Caller } from '../request/caller.ts';
import { jobOf, type Job } from '../request/job.ts';
import type { LiveRequest } from '../request/live.ts';
import type { Reader } from '../request/reader.ts';
import { outcomeOf } from '../request/settlement.ts';
import type { Edits, Lease } from '../scheduling/lease.ts';
import type { Scheduler } from '../scheduling/scheduler.ts';
import { Countdown, ownReason } from '../scheduling/waits.ts';
import type { CorsHeaders } from '../wire/cors.ts';
import { GatewayError } from '../wire/errors.ts';
import type { Fields } from '../wire/json.ts';
import type { JsonBody } from '../wire/jsonbody.ts';
import {
  isAnthropicClient,
  isLookup,
  listAnswer,
  lookedUp,
  pickOf,
  type ModelPick,
} from '../wire/modellist.ts';
import { leaveModelsAlone } from '../wire/ollamabody.ts';
import { maxAnswerTokens } from '../wire/prompt.ts';
import { answersInTokens, searchOf, type Route } from '../wire/routes.ts';

/** The parts of the scheduler that a run asks. */
type Scheduling = Pick<
  Scheduler,
  'fleet' | 'health' | 'pool' | 'retries' | 'contextCheck' | 'relisting'
>;

export interface ExchangeOptions extends HoldingOptions, Scheduling {
  maxBodyBytes: number;
  feedback: { isAlways: boolean; afterMs: number; everyMs: number };
  /** Whether engines that count the tokens of a stream only when asked to are asked. */
  injectUsage: boolean;
  /** Whether clients of Ollama may decide which models are in its memory, and how. */
  mayLoadOllama: boolean;
  corsHeaders: CorsHeaders;
  /** `undefined` where no answers are kept. */
  cache: ResponseCache | undefined;
  /** Whether keys share what is kept. */
  isCacheShared: boolean;
  isDraining: () => boolean;
}

/** What a run is given to compute, without the connection that it came on. */
export interface RequestInput {
  /** What its client calls it. */
  id: string;
  /** What no other request is called. */
  uniqueId: string;
  caller: Caller;
  route: Route;
  /** That of the route, or HEAD. */
  method: string;
  /** Path and query as the client sent them, without its API key; with or without an origin in front. */
  url: string;
  headers: Headers;
  body: BodySource;
  /** The model that the URL names: that of a deployment. The body must name the same one, or none. */
  deployedModel?: string | undefined;
}

/** What the engine gets of a request. */
interface Sent {
  job: Job;
  body: Uint8Array<ArrayBuffer> | undefined;
  json: JsonBody | undefined;
}

export class Exchange {
  readonly #pick: ModelPick | undefined;
  readonly #corsHeaders: Readonly<Record<string, string>>;
  readonly #holdings: Holdings;
  /** Headers of the gateway's own: how the caller stands with its limits, and what Anthropic's clients read. */
  #ownHeaders: Readonly<Record<string, string>> = {};
  /** Whether the engine was asked for a frame with the usage, which the client did not ask for. */
  #hidesUsage = false;
  /** Set while its stream is left as it is to find out whether the engine counts unasked. */
  #watched: StreamUsage | undefined;

  constructor(
    private readonly options: ExchangeOptions,
    private readonly request: LiveRequest,
    private readonly input: RequestInput,
    private readonly reader: Reader,
  ) {
    const { route, caller, headers, method } = input;
    this.#pick = pickOf(route, input, caller.models, options.fleet.contextOf);
    if (route.method === 'GET' && isAnthropicClient(headers)) {
      this.#ownHeaders = { 'request-id': request.id };
    }
    this.#corsHeaders = options.corsHeaders(headers.get('origin'));
    this.#holdings = new Holdings(options, request, reader, method === 'HEAD');
  }

  /** Takes the request through the chain. Resolves with the answer when its first byte is there. */
  async answer(): Promise<Response> {
    const { request, input } = this;
    const { fleet, pool, live, observer, maxBodyBytes, bodyMemory, isDraining, now } = this.options;
    const { route, caller } = request;
    const { headers } = input;
    request.traced(headers.get('traceparent') ?? undefined);
    live.add(request);
    observer.started(request);
    request.readBy(this.reader);
    // One function up to the queue: each more that waits for another costs every request half a microsecond.
    try {
      if (request.code !== undefined) throw new GatewayError(request.code);
      if (isDraining()) throw shuttingDown();
      assertQueryWithoutModel(input.url, caller);
      if (route.method === 'POST') this.#assertFewOpen();
      const body =
        route.body === 'none'
          ? undefined
          : await readBody(input.body, headers, request, {
              maxBytes: maxBodyBytes,
              memory: bodyMemory,
            });
      request.bodyRead(now());
      const isJson = body !== undefined && route.body === 'json';
      const reading = isJson ? readJson(body, request) : undefined;
      const json = reading instanceof Promise ? await reading : reading;
      if (json !== undefined) inspect(route, json, request);
      if (route.family === 'ollama') {
        if (json !== undefined && !this.options.mayLoadOllama) leaveModelsAlone(json);
        if (route.method === 'GET') {
          const found = await lookUpAtOllama(route, fleet.upstreams, caller.models);
          return await this.#answerWith(listAnswer(found));
        }
      }
      if (route.method === 'GET' && !fleet.hasOneList) {
        if (isLookup(route) && !fleet.hasName(lookedUp(input.url))) await this.#readLists();
        return await this.#answerWith(listAnswer(fleet.models()));
      }
      const hasChoice = fleet.upstreams.length > 1;
      const job = jobOf(request, headers, body, json, hasChoice, input.deployedModel);
      const sent: Sent = { job, body, json };
      request.estimated(job.promptBytes, pool.tokensPerByte);
      if (route.method === 'POST' && !isUnlimited(caller.limits)) {
        const admitting = this.#admit(sent);
        if (admitting !== undefined) await admitting;
      }
      request.queued(now());
      return await (this.#isTold ? this.#answerWithFeedback(sent) : this.#answerOnce(sent));
    } catch (thrown) {
      return this.#fail(thrown);
    }
  }

  /** Whether its reader is told how long it waits. The stream of an audio file has no comments, nor
   * have lines of JSON. */
  get #isTold(): boolean {
    const { request, input } = this;
    const { path, family } = request.route;
    if (!request.stream || path.endsWith('/audio/speech') || family === 'ollama') return false;
    return this.options.feedback.isAlways || input.headers.has('x-queue-feedback');
  }

  #answerWithFeedback(sent: Sent): Promise<Response> {
    const { id, route } = this.request;
    const { pool, feedback, now } = this.options;
    const countdown = new Countdown();
    return withFeedback({
      answer: this.#answerOnce(sent).catch((thrown: unknown) => this.#fail(thrown)),
      afterMs: feedback.afterMs,
      everyMs: feedback.everyMs,
      report: () => {
        const report = pool.report(sent.job);
        if (report === undefined) return undefined;
        const waitSeconds = countdown.next(report.waitSeconds, now());
        return { place: report.place, waitSeconds, reason: ownReason(report) };
      },
      family: route.family,
      headers: {
        ...this.#corsHeaders,
        ...this.#ownHeaders,
        'x-request-id': id,
        ...(route.family === 'anthropic' && { 'request-id': id }),
      },
      onCancel: () => this.reader.left(),
    });
  }

  /** Refuses what is one too many before its body is read; also where the limit is younger than what is open. */
  #assertFewOpen(): void {
    const { principal, limits } = this.request.caller;
    const { concurrentRequests: limit } = limits;
    if (limit === undefined || this.options.live.openOf(principal) <= limit) return;
    throw refusalOf(limits, { code: 'too_many_concurrent', retryAfterMs: 1_000, standing: {} });
  }

  /** Reserves what the request may need of its caller's limits; a promise if the store answers later. Throws the refusal. */
  #admit({ job, json }: Sent): MaybePromise<void> {
    const { caller, route, promptEstimate } = this.request;
    const demand = demandOf(caller, route, json?.fields ?? {}, job.units, promptEstimate);
    let decision: MaybePromise<Decision>;
    try {
      decision = this.options.limits.admit(demand, this.#holdings.moment());
    } catch (cause) {
      throw limitsUnknown(cause);
    }
    if (!(decision instanceof Promise)) return this.#obey(decision);
    return decision.then(
      (decided) => this.#obey(decided),
      (cause: unknown) => {
        throw limitsUnknown(cause);
      },
    );
  }

  /** Notes what is reserved. Throws the refusal. */
  #obey(decision: Decision): void {
    if (!decision.isAdmitted) throw refusalOf(this.request.caller.limits, decision);
    this.#holdings.reserved(decision.reservation);
    this.#ownHeaders = standingHeaders(decision.standing);
  }

  /** Returns what is kept of an earlier answer, or asks an engine. */
  #answerOnce(sent: Sent): Promise<Response> {
    const { cache } = this.options;
    return cache === undefined ? this.#run(sent) : this.#answerFrom(cache, sent);
  }

  async #answerFrom(cache: ResponseCache, sent: Sent): Promise<Response> {
    const { request, input } = this;
    const { isCacheShared, now } = this.options;
    const { job, json } = sent;
    if (json === undefined) return await this.#run(sent);
    const { headers, url } = input;
    const search = searchOf(url);
    const asked = { cache, isCacheShared, request, job, search, headers, json };
    const reusing = reuse(asked);
    if (reusing === undefined) return await this.#run(sent);
    const found = await reusing;
    request.waited(now());
    if (found instanceof Recording) {
      this.#holdings.collects(found);
      return await this.#run(sent);
    }
    request.reused(now());
    return await this.#answerWith(replay(found));
  }

  /** Waits for its turn and asks the engine; again where what came of it shows that nothing ran. */
  async #run(sent: Sent): Promise<Response> {
    const { request } = this;
    const { fleet, health, pool, retries, contextCheck, now } = this.options;
    const { job, json } = sent;
    if (!this.#isServed(job)) {
      await this.#readLists();
      request.wouldGet(fleet.resolve(job).model);
    }
    if (contextCheck.isOn && json !== undefined) {
      const { route, signal } = request;
      await contextCheck.assertFits(job, { route, json, signal });
    }
    for (let isAgain = false; ; isAgain = true) {
      request.queued(now());
      const lease = await pool.lease(job, request.signal, isAgain);
      this.#begin(lease, sent);
      const { upstream } = lease;
      try {
        let answer = await this.#attempt(lease, sent);
        if (this.#hidesUsage && mayRefuseField(answer)) {
          answer = await this.#withoutUsage(answer, lease, sent);
        }
        let isLoading = false;
        if (answer.status === 503) ({ answer, isLoading } = await readUnavailable(answer));
        if (isLoading) health.noteLoading(upstream);
        if (!isLoading || !retries.mayRetry(upstream, 'loading', job)) {
          request.answered(answer.status);
          if (!isLoading) health.answered(upstream, answer.status, job);
          return await this.#answerWith(answer);
        }
      } catch (thrown) {
        if (request.hasHeaders || !this.#mayGoOn(thrown, upstream, job)) throw thrown;
      }
      this.#holdings.giveBack('unserved');
    }
  }

  /** Returns whether some engine has its model, as far as is known. Throws what else is wrong with it. */
  #isServed(job: Job): boolean {
    try {
      // It is shown while it waits.
      this.request.wouldGet(this.options.fleet.resolve(job).model);
      return true;
    } catch (error) {
      if (error instanceof GatewayError && error.code === 'model_not_found') return false;
      throw error;
    }
  }

  /** The model that it names may have come a moment ago. */
  #readLists(): Promise<void> {
    return this.options.relisting.read(this.request.signal);
  }

  /** The engine gets it now. */
  #begin(lease: Lease, { job, json }: Sent): void {
    const { request } = this;
    const { upstream } = lease;
    const { units } = job;
    this.#holdings.leased(lease);
    // llama.cpp counts the first of several answers.
    const isPartial = units > 1 && upstream.kind === 'llama.cpp' && answersInTokens(request.route);
    const { model } = lease;
    const maxTokens = json && maxAnswerTokens(request.route, json.fields);
    request.sent({ upstream, model, units, isPartial, maxTokens }, this.options.now());
  }

  #attempt(lease: Lease, sent: Sent): Promise<Response> {
    const usage = sent.json && this.#usageFor(lease.upstream, sent.json.fields);
    this.#hidesUsage = usage !== undefined;
    return this.#send(lease, sent, usage ? { ...lease.edits, ...usage } : lease.edits);
  }

  #send(lease: Lease, { body, json }: Sent, edits: Edits | undefined): Promise<Response> {
    const { request, input } = this;
    const { url, headers } = input;
    const isRead = this.#pick !== undefined;
    const rid = json && ridEdit(json.fields, lease.upstream.kind, request.uniqueId);
    const allEdits = rid ? { ...edits, ...rid } : edits;
    const search = searchOf(url);
    return attempt({ lease, request, search, headers, body, json, edits: allEdits, isRead });
  }

  /** Returns the edit by which the engine counts this stream; `undefined` where it is left as it is. */
  #usageFor({ kind, streamUsage }: Upstream, fields: Fields): UsageEdit | undefined {
    this.#watched = undefined;
    if (!this.options.injectUsage) return undefined;
    const usage = usageEdit(this.request.route, fields, kind);
    if (usage === undefined) return undefined;
    const plan = streamUsage.plan();
    if (plan === 'watch') this.#watched = streamUsage;
    return plan === 'ask' ? usage : undefined;
  }

  /** Asks once more where the engine refuses what the client has not sent, and remembers it where that helped. */
  async #withoutUsage(refused: Response, lease: Lease, sent: Sent): Promise<Response> {
    const { answer, namesField } = await readRefusal(refused);
    const isOurs = (sent.json?.fields['stream_options'] ?? undefined) === undefined;
    if (!namesField || !isOurs) return answer;
    this.#hidesUsage = false;
    const again = await this.#send(lease, sent, lease.edits);
    // A prompt that names the field can be in any refusal.
    if (!mayRefuseField(again)) lease.upstream.streamUsage.refused();
    return again;
  }

  /** Reports to health why no answer came. Returns whether the request may be tried again. */
  #mayGoOn(thrown: unknown, upstream: Upstream, job: Job): boolean {
    const { health, retries } = this.options;
    const { code } = this.request;
    const failure = failureOf(thrown);
    if (code === 'connect_timeout') health.missed(upstream, false);
    else if (failure === 'unreachable') health.missed(upstream, true);
    else if (failure === 'reset') health.wasReset(upstream, job);
    const isTransient = failure === 'unreachable' || failure === 'reset';
    return isTransient && code === undefined && retries.mayRetry(upstream, failure, job);
  }

  #answerWith(answer: Response): Response | Promise<Response> {
    this.#holdings.dropBody();
    return answerClient(answer, {
      request: this.request,
      reader: this.reader,
      holdings: this.#holdings,
      corsHeaders: this.#corsHeaders,
      moreHeaders: this.#ownHeaders,
      pick: this.#pick,
      isHead: this.input.method === 'HEAD',
      hidesUsage: this.#hidesUsage,
      watchedUsage: this.#watched,
      now: this.options.now,
    });
  }

  /** Ends the request with what was thrown, and throws what its reader is told. */
  #fail(thrown: unknown): never {
    const { request, reader } = this;
    if (!this.options.live.has(request)) throw thrown; // It has failed already.
    // A body can break before the signal of its client fires.
    if (reader.hasLeft) reader.left();
    const isExplained = request.phase === 'prefill' || request.code !== undefined;
    const error = isExplained ? explainFailure(thrown, request) : thrown;
    if (!(error instanceof GatewayError)) {
      this.#holdings.settle('failed', new GatewayError('internal_error', { cause: thrown }));
      throw thrown;
    }
    request.failed(error);
    // An answer that nobody will read any more must not go on, and its connection ends before the lease does.
    request.abort(error.code);
    this.#holdings.settle(outcomeOf(error), error);
    throw error;
  }
}
