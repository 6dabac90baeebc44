/**
 * Why a job waits: what holds it, and who is ahead of it. Clients are told of themselves alone; the operator is told all.
 */
import type { Waiter } from './waiter.ts';
import { isBelowCap } from './lanes.ts';
import type { SlotSet } from '../engines/slots.ts';

/**
 * cap: its caller has all the slots that it may have. away: none of its servers takes requests. size: it needs more slots at
 * once than are free. turn: all slots are in use, or others are ahead.
 */
export type Held = 'cap' | 'away' | 'size' | 'turn';

/** What its client is told. */
export interface Report {
  /** 1 is next. */
  place: number;
  waitSeconds: number;
  held: Held;
  /** Slots that it needs. */
  units: number;
  /** Slots that its caller may have at once, and those that it has. */
  maxUnits: number;
  running: number;
}

/** What the operator is told. */
export interface Wait extends Report {
  /** Where it may run. */
  slots: readonly string[];
  /** The first callers that come before it, and how many weighted tokens fewer each was served, by weight. */
  ahead: readonly { name: string; principal: string; servedLess: number }[];
}

/** Returns what holds a waiter. */
export function heldBy(waiter: Waiter): Held {
  const { group, job, share } = waiter;
  if (!isBelowCap(share.holder.running, waiter)) return 'cap';
  if (!group.slotSets.some(({ isOpen }) => isOpen)) return 'away';
  const hasSome = ({ isOpen, used, capacity }: SlotSet) => isOpen && used < capacity;
  return job.units > 1 && group.slotSets.some(hasSome) ? 'size' : 'turn';
}

/** By so much an estimate must be longer than what is left of the latest one to replace it: a quarter and a second. */
const longerBy = 1.25;
const longerBySeconds = 1;

/** The estimate of one wait as its client sees it: a clock that runs down, and is set back only where it must be. */
export class Countdown {
  #endsAt: number | undefined;

  /**
   * Returns how many seconds to tell.
   * @param seconds the estimate
   * @param now milliseconds
   */
  next(seconds: number, now: number): number {
    const left = this.#endsAt === undefined ? undefined : Math.max(0, (this.#endsAt - now) / 1000);
    if (left !== undefined && seconds > left && seconds <= left * longerBy + longerBySeconds) {
      return left;
    }
    this.#endsAt = now + seconds * 1000;
    return seconds;
  }
}

/** Returns the end of a sentence that tells a client what of its own holds its request; empty where nothing does. */
export function ownReason({ held, units, maxUnits, running }: Report): string {
  if (held === 'cap') {
    const used = `this caller uses ${running} of the ${maxUnits} slots that it may have at once`;
    return running > 0 ? `, ${used}` : '';
  }
  if (held === 'size') return `, it needs ${units} slots at once`;
  return held === 'away' ? ', no server for it takes requests now' : '';
}
