/** What every implementation of the contract for slots must do. */
import { describe, expect, test } from 'bun:test';
import type { SlotBroker } from '../../src/scheduling/slotbroker.ts';
import { SlotSet } from '../../src/engines/slots.ts';
import { Upstream } from '../../src/engines/upstream.ts';
import { settingsOf } from '../support/schedulingworld.ts';

/**
 * Tests an implementation.
 * @param make returns a broker of a gateway that is alone, and that has had time to get what it may have
 */
export function testSlotBroker(name: string, make: () => SlotBroker | Promise<SlotBroker>): void {
  describe(`the slots of ${name}`, () => {
    test('are all held by a gateway that is alone', async () => {
      const broker = await make();
      for (const capacity of [0, 1, 4, Number.POSITIVE_INFINITY]) {
        const slots = new SlotSet('a', capacity, true);
        expect(broker.held(slots)).toBe(capacity);
      }
      await broker.close();
    });

    test('are never more than the engine has, however that changes', async () => {
      const broker = await make();
      const slots = new SlotSet('a', 4, true);
      for (const capacity of [4, 1, 0, 3]) {
        slots.capacity = capacity;
        expect(broker.held(slots)).toBeLessThanOrEqual(capacity);
      }
      await broker.close();
    });

    test('are held whether they are in use or not, and whether requests may start or not', async () => {
      const broker = await make();
      const slots = new SlotSet('a', 4, false);
      slots.used = 3;
      expect(broker.held(slots)).toBe(4);
      await broker.close();
    });

    test('are used by no other gateway where there is none', async () => {
      const broker = await make();
      const upstream = new Upstream(settingsOf('a', { slots: 4 }), () => 0);
      upstream.slotsFor(undefined).used = 2;
      expect(broker.usedElsewhere(upstream)).toBe(0);
      await broker.close();
    });

    test('do not change by being asked for', async () => {
      const broker = await make();
      let changes = 0;
      broker.onChange(() => changes++);
      const slots = new SlotSet('a', 4, true);
      for (let i = 0; i < 10; i++) expect(broker.held(slots)).toBe(4);
      expect(changes).toBe(0);
      await broker.close();
    });
  });
}
