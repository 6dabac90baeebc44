/**
 * The slots of a gateway that is alone: it holds all that the engines have. There is nothing to ask and nothing to hand
 * back.
 */
import type { SlotBroker } from '../../scheduling/slotbroker.ts';
import type { SlotSet } from '../../engines/slots.ts';

export class LocalSlots implements SlotBroker {
  held({ capacity }: SlotSet): number {
    return capacity;
  }

  usedElsewhere(): number {
    return 0;
  }

  onChange(): void {}

  close(): void {}
}
