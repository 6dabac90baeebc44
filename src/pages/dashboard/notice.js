/**
 * One line at the bottom of the page that says what has just happened, for 6 s.
 */
import { byId } from './dom.js';

const shownMs = 6000;
let timer = 0;

/**
 * @param {string} text
 * @param {'done' | 'failed'} kind
 */
export function notify(text, kind = 'done') {
  const element = byId('notice');
  clearTimeout(timer);
  element.hidden = false;
  element.dataset['kind'] = kind;
  element.textContent = text;
  timer = setTimeout(() => (element.hidden = true), shownMs);
}
