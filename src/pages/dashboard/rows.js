/**
 * A list that is updated in place: an item that stays keeps its element, its focus and its position on the screen.
 */

/**
 * @template Item
 * @typedef {{ element: HTMLElement, update: (item: Item) => void }} Row
 */

/**
 * @template Item
 * @param {HTMLElement} container contains the rows and nothing else
 * @param {(item: Item) => string} keyOf
 * @param {() => Row<Item>} makeRow
 * @param {HTMLElement} heading gets the focus when the row that had it is removed
 * @returns {(items: readonly Item[]) => void} shows exactly these items, in this order
 */
export function keyedRows(container, keyOf, makeRow, heading) {
  /** @type {Map<string, Row<Item>>} */
  let shown = new Map();

  return function show(items) {
    /** @type {Map<string, Row<Item>>} */
    const next = new Map();
    for (const item of items) {
      let key = keyOf(item);
      // Clients choose the ids of requests, so an id can occur twice.
      while (next.has(key)) key += ' again';
      const row = shown.get(key) ?? makeRow();
      row.update(item);
      next.set(key, row);
    }
    for (const [key, { element }] of shown) {
      if (next.has(key)) continue;
      const hadFocus = element.contains(document.activeElement);
      element.remove();
      if (hadFocus) heading.focus();
    }
    let position = container.firstElementChild;
    for (const { element } of next.values()) {
      if (element === position) position = position.nextElementSibling;
      // Moving an element removes its focus, so only elements that are out of place are moved.
      else container.insertBefore(element, position);
    }
    shown = next;
  };
}
