/**
 * A button whose first press asks and whose second press acts. It changes its words, never its size.
 */
import { make, setText } from './dom.js';

const patienceMs = 4000;

/**
 * @param {object} options
 * @param {string} options.label
 * @param {string} options.question what it says once it has been pressed
 * @param {() => Promise<void>} options.act what it does; it must handle its own failures
 * @returns {HTMLButtonElement}
 */
export function confirmButton({ label, question, act }) {
  // Both texts lie in one cell of a grid, so that the longer one gives the size.
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
    // The second half of a double click is no second decision.
    if (event.detail > 1 || isBusy) return;
    if (!element.classList.contains('asking')) return show(true);
    show(false);
    // Not disabled meanwhile: that would take the focus away.
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
 * @param {string} name whom or what it is about, for those who hear the page
 */
export function nameOf(element, name) {
  const hint = element.lastElementChild?.classList.contains('away')
    ? element.lastElementChild
    : element.appendChild(make('span', 'away'));
  setText(hint, ` ${name}`);
}
