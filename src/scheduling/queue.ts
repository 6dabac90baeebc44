/**
 * Who runs next: jobs wait here for slots, and callers that wait get engine time in proportion to their weight, counted
 * in tokens ("Fairness in Serving Large Language Models", OSDI 2024: virtual token counters). It decides only: it has no
 * clock, no timer and no promise, and starts nothing.
 *
 * In each domain of engines a caller has one counter for each class: the tokens served to it there, divided by its weight.
 * The caller with the lowest is next. A caller that comes back is lifted to those that wait, so that idling banks nothing,
 * while overuse is remembered.
 */
import { Bag } from '../request/bag.ts';
import { isBelowCap, Lanes, wasPassedOver } from './lanes.ts';
import { Places } from './places.ts';
import { Reservations } from './reservations.ts';
import type { ShareStore } from './sharestore.ts';
import type { SlotBroker } from './slotbroker.ts';
import { nextTurn, passedOverBy } from './turn.ts';
import { domainOf, headOf, type Grant, type Share, type Waiter } from './waiter.ts';
import { canRun, type SlotGroup, type SlotSet, type Succession } from '../engines/slots.ts';
import type { Priority } from '../request/caller.ts';

/** How many jobs may wait, and how many bytes of them. */
export interface QueueLimits {
  maxWaiters: number;
  maxWaitersPerCaller: number;
  maxBytes: number;
}

export interface QueueOptions {
  limits: () => QueueLimits;
  /** Picks one of `free`, or `undefined` to hold the waiter for slots that are busy. */
  choose: (waiter: Waiter, free: readonly SlotSet[], now: number) => SlotSet | undefined;
  broker: SlotBroker;
  shares: ShareStore;
}

/** Waiters of a group that one dispatch holds before it leaves the others for the next. */
const maxHeld = 16;

/** What one dispatch has put aside. */
interface Held {
  readonly waiters: Waiter[];
  readonly counts: Map<SlotGroup, number>;
}

/**
 * The admission queue. Capacities and `isOpen` of slots, and what the broker holds of them, change from outside at any
 * time; a `dispatch` must follow that, and every `enter` and `release`. A decision takes O(log n) of those that wait,
 * times the groups and the sizes of jobs that there are.
 */
export class Queue {
  readonly #options: QueueOptions;
  readonly #waiters = new Bag<Waiter>();
  readonly #broker: SlotBroker;
  readonly #shares: ShareStore;
  readonly #lanes = new Lanes();
  readonly places = new Places(this.#lanes);
  readonly #reserved: Reservations;
  /** A waiter let in although the queue is full, because it can start now; it must never be held. */
  #extra: Waiter | undefined;
  #bytes = 0;
  #order = 0;
  #orderOfReturned = Number.MIN_SAFE_INTEGER;

  constructor(options: QueueOptions) {
    this.#options = options;
    this.#broker = options.broker;
    this.#shares = options.shares;
    this.#reserved = new Reservations(options.broker);
  }

  get size(): number {
    return this.#waiters.size;
  }

  get bytes(): number {
    return this.#bytes;
  }

  /** Returns how many jobs of that caller wait. */
  waiting(principal: string): number {
    return this.#shares.holder(principal)?.waiting ?? 0;
  }

  /** Returns whether a job of so many units fits there now, whatever waits. */
  fits(slots: SlotSet, units: number): boolean {
    return canRun(slots, units, this.#broker.held(slots));
  }

  /**
   * Takes the units of those slots when nothing waits and they are free: what `enter` and `dispatch` would do then.
   * @returns the units taken; `undefined` when the job must wait
   */
  admit(waiter: Waiter, slots: SlotSet): number | undefined {
    const { units, caller, priority } = waiter.job;
    if (this.size > 0 || !this.fits(slots, units)) return undefined;
    if (units === 0) return 0;
    const running = this.#shares.holder(caller.principal)?.running ?? 0;
    if (!isBelowCap(running, waiter)) return undefined;
    const share = this.#shares.open(slots.domain, priority, caller.principal, caller.weight);
    this.#shares.lift(share, Number.POSITIVE_INFINITY);
    return this.#take(share, slots, units);
  }

  /**
   * Puts a waiter in; returns `false` when the queue is full and it cannot start at once either.
   * @param atHead whether it was granted before and did not run: it is never refused, and goes before all of its caller
   * that were not
   */
  enter(waiter: Waiter, atHead = false): boolean {
    const { caller, units, bytes } = waiter.job;
    const isExtra = !atHead && !this.#hasPlace(caller.principal, bytes);
    if (isExtra && !this.#canStart(waiter)) return false;
    const share = this.#shareOf(waiter);
    if (units > 0 && share.lines.size === 0) this.#lift(share);
    share.holder.waiting++;
    this.#bytes += bytes;
    waiter.share = share;
    waiter.order = atHead ? this.#orderOfReturned++ : this.#order++;
    if (isExtra) this.#extra = waiter;
    this.#waiters.add(waiter);
    this.#lanes.insert(waiter);
    return true;
  }

  /** Takes a waiter out: its client has left or its deadline has passed. Returns `false` when it waits no more. */
  leave(waiter: Waiter): boolean {
    if (!this.#waiters.has(waiter)) return false;
    this.#remove(waiter);
    return true;
  }

  /**
   * Grants everything that can start now, and takes the units.
   * @param now milliseconds, for `choose`
   * @param granted called with each grant before the next is decided, so that it can charge for it, or close slots that
   * take one job only; it must not enter or dispatch
   */
  dispatch(now: number, granted?: (grant: Grant) => void): Grant[] {
    const grants: Grant[] = [];
    if (this.size === 0) return grants;
    const held: Held = { waiters: [], counts: new Map() };
    for (;;) {
      const grant =
        this.#grantSlotless(now) ?? this.#grantReserved(now, held) ?? this.#grantFairest(now, held);
      if (grant === undefined) break;
      grants.push(grant);
      granted?.(grant);
    }
    for (const waiter of held.waiters) {
      if (this.#waiters.has(waiter)) this.#lanes.insert(waiter);
    }
    return grants;
  }

  /** Takes back what a grant has taken; exactly once for each. */
  release(slots: SlotSet, principal: string, units: number): void {
    slots.used -= units;
    const holder = this.#shares.holder(principal);
    if (holder === undefined) return;
    this.#shares.release(holder, units);
    this.#lanes.rank(holder);
    this.#shares.settle(holder);
  }

  /**
   * Counts weighted tokens that were served to a caller, in a class, on those slots; a negative number corrects an estimate.
   * A caller that has neither waited nor run for long may be forgotten, and is not charged then.
   */
  charge(slots: SlotSet, principal: string, priority: Priority, tokens: number): void {
    const share = this.#shares.charge(slots.domain, priority, principal, tokens);
    if (share === undefined) return;
    this.#lanes.served(slots, priority, tokens);
    this.#lanes.rank(share.holder);
  }

  /**
   * Estimates how many are granted until it is this waiter's turn: 1 is next, 0 does not wait. Waiters for other slots do
   * not count.
   * @param now milliseconds
   */
  place(waiter: Waiter, now: number): number {
    if (!this.#waiters.has(waiter)) return 0;
    return waiter.job.units === 0 ? 1 : this.places.of(waiter, now);
  }

  /**
   * Moves every waiter to its new group after the engines have come to serve something else; their order stays, and the
   * counters as far as `ShareStore.succeed` says.
   * @param domains those that there are now
   */
  regroup(domains: readonly Succession[], groupOf: (waiter: Waiter) => SlotGroup): void {
    const moved = [...this.#waiters].map((waiter) => ({ waiter, group: groupOf(waiter) }));
    const floorOf: Parameters<ShareStore['succeed']>[1] = (domain, priority) =>
      this.#lanes.leastCounter(domain, priority);
    this.#shares.succeed(domains, floorOf);
    this.#lanes.clear(this.#waiters, new Set(domains.map(({ domain }) => domain)));
    const strangers: Waiter[] = [];
    for (const { waiter, group } of moved) {
      const before = waiter.share.domain;
      waiter.group = group;
      waiter.rank = 0;
      waiter.share = this.#shareOf(waiter);
      const { domain } = waiter.share;
      const known = domains.find((succession) => succession.domain === domain);
      if (known?.origins.includes(before) ?? domain === before) this.#lanes.insert(waiter);
      else strangers.push(waiter);
    }
    for (const waiter of strangers) {
      this.#lift(waiter.share);
      this.#lanes.insert(waiter);
    }
  }

  /** Returns what its caller has where it waits. */
  #shareOf(waiter: Waiter): Share {
    const { caller, priority } = waiter.job;
    return this.#shares.open(domainOf(waiter), priority, caller.principal, caller.weight);
  }

  #lift(share: Share): void {
    this.#shares.lift(share, this.#lanes.leastCounter(share.domain, share.priority));
  }

  #hasPlace(principal: string, bytes: number): boolean {
    const { maxWaiters, maxWaitersPerCaller, maxBytes } = this.#options.limits();
    if (this.size >= maxWaiters || this.#bytes + bytes > maxBytes) return false;
    return this.waiting(principal) < maxWaitersPerCaller;
  }

  #canStart(waiter: Waiter): boolean {
    if (this.#freeFor(waiter).length === 0) return false;
    const { units, caller } = waiter.job;
    if (units === 0) return true;
    const running = this.#shares.holder(caller.principal)?.running ?? 0;
    return this.#extra === undefined && isBelowCap(running, waiter);
  }

  #take(share: Share, slots: SlotSet, wanted: number): number {
    const units = Math.min(wanted, this.#broker.held(slots));
    slots.used += units;
    this.#shares.take(share, units);
    this.#lanes.granted(slots);
    return units;
  }

  #remove(waiter: Waiter): void {
    const { job, share } = waiter;
    this.#waiters.delete(waiter);
    this.#bytes -= job.bytes;
    share.holder.waiting--;
    if (this.#extra === waiter) this.#extra = undefined;
    this.#reserved.forget(waiter);
    this.#lanes.extract(waiter);
    this.#lanes.prune(waiter);
    this.#shares.settle(share.holder);
  }

  /** Returns the slots where it can start now. */
  #freeFor({ group, job }: Waiter, owner?: Waiter): SlotSet[] {
    const { units } = job;
    return group.slotSets.filter((slots) => {
      return this.fits(slots, units) && (units === 0 || this.#reserved.allows(slots, owner));
    });
  }

  #choose(waiter: Waiter, free: readonly SlotSet[], now: number): SlotSet | undefined {
    const slots = this.#options.choose(waiter, free, now);
    return slots !== undefined && free.includes(slots) ? slots : undefined;
  }

  #grantSlotless(now: number): Grant | undefined {
    for (const { slotless } of this.#lanes) {
      const waiter = slotless.peek();
      if (waiter === undefined) continue;
      const free = this.#freeFor(waiter);
      const slots = free.length > 0 ? (this.#choose(waiter, free, now) ?? free[0]) : undefined;
      if (slots === undefined) continue;
      this.#remove(waiter);
      return { waiter, slots, units: 0 };
    }
    return undefined;
  }

  #grantReserved(now: number, held: Held): Grant | undefined {
    if (this.#reserved.size === 0) return undefined;
    for (const [slots, waiter] of this.#reserved) {
      const free = this.#freeFor(waiter, waiter);
      if (!free.includes(slots)) continue;
      const chosen = this.#choose(waiter, free, now);
      if (chosen !== undefined) return this.#grant(waiter, chosen);
      this.#reserved.release(slots);
      this.#hold(waiter, held);
    }
    return undefined;
  }

  #grantFairest(now: number, held: Held): Grant | undefined {
    const isOut = (group: SlotGroup) => (held.counts.get(group) ?? 0) >= maxHeld;
    const freeFor = (waiter: Waiter) => this.#freeFor(waiter);
    for (;;) {
      const turn = nextTurn(this.#lanes, isOut, freeFor);
      if (turn === undefined) return undefined;
      const waiter = headOf(turn.line);
      let slots = this.#choose(waiter, turn.free, now);
      if (waiter === this.#extra) slots ??= turn.free[0];
      if (slots === undefined) {
        this.#hold(waiter, held);
        continue;
      }
      const passed = passedOverBy(turn, slots);
      const grant = this.#grant(waiter, slots);
      if (passed !== undefined) this.#passOver(headOf(passed));
      return grant;
    }
  }

  #passOver(waiter: Waiter): void {
    waiter.passed++;
    if (!wasPassedOver(waiter)) return;
    this.#reserved.keep(waiter);
    this.#lanes.rank(waiter.share.holder);
  }

  #hold(waiter: Waiter, { waiters, counts }: Held): void {
    const { group } = waiter;
    counts.set(group, (counts.get(group) ?? 0) + 1);
    waiters.push(waiter);
    this.#lanes.extract(waiter);
  }

  #grant(waiter: Waiter, slots: SlotSet): Grant {
    const units = this.#take(waiter.share, slots, waiter.job.units);
    this.#remove(waiter);
    return { waiter, slots, units };
  }
}
