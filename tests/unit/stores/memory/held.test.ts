/** What open reservations hold: each is found by its id, once, and not by the id of another. */
import { describe, expect, test } from 'bun:test';
import { HeldReservations, type Held } from '../../../../src/stores/memory/held.ts';
import { forSeeds } from '../../../support/random.ts';

function held(tokens: number): Held {
  return {
    principal: 'alice',
    tokens,
    promptTokens: 0,
    hasAnswers: false,
    takenAtMs: 0,
    requestShare: undefined,
    tokenShare: undefined,
    hasBudget: false,
  };
}

describe('an id', () => {
  test('releases what it holds, once', () => {
    const all = new HeldReservations();
    const id = all.add(held(1));
    expect(all.take(id)).toEqual(held(1));
    expect(all.take(id)).toBeUndefined();
  });

  test('is not that of a later one in the same place', () => {
    const all = new HeldReservations();
    const first = all.add(held(1));
    all.take(first);
    const second = all.add(held(2));
    expect(all.take(first)).toBeUndefined();
    expect(all.take(second)).toEqual(held(2));
  });

  test('of nothing, or of another store, holds nothing', () => {
    const all = new HeldReservations();
    const id = all.add(held(1));
    for (const other of [-1, 0, 0.5, id + 1, id - 1, 2 * id, Number.NaN, Infinity, '', `${id}`]) {
      expect(all.take(other)).toBeUndefined();
    }
    expect(all.take(id)).toEqual(held(1));
  });
});

test('many that come and go in any order are each found once', async () => {
  await forSeeds(50, (random) => {
    const all = new HeldReservations();
    const open = new Map<number, number>();
    for (let i = 0; i < 300; i++) {
      if (random.oneIn(2)) {
        const id = all.add(held(i));
        expect(open.has(id)).toBe(false);
        open.set(id, i);
        continue;
      }
      const [id, tokens] = random.pick([...open, [-1, -1] as const]);
      const found = all.take(id);
      expect(found?.tokens).toBe(tokens < 0 ? undefined : tokens);
      open.delete(id);
      expect(all.take(id)).toBeUndefined();
    }
  });
});
