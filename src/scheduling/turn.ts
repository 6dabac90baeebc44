/**
 * Whose turn it is: of all that wait, the fairest that can start now, and who would have come before it had there been
 * room. It changes nothing.
 */
import { byClassAndFairness, headOf, type Crowd, type Line, type Waiter } from './lanes.ts';
import type { Group, Station } from '../engines/slots.ts';

export interface Turn<W> {
  readonly line: Line<W>;
  /** Where its head can start. */
  readonly free: readonly Station[];
  /** Those that fit nowhere now, the first of each lane. */
  readonly stuck: readonly Line<W>[];
}

/**
 * Gives whose turn it is among the crowds; `undefined` where nobody can start.
 * @param isOut says of which groups nobody is asked any more
 */
export function nextTurn<W extends Waiter>(
  crowds: Iterable<Crowd<W>>,
  isOut: (group: Group) => boolean,
  freeFor: (waiter: W) => readonly Station[],
): Turn<W> | undefined {
  let line: Line<W> | undefined;
  let free: readonly Station[] = [];
  const stuck: Line<W>[] = [];
  for (const { group, lanes } of crowds) {
    if (isOut(group)) continue;
    for (const { eligible } of lanes.values()) {
      const candidate = eligible.peek();
      if (candidate === undefined) continue;
      const stations = freeFor(headOf(candidate).waiter);
      if (stations.length === 0) {
        stuck.push(candidate);
      } else if (line === undefined || byClassAndFairness(candidate, line) < 0) {
        line = candidate;
        free = stations;
      }
    }
  }
  return line && { line, free, stuck };
}

/** Gives who is passed over when the turn is used on that station: the first that was stuck and comes before it there. */
export function passedOverBy<W>({ line, stuck }: Turn<W>, station: Station): Line<W> | undefined {
  let first: Line<W> | undefined;
  for (const other of stuck) {
    if (!other.lane.crowd.group.stations.includes(station)) continue;
    if (byClassAndFairness(other, first ?? line) < 0) first = other;
  }
  return first;
}
