/**
 * The list of engines: name, kind, models and state of each, and its slots as small boxes.
 */
import { byId, make, setName, setText } from './dom.js';
import { keyedRows } from './rows.js';

/** @import { Engine } from './types.d.ts' */

/** An engine with more slots shows only numbers: more boxes could not be told apart. */
const maxBoxes = 64;

/** @returns {{ element: HTMLElement, update: (engine: Engine) => void }} */
function makeEngine() {
  const name = make('span', 'first');
  const state = make('span', 'badge');
  const kind = make('span', 'second');
  const boxes = make('span', 'boxes');
  const used = make('span', 'used');
  boxes.ariaHidden = 'true';
  const element = make(
    'li',
    '',
    make('div', 'line', name, state),
    kind,
    make('div', 'line', boxes, used),
  );

  /** @param {Engine} engine */
  function update({ id, kind: kindName, state: stateName, slots, usedSlots, models }) {
    setName(name, id);
    setText(state, stateName);
    if (state.dataset['state'] !== stateName) state.dataset['state'] = stateName;
    setName(kind, [kindName, ...(models ?? [])].join(' · '));
    setText(used, slots === null ? `${usedSlots} in use, no limit` : `${usedSlots} of ${slots}`);
    const all = slots ?? usedSlots;
    const wanted = all > maxBoxes ? 0 : all;
    while (boxes.childElementCount > wanted) boxes.lastElementChild?.remove();
    while (boxes.childElementCount < wanted) boxes.append(make('i', ''));
    for (const [index, box] of [...boxes.children].entries()) {
      box.classList.toggle('taken', index < usedSlots);
    }
  }
  return { element, update };
}

/** @returns {(engines: readonly Engine[]) => void} */
export function engineList() {
  return keyedRows(byId('engines'), ({ id }) => id, makeEngine, byId('requests-title'));
}
