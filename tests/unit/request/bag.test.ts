/**
 * A bag: items are added and removed in any order, also while it is iterated.
 */
import { describe, expect, test } from 'bun:test';
import { Bag } from '../../../src/request/bag.ts';

interface Item {
  name: number;
  place: number;
}

function filled(count: number) {
  const bag = new Bag<Item>();
  const items = Array.from({ length: count }, (_, name) => ({ name, place: -1 }));
  for (const item of items) bag.add(item);
  return { bag, items };
}

const namesIn = (bag: Iterable<Item>) => Array.from(bag, ({ name }) => name).sort();

describe('a bag', () => {
  test('has what was put in, until it is taken out, once', () => {
    const { bag, items } = filled(3);
    const [first, second] = items as [Item, Item, Item];
    expect(bag.delete(first)).toBe(true);
    expect(bag.delete(first)).toBe(false);
    expect([bag.has(first), bag.has(second), bag.size]).toEqual([false, true, 2]);
    expect(namesIn(bag)).toEqual([1, 2]);
  });

  test('does not take out what is in another one', () => {
    const { bag } = filled(2);
    const { items } = filled(2);
    expect(bag.delete(items[0] as Item)).toBe(false);
    expect(bag.size).toBe(2);
  });

  test('takes back what was taken out', () => {
    const { bag, items } = filled(3);
    for (const item of items) bag.delete(item);
    expect(bag.size).toBe(0);
    for (const item of items) bag.add(item);
    expect(namesIn(bag)).toEqual([0, 1, 2]);
  });

  test('yields each item once, whichever of those that it has yielded are taken out meanwhile', () => {
    for (const taken of [0, 1, 2, 3]) {
      const { bag, items } = filled(4);
      const yielded: number[] = [];
      for (const { name } of bag) {
        yielded.push(name);
        if (name >= taken) bag.delete(items[name] as Item);
      }
      expect(yielded.sort()).toEqual([0, 1, 2, 3]);
      expect(bag.size).toBe(taken);
    }
  });
});
