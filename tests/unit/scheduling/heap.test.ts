/**
 * The indexed heap: against a sorted list under any order of pushes, moves and deletions.
 */
import { describe, expect, test } from 'bun:test';
import { Heap, type Ranked } from '../../../src/scheduling/heap.ts';
import { forSeeds } from '../../support/random.ts';

interface Item extends Ranked {
  value: number;
}

function heap(...values: number[]): { heap: Heap<Item>; items: Item[] } {
  const filled = new Heap<Item>((a, b) => a.value - b.value);
  const items = values.map((value) => ({ value, heapIndex: -1 }));
  for (const item of items) filled.set(item);
  return { heap: filled, items };
}

function drain(from: Heap<Item>): number[] {
  const values: number[] = [];
  for (let item = from.pop(); item !== undefined; item = from.pop()) values.push(item.value);
  return values;
}

describe('a heap', () => {
  test('returns its items in order', () => {
    expect(drain(heap(3, 1, 2, 5, 4, 1).heap)).toEqual([1, 1, 2, 3, 4, 5]);
  });

  test('returns nothing when it is empty', () => {
    const { heap: empty } = heap();
    expect(empty.peek()).toBeUndefined();
    expect(empty.pop()).toBeUndefined();
    expect(empty.size).toBe(0);
  });

  test('keeps an item that is only read', () => {
    const { heap: two } = heap(2, 1);
    expect(two.peek()?.value).toBe(1);
    expect(two.size).toBe(2);
  });

  test('has an item once, however often it is set', () => {
    const { heap: one, items } = heap(1);
    for (const item of items) one.set(item);
    expect(one.size).toBe(1);
  });

  test('moves an item whose value has changed', () => {
    const { heap: three, items } = heap(1, 2, 3);
    const [first, , last] = items as [Item, Item, Item];
    first.value = 9;
    three.set(first);
    last.value = 0;
    three.set(last);
    expect(drain(three)).toEqual([0, 2, 9]);
  });

  test('says whether what it takes out was in', () => {
    const { heap: two, items } = heap(1, 2);
    const [first] = items as [Item, Item];
    expect(two.has(first)).toBe(true);
    expect(two.delete(first)).toBe(true);
    expect(two.has(first)).toBe(false);
    expect(two.delete(first)).toBe(false);
    expect(drain(two)).toEqual([2]);
  });
});

test('under any order of changes the least is first and all are in', async () => {
  await forSeeds(200, (random) => {
    const { heap: tried } = heap();
    const model = new Set<Item>();
    for (let step = 0; step < 300; step++) {
      const known = [...model];
      if (known.length === 0 || random.below(5) < 2) {
        const item = { value: random.below(40), heapIndex: -1 };
        tried.set(item);
        model.add(item);
      } else if (random.oneIn(3)) {
        const least = tried.pop() as Item;
        expect(model.delete(least)).toBe(true);
        expect(least.value).toBe(Math.min(...known.map(({ value }) => value)));
      } else if (random.oneIn(2)) {
        const item = random.pick(known);
        item.value = random.below(40);
        tried.set(item);
      } else {
        const item = random.pick(known);
        // The item to remove may have changed already.
        item.value = random.below(40);
        expect(tried.delete(item)).toBe(true);
        model.delete(item);
      }
      expect(tried.size).toBe(model.size);
      expect(new Set(tried)).toEqual(model);
    }
    const rest = [...model].map(({ value }) => value).sort((a, b) => a - b);
    expect(drain(tried)).toEqual(rest);
  });
});
