/**
 * Which job gets the right to run, and when: at once when nothing waits and a slot is free, else in the queue's order and
 * on the upstream that affinity says. It opens no connection, and learns nothing of what came of a grant.
 */
import type { Lease } from './lease.ts';
import type { Placing, Spot } from './placing.ts';
import { Queue } from './queue.ts';
import type { ShareStore } from './sharestore.ts';
import type { SlotBroker } from './slotbroker.ts';
import { Waiter, type Grant } from './waiter.ts';
import { heldBy, ownReason, type Report, type Wait } from './waits.ts';
import type { Choice } from '../engines/catalog.ts';
import type { Fleet } from '../engines/fleet.ts';
import type { SlotGroup, SlotSet } from '../engines/slots.ts';
import type { Upstream } from '../engines/upstream.ts';
import type { Job } from '../request/job.ts';
import { GatewayError } from '../wire/errors.ts';

export interface AdmissionSettings {
  maxSlotsPerCaller: number;
  maxQueuedRequests: number;
  maxQueuedPerCaller: number;
  maxQueuedBytes: number;
  queueTimeoutMs: number;
}

export interface AdmissionOptions {
  settings(): AdmissionSettings;
  fleet: Fleet;
  placing: Placing;
  broker: SlotBroker;
  shares: ShareStore;
  /** Makes the lease of a grant. */
  start(grant: Grant, now: number): Lease;
  now(): number;
}

const longestRetryAfterSeconds = 600;
/** What a turn takes where no slot is open. */
const unknownTurnMs = 1_000;

export class Admission {
  readonly #queue: Queue;
  readonly #waiters = new Map<Job, Waiter>();
  readonly #options: AdmissionOptions;

  constructor(options: AdmissionOptions) {
    this.#options = options;
    const { broker, shares } = options;
    this.#queue = new Queue({
      limits: () => {
        const { maxQueuedRequests, maxQueuedPerCaller, maxQueuedBytes } = options.settings();
        return {
          maxWaiters: maxQueuedRequests,
          maxWaitersPerCaller: maxQueuedPerCaller,
          maxBytes: maxQueuedBytes,
        };
      },
      choose: (waiter, free, now) => this.#choose(waiter, free, now),
      broker,
      shares,
    });
  }

  /** How many jobs wait. */
  get size(): number {
    return this.#queue.size;
  }

  /**
   * Returns the lease of a job once it is its turn: before it returns when that is now. Throws `queue_full`; rejects with
   * `no_healthy_upstream` or the signal's reason.
   * @param isAgain whether it was granted before and did not run, so that it has its place already
   */
  enter(
    job: Job,
    choice: Choice,
    { signal, isAgain }: { signal: AbortSignal; isAgain: boolean },
  ): Lease | Promise<Lease> {
    const { fleet, placing, settings, now, start } = this.#options;
    const at = now();
    const maxUnits = settings().maxSlotsPerCaller || Number.POSITIVE_INFINITY;
    const waiter = new Waiter(job, choice, fleet.groupOf(choice), maxUnits);
    const atOnce = this.#grantAtOnce(waiter, at);
    if (atOnce !== undefined) return start(atOnce, at);
    waiter.promised = Promise.withResolvers<Lease>();
    if (!this.#queue.enter(waiter, isAgain)) {
      placing.leave(job);
      throw this.#queueFull(waiter);
    }
    this.#waiters.set(job, waiter);
    this.dispatch(at);
    if (this.#waiters.has(job)) {
      signal.addEventListener('abort', () => this.#leave(waiter, signal.reason), { once: true });
      this.failHopeless();
    }
    return waiter.promised.promise;
  }

  /** Returns how long a job still has to wait, and for what; `undefined` when it does not wait. */
  report(job: Job): Report | undefined {
    const waiter = this.#waiters.get(job);
    return waiter && this.#reportOn(waiter);
  }

  /** Returns what all that wait are waiting for, by the ids of their jobs. */
  waits(): Map<string, Wait> {
    const waits = new Map<string, Wait>();
    for (const waiter of this.#waiters.values()) {
      const { job, group, share } = waiter;
      const report = this.#reportOn(waiter);
      const ahead = this.#queue.places.before(waiter).map((other) => ({
        name: other.job.caller.name,
        principal: other.job.caller.principal,
        servedLess: Math.max(0, Math.round(share.counter - other.share.counter)),
      }));
      waits.set(job.id, { ...report, slots: group.slotSets.map(({ id }) => id), ahead });
    }
    return waits;
  }

  #reportOn(waiter: Waiter): Report {
    const { job, maxUnits, share } = waiter;
    const place = this.#queue.place(waiter, this.#options.now());
    return {
      place,
      waitSeconds: (place * this.#turnMs(waiter.group)) / 1000,
      held: heldBy(waiter),
      units: job.units,
      maxUnits,
      running: share.holder.running,
    };
  }

  /** Starts all that can run now. */
  dispatch(now: number): void {
    if (this.#queue.size === 0) return;
    this.#queue.dispatch(now, (grant) => {
      const { waiter } = grant;
      this.#waiters.delete(waiter.job);
      waiter.promised?.resolve(this.#options.start(grant, now));
    });
  }

  /** Takes back the slots of a lease; exactly once for each. A `dispatch` must follow. */
  release({ slots, job, units }: Pick<Lease, 'slots' | 'job' | 'units'>): void {
    this.#queue.release(slots, job.caller.principal, units);
  }

  /** Counts weighted tokens that were served to the caller of a lease. */
  charge({ slots, job }: Pick<Lease, 'slots' | 'job'>, tokens: number): void {
    this.#queue.charge(slots, job.caller.principal, job.priority, tokens);
  }

  /** Moves all that wait to what may run them now; a job that nothing may run any more fails. */
  regroup(): void {
    const { fleet } = this.#options;
    const lost: [Waiter, unknown][] = [];
    this.#queue.regroup(fleet.domains, (waiter) => {
      try {
        waiter.choice = fleet.resolve(waiter.job);
        return fleet.groupOf(waiter.choice);
      } catch (error) {
        lost.push([waiter, error]);
        return waiter.group;
      }
    });
    for (const [waiter, error] of lost) this.#leave(waiter, error);
  }

  /** Ends the wait of jobs whose upstreams are all away: nothing would come of it. */
  failHopeless(): void {
    const { fleet, now } = this.#options;
    if (this.#waiters.size === 0 || fleet.upstreams.every(({ isHopeful }) => isHopeful)) return;
    for (const waiter of this.#waiters.values()) {
      const { slotSets } = waiter.group;
      const owners = slotSets.map((slots) => fleet.ownerOf(slots));
      // One that can be tried at no cost, is being tried, or is looked at for the first time, will show what is so.
      const isTried =
        slotSets.some(({ isOpen }) => isOpen) ||
        owners.some((owner) => isProbed(owner) || !owner.isSighted);
      if (isTried || owners.some(({ isHopeful }) => isHopeful)) continue;
      const soonest = Math.min(...owners.map(({ breaker }) => breaker.retryAt));
      const seconds = Math.max(1, Math.ceil((soonest - now()) / 1000));
      const message = `No inference server that can answer this request is available. Retry in ${seconds} s.`;
      const headers = { 'retry-after': `${seconds}` };
      this.#leave(waiter, new GatewayError('no_healthy_upstream', { message, headers }));
    }
  }

  /** Grants without the queue when nothing waits and a slot is free: the common case, and it costs least. */
  #grantAtOnce(waiter: Waiter, now: number): Grant | undefined {
    if (this.#queue.size > 0) return undefined;
    const { job, group } = waiter;
    const { slotSets } = group;
    const { units } = job;
    let spot: Spot | undefined;
    let [slots] = slotSets;
    if (slotSets.length > 1) {
      const free = slotSets.filter((each) => this.#queue.fits(each, units));
      if (units > 0 && free.length > 0) {
        spot = this.#options.placing.choose(job, slotSets, free, now);
      }
      slots = units > 0 ? spot?.slots : free[0];
    }
    if (slots === undefined) return undefined;
    const taken = this.#queue.admit(waiter, slots);
    if (taken === undefined) return undefined;
    waiter.spot = spot;
    return { waiter, slots, units: taken };
  }

  #choose(waiter: Waiter, free: readonly SlotSet[], now: number): SlotSet | undefined {
    const { job, group } = waiter;
    if (job.units === 0 || group.slotSets.length === 1) return free[0];
    waiter.spot = this.#options.placing.choose(job, group.slotSets, free, now);
    return waiter.spot?.slots;
  }

  #leave(waiter: Waiter, reason: unknown): void {
    if (!this.#waiters.has(waiter.job)) return;
    const isLate = reason instanceof GatewayError && reason.code === 'queue_timeout';
    const failure = isLate ? this.#queueTimeout(waiter) : reason;
    this.#waiters.delete(waiter.job);
    this.#queue.leave(waiter);
    this.#options.placing.leave(waiter.job);
    this.dispatch(this.#options.now());
    waiter.promised?.reject(failure);
  }

  /**
   * Returns how long it takes until one of those that compete for the slots of the group is granted, in milliseconds: until
   * any slot that they may run on is free again.
   */
  #turnMs({ slotSets }: SlotGroup): number {
    const { fleet } = this.#options;
    let perMs = 0;
    for (const slots of this.#queue.places.contested(slotSets)) {
      const capacity = Number.isFinite(slots.capacity) ? slots.capacity : slots.used || 1;
      if (slots.isOpen) perMs += capacity / fleet.ownerOf(slots).speed.serviceMs;
    }
    return perMs > 0 ? 1 / perMs : unknownTurnMs;
  }

  /** Returns in how many seconds a repeat has a chance: when that many of those that wait have had their turn. */
  #retrySeconds(waiting: number, group: SlotGroup): number {
    const seconds = Math.ceil((waiting * this.#turnMs(group)) / 1000);
    return Math.min(longestRetryAfterSeconds, Math.max(1, seconds));
  }

  #competing({ slotSets }: SlotGroup): number {
    return this.#queue.places.competing(slotSets, this.#options.now());
  }

  #queueFull({ job, group }: Waiter): GatewayError {
    const { maxQueuedRequests, maxQueuedPerCaller, maxQueuedBytes } = this.#options.settings();
    const waiting = `${this.#queue.size} requests wait (at most ${maxQueuedRequests})`;
    const own = `${this.#queue.waiting(job.caller.principal)} of this caller (at most ${maxQueuedPerCaller})`;
    const competing = this.#competing(group);
    const bytes = `all their bodies together may have ${maxQueuedBytes} bytes`;
    const seconds = this.#retrySeconds(competing, group);
    return new GatewayError('queue_full', {
      message: `The queue has no room for this request: ${waiting}, ${own}, and ${bytes}. Retry in ${seconds} s.`,
      headers: { 'retry-after': `${seconds}`, 'x-gateway-queue-place': `${competing + 1}` },
    });
  }

  #queueTimeout(waiter: Waiter): GatewayError {
    const { group } = waiter;
    // It leaves the queue.
    const seconds = this.#retrySeconds(this.#competing(group) - 1, group);
    const { queueTimeoutMs } = this.#options.settings();
    const report = this.#reportOn(waiter);
    const { place } = report;
    return new GatewayError('queue_timeout', {
      message: `It was not this request's turn within ${queueTimeoutMs} ms (QUEUE_TIMEOUT_MS): place ${place}${ownReason(report)}. Retry in ${seconds} s.`,
      headers: { 'retry-after': `${seconds}`, 'x-gateway-queue-place': `${place}` },
    });
  }
}

function isProbed({ breaker }: Upstream): boolean {
  return breaker.state === 'half-open';
}
