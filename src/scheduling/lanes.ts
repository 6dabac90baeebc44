/**
 * Where jobs wait and in which order: for each group of slots one lane for each class and size, in it one line for each
 * caller, in that the oldest first. It grants nothing and counts no slots but those of a caller's cap.
 */
import { Contest } from './contest.ts';
import { Heap } from './heap.ts';
import {
  domainOf,
  headOf,
  type Crowd,
  type Holder,
  type Lane,
  type Line,
  type Share,
  type Waiter,
} from './waiter.ts';
import type { Domain, SlotGroup, SlotSet } from '../engines/slots.ts';
import type { Priority } from '../request/caller.ts';

/** Grants to others past a waiter that is next and does not fit; then a slot set is kept for it. */
const maxPassed = 8;

export function byOrder(a: Waiter, b: Waiter): number {
  return a.order - b.order;
}

/** Lowest counter first, then the one that was granted longest ago, then longest wait. */
function byFairness(a: Line, b: Line): number {
  return (
    a.share.counter - b.share.counter ||
    a.share.grantedAt - b.share.grantedAt ||
    byOrder(headOf(a), headOf(b))
  );
}

/** A batch whose turn has come, then interactive jobs, then other batches. */
function classOf({ priority, crowd }: Lane): number {
  if (priority === 'interactive') return 1;
  return crowd.contest.isBatchDue ? 0 : 2;
}

/** The order in which lines of several lanes of a domain have a claim to a slot. */
export function byClassAndFairness(a: Line, b: Line): number {
  return classOf(a.lane) - classOf(b.lane) || byFairness(a, b);
}

/** The order in which a caller's own lines have a claim to its cap. */
function byClassAndAge(a: Line, b: Line): number {
  if (a.lane.priority !== b.lane.priority) return a.lane.priority === 'interactive' ? -1 : 1;
  return byOrder(headOf(a), headOf(b));
}

/** Returns whether a caller that has so many units may have those of the waiter too. */
export function isBelowCap(running: number, { job, maxUnits }: Waiter): boolean {
  return running === 0 || running + job.units <= maxUnits;
}

/** Returns whether it was passed over so often that a slot set is to be kept for it. */
export function wasPassedOver({ passed }: Waiter): boolean {
  return passed >= maxPassed;
}

function hasEligible(crowd: Crowd, priority: Priority): boolean {
  for (const lane of crowd.lanes.values()) {
    if (lane.priority === priority && lane.eligible.size > 0) return true;
  }
  return false;
}

export class Lanes {
  readonly #crowds = new Map<SlotGroup, Crowd>();
  readonly #contests = new Map<Domain, Contest>();

  [Symbol.iterator](): Iterator<Crowd> {
    return this.#crowds.values();
  }

  insert(waiter: Waiter): void {
    const { share, job } = waiter;
    const crowd = this.#crowdOf(waiter.group, domainOf(waiter));
    if (job.units === 0) {
      crowd.slotless.set(waiter);
      return;
    }
    const lane = laneOf(crowd, job.priority, job.units);
    let line = lane.lines.get(share);
    if (line === undefined) {
      line = { share, lane, waiters: new Heap<Waiter>(byOrder), heapIndex: -1 };
      lane.lines.set(share, line);
      share.lines.add(line);
    }
    waiter.line = line;
    line.waiters.set(waiter);
    this.rank(share.holder);
  }

  /** Takes a waiter out of its line, and leaves what it counts for. */
  extract(waiter: Waiter): void {
    const { line, share, group } = waiter;
    this.#crowds.get(group)?.slotless.delete(waiter);
    if (line === undefined) return;
    waiter.line = undefined;
    // While its own order is still known.
    if (line.waiters.size === 1) {
      line.lane.eligible.delete(line);
      line.lane.lines.delete(share);
      share.lines.delete(line);
    }
    line.waiters.delete(waiter);
    this.rank(share.holder);
  }

  /** Forgets the lanes and the crowd in which nothing waits any more, after that waiter has left. */
  prune({ group }: Waiter): void {
    const crowd = this.#crowds.get(group);
    if (crowd === undefined) return;
    for (const [key, lane] of crowd.lanes) {
      if (lane.lines.size === 0) crowd.lanes.delete(key);
    }
    if (crowd.lanes.size > 0 || crowd.slotless.size > 0) return;
    this.#crowds.delete(group);
    for (const { contest } of this.#crowds.values()) if (contest === crowd.contest) return;
    this.#contests.delete(crowd.contest.domain);
  }

  /** Takes all waiters out, and forgets what it counts of other domains than these. */
  clear(waiters: Iterable<Waiter>, domains: ReadonlySet<Domain>): void {
    for (const waiter of waiters) this.extract(waiter);
    this.#crowds.clear();
    for (const domain of this.#contests.keys()) {
      if (!domains.has(domain)) this.#contests.delete(domain);
    }
  }

  /**
   * Puts a caller's lines where they belong now. A head that the cap does not let run keeps the lines behind it waiting,
   * and so does, in its domain, a head that was passed over too often: else small jobs of the same caller would go past a
   * large one for ever.
   */
  rank({ shares, running }: Holder): void {
    const lines = linesOf(shares);
    let isCapped = false;
    let passedIn: Domain[] | undefined;
    for (const line of lines.length > 1 ? lines.sort(byClassAndAge) : lines) {
      const head = headOf(line);
      const { domain } = line.share;
      isCapped ||= !isBelowCap(running, head);
      if (isCapped || passedIn?.includes(domain)) line.lane.eligible.delete(line);
      else line.lane.eligible.set(line);
      if (wasPassedOver(head)) (passedIn ??= []).push(domain);
    }
  }

  /** The lowest counter of the callers of a class that wait for open slots of a domain; Infinity where none does. */
  leastCounter(domain: Domain, priority: Priority): number {
    let least = Number.POSITIVE_INFINITY;
    for (const { group, lanes, contest } of this.#crowds.values()) {
      if (contest.domain !== domain || !group.slotSets.some(isOpen)) continue;
      for (const lane of lanes.values()) {
        if (lane.priority !== priority) continue;
        least = Math.min(least, lane.eligible.peek()?.share.counter ?? least);
      }
    }
    return least;
  }

  /** Counts weighted tokens that a class was served on those slots. */
  served(slots: SlotSet, priority: Priority, tokens: number): void {
    const contest = this.#contests.get(slots.domain);
    if (contest === undefined) return;
    const other = priority === 'batch' ? 'interactive' : 'batch';
    let isContested = false;
    for (const crowd of this.#crowds.values()) {
      isContested ||= crowd.group.slotSets.includes(slots) && hasEligible(crowd, other);
    }
    contest.served(priority, tokens, isContested);
  }

  /** Counts a grant there. */
  granted({ domain }: SlotSet): void {
    this.#contests.get(domain)?.granted();
  }

  #crowdOf(group: SlotGroup, domain: Domain): Crowd {
    let crowd = this.#crowds.get(group);
    if (crowd === undefined) {
      const contest = this.#contests.get(domain) ?? new Contest(domain);
      this.#contests.set(domain, contest);
      crowd = { group, lanes: new Map(), slotless: new Heap<Waiter>(byOrder), contest };
      this.#crowds.set(group, crowd);
    }
    return crowd;
  }
}

function isOpen(slots: SlotSet): boolean {
  return slots.isOpen;
}

const none: Line[] = [];

/** Returns the lines of a caller; makes no list where there are none, which is so at every end of a request. */
function linesOf(shares: readonly Share[]): Line[] {
  let lines: Line[] | undefined;
  for (const share of shares) for (const line of share.lines) (lines ??= []).push(line);
  return lines ?? none;
}

function laneOf(crowd: Crowd, priority: Priority, units: number): Lane {
  const key = `${priority} ${units}`;
  let lane = crowd.lanes.get(key);
  if (lane === undefined) {
    lane = { crowd, priority, lines: new Map(), eligible: new Heap<Line>(byFairness) };
    crowd.lanes.set(key, lane);
  }
  return lane;
}
