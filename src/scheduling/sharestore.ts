/**
 * The contract for fairness: in each domain of engines, for each class of requests, one counter a caller: the weighted
 * tokens served to it there, divided by its weight. And the units that a caller has in all domains together. It orders
 * nothing; the lanes do. Every answer is synchronous, because it is asked for before every decision.
 *
 * The classes count apart, because a batch waits behind interactive requests: were there one counter, what a caller's batch
 * has waited would be credit for its interactive requests, and one batch that always waits would keep the credit growing.
 */
import type { Holder, Share } from './waiter.ts';
import type { Domain, Succession } from '../engines/slots.ts';
import type { Priority } from '../request/caller.ts';

/** The only writer of `weight`, `counter` and `grantedAt` of a share, and of `running` of a holder. */
export interface ShareStore {
  /** Returns what the caller has here; `undefined` where it has nothing or was forgotten. */
  holder(principal: string): Holder | undefined;
  /** Returns the caller's share in a domain and class, with that weight, new where it has none; it is not idle from now on. */
  open(domain: Domain, priority: Priority, principal: string, weight: number): Share;
  /**
   * Lifts a caller that comes back to those that wait, so that idling banks nothing. A counter never falls.
   * @param least the lowest counter of those that wait in its domain and class; Infinity where none does: then the caller
   * granted last there counts
   */
  lift(share: Share, least: number): void;
  /** Counts units that were granted. */
  take(share: Share, units: number): void;
  /** Counts units that came back. */
  release(holder: Holder, units: number): void;
  /**
   * Counts weighted tokens that were served to a caller; a negative number corrects an estimate. A figure that is not
   * finite is not counted: it would spoil the order for good.
   * @returns the share; `undefined` where the caller was forgotten, and is not charged
   */
  charge(domain: Domain, priority: Priority, principal: string, tokens: number): Share | undefined;
  /** Called when a caller may have nothing here any more. Idle callers are remembered, but not without bound. */
  settle(holder: Holder): void;
  /**
   * The engines serve something else: from now on there are these domains and no others. In a new one a caller keeps its
   * lead, which is how far its counter is above the floor, of each domain that it was made of, added up: of two that merge,
   * since both were served from the same engines now; of one that splits, in each part, so that the order stays.
   * @param floorOf returns the lowest counter of those that wait there; Infinity where none does
   */
  succeed(
    domains: readonly Succession[],
    floorOf: (domain: Domain, priority: Priority) => number,
  ): void;
}
