/**
 * The upstreams and the right to use one: which there are, who waits for them, who runs on which, and what came of it.
 * The queue decides who is next, affinity where; here their decisions are carried out. A slot comes back when the
 * engine is known to be done with it.
 */
import type { Ask } from './ask.ts';
import { place, SessionHomes, type Candidate } from './affinity.ts';
import type { Probe } from './breaker.ts';
import { Catalog, type Choice } from './catalog.ts';
import type { EngineLoad } from './engine.ts';
import { GatewayError } from './errors.ts';
import type { Outcome, Tokens } from './live.ts';
import type { Log } from './log.ts';
import { listOf, mergeModels } from './models.ts';
import { Preflight, type PreflightRequest } from './preflight.ts';
import { blockBytes } from './prompt.ts';
import { Queue, type Grant, type Group, type Station, type Waiter } from './queue.ts';
import { mayRetry, RetryBudget, type RetryFailure, type RetryPolicy } from './retry.ts';
import { Upstream } from './upstream.ts';
import type { UpstreamSettings } from './upstreams.ts';
import { Watch } from './watch.ts';

/** What the pool goes by; a reload may change all of it. */
export interface PoolSettings {
  upstreams: readonly UpstreamSettings[];
  defaultModel: string | undefined;
  anyModelName: 'on' | 'off';
  maxSlotsPerCaller: number;
  maxQueuedRequests: number;
  maxQueuedPerCaller: number;
  maxQueuedBytes: number;
  retryPolicy: RetryPolicy;
  slotReleaseTimeoutMs: number;
  stallTimeoutMs: number;
  isolatePromptCache: 'on' | 'off';
  contextPreflight: 'on' | 'off';
}

/** How an exchange with an upstream ended. */
export interface LeaseEnd {
  /** unserved: it did not run, or the engine refused it. */
  outcome: Outcome | 'unserved';
  tokens: Tokens;
  /** From the engine having the request to the first byte of its answer. */
  firstByteMs: number | undefined;
}

/** New values of members of the body. */
export type Edits = Readonly<Record<string, unknown>>;

/** The right to send one request to an upstream. */
export interface Lease {
  readonly upstream: Upstream;
  /** What has to be changed in the body; `undefined` where nothing has. */
  readonly edits: Edits | undefined;
  /** What decides how `fetch` handles the connection. */
  readonly connection: BunFetchRequestInit;
  /** Must follow when the exchange has ended; idempotent. */
  release(end: LeaseEnd): void;
}

/** Output costs more engine time than reading a prompt; the ratio is that of the paper that queue.ts follows. */
const outputWeight = 2;
const tickMs = 100;
const defaultTokensPerByte = 0.25;
const longestRetryAfterSeconds = 600;
/** How many times its usual gap an engine may stay without progress. */
const stallFactor = 20;
/** How soon a slot that should be free is looked at: a stream that has begun ends with its next token. */
const firstLookMs = 20;
/** llama.cpp looks for clients that left after a second without any result, and an answer to a question is one. */
const nextLookMs = 1_500;
const drainMs = 20;
/** What was sent before so long must show among an engine's busy slots. */
const visibleAfterMs = 10;

/** A request in the queue. */
interface Pending extends Waiter {
  group: Group;
  readonly ask: Ask;
  choice: Choice;
  /** Since when it is held for an upstream that has its prompt in cache. */
  heldSince: number | undefined;
  readonly resolve: (lease: Lease) => void;
  readonly reject: (error: unknown) => void;
}

/** A slot whose request has ended and whose engine has not said so yet. */
interface Draining {
  station: Station;
  principal: string;
  units: number;
  since: number;
  lookAt: number;
  /** How long until the look after the next. */
  pauseMs: number;
}

/** A lease in use. */
interface Running {
  ask: Ask;
  upstream: Upstream;
  units: number;
  since: number;
  probe: Probe | undefined;
  chargedPrompt: number;
  /** Tokens of the answer that were charged for. */
  output: number;
}

export class Pool {
  #settings: PoolSettings;
  #upstreams: Upstream[] = [];
  #catalog = new Catalog([], { defaultModel: undefined, anyModelName: true });
  #served = '';
  #groups = new WeakMap<Choice, Group>();
  #tokensPerByte = defaultTokensPerByte;
  #timer: ReturnType<typeof setInterval> | undefined;
  #drainTimer: ReturnType<typeof setInterval> | undefined;
  #turn = 0;
  #isStarted = false;
  readonly #queue: Queue<Pending>;
  readonly #owners = new WeakMap<Station, Upstream>();
  readonly #watches = new Map<Upstream, Watch>();
  readonly #waiting = new Map<Ask, Pending>();
  readonly #running = new Set<Running>();
  readonly #draining = new Set<Draining>();
  readonly #preflights = new WeakMap<Upstream, Preflight>();
  readonly #homes = new SessionHomes();
  readonly #budget = new RetryBudget();
  readonly #log: Log;
  readonly #now: () => number;

  constructor(options: { settings: PoolSettings; log: Log; now: () => number }) {
    this.#settings = options.settings;
    this.#log = options.log;
    this.#now = options.now;
    this.#queue = new Queue<Pending>({
      limits: () => ({
        maxWaiters: this.#settings.maxQueuedRequests,
        maxWaitersPerCaller: this.#settings.maxQueuedPerCaller,
        maxBytes: this.#settings.maxQueuedBytes,
      }),
      choose: (pending, free, now) => this.#choose(pending, free, now),
    });
    this.reconfigure(options.settings);
  }

  get upstreams(): readonly Upstream[] {
    return this.#upstreams;
  }

  get queued(): number {
    return this.#queue.size;
  }

  /** Estimates the tokens of so many bytes of a prompt. */
  tokensIn(promptBytes: number): number {
    return Math.ceil(promptBytes * this.#tokensPerByte);
  }

  /** Begins to look after the upstreams; none gets a request before it was looked at. */
  start(): void {
    this.#isStarted = true;
    for (const watch of this.#watches.values()) watch.start();
  }

  /** Takes new settings: what runs goes on, what waits may run elsewhere from now on. */
  reconfigure(settings: PoolSettings): void {
    this.#settings = settings;
    const before = new Map(this.#upstreams.map((upstream) => [upstream.settings.url, upstream]));
    this.#upstreams = settings.upstreams.map((wanted) => {
      const known = before.get(wanted.url);
      const isSame =
        known?.settings.kind === wanted.kind && known.settings.apiKey === wanted.apiKey;
      if (known === undefined || !isSame) return this.#add(wanted);
      before.delete(wanted.url);
      known.settings = wanted;
      return known;
    });
    for (const gone of before.values()) {
      gone.isRemoved = true;
      this.#watches.get(gone)?.close();
      this.#watches.delete(gone);
      gone.refresh(false);
    }
    this.#served = '';
    this.#changed();
  }

  /** Whether a request has a chance. */
  isUsable(): boolean {
    return this.#upstreams.some((upstream) => upstream.isHopeful);
  }

  /** Whether one engine is all there is, so that its own list of models is the truth. */
  get hasOneList(): boolean {
    const [only, ...others] = this.#settings.upstreams;
    if (only === undefined || others.length > 0 || only.models !== undefined) return false;
    return Object.keys(only.aliases).length === 0;
  }

  /** The models of all upstreams and their aliases, as one list. */
  models(): Uint8Array {
    return mergeModels(
      this.#upstreams.map(({ list, settings: { models, aliases } }) => {
        return { list: models ? listOf(models) : (list ?? listOf([])), aliases };
      }),
    );
  }

  /** Throws `context_length_exceeded` when an upstream's own tokenizer says that the prompt cannot fit. */
  async assertFits(
    ask: Ask,
    prompt: Omit<PreflightRequest, 'kind' | 'contextTokens' | 'promptBytes'>,
  ) {
    if (this.#settings.contextPreflight === 'off' || ask.units === 0) return;
    const { upstreams } = this.#resolve(ask);
    const upstream = this.#upstreams.find(({ id, state }) => {
      return upstreams.includes(id) && state === 'up';
    });
    const watch = upstream && this.#watches.get(upstream);
    if (upstream === undefined || watch === undefined) return;
    let preflight = this.#preflights.get(upstream);
    if (preflight === undefined) {
      preflight = new Preflight({ post: (path, body) => watch.post(path, body) });
      this.#preflights.set(upstream, preflight);
    }
    const { kind, contextTokens } = upstream;
    await preflight.check({ ...prompt, kind, contextTokens, promptBytes: ask.promptBytes });
  }

  /**
   * Gives the right to run once it is this request's turn. Rejects with `model_not_found`, `model_required`,
   * `queue_full`, `no_healthy_upstream`, or with the signal's reason.
   * @param isAgain whether it was granted before and did not run, so that it has its place already
   */
  lease(ask: Ask, signal: AbortSignal, isAgain: boolean): Promise<Lease> {
    const choice = this.#resolve(ask);
    if (signal.aborted) return Promise.reject(signal.reason);
    const now = this.#now();
    if (!isAgain) this.#budget.deposit();
    const { promise, resolve, reject } = Promise.withResolvers<Lease>();
    const { maxSlotsPerCaller } = this.#settings;
    const pending: Pending = {
      ask,
      choice,
      heldSince: undefined,
      group: this.#groupOf(choice),
      resolve,
      reject,
      principal: ask.caller.principal,
      weight: ask.caller.weight,
      maxUnits: maxSlotsPerCaller || Number.POSITIVE_INFINITY,
      priority: ask.priority,
      units: ask.units,
      bytes: ask.bytes,
      enteredAt: now,
    };
    this.#refresh(now);
    if (!this.#queue.enter(pending, isAgain)) {
      throw new GatewayError('queue_full', { headers: this.#retryAfter(pending.group) });
    }
    this.#waiting.set(ask, pending);
    this.#dispatch(now);
    if (this.#waiting.has(ask)) {
      signal.addEventListener('abort', () => this.#leave(pending, signal.reason), { once: true });
      this.#failHopeless();
    }
    this.#keepTicking();
    return promise;
  }

  /** Says how long a request still has to wait; `undefined` when it does not wait in the queue. */
  report(ask: Ask): { place: number; waitSeconds: number } | undefined {
    const pending = this.#waiting.get(ask);
    if (pending === undefined) return undefined;
    const place = this.#queue.place(pending);
    return { place, waitSeconds: (place * this.#turnMs(pending.group)) / 1000 };
  }

  /** Takes note that the upstream answered with that status. */
  answered(upstream: Upstream, status: number, { caller, units }: Ask): void {
    const now = this.#now();
    upstream.provenAt = now;
    upstream.refusesQuickly = false;
    this.#hear(upstream, () => {
      // An engine that generates nothing may still count tokens.
      if (units === 0) upstream.breaker.answered(now);
      else if (status < 500) upstream.breaker.succeeded(now);
      else upstream.breaker.failed5xx(caller.principal, now, this.#canSpare(upstream));
    });
  }

  /** Takes note that no connection could be made; `isQuick` when it was refused at once. */
  missed(upstream: Upstream, isQuick: boolean): void {
    upstream.refusesQuickly = isQuick;
    this.#hear(upstream, () => upstream.breaker.unreachable(this.#now()));
    this.#watches.get(upstream)?.hasten();
  }

  /** Takes note that the connection broke before any byte of an answer. */
  wasReset(upstream: Upstream, { caller }: Ask): void {
    this.#hear(upstream, () => upstream.breaker.reset(caller.principal, this.#now()));
  }

  /** Takes note that the engine is loading its model. */
  noteLoading(upstream: Upstream): void {
    upstream.isLoading = true;
    this.#hear(upstream, () => upstream.breaker.answered(this.#now()));
    this.#watches.get(upstream)?.hasten();
    this.#changed();
  }

  /** Says whether what failed like this may be tried again; a yes costs the budget. */
  mayRetry(upstream: Upstream, failure: RetryFailure, ask: Ask): boolean {
    if (!mayRetry(this.#settings.retryPolicy, failure)) return false;
    if (failure === 'loading') return true;
    const { stations } = this.#groupOf(this.#resolve(ask));
    const hasOther = stations.some((station) => {
      const other = this.#owners.get(station);
      return other !== upstream && other?.isHopeful;
    });
    return hasOther && this.#budget.tryTake(failure);
  }

  /** Finds out beside a request whether the upstream takes connections. */
  proveByConnecting(id: string, timeoutMs: number): void {
    const upstream = this.#upstreams.find((known) => known.id === id);
    if (upstream) this.#watches.get(upstream)?.proveByConnecting(timeoutMs);
  }

  close(): void {
    clearInterval(this.#timer);
    clearInterval(this.#drainTimer);
    for (const watch of this.#watches.values()) watch.close();
  }

  #add(settings: UpstreamSettings): Upstream {
    const upstream = new Upstream(settings, Math.random);
    const watch = new Watch({
      upstream,
      log: this.#log,
      now: this.#now,
      random: Math.random,
      changed: () => this.#changed(),
      loaded: (load, askedAt) => this.#loaded(upstream, load, askedAt),
      back: () => upstream.index.forget(),
    });
    this.#watches.set(upstream, watch);
    if (this.#isStarted) watch.start();
    return upstream;
  }

  /** Does what may change an upstream's state, and says so in the log when it does. */
  #hear(upstream: Upstream, event: () => void): void {
    const before = upstream.state;
    event();
    const after = upstream.state;
    if (before === after) return;
    const { id, settings, breaker } = upstream;
    if (after === 'away') {
      const reason = breaker.reason;
      this.#log.error({ upstream: id, url: settings.url, reason }, 'upstream is set aside');
    } else if (before === 'away') {
      this.#log.info({ upstream: id }, 'upstream is back');
      upstream.index.forget();
      // It may be another engine by now.
      this.#watches.get(upstream)?.lookAnew();
    }
    this.#changed();
  }

  /** Whether another upstream can do without this one. */
  #canSpare(upstream: Upstream): boolean {
    const { models } = upstream;
    return this.#upstreams.some((other) => {
      if (other === upstream || other.state !== 'up') return false;
      return models === undefined || models.every((model) => other.models?.includes(model) ?? true);
    });
  }

  #changed(): void {
    const served = this.#upstreams.map(({ id, models, settings: { aliases } }) => {
      return { upstream: id, models, aliases };
    });
    const text = JSON.stringify([served, this.#upstreams.map(({ settings }) => settings.slots)]);
    if (text !== this.#served) {
      this.#served = text;
      const { defaultModel, anyModelName } = this.#settings;
      this.#catalog = new Catalog(served, { defaultModel, anyModelName: anyModelName === 'on' });
      this.#regroup();
    }
    for (const upstream of this.#upstreams) {
      if (!this.#canSpare(upstream)) upstream.breaker.recall();
    }
    const now = this.#now();
    this.#refresh(now);
    this.#dispatch(now);
    this.#failHopeless();
  }

  #resolve({ model, needsModel, caller }: Ask): Choice {
    return this.#catalog.resolve(model, needsModel, caller.models);
  }

  #groupOf(choice: Choice): Group {
    let group = this.#groups.get(choice);
    if (group === undefined) {
      const upstreams = this.#upstreams.filter(({ id }) => choice.upstreams.includes(id));
      const stations = upstreams.map((upstream) => {
        const station = upstream.station(choice.rewrite?.[upstream.id] ?? choice.model);
        this.#owners.set(station, upstream);
        return station;
      });
      group = { key: stations.map(({ id }) => id).join(' '), stations };
      this.#groups.set(choice, group);
    }
    return group;
  }

  #regroup(): void {
    const lost: [Pending, unknown][] = [];
    this.#queue.regroup((pending) => {
      try {
        pending.choice = this.#resolve(pending.ask);
        return this.#groupOf(pending.choice);
      } catch (error) {
        lost.push([pending, error]);
        return pending.group;
      }
    });
    for (const [pending, error] of lost) this.#leave(pending, error);
  }

  #refresh(now: number): void {
    for (const upstream of this.#upstreams) {
      const isTried =
        upstream.breaker.canAdmit(now) || (upstream.refusesQuickly && !this.#hasPeer(upstream));
      upstream.refresh(upstream.isWilling && isTried);
    }
  }

  #hasPeer(upstream: Upstream): boolean {
    return this.#upstreams.some((other) => other !== upstream && other.isHopeful);
  }

  #dispatch(now: number): void {
    this.#queue.dispatch(now, (grant) => this.#grant(grant, now));
  }

  #choose(pending: Pending, free: readonly Station[], now: number): Station | undefined {
    const [first] = free;
    const { stations } = pending.group;
    if (pending.units === 0 || stations.length === 1) return first;
    const open = stations.filter((station) => station.isOpen);
    const { chain, caller, session } = pending.ask;
    const home = session && this.#homes.get(`${caller.principal} ${session}`);
    const tokensPerBlock = blockBytes * this.#tokensPerByte;
    const candidates = open.map((station): Candidate => {
      const upstream = this.#owners.get(station) as Upstream; // Groups are made of owned stations.
      const { blocks, isShared } = upstream.index.matchOf(chain ?? noChain);
      const isFree = free.includes(station);
      return {
        matchedBlocks: blocks,
        isShared,
        usedShare: station.used / station.capacity,
        isFree,
        heldBlocks: upstream.index.size,
        weight: upstream.settings.weight,
        prefillBlocksPerMs: upstream.prefillPerMs / tokensPerBlock,
        expectedWaitMs: isFree ? 0 : upstream.serviceMs / station.capacity,
        isSessionHome: upstream.id === home,
      };
    });
    const heldMs = pending.heldSince === undefined ? 0 : now - pending.heldSince;
    const request = { blocks: chain?.length ?? 0, waitedMs: heldMs, turn: this.#turn++ };
    const placed = place(request, candidates);
    if (placed.isHeld) pending.heldSince ??= now;
    return placed.isHeld ? undefined : open[placed.index];
  }

  #grant({ waiter, station, units }: Grant<Pending>, now: number): void {
    const { ask } = waiter;
    const upstream = this.#owners.get(station) as Upstream; // Groups are made of owned stations.
    this.#waiting.delete(ask);
    const probe = upstream.breaker.admitted(now);
    if (probe !== undefined) this.#refresh(now);
    if (upstream.open++ === 0) upstream.progress.opened(now);
    const { chain = noChain, caller, session } = ask;
    const { blocks } = upstream.index.matchOf(chain);
    upstream.index.hold(chain);
    if (session !== undefined) this.#homes.set(`${caller.principal} ${session}`, upstream.id);
    const computedBytes = ask.units === 0 ? 0 : Math.max(0, ask.promptBytes - blocks * blockBytes);
    const running: Running = {
      ask,
      upstream,
      units,
      since: now,
      probe,
      chargedPrompt: computedBytes * this.#tokensPerByte,
      output: 0,
    };
    this.#queue.charge(caller.principal, running.chargedPrompt);
    this.#running.add(running);
    const { connection, release } = upstream.connect(now);
    waiter.resolve({
      upstream,
      edits: this.#editsFor(waiter, upstream),
      connection,
      release: (end) => {
        if (!this.#running.delete(running)) return;
        release();
        this.#end(running, station, end, blocks);
      },
    });
  }

  #editsFor({ choice, units, ask }: Pending, upstream: Upstream): Edits | undefined {
    // Of a key that may not use every model: a body that names two must not mean another one to the engine.
    const checked = ask.caller.models && ask.model;
    const model = choice.rewrite?.[upstream.id] ?? checked;
    const isIsolated =
      this.#settings.isolatePromptCache === 'on' && upstream.kind === 'llama.cpp' && units > 0;
    if (model === undefined && !isIsolated) return undefined;
    return { ...(model !== undefined && { model }), ...(isIsolated && { cache_prompt: false }) };
  }

  #end(running: Running, station: Station, end: LeaseEnd, matchedBlocks: number): void {
    const now = this.#now();
    const { ask, upstream, units } = running;
    const { principal } = ask.caller;
    if (--upstream.open === 0) upstream.progress.closed();
    upstream.breaker.probeEnded(running.probe);
    this.#settle(running, end, matchedBlocks, now);
    const isKnownToEnd = end.outcome === 'done' || end.outcome === 'unserved';
    const canLinger = upstream.kind === 'llama.cpp' && upstream.isHopeful && units > 0;
    if (isKnownToEnd || !canLinger || !Number.isFinite(station.capacity)) {
      this.#queue.release(station, principal, units);
      this.#refresh(now);
      this.#dispatch(now);
      return;
    }
    const pauseMs = ask.served() ? firstLookMs : nextLookMs;
    this.#draining.add({
      station,
      principal,
      units,
      since: now,
      lookAt: now + firstLookMs,
      pauseMs,
    });
    this.#drainTimer ??= setInterval(() => this.#drain(), drainMs);
  }

  /** Corrects what was charged to what it truly was, and learns from it. */
  #settle(running: Running, end: LeaseEnd, matchedBlocks: number, now: number): void {
    const { ask, upstream, chargedPrompt, since } = running;
    const { promptTokens, cachedTokens, completionTokens } = end.tokens;
    const output = completionTokens ?? ask.served() ?? running.output;
    const computed =
      promptTokens === undefined ? chargedPrompt : promptTokens - (cachedTokens ?? 0);
    const truth =
      end.outcome === 'unserved' || ask.units === 0 ? 0 : computed + output * outputWeight;
    this.#queue.charge(ask.caller.principal, truth - chargedPrompt - running.output * outputWeight);
    if (end.outcome !== 'done' || ask.units === 0) return;
    upstream.progress.moved(now);
    upstream.observe({
      serviceMs: now - since,
      firstByteMs: ask.served() === undefined ? undefined : end.firstByteMs,
      computedTokens: promptTokens === undefined ? undefined : computed,
      completionTokens: output,
    });
    if (promptTokens === undefined || ask.promptBytes === 0) return;
    this.#tokensPerByte = this.#tokensPerByte * 0.9 + (promptTokens / ask.promptBytes) * 0.1;
    if (cachedTokens === undefined || ask.chain === undefined) return;
    const tokensPerBlock = (blockBytes * promptTokens) / ask.promptBytes;
    upstream.index.learn(ask.chain, matchedBlocks, cachedTokens, tokensPerBlock);
  }

  /** Charges what has been streamed, looks after slots that should be free, and finds out who stands still. */
  #tick(): void {
    const now = this.#now();
    const begun = new Set<Upstream>();
    for (const running of this.#running) {
      const { ask, upstream, since } = running;
      if (ask.units === 0) continue;
      const served = ask.served();
      if (served !== undefined && served > 0) begun.add(upstream);
      const output = served ?? ((now - since) / 1000) * upstream.tokensPerSecond;
      if (output <= running.output) continue;
      if (served !== undefined) upstream.progress.moved(now);
      this.#queue.charge(ask.caller.principal, (output - running.output) * outputWeight);
      running.output = output;
    }
    for (const upstream of this.#upstreams) this.#watchProgress(upstream, begun.has(upstream), now);
    this.#refresh(now);
    this.#dispatch(now);
    this.#failHopeless();
    if (this.#running.size + this.#waiting.size > 0) return;
    clearInterval(this.#timer);
    this.#timer = undefined;
  }

  #keepTicking(): void {
    this.#timer ??= setInterval(() => this.#tick(), tickMs);
  }

  #watchProgress(upstream: Upstream, hasBegun: boolean, now: number): void {
    if (upstream.open === 0 && !upstream.isFull && !upstream.isStalled) return;
    const { progress } = upstream;
    const isSilent = now - (progress.silentSince ?? now) > nextLookMs;
    if (isSilent || upstream.reportsWaiting) this.#watches.get(upstream)?.askLoad(nextLookMs);
    const isStalled = progress.isStalled({
      openRequests: upstream.open,
      now,
      floorMs: this.#settings.stallTimeoutMs,
      factor: stallFactor,
      canJudge: hasBegun || progress.hasCounters,
    });
    if (isStalled === upstream.isStalled) return;
    upstream.isStalled = isStalled;
    const { id, settings } = upstream;
    if (isStalled)
      this.#log.error({ upstream: id, url: settings.url }, 'upstream makes no progress');
    else this.#log.info({ upstream: id }, 'upstream makes progress again');
  }

  /** Gives slots back whose engine did not say that they are idle in time, and asks it while there is time. */
  #drain(): void {
    const now = this.#now();
    for (const slot of this.#draining) {
      const upstream = this.#owners.get(slot.station);
      const watch = upstream && this.#watches.get(upstream);
      const isOver = now - slot.since >= this.#settings.slotReleaseTimeoutMs;
      if (isOver || watch === undefined || !upstream?.isHopeful) this.#giveBack(slot);
      else if (now >= slot.lookAt && watch.askLoad(firstLookMs)) {
        slot.lookAt = now + slot.pauseMs;
        slot.pauseMs = Math.min(slot.pauseMs * 2, nextLookMs);
      }
    }
    this.#refresh(now);
    this.#dispatch(now);
    if (this.#draining.size > 0) return;
    clearInterval(this.#drainTimer);
    this.#drainTimer = undefined;
  }

  #giveBack(slot: Draining): void {
    this.#draining.delete(slot);
    this.#queue.release(slot.station, slot.principal, slot.units);
  }

  #loaded(upstream: Upstream, load: EngineLoad, askedAt: number): void {
    const now = this.#now();
    upstream.progress.counters(load.progress, now);
    upstream.isFull = upstream.settings.slots === 'auto' && (load.waiting ?? 0) > 0;
    if (load.busySlots !== undefined) {
      // What was sent just now may not show yet: it must not make a slot look idle that is not.
      const settled = [...this.#running].filter(
        (running) => running.upstream === upstream && running.since < askedAt - visibleAfterMs,
      );
      const visible = settled.reduce((sum, { units }) => sum + units, 0);
      let lingering = Math.max(0, load.busySlots - visible);
      for (const slot of [...this.#draining].reverse()) {
        if (this.#owners.get(slot.station) !== upstream || slot.since > askedAt) continue;
        if (lingering > 0) lingering -= slot.units;
        else this.#giveBack(slot);
      }
    }
    this.#refresh(now);
    this.#dispatch(now);
  }

  #leave(pending: Pending, reason: unknown): void {
    if (!this.#waiting.delete(pending.ask)) return;
    this.#queue.leave(pending);
    this.#dispatch(this.#now());
    const isLate = reason instanceof GatewayError && reason.code === 'queue_timeout';
    const headers = this.#retryAfter(pending.group);
    pending.reject(isLate ? new GatewayError('queue_timeout', { headers }) : reason);
  }

  /** Ends the wait of those whose upstreams are all away: nothing would come of it. */
  #failHopeless(): void {
    if (this.#waiting.size === 0 || this.#upstreams.every((upstream) => upstream.isHopeful)) return;
    for (const pending of this.#waiting.values()) {
      const owners = pending.group.stations.map((station) => this.#owners.get(station));
      // One that can be tried at no cost, or is being tried, will show what is so.
      const isTried = pending.group.stations.some(({ isOpen }) => isOpen);
      const isProbed = owners.some((upstream) => upstream?.breaker.state === 'half-open');
      if (isTried || isProbed || owners.some((upstream) => upstream?.isHopeful)) continue;
      const soonest = Math.min(...owners.map((upstream) => upstream?.breaker.retryAt ?? 0));
      const waitMs = Math.max(0, soonest - this.#now());
      const headers = { 'retry-after': `${Math.max(1, Math.ceil(waitMs / 1000))}` };
      this.#leave(pending, new GatewayError('no_healthy_upstream', { headers }));
    }
  }

  /** How long it takes until a slot of the group is free again, in milliseconds. */
  #turnMs({ stations }: Group): number {
    const perMs = stations.map((station) => {
      const capacity = Number.isFinite(station.capacity) ? station.capacity : station.used || 1;
      return station.isOpen ? capacity / (this.#owners.get(station)?.serviceMs ?? 1) : 0;
    });
    return 1 / (perMs.reduce((sum, rate) => sum + rate, 0) || 1 / 1_000);
  }

  /** When a repeat has a chance: when those who wait now have had their turn. */
  #retryAfter(group: Group): Record<string, string> {
    const seconds = Math.ceil((this.#queue.size * this.#turnMs(group)) / 1000);
    return { 'retry-after': `${Math.min(longestRetryAfterSeconds, Math.max(1, seconds))}` };
  }
}

const noChain = new Uint32Array();
