/**
 * The right to use an upstream. The fleet knows the upstreams, health whether they may be used, admission which job is
 * next and where; here leases are given out, charged while they run, and their slots come back.
 */
import { Admission, type AdmissionSettings } from './admission.ts';
import { Charges } from './charges.ts';
import { Lease, type Edits, type LeaseEnd } from './lease.ts';
import { Lingering } from './lingering.ts';
import { Pauses } from '../request/pauses.ts';
import { Placing } from './placing.ts';
import type { ShareStore } from './sharestore.ts';
import type { SlotBroker } from './slotbroker.ts';
import type { Grant } from './waiter.ts';
import type { Report, Wait } from './waits.ts';
import type { Choice } from '../engines/catalog.ts';
import { modelFor, type Fleet } from '../engines/fleet.ts';
import type { Health } from '../engines/health.ts';
import type { EngineLoad } from '../engines/load.ts';
import type { Retries } from '../engines/retry.ts';
import type { Upstream } from '../engines/upstream.ts';
import type { Job } from '../request/job.ts';
import type { SetTimer } from '../request/timer.ts';

/** What the pool goes by; a reload may change all of it. */
export interface PoolSettings extends AdmissionSettings {
  slotReleaseTimeoutMs: number;
  stallTimeoutMs: number;
  isolatePromptCache: 'on' | 'off';
}

export interface PoolOptions {
  settings(): PoolSettings;
  fleet: Fleet;
  health: Pick<Health, 'askLoad' | 'judged' | 'judgeProgress'>;
  retries: Pick<Retries, 'counted'>;
  broker: SlotBroker;
  shares: ShareStore;
  now(): number;
  /** Calls back again and again until that is called off. */
  repeat: SetTimer;
}

const tickMs = 100;
const lingerMs = 20;
/** What was sent before so long must show among an engine's busy slots. */
const visibleAfterMs = 10;

export class Pool {
  #cancelTick: (() => void) | undefined;
  #cancelLooks: (() => void) | undefined;
  readonly #options: PoolOptions;
  readonly #charges: Charges;
  readonly #placing: Placing;
  readonly #admission: Admission;
  readonly #lingering: Lingering<Lease>;
  readonly #pauses = new Pauses(tickMs);
  readonly #lingerPauses = new Pauses(lingerMs);
  readonly #ended = (lease: Lease, end: LeaseEnd) => this.#end(lease, end);

  constructor(options: PoolOptions) {
    this.#options = options;
    const { settings, fleet, health, broker, shares, now } = options;
    this.#charges = new Charges({
      charge: (lease, tokens) => this.#admission.charge(lease, tokens),
    });
    this.#placing = new Placing(fleet, () => this.#charges.tokensPerByte);
    this.#admission = new Admission({
      settings,
      fleet,
      placing: this.#placing,
      broker,
      shares,
      start: (grant, at) => this.#start(grant, at),
      now,
    });
    this.#lingering = new Lingering<Lease>({
      timeoutMs: () => settings().slotReleaseTimeoutMs,
      askLoad: (upstream, pauseMs) => health.askLoad(upstream, pauseMs),
      release: (lease) => this.#admission.release(lease),
    });
    broker.onChange(() => this.#refreshAndDispatch(now()));
  }

  /** How many jobs wait. */
  get queued(): number {
    return this.#admission.size;
  }

  /** Of prompts, as far as engines have reported them. */
  get tokensPerByte(): number {
    return this.#charges.tokensPerByte;
  }

  /**
   * Returns the right to run: at once when it can, else once it is this job's turn. Fails with `model_not_found`,
   * `model_required`, `queue_full`, `no_healthy_upstream`, or with the signal's reason.
   * @param isAgain whether it was granted before and did not run, so that it has its place already
   */
  lease(job: Job, signal: AbortSignal, isAgain: boolean): Lease | Promise<Lease> {
    const { fleet, retries, now, repeat } = this.#options;
    const choice = fleet.resolve(job);
    signal.throwIfAborted();
    if (!isAgain) retries.counted();
    if (fleet.hasSetAside()) fleet.refresh(now());
    const lease = this.#admission.enter(job, choice, { signal, isAgain });
    if (this.#cancelTick === undefined) {
      this.#pauses.begin(now());
      this.#cancelTick = repeat(() => this.#tick(), tickMs);
    }
    return lease;
  }

  /** Returns how long a job still has to wait, and for what; `undefined` when it does not wait in the queue. */
  report(job: Job): Report | undefined {
    return this.#admission.report(job);
  }

  /** Returns what all that wait are waiting for, by the ids of their jobs. */
  waits(): Map<string, Wait> {
    return this.#admission.waits();
  }

  /** Something that decides about admission may have changed: what waits may run elsewhere from now on, or nowhere. */
  changed(): void {
    const { fleet, now } = this.#options;
    if (fleet.renew()) this.#admission.regroup();
    fleet.recall();
    this.#refreshAndDispatch(now());
    this.#admission.failHopeless();
  }

  /** Takes what an engine says of its load; `askedAt` is when it was asked. */
  loaded(upstream: Upstream, load: EngineLoad, askedAt: number): void {
    const { broker, now } = this.#options;
    if (load.busySlots !== undefined) {
      // What was sent just now may not show yet: it must not make a slot look idle that is not.
      const visible = this.#charges.unitsAt(upstream, askedAt - visibleAfterMs);
      const others = visible + broker.usedElsewhere(upstream);
      this.#lingering.loaded(upstream, Math.max(0, load.busySlots - others), askedAt);
    }
    this.#refreshAndDispatch(now());
  }

  close(): void | Promise<void> {
    this.#cancelTick?.();
    this.#cancelLooks?.();
    return this.#options.broker.close();
  }

  #refreshAndDispatch(now: number): void {
    this.#options.fleet.refresh(now);
    this.#admission.dispatch(now);
  }

  #start({ waiter, slots, units }: Grant, now: number): Lease {
    const { fleet } = this.#options;
    const { job, choice, spot } = waiter;
    const upstream = fleet.ownerOf(slots);
    const probe = upstream.breaker.admitted(now);
    if (probe !== undefined) fleet.refresh(now);
    upstream.opened(now);
    this.#placing.leave(job);
    const lease = new Lease({
      job,
      upstream,
      slots,
      units,
      model: choice.rewrite?.[upstream.id] ?? choice.model,
      edits: this.#editsFor(job, choice, upstream),
      matchedBlocks: this.#placing.took(job, upstream, spot),
      probe,
      since: now,
      connection: upstream.connect(now),
      ended: this.#ended,
    });
    this.#charges.begin(lease);
    return lease;
  }

  #editsFor(job: Job, choice: Choice, upstream: Upstream): Edits | undefined {
    const model = modelFor(job, choice, upstream);
    const isWanted = this.#options.settings().isolatePromptCache === 'on';
    const isIsolated = isWanted && upstream.kind === 'llama.cpp' && job.units > 0;
    if (model === undefined && !isIsolated) return undefined;
    return { ...(model !== undefined && { model }), ...(isIsolated && { cache_prompt: false }) };
  }

  #end(lease: Lease, end: LeaseEnd): void {
    const { health, now: clock } = this.#options;
    const now = clock();
    const { job, upstream, slots, units, probe } = lease;
    upstream.closed();
    // A probe must still be known as one.
    if (end.verdict !== undefined) health.judged(upstream, end.verdict, job);
    upstream.breaker.probeEnded(probe);
    if (end.outcome !== 'unserved') this.#placing.ran(job, upstream);
    this.#charges.settle(lease, end, now);
    const isKnownToEnd = end.outcome === 'done' || end.outcome === 'unserved';
    const canLinger = upstream.kind === 'llama.cpp' && upstream.isHopeful && units > 0;
    if (isKnownToEnd || !canLinger || !Number.isFinite(slots.capacity)) {
      this.#admission.release(lease);
      // A probe that has ended may let the next one go.
      if (this.#admission.size > 0) this.#refreshAndDispatch(now);
      return;
    }
    this.#lingering.add(lease, job.served() !== undefined, now);
    if (this.#cancelLooks !== undefined) return;
    this.#lingerPauses.begin(now);
    this.#cancelLooks = this.#options.repeat(() => this.#lookAtLingering(), lingerMs);
  }

  /** Charges what was streamed, and finds out at which upstreams requests stand still. */
  #tick(): void {
    const { fleet, health, settings, now } = this.#options;
    const at = now();
    const begun = this.#charges.stream(at);
    const lostMs = this.#pauses.beat(at);
    for (const upstream of fleet.upstreams) {
      if (lostMs > 0) upstream.progress.paused(lostMs, at);
      if (this.#pauses.mayJudge)
        health.judgeProgress(upstream, begun.has(upstream), settings().stallTimeoutMs);
    }
    this.#refreshAndDispatch(at);
    this.#admission.failHopeless();
    if (this.#charges.size + this.#admission.size > 0) return;
    this.#cancelTick?.();
    this.#cancelTick = undefined;
  }

  #lookAtLingering(): void {
    const now = this.#options.now();
    const lostMs = this.#lingerPauses.beat(now);
    if (lostMs > 0) this.#lingering.paused(lostMs, now);
    if (this.#lingerPauses.mayJudge) this.#lingering.look(now);
    this.#refreshAndDispatch(now);
    if (this.#lingering.size > 0) return;
    this.#cancelLooks?.();
    this.#cancelLooks = undefined;
  }
}
