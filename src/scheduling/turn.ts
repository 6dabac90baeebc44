/**
 * Whose turn it is: of all that wait, the fairest that can start now, and which would have come before it had there been
 * room. It changes nothing.
 */
import { byClassAndFairness } from './lanes.ts';
import { headOf, type Crowd, type Line, type Waiter } from './waiter.ts';
import type { SlotGroup, SlotSet } from '../engines/slots.ts';

export interface Turn {
  readonly line: Line;
  /** Where its head can start. */
  readonly free: readonly SlotSet[];
  /** Lines whose heads fit nowhere now, the first of each lane. */
  readonly stuck: readonly Line[];
}

/**
 * Returns whose turn it is among the crowds; `undefined` when nothing can start.
 * @param isOut returns whether a group is left out
 */
export function nextTurn(
  crowds: Iterable<Crowd>,
  isOut: (group: SlotGroup) => boolean,
  freeFor: (waiter: Waiter) => readonly SlotSet[],
): Turn | undefined {
  let line: Line | undefined;
  let free: readonly SlotSet[] = [];
  const stuck: Line[] = [];
  for (const { group, lanes } of crowds) {
    if (isOut(group)) continue;
    for (const { eligible } of lanes.values()) {
      const candidate = eligible.peek();
      if (candidate === undefined) continue;
      const slotSets = freeFor(headOf(candidate));
      if (slotSets.length === 0) {
        stuck.push(candidate);
      } else if (line === undefined || byClassAndFairness(candidate, line) < 0) {
        line = candidate;
        free = slotSets;
      }
    }
  }
  return line && { line, free, stuck };
}

/** Returns the line that is passed over when the turn uses those slots: the first that was stuck and comes before it. */
export function passedOverBy({ line, stuck }: Turn, slots: SlotSet): Line | undefined {
  let first: Line | undefined;
  for (const other of stuck) {
    if (!other.lane.crowd.group.slotSets.includes(slots)) continue;
    if (byClassAndFairness(other, first ?? line) < 0) first = other;
  }
  return first;
}
