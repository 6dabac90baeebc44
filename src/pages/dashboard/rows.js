/**
 * A list that is updated in place: what stays keeps its element, its focus and its position on the screen.
 */

/**
 * @template Item
 * @typedef {{ element: HTMLElement, update: (item: Item) => void }} Row
 */

/**
 * @template Item
 * @param {HTMLElement} container what holds the rows and nothing else
 * @param {(item: Item) => string} keyOf
 * @param {() => Row<Item>} makeRow
 * @param {HTMLElement} heading takes the focus when the row that had it goes
 * @returns {(items: readonly Item[]) => void} shows exactly these, in this order
 */
export function keyedRows(container, keyOf, makeRow, heading) {
  /** @type {Map<string, Row<Item>>} */
  let shown = new Map();

  return function show(items) {
    /** @type {Map<string, Row<Item>>} */
    const next = new Map();
    for (const item of items) {
      let key = keyOf(item);
      // Clients choose ids of requests, and can choose one twice.
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
      // To move an element takes its focus away, so only what is out of place moves.
      else container.insertBefore(element, position);
    }
    shown = next;
  };
}
