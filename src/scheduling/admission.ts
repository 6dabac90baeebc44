/**
 * Who gets the right to run, and when: at once where nobody waits and a slot is free, else in the queue's order and on
 * the upstream that affinity says. It opens no connection, and learns nothing of what came of a grant.
 */
import type { Job } from '../request/job.ts';
import type { Choice } from '../engines/catalog.ts';
import { GatewayError } from '../wire/errors.ts';
import type { Fleet } from '../engines/fleet.ts';
import type { Placing, Spot } from './placing.ts';
import { Queue, type Group, type Station, type Waiter } from './queue.ts';
import { canRun } from '../engines/slots.ts';
import type { Upstream } from '../engines/upstream.ts';

/** The right to run: `units` have been taken of the station. */
export interface Admitted {
  readonly job: Job;
  readonly choice: Choice;
  readonly station: Station;
  readonly units: number;
  /** Where it was placed; `undefined` where there was nothing to choose. */
  readonly spot: Spot | undefined;
}

export interface AdmissionSettings {
  maxSlotsPerCaller: number;
  maxQueuedRequests: number;
  maxQueuedPerCaller: number;
  maxQueuedBytes: number;
}

export interface AdmissionOptions<T> {
  settings(): AdmissionSettings;
  fleet: Fleet;
  placing: Placing;
  /** Starts what was admitted. */
  start(admitted: Admitted, now: number): T;
  now(): number;
}

/** A request in the queue. */
interface Pending<T> extends Waiter {
  group: Group;
  readonly job: Job;
  choice: Choice;
  /** Where it was placed last. */
  spot: Spot | undefined;
  readonly resolve: (started: T) => void;
  readonly reject: (error: unknown) => void;
}

const longestRetryAfterSeconds = 600;

export class Admission<T> {
  readonly #queue: Queue<Pending<T>>;
  readonly #waiting = new Map<Job, Pending<T>>();
  readonly #options: AdmissionOptions<T>;

  constructor(options: AdmissionOptions<T>) {
    this.#options = options;
    this.#queue = new Queue<Pending<T>>({
      limits: () => {
        const { maxQueuedRequests, maxQueuedPerCaller, maxQueuedBytes } = options.settings();
        return {
          maxWaiters: maxQueuedRequests,
          maxWaitersPerCaller: maxQueuedPerCaller,
          maxBytes: maxQueuedBytes,
        };
      },
      choose: (pending, free, now) => this.#choose(pending, free, now),
    });
  }

  /** How many requests wait. */
  get size(): number {
    return this.#queue.size;
  }

  /**
   * Starts the request once it is its turn: before it returns where that is now. Throws `queue_full`; rejects with
   * `no_healthy_upstream` or the signal's reason.
   * @param isAgain whether it was admitted before and did not run, so that it has its place already
   */
  enter(
    job: Job,
    choice: Choice,
    { signal, isAgain }: { signal: AbortSignal; isAgain: boolean },
  ): T | Promise<T> {
    const now = this.#options.now();
    const atOnce = this.#admitAtOnce(job, choice, now);
    if (atOnce !== undefined) return this.#options.start(atOnce, now);
    const { promise, resolve, reject } = Promise.withResolvers<T>();
    const { caller, priority, units, bytes } = job;
    const pending: Pending<T> = {
      job,
      choice,
      spot: undefined,
      group: this.#options.fleet.groupOf(choice),
      resolve,
      reject,
      principal: caller.principal,
      weight: caller.weight,
      maxUnits: this.#maxUnits,
      priority,
      units,
      bytes,
      enteredAt: now,
    };
    if (!this.#queue.enter(pending, isAgain)) {
      this.#options.placing.leave(job);
      throw new GatewayError('queue_full', { headers: this.#retryAfter(pending.group) });
    }
    this.#waiting.set(job, pending);
    this.dispatch(now);
    if (this.#waiting.has(job)) {
      signal.addEventListener('abort', () => this.#leave(pending, signal.reason), { once: true });
      this.failHopeless();
    }
    return promise;
  }

  /** Says how long a request still has to wait; `undefined` when it does not. */
  report(job: Job): { place: number; waitSeconds: number } | undefined {
    const pending = this.#waiting.get(job);
    if (pending === undefined) return undefined;
    const place = this.#queue.place(pending);
    return { place, waitSeconds: (place * this.#turnMs(pending.group)) / 1000 };
  }

  /** Starts all that can run now. */
  dispatch(now: number): void {
    if (this.#queue.size === 0) return;
    this.#queue.dispatch(now, ({ waiter, station, units }) => {
      const { job, choice, spot, resolve } = waiter;
      this.#waiting.delete(job);
      resolve(this.#options.start({ job, choice, station, units, spot }, now));
    });
  }

  /** Gives back what was taken; exactly once for each that was admitted. A `dispatch` must follow. */
  release(station: Station, principal: string, units: number): void {
    this.#queue.release(station, principal, units);
  }

  /** Counts weighted tokens that were served to a caller. */
  charge(principal: string, tokens: number): void {
    this.#queue.charge(principal, tokens);
  }

  /** Gives all that wait their place among other upstreams; who has none any more is told so. */
  regroup(): void {
    const { fleet } = this.#options;
    const lost: [Pending<T>, unknown][] = [];
    this.#queue.regroup((pending) => {
      try {
        pending.choice = fleet.resolve(pending.job);
        return fleet.groupOf(pending.choice);
      } catch (error) {
        lost.push([pending, error]);
        return pending.group;
      }
    });
    for (const [pending, error] of lost) this.#leave(pending, error);
  }

  /** Ends the wait of those whose upstreams are all away: nothing would come of it. */
  failHopeless(): void {
    const { fleet, now } = this.#options;
    if (this.#waiting.size === 0 || fleet.upstreams.every(({ isHopeful }) => isHopeful)) return;
    for (const pending of this.#waiting.values()) {
      const { stations } = pending.group;
      const owners = stations.map((station) => fleet.ownerOf(station));
      // One that can be tried at no cost, is being tried, or looked at for the first time, will show what is so.
      const isTried =
        stations.some(({ isOpen }) => isOpen) ||
        owners.some((owner) => isProbed(owner) || !owner.isSighted);
      if (isTried || owners.some(({ isHopeful }) => isHopeful)) continue;
      const soonest = Math.min(...owners.map(({ breaker }) => breaker.retryAt));
      const seconds = Math.max(1, Math.ceil((soonest - now()) / 1000));
      const headers = { 'retry-after': `${seconds}` };
      this.#leave(pending, new GatewayError('no_healthy_upstream', { headers }));
    }
  }

  get #maxUnits(): number {
    return this.#options.settings().maxSlotsPerCaller || Number.POSITIVE_INFINITY;
  }

  /** Admits without the queue where nobody waits and a slot is free: the common case, and it costs least. */
  #admitAtOnce(job: Job, choice: Choice, now: number): Admitted | undefined {
    if (this.#queue.size > 0) return undefined;
    const { fleet, placing } = this.#options;
    const { stations } = fleet.groupOf(choice);
    const { caller, units } = job;
    let spot: Spot | undefined;
    let [station] = stations;
    if (stations.length > 1) {
      const free = stations.filter((each) => canRun(each, units));
      if (units > 0 && free.length > 0) spot = placing.choose(job, stations, free, now);
      station = units > 0 ? spot?.station : free[0];
    }
    if (station === undefined) return undefined;
    const { principal, weight } = caller;
    const claim = { principal, weight, units, maxUnits: this.#maxUnits };
    const taken = this.#queue.admit(claim, station);
    return taken === undefined ? undefined : { job, choice, station, units: taken, spot };
  }

  #choose(pending: Pending<T>, free: readonly Station[], now: number): Station | undefined {
    const { job, group, units } = pending;
    if (units === 0 || group.stations.length === 1) return free[0];
    pending.spot = this.#options.placing.choose(job, group.stations, free, now);
    return pending.spot?.station;
  }

  #leave(pending: Pending<T>, reason: unknown): void {
    if (!this.#waiting.delete(pending.job)) return;
    this.#queue.leave(pending);
    this.#options.placing.leave(pending.job);
    this.dispatch(this.#options.now());
    const isLate = reason instanceof GatewayError && reason.code === 'queue_timeout';
    const headers = this.#retryAfter(pending.group);
    pending.reject(isLate ? new GatewayError('queue_timeout', { headers }) : reason);
  }

  /** How long it takes until a slot of the group is free again, in milliseconds. */
  #turnMs({ stations }: Group): number {
    const perMs = stations.map((station) => {
      const capacity = Number.isFinite(station.capacity) ? station.capacity : station.used || 1;
      return station.isOpen ? capacity / this.#options.fleet.ownerOf(station).serviceMs : 0;
    });
    return 1 / (perMs.reduce((sum, rate) => sum + rate, 0) || 1 / 1_000);
  }

  /** When a repeat has a chance: when those who wait now have had their turn. */
  #retryAfter(group: Group): Record<string, string> {
    const seconds = Math.ceil((this.#queue.size * this.#turnMs(group)) / 1000);
    return { 'retry-after': `${Math.min(longestRetryAfterSeconds, Math.max(1, seconds))}` };
  }
}

function isProbed({ breaker }: Upstream): boolean {
  return breaker.state === 'half-open';
}
