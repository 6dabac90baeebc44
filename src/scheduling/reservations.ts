/**
 * Slots that are kept for waiters that were passed over too often: no other gets a slot there until they fit. It decides
 * neither for which waiters slots are kept nor which of them runs.
 */
import type { SlotBroker } from './slotbroker.ts';
import { headOf, type Waiter } from './waiter.ts';
import { shortage, type SlotSet } from '../engines/slots.ts';

export class Reservations {
  readonly #owners = new Map<SlotSet, Waiter>();

  constructor(private readonly broker: SlotBroker) {}

  get size(): number {
    return this.#owners.size;
  }

  /** Returns whether that waiter, or any where it is `undefined`, may have some of the slots. */
  allows(slots: SlotSet, waiter: Waiter | undefined): boolean {
    const owner = this.#owners.get(slots);
    return owner === undefined || owner === waiter;
  }

  /** Returns slots and the waiters they are kept for, without those that are not worth keeping any more. */
  *[Symbol.iterator](): Generator<[SlotSet, Waiter]> {
    for (const [slots, waiter] of this.#owners) {
      if (isStillFor(slots, waiter)) yield [slots, waiter];
      else this.#owners.delete(slots);
    }
  }

  /** Keeps the slots that have room for it soonest, as far as that can be known. */
  keep(waiter: Waiter): void {
    for (const owner of this.#owners.values()) if (owner === waiter) return;
    const { broker } = this;
    const { group, job } = waiter;
    const [first, ...others] = group.slotSets.filter((slots) => {
      return slots.isOpen && broker.held(slots) > 0 && !this.#owners.has(slots);
    });
    if (first === undefined) return;
    const lack = (slots: SlotSet) => shortage(slots, job.units, broker.held(slots));
    const soonest = others.reduce(
      (best, other) => (lack(other) < lack(best) ? other : best),
      first,
    );
    this.#owners.set(soonest, waiter);
  }

  release(slots: SlotSet): void {
    this.#owners.delete(slots);
  }

  /** Releases what is kept for a waiter that waits no more. */
  forget(waiter: Waiter): void {
    for (const [slots, owner] of this.#owners) {
      if (owner === waiter) this.#owners.delete(slots);
    }
  }
}

function isStillFor(slots: SlotSet, waiter: Waiter): boolean {
  const { line, group } = waiter;
  if (line === undefined || headOf(line) !== waiter) return false;
  if (!slots.isOpen || !group.slotSets.includes(slots)) return false;
  return line.lane.eligible.has(line);
}
