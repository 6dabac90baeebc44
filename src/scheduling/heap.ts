/**
 * A binary heap that returns the least item first, and moves or removes any item in O(log n). It has each item once, and
 * does not notice by itself that the order of an item has changed: `set` tells it.
 */

/** What can be in a heap, in one at a time. The heap alone writes `heapIndex`. */
export interface Ranked {
  /** Its index in the heap; -1 while it is in none. */
  heapIndex: number;
}

export class Heap<T extends Ranked> {
  readonly #items: T[] = [];

  /** @param compare negative when `a` comes before `b`, as for `Array.sort` */
  constructor(private readonly compare: (a: T, b: T) => number) {}

  get size(): number {
    return this.#items.length;
  }

  has(item: T): boolean {
    return this.#items[item.heapIndex] === item;
  }

  /** Returns the items in no order. */
  [Symbol.iterator](): Iterator<T> {
    return this.#items[Symbol.iterator]();
  }

  /** Returns the least item and leaves it in. */
  peek(): T | undefined {
    return this.#items[0];
  }

  /** Takes the least item out. */
  pop(): T | undefined {
    const least = this.#items[0];
    if (least !== undefined) this.delete(least);
    return least;
  }

  /** Puts the item in, or where it belongs now when it is in already. */
  set(item: T): void {
    const index = this.has(item) ? item.heapIndex : this.#items.length;
    this.#sink(item, this.#rise(item, index));
  }

  /** Takes the item out; returns `false` when it is not in. */
  delete(item: T): boolean {
    if (!this.has(item)) return false;
    const index = item.heapIndex;
    item.heapIndex = -1;
    const last = this.#items.pop() as T; // There is at least `item`.
    if (last !== item) this.#sink(last, this.#rise(last, index));
    return true;
  }

  #put(item: T, index: number): void {
    this.#items[index] = item;
    item.heapIndex = index;
  }

  /** Moves the place for `item` up as far as it must, and returns that place. */
  #rise(item: T, from: number): number {
    let index = from;
    while (index > 0) {
      const above = (index - 1) >> 1;
      const parent = this.#items[above] as T; // Every place above one that exists does.
      if (this.compare(item, parent) >= 0) break;
      this.#put(parent, index);
      index = above;
    }
    return index;
  }

  /** Moves the place for `item` down as far as it must, and puts it there. */
  #sink(item: T, from: number): void {
    let index = from;
    for (;;) {
      const below = this.#lesserChild(index);
      const child = this.#items[below];
      if (child === undefined || this.compare(child, item) >= 0) break;
      this.#put(child, index);
      index = below;
    }
    this.#put(item, index);
  }

  #lesserChild(index: number): number {
    const left = 2 * index + 1;
    const [a, b] = [this.#items[left], this.#items[left + 1]];
    return a !== undefined && b !== undefined && this.compare(b, a) < 0 ? left + 1 : left;
  }
}
