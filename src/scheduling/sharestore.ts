/**
 * The contract for fairness: one counter a caller, the weighted tokens served to it divided by its weight, and the units
 * that it uses. It orders nothing; the lanes do. Every answer is synchronous, because it is asked for before every
 * decision.
 */
import type { Share } from './waiter.ts';
import type { SlotSet } from '../engines/slots.ts';

/** The only writer of `weight`, `counter` and `running` of a share. */
export interface ShareStore {
  /** Returns the caller's share; `undefined` where it has none or was forgotten. */
  find(principal: string): Share | undefined;
  /** Returns the caller's share with that weight, new where it has none; it is not idle from now on. */
  open(principal: string, weight: number): Share;
  /**
   * Lifts a caller that comes back to those that wait, so that idling banks nothing. A counter never falls.
   * @param least the lowest counter of those that wait; Infinity where none does: then the caller granted last counts
   */
  lift(share: Share, least: number): void;
  /** Counts units that were granted. */
  take(share: Share, units: number): void;
  /** Counts units that came back. */
  release(share: Share, units: number): void;
  /**
   * Counts weighted tokens that were served to a caller; a negative number corrects an estimate. A
   * figure that is not finite is not counted: it would spoil the order for good.
   * @param slots where they were served; callers compete only where they use the same engines
   * @returns the share; `undefined` where the caller was forgotten, and is not charged
   */
  charge(slots: SlotSet, principal: string, tokens: number): Share | undefined;
  /** Called when a caller may have nothing here any more. Idle callers are remembered, but not without bound. */
  settle(share: Share): void;
}
