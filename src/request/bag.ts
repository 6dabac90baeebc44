/**
 * A collection of what comes and goes with each request, in no order: an array in which each item knows its place.
 * JavaScriptCore's Set leaves its old tables linked to the newer ones, so that everything that was ever in it survives
 * young collections: 1.54 MB were marked each time in place of 0.09, and a request cost 6 µs more.
 */

/** What can be in one bag. The bag alone writes `place`. */
export interface Placed {
  /** Its index in the bag; -1 while it is in none. */
  place: number;
}

export class Bag<Item extends Placed> implements Iterable<Item> {
  readonly #items: Item[] = [];

  get size(): number {
    return this.#items.length;
  }

  has(item: Item): boolean {
    return this.#items[item.place] === item;
  }

  add(item: Item): void {
    item.place = this.#items.length;
    this.#items.push(item);
  }

  /** Takes the item out. Returns `false` when it was not in the bag. */
  delete(item: Item): boolean {
    if (!this.has(item)) return false;
    const last = this.#items.pop() as Item; // There is `item` at least.
    if (last !== item) {
      last.place = item.place;
      this.#items[last.place] = last;
    }
    item.place = -1;
    return true;
  }

  /** Yields each item once; those that it has yielded may be taken out meanwhile. */
  *[Symbol.iterator](): Iterator<Item> {
    // From the end: what takes the place of an item has been yielded already.
    for (let i = this.#items.length - 1; i >= 0; i--) {
      const item = this.#items[i];
      if (item !== undefined) yield item;
    }
  }
}
