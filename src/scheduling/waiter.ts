/**
 * What waits, and in what: a waiter stands in the line of its caller, a line in the lane of one class and size, a lane in
 * the crowd of one group of slots. These are the nouns of the queue; lanes.ts, turn.ts and queue.ts decide.
 */
import type { Heap, Ranked } from './heap.ts';
import type { Lease } from './lease.ts';
import type { Spot } from './placing.ts';
import type { Choice } from '../engines/catalog.ts';
import type { SlotGroup, SlotSet } from '../engines/slots.ts';
import type { Priority } from '../request/caller.ts';
import type { Placed } from '../request/bag.ts';
import type { Job } from '../request/job.ts';

/** What one caller was served and has now. The queue reads all of it, and writes `waiting` and `lines`. */
export interface Share {
  readonly principal: string;
  /** Above 0. */
  weight: number;
  /** Weighted tokens served to the caller, divided by its weight. */
  counter: number;
  /** Units in use. */
  running: number;
  /** Jobs in the queue. */
  waiting: number;
  /** Where they wait. */
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
  interactiveInARow: number;
}

/** Returns the first of a line. */
export function headOf(line: Line): Waiter {
  return line.waiters.peek() as Waiter; // A line is never empty.
}
