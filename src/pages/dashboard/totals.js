/**
 * The table of usage by group, sorted by the selected column.
 */
import { byId, make, one, setName, setText } from './dom.js';
import { integer, wait } from './format.js';
import { tokensOf } from './series.js';

/** @import { UsageRow } from './types.d.ts' */
/** @import { Split } from './series.js' */

/**
 * @typedef {object} Column
 * @property {string} label
 * @property {(row: UsageRow) => string | number | null} value the value to sort by
 * @property {(row: UsageRow) => string} write the text of the cell
 * @property {boolean} isText
 */

/**
 * @param {string} label
 * @param {(row: UsageRow) => string} value
 * @returns {Column}
 */
const text = (label, value) => ({ label, value, write: value, isText: true });

/**
 * @param {string} label
 * @param {(row: UsageRow) => number | null} value
 * @param {(value: number | null) => string} write
 * @returns {Column}
 */
const number = (label, value, write = integer) => ({
  label,
  value,
  write: (row) => write(value(row)),
  isText: false,
});

/**
 * @param {string} label
 * @param {(row: UsageRow) => number} value
 * @returns {Column}
 */
const estimate = (label, value) => ({
  ...number(label, value),
  write: (row) => `${row.estimated > 0 ? '~' : ''}${integer(value(row))}`,
});

const key = text('Key', ({ name, key: id }) => name ?? id ?? '–');
const model = text('Model', ({ model: name }) => name ?? '–');

/** @type {Record<Split, Column[]>} */
const groupColumns = { key: [key], model: [model], all: [key, model] };

const requests = number('Requests', (row) => row.requests);
const columns = [
  requests,
  number('Refused', ({ refused }) => refused),
  number('Failed', ({ failed }) => failed),
  number('Cancelled', ({ cancelled }) => cancelled),
  number('From cache', ({ cacheHits }) => cacheHits),
  estimate('Prompt', ({ promptTokens }) => promptTokens),
  estimate('Cached', ({ cachedTokens }) => cachedTokens),
  estimate('Completion', ({ completionTokens }) => completionTokens),
  estimate('Tokens', tokensOf),
  number('Engine time', ({ engineSeconds }) => engineSeconds * 1000, wait),
  number('First token p50', ({ firstTokenMsP50 }) => firstTokenMsP50, wait),
  number('p95', ({ firstTokenMsP95 }) => firstTokenMsP95, wait),
  number('Queued p50', ({ queuedMsP50 }) => queuedMsP50, wait),
  number('p95', ({ queuedMsP95 }) => queuedMsP95, wait),
];

/**
 * Returns the rows sorted by a column; rows without a value come last in both directions.
 * @param {readonly UsageRow[]} rows
 * @param {Column['value']} value
 * @param {boolean} isDescending
 */
export function sorted(rows, value, isDescending) {
  const sign = isDescending ? -1 : 1;
  return [...rows].sort((a, b) => {
    const [left, right] = [value(a), value(b)];
    if (left === null || right === null) return Number(left === null) - Number(right === null);
    if (typeof left === 'string' || typeof right === 'string') {
      return sign * String(left).localeCompare(String(right), 'en', { numeric: true });
    }
    return sign * (left - right);
  });
}

/** @returns {(rows: readonly UsageRow[], split: Split) => void} */
export function totalsTable() {
  const head = one('thead tr', byId('totals'));
  const body = one('tbody', byId('totals'));
  const note = byId('totals-note');
  /** @type {readonly UsageRow[]} */
  let shown = [];
  /** @type {Column[]} */
  let all = [];
  /** @type {Split | undefined} */
  let splitShown;
  /** @type {Column} */
  let by = requests;
  let isDescending = true;

  /** @param {Column} column */
  function sortBy(column) {
    isDescending = column === by ? !isDescending : !column.isText;
    by = column;
    showRows();
  }

  function showHead() {
    const cells = all.map((column) => {
      const button = make('button', '', column.label);
      button.type = 'button';
      button.addEventListener('click', () => sortBy(column));
      const cell = make('th', column.isText ? '' : 'number', button);
      cell.scope = 'col';
      return cell;
    });
    head.replaceChildren(...cells);
  }

  function showRows() {
    for (const [index, cell] of [...head.children].entries()) {
      const isSorted = all[index] === by;
      cell.ariaSort = !isSorted ? 'none' : isDescending ? 'descending' : 'ascending';
    }
    const rows = sorted(shown, by.value, isDescending).map((row) => {
      const cells = all.map((column) => {
        const cell = make('td', column.isText ? '' : 'number');
        if (column.isText) setName(cell, column.write(row));
        else setText(cell, column.write(row));
        return cell;
      });
      return make('tr', '', ...cells);
    });
    body.replaceChildren(...rows);
    note.hidden = rows.length > 0;
  }

  return function show(rows, split) {
    shown = rows;
    if (split !== splitShown) {
      splitShown = split;
      all = [...groupColumns[split], ...columns];
      if (!all.includes(by)) [by, isDescending] = [requests, true];
      showHead();
    }
    showRows();
  };
}
