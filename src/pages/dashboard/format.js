/**
 * Writes numbers, waits and times as text. Pure.
 */

const none = '–';
const grouped = new Intl.NumberFormat('en', { maximumFractionDigits: 0 });

/**
 * A whole number with thousands separators: 12,345.
 * @param {number | null | undefined} value
 */
export function integer(value) {
  return value === null || value === undefined ? none : grouped.format(value);
}

/**
 * A count in at most four characters: 950, 1.2k, 34k, 5.6M.
 * @param {number | null | undefined} value
 */
export function count(value) {
  if (value === null || value === undefined) return none;
  for (const [unit, size] of /** @type {const} */ ([
    ['G', 1e9],
    ['M', 1e6],
    ['k', 1e3],
  ])) {
    // Without the factor 999,950 would become 1000k.
    if (value < size * 0.9995) continue;
    const amount = value / size;
    return `${amount < 9.95 ? amount.toFixed(1) : Math.round(amount)}${unit}`;
  }
  return String(Math.round(value));
}

/**
 * Tokens a second, with one decimal below ten.
 * @param {number | null | undefined} value
 */
export function rate(value) {
  if (value === null || value === undefined) return none;
  return value > 0 && value < 10 ? value.toFixed(1) : integer(value);
}

/**
 * A wait: 84 ms, 3.2 s, 48 s, 2:05 min, 1:02 h.
 * @param {number | null | undefined} ms
 */
export function wait(ms) {
  if (ms === null || ms === undefined) return none;
  if (ms < 999.5) return `${Math.round(ms)} ms`;
  const seconds = ms / 1000;
  if (seconds < 9.95) return `${seconds.toFixed(1)} s`;
  return age(ms);
}

/**
 * An age in whole seconds, so that it changes once a second: 8 s, 2:05 min, 1:02 h.
 * @param {number} ms
 */
export function age(ms) {
  const seconds = Math.round(ms / 1000);
  if (seconds < 60) return `${seconds} s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) return `${minutes}:${two(seconds % 60)} min`;
  return `${Math.floor(minutes / 60)}:${two(minutes % 60)} h`;
}

/** @param {number} value */
function two(value) {
  return String(value).padStart(2, '0');
}

/** @param {Date} date */
export function day(date) {
  return `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())}`;
}

/** @param {Date} date */
export function clock(date) {
  return `${two(date.getHours())}:${two(date.getMinutes())}`;
}

/**
 * A point in time, in the reader's time zone: 2026-11-24 13:05.
 * @param {Date} date
 */
export function moment(date) {
  return `${day(date)} ${clock(date)}`;
}
