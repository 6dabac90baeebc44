/**
 * The contract for slots: how much of the engines this gateway may use. Every answer is synchronous, because it is asked
 * for before every decision; an implementation that talks to others does so behind it.
 */
import type { SlotSet } from '../engines/slots.ts';
import type { Upstream } from '../engines/upstream.ts';

/**
 * An implementation for several gateways will add what only such a one needs: the bids of this gateway (`want`), whether
 * others wait for the same slots (`rivals`), whether a slot that comes back is handed on (`keep`), and whether the store
 * can be reached (`state`).
 */
export interface SlotBroker {
  /** Returns the units of the slots that this gateway may use now; at most their capacity, Infinity where it has none. */
  held(slots: SlotSet): number;
  /** Returns the units that other gateways use at that upstream. */
  usedElsewhere(upstream: Upstream): number;
  /** Sets what is called when an answer of `held` has changed by anything but the capacity of the slots. */
  onChange(changed: () => void): void;
  /** Hands back what is held. Nothing is asked afterwards. */
  close(): void | Promise<void>;
}
