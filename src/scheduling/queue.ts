/**
 * Who runs next: requests wait here for a slot, and callers that wait get engine time in proportion to their weight,
 * counted in tokens ("Fairness in Serving Large Language Models", OSDI 2024: virtual token counters). It decides only:
 * it has no clock, no timer and no promise, and starts nothing.
 *
 * A caller has one counter: the tokens served to it, divided by its weight. Whoever has the lowest is next. A caller that
 * comes back is lifted to those that wait, so that idling banks nothing, while overuse is remembered.
 */
import {
  headOf,
  isBelowCap,
  Lanes,
  placeOf,
  wasPassedOver,
  type Entry,
  type Line,
  type Waiter,
} from './lanes.ts';
import { Reservations } from './reservations.ts';
import { Shares, type Account } from './shares.ts';
import { canRun, type Group, type Station } from '../engines/slots.ts';
import { nextTurn, passedOverBy } from './turn.ts';
export type { Priority } from '../request/caller.ts';

export type { Waiter } from './lanes.ts';
export { Station, type Group } from '../engines/slots.ts';

/** What of a waiter decides whether it may start at once. */
export type Claim = Pick<Waiter, 'principal' | 'weight' | 'maxUnits' | 'units'>;

/** The right to run. `units` is what was taken: at most the capacity of the station. */
export interface Grant<W> {
  waiter: W;
  station: Station;
  units: number;
}

/** How many, and how many bytes of requests, may wait. */
export interface QueueLimits {
  maxWaiters: number;
  maxWaitersPerCaller: number;
  maxBytes: number;
}

export interface QueueOptions<W> {
  limits: () => QueueLimits;
  /** Picks one of `free`, or `undefined` to hold the waiter for a station that is busy. */
  choose: (waiter: W, free: readonly Station[], now: number) => Station | undefined;
}

/** Waiters of a group that one dispatch holds before it leaves the others for the next. */
const maxHeld = 16;

/** What one dispatch has put aside. */
interface Held<W> {
  readonly entries: Entry<W>[];
  readonly counts: Map<Group, number>;
}

/**
 * The admission queue. Capacities and `isOpen` of stations change from outside at any time; a `dispatch` must follow
 * that, and every `enter` and `release`. A decision takes O(log n) of those that wait, times the groups and the sizes of
 * requests that there are.
 */
export class Queue<W extends Waiter> {
  readonly #options: QueueOptions<W>;
  readonly #entries = new Map<W, Entry<W>>();
  readonly #shares = new Shares<Line<W>>();
  readonly #lanes = new Lanes<W>();
  readonly #reserved = new Reservations<W>();
  /** The one that is in beyond the limits because it can start at once, so that it is never held. */
  #extra: Entry<W> | undefined;
  #bytes = 0;
  #order = 0;
  #orderOfReturned = Number.MIN_SAFE_INTEGER;

  constructor(options: QueueOptions<W>) {
    this.#options = options;
  }

  get size(): number {
    return this.#entries.size;
  }

  get bytes(): number {
    return this.#bytes;
  }

  /** Gives how many requests of that caller wait. */
  waiting(principal: string): number {
    return this.#shares.find(principal)?.waiting ?? 0;
  }

  /**
   * Takes the units at that station where nobody waits and they are free: what `enter` and `dispatch` would do then,
   * without a waiter.
   * @returns the units taken; `undefined` where the request must wait
   */
  admit({ principal, weight, maxUnits, units }: Claim, station: Station): number | undefined {
    if (this.size > 0 || !canRun(station, units)) return undefined;
    if (units === 0) return 0;
    const running = this.#shares.find(principal)?.running ?? 0;
    if (!isBelowCap(running, { units, maxUnits })) return undefined;
    const account = this.#shares.open(principal, weight);
    this.#shares.lift(account, Number.POSITIVE_INFINITY);
    return this.#take(account, station, units);
  }

  /**
   * Puts a waiter in; `false` when the queue is full and it cannot start at once either.
   * @param atHead whether it was granted before and did not run: it is never refused, and goes before all of its caller
   * that were not
   */
  enter(waiter: W, atHead = false): boolean {
    const isExtra = !atHead && !this.#hasPlace(waiter);
    if (isExtra && !this.#canStart(waiter)) return false;
    const { principal, weight, units } = waiter;
    const account = this.#shares.open(principal, weight);
    if (units > 0 && account.lines.size === 0) {
      this.#shares.lift(account, this.#lanes.leastCounter());
    }
    account.waiting++;
    this.#bytes += waiter.bytes;
    const order = atHead ? this.#orderOfReturned++ : this.#order++;
    const entry: Entry<W> = { waiter, account, order, passed: 0, line: undefined };
    if (isExtra) this.#extra = entry;
    this.#entries.set(waiter, entry);
    this.#lanes.insert(entry);
    return true;
  }

  /** Takes a waiter out: its client has left or its deadline has passed. `false` when it does not wait any more. */
  leave(waiter: W): boolean {
    const entry = this.#entries.get(waiter);
    if (entry === undefined) return false;
    this.#remove(entry);
    return true;
  }

  /**
   * Grants everything that can start now, and takes the units.
   * @param now milliseconds, for `choose`
   * @param granted called with each grant before the next is decided, so that it can charge for it, or close a station
   * that takes one request only; it must not enter or dispatch
   */
  dispatch(now: number, granted?: (grant: Grant<W>) => void): Grant<W>[] {
    const grants: Grant<W>[] = [];
    if (this.size === 0) return grants;
    const held: Held<W> = { entries: [], counts: new Map() };
    for (;;) {
      const grant =
        this.#grantSlotless(now) ?? this.#grantReserved(now, held) ?? this.#grantFairest(now, held);
      if (grant === undefined) break;
      grants.push(grant);
      granted?.(grant);
    }
    for (const entry of held.entries) {
      if (this.#entries.has(entry.waiter)) this.#lanes.insert(entry);
    }
    return grants;
  }

  /** Takes back what a grant has taken; exactly once for each. */
  release(station: Station, principal: string, units: number): void {
    station.used -= units;
    const account = this.#shares.find(principal);
    if (account === undefined) return;
    account.running -= units;
    this.#lanes.rank(account);
    this.#shares.settle(account);
  }

  /**
   * Counts weighted tokens that were served to a caller; a negative number corrects an estimate. A caller that has
   * neither waited nor run for long may be forgotten, and is not charged then.
   */
  charge(principal: string, tokens: number): void {
    const account = this.#shares.find(principal);
    // One NaN, from an engine's figures, would spoil the order for good.
    if (account === undefined || !Number.isFinite(tokens)) return;
    account.counter += tokens / account.weight;
    this.#lanes.rank(account);
  }

  /**
   * Estimates how many are granted until it is this waiter's turn: 1 is next, 0 does not wait. Those that want other
   * stations do not count, and all requests are taken to be of the same size. O(callers).
   */
  place(waiter: W): number {
    const entry = this.#entries.get(waiter);
    if (entry === undefined) return 0;
    return entry.line === undefined ? 1 : placeOf(entry, entry.line);
  }

  /** Gives every waiter its new group after a reload; order and counters stay. */
  regroup(groupOf: (waiter: W) => Group): void {
    this.#lanes.regroup(this.#entries.values(), groupOf);
  }

  #hasPlace({ principal, bytes }: W): boolean {
    const { maxWaiters, maxWaitersPerCaller, maxBytes } = this.#options.limits();
    if (this.size >= maxWaiters || this.#bytes + bytes > maxBytes) return false;
    return this.waiting(principal) < maxWaitersPerCaller;
  }

  #canStart(waiter: W): boolean {
    if (this.#freeFor(waiter).length === 0) return false;
    if (waiter.units === 0) return true;
    const running = this.#shares.find(waiter.principal)?.running ?? 0;
    return this.#extra === undefined && isBelowCap(running, waiter);
  }

  #take(account: Account<Line<W>>, station: Station, wanted: number): number {
    const units = Math.min(wanted, station.capacity);
    station.used += units;
    this.#shares.take(account, units);
    return units;
  }

  #remove(entry: Entry<W>): void {
    const { waiter, account } = entry;
    this.#entries.delete(waiter);
    this.#bytes -= waiter.bytes;
    account.waiting--;
    if (this.#extra === entry) this.#extra = undefined;
    this.#reserved.forget(entry);
    this.#lanes.extract(entry);
    this.#lanes.prune(waiter);
    this.#shares.settle(account);
  }

  /** Gives the stations where it can start now. */
  #freeFor({ group, units }: Waiter, owner?: Entry<W>): Station[] {
    return group.stations.filter((station) => {
      return canRun(station, units) && (units === 0 || this.#reserved.allows(station, owner));
    });
  }

  #choose(waiter: W, free: readonly Station[], now: number): Station | undefined {
    const station = this.#options.choose(waiter, free, now);
    return station !== undefined && free.includes(station) ? station : undefined;
  }

  #grantSlotless(now: number): Grant<W> | undefined {
    for (const { slotless } of this.#lanes) {
      const entry = slotless.peek();
      if (entry === undefined) continue;
      const free = this.#freeFor(entry.waiter);
      const station =
        free.length > 0 ? (this.#choose(entry.waiter, free, now) ?? free[0]) : undefined;
      if (station === undefined) continue;
      this.#remove(entry);
      return { waiter: entry.waiter, station, units: 0 };
    }
    return undefined;
  }

  #grantReserved(now: number, held: Held<W>): Grant<W> | undefined {
    if (this.#reserved.size === 0) return undefined;
    for (const [station, entry] of this.#reserved) {
      const free = this.#freeFor(entry.waiter, entry);
      if (!free.includes(station)) continue;
      const chosen = this.#choose(entry.waiter, free, now);
      if (chosen !== undefined) return this.#grant(entry, chosen);
      this.#reserved.release(station);
      this.#hold(entry, held);
    }
    return undefined;
  }

  #grantFairest(now: number, held: Held<W>): Grant<W> | undefined {
    const isOut = (group: Group) => (held.counts.get(group) ?? 0) >= maxHeld;
    const freeFor = (waiter: W) => this.#freeFor(waiter);
    for (;;) {
      const turn = nextTurn(this.#lanes, isOut, freeFor);
      if (turn === undefined) return undefined;
      const entry = headOf(turn.line);
      let station = this.#choose(entry.waiter, turn.free, now);
      if (entry === this.#extra) station ??= turn.free[0];
      if (station === undefined) {
        this.#hold(entry, held);
        continue;
      }
      const passed = passedOverBy(turn, station);
      const grant = this.#grant(entry, station);
      if (passed !== undefined) this.#passOver(headOf(passed));
      return grant;
    }
  }

  #passOver(entry: Entry<W>): void {
    entry.passed++;
    if (!wasPassedOver(entry)) return;
    this.#reserved.keep(entry);
    this.#lanes.rank(entry.account);
  }

  #hold(entry: Entry<W>, { entries, counts }: Held<W>): void {
    const { group } = entry.waiter;
    counts.set(group, (counts.get(group) ?? 0) + 1);
    entries.push(entry);
    this.#lanes.extract(entry);
  }

  #grant(entry: Entry<W>, station: Station): Grant<W> {
    const { waiter, account } = entry;
    const units = this.#take(account, station, waiter.units);
    this.#lanes.countClasses(waiter, station);
    this.#remove(entry);
    return { waiter, station, units };
  }
}
