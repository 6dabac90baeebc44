/**
 * Where requests wait and in which order: for each group of stations one lane for each class and size, in it one line
 * for each caller, in that the oldest first. It grants nothing and knows no slots but those that a cap counts.
 */
import { Heap } from './heap.ts';
import type { Account } from './shares.ts';
import type { Group, Station } from '../engines/slots.ts';
import type { Priority } from '../request/caller.ts';

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

/** A waiter in its line. */
export interface Entry<W> {
  readonly waiter: W;
  readonly account: Account<Line<W>>;
  /** Lower is older. */
  readonly order: number;
  /** How many others were granted while it was next. */
  passed: number;
  /** Where it waits; `undefined` while it is held, and for what needs no slot. */
  line: Line<W> | undefined;
}

/** What one caller has in one lane; never empty. */
export interface Line<W> {
  readonly account: Account<Line<W>>;
  readonly lane: Lane<W>;
  readonly entries: Heap<Entry<W>>;
}

/** What waits for one group with one class and size: where one of them fits, all do. */
export interface Lane<W> {
  readonly crowd: Crowd<W>;
  readonly priority: Priority;
  readonly lines: Map<Account<Line<W>>, Line<W>>;
  /** The lines whose caller may have that many units more; the fairest first. */
  readonly eligible: Heap<Line<W>>;
}

/** All that waits for one group. */
export interface Crowd<W> {
  readonly group: Group;
  readonly lanes: Map<string, Lane<W>>;
  /** What needs no slot. */
  readonly slotless: Heap<Entry<W>>;
  interactiveInARow: number;
}

/** Grants to interactive requests while a batch could run in their place; the next one is the batch's. */
const maxInteractiveInARow = 9;
/** Grants to others past a request that is next and does not fit; then a station is kept for it. */
const maxPassed = 8;

function byOrder(a: { order: number }, b: { order: number }): number {
  return a.order - b.order;
}

export function headOf<W>(line: Line<W>): Entry<W> {
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

/** The order in which lines of several lanes have a claim to a slot. */
export function byClassAndFairness<W>(a: Line<W>, b: Line<W>): number {
  return classOf(a.lane) - classOf(b.lane) || byFairness(a, b);
}

/** The order in which a caller's own lines have a claim to its cap. */
function byClassAndAge<W>(a: Line<W>, b: Line<W>): number {
  if (a.lane.priority !== b.lane.priority) return a.lane.priority === 'interactive' ? -1 : 1;
  return byOrder(headOf(a), headOf(b));
}

/** Says whether a caller that has so many units may have those of the waiter too. */
export function isBelowCap(
  running: number,
  { units, maxUnits }: Pick<Waiter, 'units' | 'maxUnits'>,
): boolean {
  return running === 0 || running + units <= maxUnits;
}

/** Whether it was passed over so often that a station is to be kept for it. */
export function wasPassedOver({ passed }: { passed: number }): boolean {
  return passed >= maxPassed;
}

function hasEligible<W>(crowd: Crowd<W>, priority: Priority): boolean {
  for (const lane of crowd.lanes.values()) {
    if (lane.priority === priority && lane.eligible.size > 0) return true;
  }
  return false;
}

export class Lanes<W extends Waiter> {
  readonly #crowds = new Map<Group, Crowd<W>>();

  [Symbol.iterator](): Iterator<Crowd<W>> {
    return this.#crowds.values();
  }

  insert(entry: Entry<W>): void {
    const { waiter, account } = entry;
    const crowd = this.#crowdOf(waiter.group);
    if (waiter.units === 0) {
      crowd.slotless.set(entry);
      return;
    }
    const lane = laneOf(crowd, waiter);
    let line = lane.lines.get(account);
    if (line === undefined) {
      line = { account, lane, entries: new Heap<Entry<W>>(byOrder) };
      lane.lines.set(account, line);
      account.lines.add(line);
    }
    entry.line = line;
    line.entries.set(entry);
    this.rank(account);
  }

  /** Takes an entry out of its line, and leaves what it counts for. */
  extract(entry: Entry<W>): void {
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
    this.rank(account);
  }

  /** Forgets what nobody waits in any more, after that waiter has left. */
  prune({ group, priority }: W): void {
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

  /** Gives every entry its new group; order and counters stay. */
  regroup(entries: Iterable<Entry<W>>, groupOf: (waiter: W) => Group): void {
    const moved = [...entries].map((entry) => ({ entry, group: groupOf(entry.waiter) }));
    for (const { entry } of moved) this.extract(entry);
    this.#crowds.clear();
    for (const { entry, group } of moved) {
      entry.waiter.group = group;
      this.insert(entry);
    }
  }

  /**
   * Puts a caller's lines where they belong now. What the cap does not let run keeps those behind it waiting, and so
   * does what was passed over too often: else its caller's own small requests would go past a large one for ever.
   */
  rank({ lines, running }: Account<Line<W>>): void {
    if (lines.size === 0) return;
    let isBlocked = false;
    for (const line of lines.size > 1 ? [...lines].sort(byClassAndAge) : lines) {
      const head = headOf(line);
      isBlocked ||= !isBelowCap(running, head.waiter);
      if (isBlocked) line.lane.eligible.delete(line);
      else line.lane.eligible.set(line);
      isBlocked ||= wasPassedOver(head);
    }
  }

  /** The lowest counter of those that wait for an open station; Infinity where nobody does. */
  leastCounter(): number {
    let least = Number.POSITIVE_INFINITY;
    for (const { group, lanes } of this.#crowds.values()) {
      if (!group.stations.some(({ isOpen }) => isOpen)) continue;
      for (const { eligible } of lanes.values()) {
        least = Math.min(least, eligible.peek()?.account.counter ?? least);
      }
    }
    return least;
  }

  /** Counts a grant on that station for the classes that could have had it. */
  countClasses({ priority, group }: W, station: Station): void {
    for (const crowd of this.#crowds.values()) {
      if (priority === 'batch') {
        if (crowd.group === group) crowd.interactiveInARow = 0;
      } else if (crowd.group.stations.includes(station) && hasEligible(crowd, 'batch')) {
        crowd.interactiveInARow++;
      }
    }
  }

  #crowdOf(group: Group): Crowd<W> {
    let crowd = this.#crowds.get(group);
    if (crowd === undefined) {
      const slotless = new Heap<Entry<W>>(byOrder);
      crowd = { group, lanes: new Map(), slotless, interactiveInARow: 0 };
      this.#crowds.set(group, crowd);
    }
    return crowd;
  }
}

function laneOf<W extends Waiter>(crowd: Crowd<W>, { priority, units }: W): Lane<W> {
  const key = `${priority} ${units}`;
  let lane = crowd.lanes.get(key);
  if (lane === undefined) {
    lane = { crowd, priority, lines: new Map(), eligible: new Heap<Line<W>>(byFairness) };
    crowd.lanes.set(key, lane);
  }
  return lane;
}

/**
 * Estimates how many are granted until it is the turn of an entry of that line: 1 is next. Those that want other
 * stations do not count, and all requests are taken to be of the same size. O(callers).
 */
export function placeOf<W>(entry: Entry<W>, line: Line<W>): number {
  const { lane, account } = line;
  const { crowd, priority } = lane;
  let own = 0;
  let others = 0;
  let interactive = 0;
  for (const each of crowd.lanes.values()) {
    for (const other of each.lines.values()) {
      if (each.priority !== priority) {
        interactive += other.entries.size;
      } else if (other.account === account) {
        for (const { order } of other.entries) if (order < entry.order) own++;
      }
    }
  }
  for (const each of crowd.lanes.values()) {
    if (each.priority !== priority) continue;
    for (const other of each.eligible) {
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
