/**
 * The upstreams and the right to use one. It brings the parts together: the fleet knows the upstreams, health whether
 * they may be used, admission who is next and where; here leases are given out, and slots come back.
 */
import { Admission, type Admitted, type AdmissionSettings } from './admission.ts';
import type { Job } from '../request/job.ts';
import type { Choice } from '../engines/catalog.ts';
import { Charges, type Lease, type LeaseEnd, type Running } from './charges.ts';
import { Drain } from './lingering.ts';
import type { EngineLoad } from '../engines/probe.ts';
import { Fleet, type FleetSettings } from '../engines/fleet.ts';
import { Health } from '../engines/health.ts';
import type { Log } from '../log/log.ts';
import { Placing } from './placing.ts';
import { Preflight, type PreflightRequest } from '../engines/contextcheck.ts';
import { mayRetry, RetryBudget, type RetryFailure, type RetryPolicy } from '../engines/retry.ts';
import type { Upstream } from '../engines/upstream.ts';
import { Watch } from '../engines/watch.ts';

export type { Edits, Lease, LeaseEnd } from './charges.ts';

/** What the pool goes by; a reload may change all of it. */
export interface PoolSettings extends FleetSettings, AdmissionSettings {
  retryPolicy: RetryPolicy;
  slotReleaseTimeoutMs: number;
  stallTimeoutMs: number;
  isolatePromptCache: 'on' | 'off';
  contextPreflight: 'on' | 'off';
}

const tickMs = 100;
const drainMs = 20;
/** What was sent before so long must show among an engine's busy slots. */
const visibleAfterMs = 10;

export class Pool {
  #settings: PoolSettings;
  #timer: ReturnType<typeof setInterval> | undefined;
  #drainTimer: ReturnType<typeof setInterval> | undefined;
  readonly #fleet = new Fleet();
  readonly #health: Health;
  readonly #charges: Charges;
  readonly #placing: Placing;
  readonly #admission: Admission<Lease>;
  readonly #drain: Drain<Running>;
  readonly #preflights = new WeakMap<Upstream, Preflight>();
  readonly #budget = new RetryBudget();
  readonly #now: () => number;

  constructor(options: { settings: PoolSettings; log: Log; now: () => number }) {
    const { settings, log, now } = options;
    this.#settings = settings;
    this.#now = now;
    this.#charges = new Charges({
      now,
      charge: (principal, tokens) => this.#admission.charge(principal, tokens),
      ended: (running, end, at) => this.#ended(running, end, at),
    });
    this.#placing = new Placing(this.#fleet, () => this.#charges.tokensPerByte);
    this.#admission = new Admission<Lease>({
      settings: () => this.#settings,
      fleet: this.#fleet,
      placing: this.#placing,
      start: (admitted, at) => this.#start(admitted, at),
      now,
    });
    this.#drain = new Drain<Running>({
      timeoutMs: () => this.#settings.slotReleaseTimeoutMs,
      askLoad: (upstream, pauseMs) => this.#health.askLoad(upstream, pauseMs),
      release: (running) => this.#release(running),
    });
    this.#health = new Health({
      fleet: this.#fleet,
      log,
      now,
      random: Math.random,
      watch: (watched) => new Watch(watched),
      changed: () => this.#changed(),
      loaded: (upstream, load, askedAt) => this.#loaded(upstream, load, askedAt),
    });
    this.reconfigure(settings);
  }

  get upstreams(): readonly Upstream[] {
    return this.#fleet.upstreams;
  }

  get queued(): number {
    return this.#admission.size;
  }

  /** Of prompts, as far as engines have told. */
  get tokensPerByte(): number {
    return this.#charges.tokensPerByte;
  }

  /** Begins to look after the upstreams; none gets a request before it was looked at. */
  start(): void {
    this.#health.start();
  }

  /** Takes new settings: what runs goes on, what waits may run elsewhere from now on. */
  reconfigure(settings: PoolSettings): void {
    this.#settings = settings;
    const { added, gone } = this.#fleet.replace(settings);
    for (const upstream of added) this.#health.add(upstream);
    for (const upstream of gone) this.#health.drop(upstream);
    this.#changed();
  }

  /** Whether a request has a chance. */
  isUsable(): boolean {
    return this.#fleet.isUsable;
  }

  /** Whether one engine is all there is, so that its own list of models is the truth. */
  get hasOneList(): boolean {
    return this.#fleet.hasOneList;
  }

  /** The models of all upstreams and their aliases, as one list. */
  models(): Uint8Array {
    return this.#fleet.models();
  }

  /** Says whether some upstream is known to serve a model under that name. */
  hasName(name: string): boolean {
    return this.#fleet.hasName(name);
  }

  /** Gives the model that a request gets, where that is known. Throws `model_not_found` and `model_required`. */
  modelOf(job: Job): string | undefined {
    return this.#fleet.resolve(job).model;
  }

  /** Whether prompts are looked at before they wait. */
  get isPreflighting(): boolean {
    return this.#settings.contextPreflight !== 'off';
  }

  /** Throws `context_length_exceeded` when an upstream's own tokenizer says that the prompt cannot fit. */
  async assertFits(
    job: Job,
    prompt: Omit<PreflightRequest, 'kind' | 'contextTokens' | 'promptBytes'>,
  ) {
    if (!this.isPreflighting || job.units === 0) return;
    const { upstreams } = this.#fleet.resolve(job);
    const upstream = this.upstreams.find(
      ({ id, state }) => upstreams.includes(id) && state === 'up',
    );
    if (upstream === undefined) return;
    let preflight = this.#preflights.get(upstream);
    if (preflight === undefined) {
      preflight = new Preflight({ post: (path, body) => this.#health.post(upstream, path, body) });
      this.#preflights.set(upstream, preflight);
    }
    const { kind, contextTokens } = upstream;
    await preflight.check({ ...prompt, kind, contextTokens, promptBytes: job.promptBytes });
  }

  /**
   * Gives the right to run: at once where it can, else once it is this request's turn. Fails with `model_not_found`,
   * `model_required`, `queue_full`, `no_healthy_upstream`, or with the signal's reason.
   * @param isAgain whether it was granted before and did not run, so that it has its place already
   */
  lease(job: Job, signal: AbortSignal, isAgain: boolean): Lease | Promise<Lease> {
    const choice = this.#fleet.resolve(job);
    signal.throwIfAborted();
    if (!isAgain) this.#budget.deposit();
    if (this.#fleet.hasSetAside()) this.#fleet.refresh(this.#now());
    const lease = this.#admission.enter(job, choice, { signal, isAgain });
    this.#timer ??= setInterval(() => this.#tick(), tickMs);
    return lease;
  }

  /** Says how long a request still has to wait; `undefined` when it does not wait in the queue. */
  report(job: Job): { place: number; waitSeconds: number } | undefined {
    return this.#admission.report(job);
  }

  /** Takes note that the upstream answered with that status. */
  answered(upstream: Upstream, status: number, job: Job): void {
    this.#health.answered(upstream, status, job);
  }

  /** Takes note that no connection could be made; `isQuick` when it was refused at once. */
  missed(upstream: Upstream, isQuick: boolean): void {
    this.#health.missed(upstream, isQuick);
  }

  /** Takes note that the connection broke before any byte of an answer. */
  wasReset(upstream: Upstream, job: Job): void {
    this.#health.wasReset(upstream, job);
  }

  /** Takes note that the engine is loading its model. */
  noteLoading(upstream: Upstream): void {
    this.#health.noteLoading(upstream);
  }

  /** Says whether what failed like this may be tried again; a yes costs the budget. */
  mayRetry(upstream: Upstream, failure: RetryFailure, job: Job): boolean {
    if (!mayRetry(this.#settings.retryPolicy, failure)) return false;
    if (failure === 'loading') return true;
    const { stations } = this.#fleet.groupOf(this.#fleet.resolve(job));
    const others = stations.map((station) => this.#fleet.ownerOf(station));
    const hasOther = others.some((other) => other !== upstream && other.isHopeful);
    return hasOther && this.#budget.tryTake(failure);
  }

  /** Finds out beside a request whether the upstream takes connections. */
  proveByConnecting(id: string, timeoutMs: number): void {
    const upstream = this.upstreams.find((known) => known.id === id);
    if (upstream) this.#health.proveByConnecting(upstream, timeoutMs);
  }

  close(): void {
    clearInterval(this.#timer);
    clearInterval(this.#drainTimer);
    this.#health.close();
  }

  #changed(): void {
    if (this.#fleet.renew()) this.#admission.regroup();
    this.#fleet.recall();
    this.#refreshAndDispatch(this.#now());
    this.#admission.failHopeless();
  }

  #refreshAndDispatch(now: number): void {
    this.#fleet.refresh(now);
    this.#admission.dispatch(now);
  }

  #start({ job, choice, station, units, spot }: Admitted, now: number): Lease {
    const upstream = this.#fleet.ownerOf(station);
    const probe = upstream.breaker.admitted(now);
    if (probe !== undefined) this.#fleet.refresh(now);
    if (upstream.open++ === 0) upstream.progress.opened(now);
    this.#placing.leave(job);
    const matchedBlocks = this.#placing.took(job, upstream, spot);
    const edits = this.#editsFor(job, choice, upstream);
    const model = choice.rewrite?.[upstream.id] ?? choice.model;
    const terms = { job, upstream, station, units, model, edits, matchedBlocks, probe };
    return this.#charges.begin(terms, now);
  }

  #editsFor({ units, caller, model: asked }: Job, choice: Choice, upstream: Upstream) {
    // Of a key that may not use every model: a body that names two must not mean another one to the engine.
    const checked = caller.models && asked;
    const model = choice.rewrite?.[upstream.id] ?? checked;
    const isIsolated =
      this.#settings.isolatePromptCache === 'on' && upstream.kind === 'llama.cpp' && units > 0;
    if (model === undefined && !isIsolated) return undefined;
    return { ...(model !== undefined && { model }), ...(isIsolated && { cache_prompt: false }) };
  }

  #ended(running: Running, end: LeaseEnd, now: number): void {
    const { job, upstream, station, units, probe } = running;
    if (--upstream.open === 0) upstream.progress.closed();
    upstream.breaker.probeEnded(probe);
    if (end.outcome !== 'unserved') this.#placing.ran(job, upstream);
    this.#charges.settle(running, end, now);
    const isKnownToEnd = end.outcome === 'done' || end.outcome === 'unserved';
    const canLinger = upstream.kind === 'llama.cpp' && upstream.isHopeful && units > 0;
    if (isKnownToEnd || !canLinger || !Number.isFinite(station.capacity)) {
      this.#release(running);
      // A probe that has ended may let the next one go.
      if (this.#admission.size > 0) this.#refreshAndDispatch(now);
      return;
    }
    this.#drain.add(running, job.served() !== undefined, now);
    this.#drainTimer ??= setInterval(() => this.#lookAtDraining(), drainMs);
  }

  #release({ station, units, job }: Running): void {
    this.#admission.release(station, job.caller.principal, units);
  }

  /** Charges what has been streamed, and finds out who stands still. */
  #tick(): void {
    const now = this.#now();
    const begun = this.#charges.stream(now);
    for (const upstream of this.upstreams) {
      this.#health.judgeProgress(upstream, begun.has(upstream), this.#settings.stallTimeoutMs);
    }
    this.#refreshAndDispatch(now);
    this.#admission.failHopeless();
    if (this.#charges.size + this.#admission.size > 0) return;
    clearInterval(this.#timer);
    this.#timer = undefined;
  }

  #lookAtDraining(): void {
    const now = this.#now();
    this.#drain.look(now);
    this.#refreshAndDispatch(now);
    if (this.#drain.size > 0) return;
    clearInterval(this.#drainTimer);
    this.#drainTimer = undefined;
  }

  #loaded(upstream: Upstream, load: EngineLoad, askedAt: number): void {
    if (load.busySlots !== undefined) {
      // What was sent just now may not show yet: it must not make a slot look idle that is not.
      const visible = this.#charges.unitsAt(upstream, askedAt - visibleAfterMs);
      this.#drain.loaded(upstream, Math.max(0, load.busySlots - visible), askedAt);
    }
    this.#refreshAndDispatch(this.#now());
  }
}
