/**
 * A button whose first press asks for confirmation and whose second press acts. Its text changes, its size does not.
 */
import { make, setText } from './dom.js';

const patienceMs = 4000;

/**
 * @param {object} options
 * @param {string} options.label
 * @param {string} options.question the text after the first press
 * @param {() => Promise<void>} options.act the action; it must handle its own failures
 * @returns {HTMLButtonElement}
 */
export function confirmButton({ label, question, act }) {
  // Both texts are in one grid cell, so that the longer one sets the size.
  const first = make('span', '', label);
  const second = make('span', '', question);
  const element = make('button', 'confirm', first, second);
  element.type = 'button';
  let timer = 0;
  let isBusy = false;

  /** @param {boolean} isAsking */
  function show(isAsking) {
    clearTimeout(timer);
    element.classList.toggle('asking', isAsking);
    first.ariaHidden = String(isAsking);
    second.ariaHidden = String(!isAsking);
    if (isAsking) timer = setTimeout(() => show(false), patienceMs);
  }

  element.addEventListener('click', async (event) => {
    // The second click of a double click does not confirm.
    if (event.detail > 1 || isBusy) return;
    if (!element.classList.contains('asking')) return show(true);
    show(false);
    // Not disabled in the meantime: that would remove the focus.
    isBusy = true;
    await act();
    isBusy = false;
  });
  element.addEventListener('blur', () => show(false));
  show(false);
  return element;
}

/**
 * @param {HTMLButtonElement} element
 * @param {string} name what the button acts on, for screen readers
 */
export function nameOf(element, name) {
  const hint = element.lastElementChild?.classList.contains('away')
    ? element.lastElementChild
    : element.appendChild(make('span', 'away'));
  setText(hint, ` ${name}`);
}
