/**
 * Who runs next: requests wait here for a slot, and callers that wait get engine time in proportion to their weight,
 * counted in tokens ("Fairness in Serving Large Language Models", OSDI 2024: virtual token counters). It decides only:
 * it has no clock, no timer and no promise, and starts nothing.
 *
 * A caller has one counter: the tokens served to it, divided by its weight. Whoever has the lowest is next. A caller that
 * comes back is lifted to those that wait, so that idling banks nothing, while overuse is remembered.
 */
import { Heap } from './heap.ts';

export type Priority = 'interactive' | 'batch';

/** Where requests run: an upstream, or one model of it. Only the queue writes `used`. */
export class Station {
  used = 0;

  /** @param capacity in units; Infinity where it is not bounded, and less than `used` after it has shrunk */
  constructor(
    readonly id: string,
    public capacity: number,
    public isOpen: boolean,
  ) {}

  get free(): number {
    return Math.max(0, this.capacity - this.used);
  }
}

/** The stations that may run a request; waiters for the same model share one object. */
export interface Group {
  readonly key: string;
  readonly stations: readonly Station[];
}

export interface Waiter {
  readonly principal: string;
  /** Above 0. */
  readonly weight: number;
  /** Units that the principal may have at once, Infinity where there is no cap; a larger request runs alone. */
  readonly maxUnits: number;
  readonly priority: Priority;
  /** Slots that it takes; 0 needs an open station only. One larger than a station takes it whole. */
  readonly units: number;
  readonly bytes: number;
  /** Only `regroup` changes it while it waits. */
  group: Group;
  /** Milliseconds. */
  readonly enteredAt: number;
}

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

/** Grants to interactive requests while a batch could run in their place; the next one is the batch's. */
const maxInteractiveInARow = 9;
/** Grants to others past a request that is next and does not fit; then a station is kept for it. */
const maxPassed = 8;
/** Waiters of a group that one dispatch holds before it leaves the others for the next. */
const maxHeld = 16;
/** Callers that have nothing here and whose counters are remembered. */
const maxIdleCallers = 10_000;

interface Entry<W> {
  readonly waiter: W;
  readonly account: Account<W>;
  /** Lower is older. */
  readonly order: number;
  /** How many others were granted while it was next. */
  passed: number;
  /** Where it waits; `undefined` while it is held, and for what needs no slot. */
  line: Line<W> | undefined;
}

/** One caller. */
interface Account<W> {
  readonly principal: string;
  weight: number;
  counter: number;
  /** Units in use. */
  running: number;
  waiting: number;
  idleSince: number;
  readonly lines: Set<Line<W>>;
}

/** What one caller has in one lane; never empty. */
interface Line<W> {
  readonly account: Account<W>;
  readonly lane: Lane<W>;
  readonly entries: Heap<Entry<W>>;
}

/** What waits for one group with one class and size: where one of them fits, all do. */
interface Lane<W> {
  readonly crowd: Crowd<W>;
  readonly priority: Priority;
  readonly lines: Map<Account<W>, Line<W>>;
  /** The lines whose caller may have that many units more; the fairest first. */
  readonly eligible: Heap<Line<W>>;
}

/** All that waits for one group. */
interface Crowd<W> {
  readonly group: Group;
  readonly lanes: Map<string, Lane<W>>;
  /** What needs no slot. */
  readonly slotless: Heap<Entry<W>>;
  interactiveInARow: number;
}

/** What one dispatch has put aside. */
interface Held<W> {
  readonly entries: Entry<W>[];
  readonly counts: Map<Group, number>;
}

function byOrder(a: { order: number }, b: { order: number }): number {
  return a.order - b.order;
}

function headOf<W>(line: Line<W>): Entry<W> {
  return line.entries.peek() as Entry<W>; // A line is never empty.
}

/** Lowest counter first, then fewer running, then who waits longest. */
function byFairness<W>(a: Line<W>, b: Line<W>): number {
  return (
    a.account.counter - b.account.counter ||
    a.account.running - b.account.running ||
    byOrder(headOf(a), headOf(b))
  );
}

/** A batch whose turn has come, what is interactive, and then other batches. */
function classOf<W>({ priority, crowd }: Lane<W>): number {
  if (priority === 'interactive') return 1;
  return crowd.interactiveInARow >= maxInteractiveInARow ? 0 : 2;
}

function byClassAndFairness<W>(a: Line<W>, b: Line<W>): number {
  return classOf(a.lane) - classOf(b.lane) || byFairness(a, b);
}

/** The order in which a caller's own lines have a claim to its cap. */
function byClassAndAge<W>(a: Line<W>, b: Line<W>): number {
  if (a.lane.priority !== b.lane.priority) return a.lane.priority === 'interactive' ? -1 : 1;
  return byOrder(headOf(a), headOf(b));
}

function fits(station: Station, units: number): boolean {
  const { capacity, used } = station;
  if (units >= capacity) return used === 0 && capacity > 0;
  return used + units <= capacity;
}

/** How many units must come back before it fits. */
function shortage(station: Station, units: number): number {
  return Math.min(units, station.capacity) - station.free;
}

function isBelowCap(running: number, { units, maxUnits }: Waiter): boolean {
  return running === 0 || running + units <= maxUnits;
}

function hasEligible<W>(crowd: Crowd<W>, priority: Priority): boolean {
  for (const lane of crowd.lanes.values()) {
    if (lane.priority === priority && lane.eligible.size > 0) return true;
  }
  return false;
}

/**
 * The admission queue. Capacities and `isOpen` of stations change from outside at any time; a `dispatch` must follow
 * that, and every `enter` and `release`. A decision takes O(log n) of those that wait, times the groups and the sizes of
 * requests that there are.
 */
export class Queue<W extends Waiter> {
  readonly #options: QueueOptions<W>;
  readonly #entries = new Map<W, Entry<W>>();
  readonly #accounts = new Map<string, Account<W>>();
  readonly #idle = new Heap<Account<W>>((a, b) => a.idleSince - b.idleSince);
  readonly #crowds = new Map<Group, Crowd<W>>();
  /** Stations that are kept for a request that was passed over too often. */
  readonly #reserved = new Map<Station, Entry<W>>();
  /** The one that is in beyond the limits because it can start at once, so that it is never held. */
  #extra: Entry<W> | undefined;
  #lastGranted: Account<W> | undefined;
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
    return this.#accounts.get(principal)?.waiting ?? 0;
  }

  /**
   * Puts a waiter in; `false` when the queue is full and it cannot start at once either.
   * @param atHead whether it was granted before and did not run: it is never refused, and goes before all of its caller
   * that were not
   */
  enter(waiter: W, atHead = false): boolean {
    const isExtra = !atHead && !this.#hasPlace(waiter);
    if (isExtra && !this.#canStart(waiter)) return false;
    const account = this.#accountOf(waiter);
    account.waiting++;
    this.#bytes += waiter.bytes;
    const order = atHead ? this.#orderOfReturned++ : this.#order++;
    const entry: Entry<W> = { waiter, account, order, passed: 0, line: undefined };
    if (isExtra) this.#extra = entry;
    this.#entries.set(waiter, entry);
    this.#insert(entry);
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
    const held: Held<W> = { entries: [], counts: new Map() };
    for (;;) {
      const grant =
        this.#grantSlotless(now) ?? this.#grantReserved(now, held) ?? this.#grantFairest(now, held);
      if (grant === undefined) break;
      grants.push(grant);
      granted?.(grant);
    }
    for (const entry of held.entries) {
      if (this.#entries.has(entry.waiter)) this.#insert(entry);
    }
    return grants;
  }

  /** Takes back what a grant has taken; exactly once for each. */
  release(station: Station, principal: string, units: number): void {
    station.used -= units;
    const account = this.#accounts.get(principal);
    if (account === undefined) return;
    account.running -= units;
    this.#rank(account);
    this.#settle(account);
  }

  /**
   * Counts weighted tokens that were served to a caller; a negative number corrects an estimate. A caller that has
   * neither waited nor run for long may be forgotten, and is not charged then.
   */
  charge(principal: string, tokens: number): void {
    const account = this.#accounts.get(principal);
    // One NaN, from an engine's figures, would spoil the order for good.
    if (account === undefined || !Number.isFinite(tokens)) return;
    account.counter += tokens / account.weight;
    this.#rank(account);
  }

  /**
   * Estimates how many are granted until it is this waiter's turn: 1 is next, 0 does not wait. Those that want other
   * stations do not count, and all requests are taken to be of the same size. O(callers).
   */
  place(waiter: W): number {
    const entry = this.#entries.get(waiter);
    if (entry?.line === undefined) return entry === undefined ? 0 : 1;
    const { line, account } = entry;
    const { crowd, priority } = line.lane;
    let own = 0;
    let others = 0;
    let interactive = 0;
    for (const lane of crowd.lanes.values()) {
      for (const other of lane.lines.values()) {
        const count = other.entries.size;
        if (lane.priority !== priority) {
          interactive += count;
        } else if (other.account === account) {
          for (const { order } of other.entries) if (order < entry.order) own++;
        }
      }
    }
    for (const lane of crowd.lanes.values()) {
      if (lane.priority !== priority) continue;
      for (const other of lane.eligible) {
        if (other.account === account) continue;
        const first = byFairness(other, line) < 0 ? 1 : 0;
        const turns = first + (own * other.account.weight) / account.weight;
        others += Math.min(other.entries.size, turns);
      }
    }
    const place = 1 + own + Math.round(others);
    if (priority === 'interactive') return place;
    return place + Math.min(interactive, place * maxInteractiveInARow);
  }

  /** Gives every waiter its new group after a reload; order and counters stay. */
  regroup(groupOf: (waiter: W) => Group): void {
    const moved = [...this.#entries.values()].map((entry) => ({
      entry,
      group: groupOf(entry.waiter),
    }));
    for (const { entry } of moved) this.#extract(entry);
    this.#crowds.clear();
    for (const { entry, group } of moved) {
      entry.waiter.group = group;
      this.#insert(entry);
    }
  }

  #hasPlace({ principal, bytes }: W): boolean {
    const { maxWaiters, maxWaitersPerCaller, maxBytes } = this.#options.limits();
    if (this.size >= maxWaiters || this.#bytes + bytes > maxBytes) return false;
    return this.waiting(principal) < maxWaitersPerCaller;
  }

  #canStart(waiter: W): boolean {
    if (this.#freeFor(waiter).length === 0) return false;
    if (waiter.units === 0) return true;
    const running = this.#accounts.get(waiter.principal)?.running ?? 0;
    return this.#extra === undefined && isBelowCap(running, waiter);
  }

  /** Gives the caller's account, lifted where it begins to wait. */
  #accountOf({ principal, weight, units }: W): Account<W> {
    let account = this.#accounts.get(principal);
    if (account === undefined) {
      const lines = new Set<Line<W>>();
      account = { principal, weight, counter: 0, running: 0, waiting: 0, idleSince: 0, lines };
      this.#accounts.set(principal, account);
    }
    this.#idle.delete(account);
    account.weight = weight;
    if (units > 0 && account.lines.size === 0) {
      account.counter = Math.max(account.counter, this.#leastCounter());
    }
    return account;
  }

  /** The lowest counter of those that wait for an open station, or of who was granted last. */
  #leastCounter(): number {
    let least = Number.POSITIVE_INFINITY;
    for (const { group, lanes } of this.#crowds.values()) {
      if (!group.stations.some(({ isOpen }) => isOpen)) continue;
      for (const { eligible } of lanes.values()) {
        least = Math.min(least, eligible.peek()?.account.counter ?? least);
      }
    }
    return Number.isFinite(least) ? least : (this.#lastGranted?.counter ?? 0);
  }

  #insert(entry: Entry<W>): void {
    const { waiter, account } = entry;
    const { group, units, priority } = waiter;
    let crowd = this.#crowds.get(group);
    if (crowd === undefined) {
      crowd = {
        group,
        lanes: new Map(),
        slotless: new Heap<Entry<W>>(byOrder),
        interactiveInARow: 0,
      };
      this.#crowds.set(group, crowd);
    }
    if (units === 0) {
      crowd.slotless.set(entry);
      return;
    }
    const key = `${priority} ${units}`;
    let lane = crowd.lanes.get(key);
    if (lane === undefined) {
      lane = {
        crowd,
        priority,
        lines: new Map(),
        eligible: new Heap<Line<W>>(byFairness),
      };
      crowd.lanes.set(key, lane);
    }
    let line = lane.lines.get(account);
    if (line === undefined) {
      line = { account, lane, entries: new Heap<Entry<W>>(byOrder) };
      lane.lines.set(account, line);
      account.lines.add(line);
    }
    entry.line = line;
    line.entries.set(entry);
    this.#rank(account);
  }

  /** Takes an entry out of its line, and leaves what it counts for. */
  #extract(entry: Entry<W>): void {
    const { line, account, waiter } = entry;
    this.#crowds.get(waiter.group)?.slotless.delete(entry);
    if (line === undefined) return;
    entry.line = undefined;
    // While its own order is still known.
    if (line.entries.size === 1) {
      line.lane.eligible.delete(line);
      line.lane.lines.delete(account);
      account.lines.delete(line);
    }
    line.entries.delete(entry);
    this.#rank(account);
  }

  #remove(entry: Entry<W>): void {
    const { waiter, account } = entry;
    this.#entries.delete(waiter);
    this.#bytes -= waiter.bytes;
    account.waiting--;
    if (this.#extra === entry) this.#extra = undefined;
    for (const [station, owner] of this.#reserved) {
      if (owner === entry) this.#reserved.delete(station);
    }
    this.#extract(entry);
    this.#prune(waiter);
    this.#settle(account);
  }

  /** Forgets what nobody waits in any more. */
  #prune({ group, priority }: W): void {
    const crowd = this.#crowds.get(group);
    if (crowd === undefined) return;
    let hasBatch = false;
    for (const [key, lane] of crowd.lanes) {
      if (lane.lines.size === 0) crowd.lanes.delete(key);
      else hasBatch ||= lane.priority === 'batch';
    }
    if (priority === 'batch' && !hasBatch) crowd.interactiveInARow = 0;
    if (crowd.lanes.size === 0 && crowd.slotless.size === 0) this.#crowds.delete(group);
  }

  /** Remembers a caller that has nothing here any more, and forgets who was seen longest ago. */
  #settle(account: Account<W>): void {
    if (account.waiting > 0 || account.running > 0) return;
    account.idleSince = this.#order++;
    this.#idle.set(account);
    if (this.#idle.size <= maxIdleCallers) return;
    const oldest = this.#idle.pop();
    if (oldest !== undefined) this.#accounts.delete(oldest.principal);
  }

  /**
   * Puts a caller's lines where they belong now. What the cap does not let run keeps those behind it waiting, and so
   * does what was passed over too often: else its caller's own small requests would go past a large one for ever.
   */
  #rank({ lines, running }: Account<W>): void {
    let isBlocked = false;
    for (const line of lines.size > 1 ? [...lines].sort(byClassAndAge) : lines) {
      const { waiter, passed } = headOf(line);
      isBlocked ||= !isBelowCap(running, waiter);
      if (isBlocked) line.lane.eligible.delete(line);
      else line.lane.eligible.set(line);
      isBlocked ||= passed >= maxPassed;
    }
  }

  /** Gives the stations where it can start now. */
  #freeFor({ group, units }: Waiter, owner?: Entry<W>): Station[] {
    if (units === 0) return group.stations.filter(({ isOpen }) => isOpen);
    return group.stations.filter((station) => {
      return station.isOpen && fits(station, units) && this.#isFor(station, owner);
    });
  }

  #isFor(station: Station, owner: Entry<W> | undefined): boolean {
    const reservedFor = this.#reserved.get(station);
    return reservedFor === undefined || reservedFor === owner;
  }

  #choose(waiter: W, free: readonly Station[], now: number): Station | undefined {
    const station = this.#options.choose(waiter, free, now);
    return station !== undefined && free.includes(station) ? station : undefined;
  }

  #grantSlotless(now: number): Grant<W> | undefined {
    for (const { slotless } of this.#crowds.values()) {
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
    for (const [station, entry] of this.#reserved) {
      if (!this.#isStillFor(station, entry)) {
        this.#reserved.delete(station);
        continue;
      }
      const free = this.#freeFor(entry.waiter, entry);
      if (!free.includes(station)) continue;
      const chosen = this.#choose(entry.waiter, free, now);
      if (chosen !== undefined) return this.#grant(entry, chosen);
      this.#reserved.delete(station);
      this.#hold(entry, held);
    }
    return undefined;
  }

  #isStillFor(station: Station, { line, waiter }: Entry<W>): boolean {
    if (line === undefined || headOf(line).waiter !== waiter) return false;
    if (!station.isOpen || !waiter.group.stations.includes(station)) return false;
    return line.lane.eligible.has(line);
  }

  #grantFairest(now: number, held: Held<W>): Grant<W> | undefined {
    for (;;) {
      const { next, free, stuck } = this.#fairest(held);
      if (next === undefined) return undefined;
      const entry = headOf(next);
      let station = this.#choose(entry.waiter, free, now);
      if (entry === this.#extra) station ??= free[0];
      if (station === undefined) {
        this.#hold(entry, held);
        continue;
      }
      const passed = this.#firstOf(stuck, next, station);
      const grant = this.#grant(entry, station);
      if (passed !== undefined) this.#passOver(headOf(passed));
      return grant;
    }
  }

  /** Finds whose turn it is and who can run: `stuck` are those that fit nowhere now. */
  #fairest(held: Held<W>): { next: Line<W> | undefined; free: Station[]; stuck: Line<W>[] } {
    let next: Line<W> | undefined;
    let nextFree: Station[] = [];
    const stuck: Line<W>[] = [];
    for (const { group, lanes } of this.#crowds.values()) {
      if ((held.counts.get(group) ?? 0) >= maxHeld) continue;
      for (const { eligible } of lanes.values()) {
        const line = eligible.peek();
        if (line === undefined) continue;
        const free = this.#freeFor(headOf(line).waiter);
        if (free.length === 0) {
          stuck.push(line);
        } else if (next === undefined || byClassAndFairness(line, next) < 0) {
          next = line;
          nextFree = free;
        }
      }
    }
    return { next, free: nextFree, stuck };
  }

  /** Gives the first of those that are stuck whose turn it was on this station, before that of `next`. */
  #firstOf(stuck: readonly Line<W>[], next: Line<W>, station: Station): Line<W> | undefined {
    let first: Line<W> | undefined;
    for (const line of stuck) {
      if (!line.lane.crowd.group.stations.includes(station)) continue;
      if (byClassAndFairness(line, first ?? next) < 0) first = line;
    }
    return first;
  }

  #passOver(entry: Entry<W>): void {
    if (++entry.passed < maxPassed) return;
    this.#reserve(entry);
    this.#rank(entry.account);
  }

  /** Keeps the station that has room for it soonest, as far as that can be known. */
  #reserve(entry: Entry<W>): void {
    if ([...this.#reserved.values()].includes(entry)) return;
    const { group, units } = entry.waiter;
    const [first, ...others] = group.stations.filter((station) => {
      return station.isOpen && station.capacity > 0 && !this.#reserved.has(station);
    });
    if (first === undefined) return;
    const soonest = others.reduce(
      (best, other) => (shortage(other, units) < shortage(best, units) ? other : best),
      first,
    );
    this.#reserved.set(soonest, entry);
  }

  #hold(entry: Entry<W>, { entries, counts }: Held<W>): void {
    const { group } = entry.waiter;
    counts.set(group, (counts.get(group) ?? 0) + 1);
    entries.push(entry);
    this.#extract(entry);
  }

  #grant(entry: Entry<W>, station: Station): Grant<W> {
    const { waiter, account } = entry;
    const units = Math.min(waiter.units, station.capacity);
    station.used += units;
    account.running += units;
    this.#lastGranted = account;
    this.#countClasses(waiter, station);
    this.#remove(entry);
    return { waiter, station, units };
  }

  #countClasses({ priority, group }: W, station: Station): void {
    for (const crowd of this.#crowds.values()) {
      if (priority === 'batch') {
        if (crowd.group === group) crowd.interactiveInARow = 0;
      } else if (crowd.group.stations.includes(station) && hasEligible(crowd, 'batch')) {
        crowd.interactiveInARow++;
      }
    }
  }
}
