/**
 * Where jobs wait and in which order: for each group of slots one lane for each class and size, in it one line for each
 * caller, in that the oldest first. It grants nothing and counts no slots but those of a caller's cap.
 */
import { Heap } from './heap.ts';
import { headOf, type Crowd, type Lane, type Line, type Share, type Waiter } from './waiter.ts';
import type { SlotGroup, SlotSet } from '../engines/slots.ts';
import type { Priority } from '../request/caller.ts';

/** Grants to interactive jobs while a batch could run in their place; the next one is the batch's. */
const maxInteractiveInARow = 9;
/** Grants to others past a waiter that is next and does not fit; then a slot set is kept for it. */
const maxPassed = 8;

function byOrder(a: Waiter, b: Waiter): number {
  return a.order - b.order;
}

/** Lowest counter first, then fewest units in use, then longest wait. */
function byFairness(a: Line, b: Line): number {
  return (
    a.share.counter - b.share.counter ||
    a.share.running - b.share.running ||
    byOrder(headOf(a), headOf(b))
  );
}

/** A batch whose turn has come, then interactive jobs, then other batches. */
function classOf({ priority, crowd }: Lane): number {
  if (priority === 'interactive') return 1;
  return crowd.interactiveInARow >= maxInteractiveInARow ? 0 : 2;
}

/** The order in which lines of several lanes have a claim to a slot. */
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

  [Symbol.iterator](): Iterator<Crowd> {
    return this.#crowds.values();
  }

  insert(waiter: Waiter): void {
    const { share, job } = waiter;
    const crowd = this.#crowdOf(waiter.group);
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
    this.rank(share);
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
    this.rank(share);
  }

  /** Forgets the lanes and the crowd in which nothing waits any more, after that waiter has left. */
  prune({ group, job }: Waiter): void {
    const crowd = this.#crowds.get(group);
    if (crowd === undefined) return;
    let hasBatch = false;
    for (const [key, lane] of crowd.lanes) {
      if (lane.lines.size === 0) crowd.lanes.delete(key);
      else hasBatch ||= lane.priority === 'batch';
    }
    if (job.priority === 'batch' && !hasBatch) crowd.interactiveInARow = 0;
    if (crowd.lanes.size === 0 && crowd.slotless.size === 0) this.#crowds.delete(group);
  }

  /** Moves every waiter to its new group; order and counters stay. */
  regroup(waiters: Iterable<Waiter>, groupOf: (waiter: Waiter) => SlotGroup): void {
    const moved = [...waiters].map((waiter) => ({ waiter, group: groupOf(waiter) }));
    for (const { waiter } of moved) this.extract(waiter);
    this.#crowds.clear();
    for (const { waiter, group } of moved) {
      waiter.group = group;
      this.insert(waiter);
    }
  }

  /**
   * Puts a caller's lines where they belong now. A head that the cap does not let run keeps the lines behind it waiting,
   * and so does a head that was passed over too often: else small jobs of the same caller would go past a large one for
   * ever.
   */
  rank({ lines, running }: Share): void {
    if (lines.size === 0) return;
    let isBlocked = false;
    for (const line of lines.size > 1 ? [...lines].sort(byClassAndAge) : lines) {
      const head = headOf(line);
      isBlocked ||= !isBelowCap(running, head);
      if (isBlocked) line.lane.eligible.delete(line);
      else line.lane.eligible.set(line);
      isBlocked ||= wasPassedOver(head);
    }
  }

  /** The lowest counter of the callers that wait for open slots; Infinity where none does. */
  leastCounter(): number {
    let least = Number.POSITIVE_INFINITY;
    for (const { group, lanes } of this.#crowds.values()) {
      if (!group.slotSets.some(({ isOpen }) => isOpen)) continue;
      for (const { eligible } of lanes.values()) {
        least = Math.min(least, eligible.peek()?.share.counter ?? least);
      }
    }
    return least;
  }

  /** Counts a grant on those slots for the classes that could have had it. */
  countClasses({ job, group }: Waiter, slots: SlotSet): void {
    for (const crowd of this.#crowds.values()) {
      if (job.priority === 'batch') {
        if (crowd.group === group) crowd.interactiveInARow = 0;
      } else if (crowd.group.slotSets.includes(slots) && hasEligible(crowd, 'batch')) {
        crowd.interactiveInARow++;
      }
    }
  }

  #crowdOf(group: SlotGroup): Crowd {
    let crowd = this.#crowds.get(group);
    if (crowd === undefined) {
      const slotless = new Heap<Waiter>(byOrder);
      crowd = { group, lanes: new Map(), slotless, interactiveInARow: 0 };
      this.#crowds.set(group, crowd);
    }
    return crowd;
  }
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

/**
 * Estimates how many are granted until it is the turn of a waiter of that line: 1 is next. Waiters for other slots do
 * not count, and all jobs are taken to be of the same size. O(callers).
 */
export function placeOf(waiter: Waiter, line: Line): number {
  const { lane, share } = line;
  const { crowd, priority } = lane;
  let own = 0;
  let others = 0;
  let interactive = 0;
  for (const each of crowd.lanes.values()) {
    for (const other of each.lines.values()) {
      if (each.priority !== priority) {
        interactive += other.waiters.size;
      } else if (other.share === share) {
        for (const { order } of other.waiters) if (order < waiter.order) own++;
      }
    }
  }
  for (const each of crowd.lanes.values()) {
    if (each.priority !== priority) continue;
    for (const other of each.eligible) {
      if (other.share === share) continue;
      const first = byFairness(other, line) < 0 ? 1 : 0;
      const turns = first + (own * other.share.weight) / share.weight;
      others += Math.min(other.waiters.size, turns);
    }
  }
  const place = 1 + own + Math.round(others);
  if (priority === 'interactive') return place;
  return place + Math.min(interactive, place * maxInteractiveInARow);
}
