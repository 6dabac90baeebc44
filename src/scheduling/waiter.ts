/**
 * What waits, and in what: a waiter stands in the line of its caller, a line in the lane of one class and size, a lane in
 * the crowd of one group of slots. These are the nouns of the queue; lanes.ts, turn.ts and queue.ts decide.
 */
import type { Contest } from './contest.ts';
import type { Heap, Ranked } from './heap.ts';
import type { Lease } from './lease.ts';
import type { Spot } from './placing.ts';
import type { Choice } from '../engines/catalog.ts';
import type { Domain, SlotGroup, SlotSet } from '../engines/slots.ts';
import type { Priority } from '../request/caller.ts';
import type { Placed } from '../request/bag.ts';
import type { Job } from '../request/job.ts';

/** What one caller has here, in all domains and classes. The queue reads all of it, and writes `waiting`. */
export interface Holder {
  readonly principal: string;
  /** Units in use. */
  running: number;
  /** Jobs in the queue. */
  waiting: number;
  shares: Share[];
}

/** What one caller was served in one domain, in one class. The queue reads all of it; the lanes write `lines`. */
export interface Share {
  readonly holder: Holder;
  readonly domain: Domain;
  readonly priority: Priority;
  /** Above 0. */
  weight: number;
  /** Weighted tokens served to the caller there, divided by its weight. */
  counter: number;
  /** Which grant its latest one was: of two, the later one has the higher number; 0 before the first. */
  grantedAt: number;
  /** Where its jobs wait. */
  readonly lines: Set<Line>;
}

/** A job that waits for its turn, or is about to start at once. */
export class Waiter implements Ranked, Placed {
  heapIndex = -1;
  place = -1;
  /** The queue's: lower is older. */
  order = 0;
  /** The queue's: how many others were granted while this one was next. */
  passed = 0;
  /** The queue's: of its caller; set as it enters. */
  share!: Share;
  /** The places': which one it is in the order of those that wait for the same slots; 0 before that is known. */
  rank = 0;
  /** The lanes': where it waits; `undefined` while it is held, and for a job that needs no slot. */
  line: Line | undefined;
  /** Admission's: where it was placed last; `undefined` when there was nothing to choose. */
  spot: Spot | undefined;
  /** Admission's: what it waits for; `undefined` when it starts at once. */
  promised: PromiseWithResolvers<Lease> | undefined;

  /**
   * @param choice where it may run; only admission changes it, with the group
   * @param group the slots that the choice stands for; only `regroup` changes it while it waits
   * @param maxUnits units that its caller may have at once, Infinity where there is no cap; a larger job runs alone
   */
  constructor(
    readonly job: Job,
    public choice: Choice,
    public group: SlotGroup,
    readonly maxUnits: number,
  ) {}
}

/** A waiter's turn: where it runs, and the units that were taken there, at most all that this gateway holds. */
export interface Grant {
  readonly waiter: Waiter;
  readonly slots: SlotSet;
  readonly units: number;
}

/** What one caller has in one lane; never empty. */
export interface Line extends Ranked {
  readonly share: Share;
  readonly lane: Lane;
  readonly waiters: Heap<Waiter>;
}

/** What waits for one group with one class and size: where one of them fits, all do. */
export interface Lane {
  readonly crowd: Crowd;
  readonly priority: Priority;
  readonly lines: Map<Share, Line>;
  /** The lines whose caller may have that many units more; the fairest first. */
  readonly eligible: Heap<Line>;
}

/** All that waits for one group of slots. */
export interface Crowd {
  readonly group: SlotGroup;
  readonly lanes: Map<string, Lane>;
  /** Jobs that need no slot. */
  readonly slotless: Heap<Waiter>;
  /** That of its domain. */
  readonly contest: Contest;
}

/** Returns the domain that a waiter waits in. */
export function domainOf({ group }: Waiter): Domain {
  return (group.slotSets[0] as SlotSet).domain; // A group has a slot set.
}

/** Returns the first of a line. */
export function headOf(line: Line): Waiter {
  return line.waiters.peek() as Waiter; // A line is never empty.
}
