/**
 * The table of open requests. Rows are updated in place, so that a stop button stays under the pointer and keeps the
 * focus.
 */
import { confirmButton, nameOf } from './confirm.js';
import { byId, make, one, setName, setText } from './dom.js';
import { age, integer, rate, wait } from './format.js';
import { keyedRows } from './rows.js';

/** @import { LiveRow, Wait } from './types.d.ts' */

/** The maximum number of rows; further requests are only counted. */
const maxRows = 200;

const phaseWords = {
  body: 'receiving',
  queued: 'queued',
  prefill: 'prefill',
  decode: 'decode',
};

/**
 * Returns the user that a trusted key named; `undefined` if the key named none.
 * @param {{ keyId: string, principal: string }} row
 */
export function userOf({ keyId, principal }) {
  if (principal === keyId) return undefined;
  return principal.startsWith(`${keyId}/`) ? principal.slice(keyId.length + 1) : principal;
}

/**
 * @param {string} className
 * @param {string} label shown on a narrow screen instead of the column's header
 * @param {...Node} children
 */
function cell(className, label, ...children) {
  const element = make('td', className, ...children);
  element.dataset['label'] = label;
  return element;
}

/**
 * Returns the place of a queued request and why it waits.
 * @param {Wait} waits
 */
export function whyText({ place, seconds, why }) {
  const about = seconds === null ? '' : `, about ${integer(seconds)} s`;
  return `place ${integer(place)}${about}: ${why}`;
}

/** @param {(id: string) => Promise<void>} stop */
function makeRow(stop) {
  /** @type {LiveRow | undefined} */
  let shown;
  const caller = make('span', 'first');
  const user = make('span', 'second');
  const model = make('span', 'first');
  const route = make('span', 'second');
  const badge = make('span', 'badge');
  const why = make('span', 'second why');
  const tokens = cell('number tokens', 'tokens');
  const speed = cell('number rate', 'tokens/s');
  const waited = cell('number waited', 'queued');
  const since = cell('number age', 'age');
  const engine = cell('where', 'on');
  const button = confirmButton({
    label: 'Stop',
    question: 'Really?',
    act: async () => {
      if (shown !== undefined) await stop(shown.id);
    },
  });
  const element = make(
    'tr',
    '',
    cell('who', '', caller, user),
    cell('what', '', model, route),
    cell('phase', '', badge, why),
    tokens,
    speed,
    waited,
    since,
    engine,
    cell('act', '', button),
  );

  /** @param {LiveRow} row */
  function update(row) {
    shown = row;
    setName(caller, row.name);
    setName(user, userOf(row) ?? row.keyId);
    setName(model, row.model ?? '–');
    setName(route, row.route);
    setText(badge, phaseWords[row.phase] ?? row.phase);
    if (badge.dataset['phase'] !== row.phase) badge.dataset['phase'] = row.phase;
    element.dataset['phase'] = row.phase;
    element.classList.toggle('placeless', row.upstream === null);
    setText(tokens, integer(row.tokens));
    setText(speed, row.phase === 'decode' ? rate(row.tokensPerSecond) : '–');
    setText(waited, row.queuedMs > 0 ? wait(row.queuedMs) : '–');
    setText(why, row.wait === null ? '' : whyText(row.wait));
    why.hidden = row.wait === null;
    setText(since, age(row.ageMs));
    setName(engine, row.upstream ?? '–');
    nameOf(button, `the request of ${row.name}`);
  }
  return { element, update };
}

/**
 * @param {(id: string) => Promise<void>} stop ends a request; handles its own failures
 * @returns {(rows: readonly LiveRow[]) => void}
 */
export function requestTable(stop) {
  const body = one('tbody', byId('requests'));
  const note = byId('requests-note');
  const show = keyedRows(
    body,
    ({ id }) => id,
    () => makeRow(stop),
    byId('requests-title'),
  );

  return function showRequests(rows) {
    show(rows.slice(0, maxRows));
    note.hidden = rows.length > 0 && rows.length <= maxRows;
    const more = rows.length - maxRows;
    setText(note, more > 0 ? `and ${integer(more)} more` : 'No request is in flight.');
  };
}
