/**
 * Stations that are kept for requests that were passed over too often: nobody else gets a slot there until they fit. It
 * decides neither who is kept one nor who runs.
 */
import { headOf, type Entry, type Waiter } from './lanes.ts';
import { shortage, type Station } from '../engines/slots.ts';

export class Reservations<W extends Waiter> {
  readonly #owners = new Map<Station, Entry<W>>();

  get size(): number {
    return this.#owners.size;
  }

  /** Says whether that entry, or anybody where it is `undefined`, may have slots of the station. */
  allows(station: Station, entry: Entry<W> | undefined): boolean {
    const owner = this.#owners.get(station);
    return owner === undefined || owner === entry;
  }

  /** Gives stations and for whom they are kept, without those that are not worth keeping any more. */
  *[Symbol.iterator](): Generator<[Station, Entry<W>]> {
    for (const [station, entry] of this.#owners) {
      if (isStillFor(station, entry)) yield [station, entry];
      else this.#owners.delete(station);
    }
  }

  /** Keeps the station that has room for it soonest, as far as that can be known. */
  keep(entry: Entry<W>): void {
    for (const owner of this.#owners.values()) if (owner === entry) return;
    const { group, units } = entry.waiter;
    const [first, ...others] = group.stations.filter((station) => {
      return station.isOpen && station.capacity > 0 && !this.#owners.has(station);
    });
    if (first === undefined) return;
    const soonest = others.reduce(
      (best, other) => (shortage(other, units) < shortage(best, units) ? other : best),
      first,
    );
    this.#owners.set(soonest, entry);
  }

  release(station: Station): void {
    this.#owners.delete(station);
  }

  /** Releases what is kept for an entry that waits no more. */
  forget(entry: Entry<W>): void {
    for (const [station, owner] of this.#owners) {
      if (owner === entry) this.#owners.delete(station);
    }
  }
}

function isStillFor<W extends Waiter>(station: Station, { line, waiter }: Entry<W>): boolean {
  if (line === undefined || headOf(line).waiter !== waiter) return false;
  if (!station.isOpen || !waiter.group.stations.includes(station)) return false;
  return line.lane.eligible.has(line);
}
