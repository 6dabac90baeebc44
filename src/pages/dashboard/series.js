/**
 * Turns the rows of a usage report into the lines of the charts: one point for each span of time, including spans
 * without requests. Pure.
 */

/** @import { UsageRow } from './types.d.ts' */
/** @typedef {'key' | 'model' | 'all'} Split */
/** @typedef {'minute' | 'hour'} Span */
/** @typedef {(number | null)[]} Values */
/**
 * `color` is the number of a colour of the page, from 1; 0 is the colour of the rest. Of a pair, p95 is the faint line.
 * @typedef {{ label: string, color: number, values: Values, isFaint?: boolean }} Line
 */
/** @typedef {{ times: number[], tokens: Line[], firstToken: Line[], queue: Line[], errors: Line[] }} Charts */
/** @typedef {{ label: string, color: number, rows: (UsageRow | undefined)[] }} Group */

/** How many groups get a separate line. */
const maxGroups = 5;

export const spanMs = { minute: 60_000, hour: 3_600_000 };

/** @param {UsageRow} row */
export function tokensOf({ promptTokens, completionTokens }) {
  return promptTokens + completionTokens;
}

/**
 * @param {readonly UsageRow[]} rows one for each span and, if split, for each group
 * @param {object} options
 * @param {Span} options.span
 * @param {Split} options.split
 * @param {number} options.since epoch milliseconds
 * @param {number} options.until
 * @returns {Charts} with times in epoch seconds
 */
export function chartsOf(rows, { span, split, since, until }) {
  const size = spanMs[span];
  const first = Math.floor(since / size);
  const length = Math.max(1, Math.ceil(until / size) - first);
  const times = Array.from({ length }, (_, index) => ((first + index) * size) / 1000);

  /** @param {UsageRow} row */
  function placeOf(row) {
    return Math.floor(Date.parse(row[span] ?? '') / size) - first;
  }

  /** @type {Map<string, Group & { total: number }>} */
  const byId = new Map();
  for (const row of rows) {
    const place = placeOf(row);
    if (!(place >= 0 && place < length)) continue;
    const id = split === 'all' ? '' : String(row[split] ?? '–');
    const label = split === 'key' ? (row.name ?? id) : id;
    const group = byId.get(id) ?? {
      label,
      color: 0,
      total: 0,
      rows: Array(length).fill(undefined),
    };
    group.rows[place] = row;
    group.total += tokensOf(row);
    byId.set(id, group);
  }
  const groups = [...byId.values()].sort((a, b) => b.total - a.total);
  const named = groups.slice(0, maxGroups).map((group, index) => ({ ...group, color: index + 1 }));
  const rest = groups.slice(maxGroups);

  if (split === 'all')
    return { times, ...chartsOfAll(named[0]?.rows ?? Array(length).fill(undefined)) };
  return {
    times,
    tokens: stackOf(named, rest, tokensOf),
    firstToken: pairsOf(named, 'firstTokenMsP50', 'firstTokenMsP95'),
    queue: pairsOf(named, 'queuedMsP50', 'queuedMsP95'),
    errors: stackOf(named, rest, ({ failed }) => failed),
  };
}

/**
 * Returns the charts without groups: here each colour is a kind of tokens or errors.
 * @param {(UsageRow | undefined)[]} rows
 * @returns {Omit<Charts, 'times'>}
 */
function chartsOfAll(rows) {
  /** @type {(label: string, color: number, value: (row: UsageRow) => number) => Line} */
  const part = (label, color, value) => ({
    label,
    color,
    values: rows.map((row) => (row === undefined ? 0 : value(row))),
  });
  const all = [{ label: '', color: 1, rows }];
  return {
    tokens: [
      part('completion', 1, ({ completionTokens }) => completionTokens),
      part('prompt', 2, (row) => Math.max(0, row.promptTokens - row.cachedTokens)),
      part('cached prompt', 3, ({ cachedTokens }) => cachedTokens),
    ],
    firstToken: pairsOf(all, 'firstTokenMsP50', 'firstTokenMsP95'),
    queue: pairsOf(all, 'queuedMsP50', 'queuedMsP95'),
    errors: [
      part('failed', 4, ({ failed }) => failed),
      part('refused', 2, ({ refused }) => refused),
      part('cancelled', 0, ({ cancelled }) => cancelled),
    ],
  };
}

/**
 * @param {Group[]} named
 * @param {Group[]} rest
 * @param {(row: UsageRow) => number} value
 * @returns {Line[]}
 */
function stackOf(named, rest, value) {
  /** @param {Group} group */
  const valuesOf = ({ rows }) => rows.map((row) => (row === undefined ? 0 : value(row)));
  const lines = named.map((group) => ({ ...only(group), values: valuesOf(group) }));
  if (rest.length === 0) return lines;
  const values = rest
    .map(valuesOf)
    .reduce((sums, more) => sums.map((sum, index) => sum + (more[index] ?? 0)));
  return [...lines, { label: `${rest.length} more`, color: 0, values }];
}

/**
 * Returns two lines for each group. Percentiles cannot be added up, so there is no line for the rest.
 * @param {Group[]} groups
 * @param {'firstTokenMsP50' | 'queuedMsP50'} p50
 * @param {'firstTokenMsP95' | 'queuedMsP95'} p95
 * @returns {Line[]}
 */
function pairsOf(groups, p50, p95) {
  return groups.flatMap((group) => {
    const { label, color } = group;
    /** @param {'firstTokenMsP50' | 'queuedMsP50' | 'firstTokenMsP95' | 'queuedMsP95'} name */
    const valuesOf = (name) => group.rows.map((row) => row?.[name] ?? null);
    return [
      { label: `${label} p50`.trim(), color, values: valuesOf(p50) },
      { label: `${label} p95`.trim(), color, values: valuesOf(p95), isFaint: true },
    ];
  });
}

/** @param {Group} group */
function only({ label, color }) {
  return { label, color };
}

/**
 * Returns the values for stacked bars: each line plus the lines below it.
 * @param {readonly Line[]} lines
 * @returns {Values[]}
 */
export function stacked(lines) {
  /** @type {Values} */
  let below = [];
  return lines.map(({ values }) => {
    below = values.map((value, index) => (below[index] ?? 0) + (value ?? 0));
    return below;
  });
}
