/**
 * Times as people write them, and which span of the usage they ask for. It reads no clock, and takes no time that could
 * be meant in two ways.
 */
import { InputError, partsOf } from '../config/problems.ts';
import { shown } from '../config/problems.ts';

const unitMs = { s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 } as const;
/** A hundred years: whatever is added to or taken from a date stays one. */
const longestMs = 36_500 * unitMs.d;
export const durations = 'a duration such as 7d, 24h, 30m or 90s';
export const dates =
  'an ISO date such as 2027-01-31 or 2027-01-31T18:00Z (UTC if it names no zone)';

/** Returns the milliseconds of `7d`, `24h`, `30m` or `90s`, of at most a hundred years; `undefined` for anything else. */
export function parseDuration(text: string): number | undefined {
  const match = /^(\d{1,10})([smhd])$/.exec(text);
  if (match === null) return undefined;
  const ms = Number(match[1]) * unitMs[match[2] as keyof typeof unitMs]; // The pattern has only these.
  return ms <= longestMs ? ms : undefined;
}

const isoDate = /^(\d{4}-\d\d-\d\d)(T\d\d:\d\d(:\d\d(\.\d{1,9})?)?(Z|[+-]\d\d:\d\d)?)?$/;

/** Returns the epoch milliseconds of an ISO date. */
export function parseDate(text: string): number | undefined {
  const [, day = '', time, , , zone] = isoDate.exec(text) ?? [];
  const dayAt = Date.parse(day);
  // An engine may roll the 30th of February on into March.
  if (Number.isNaN(dayAt) || !new Date(dayAt).toISOString().startsWith(day)) return undefined;
  const at = Date.parse(time !== undefined && zone === undefined ? `${text}Z` : text);
  return Number.isNaN(at) ? undefined : at;
}

/**
 * Returns the time of a duration ago or an ISO date, in epoch milliseconds; `undefined` for anything else.
 * @param epochMs now, in epoch milliseconds
 */
export function parseSince(text: string, epochMs: number): number | undefined {
  const ms = parseDuration(text);
  return ms === undefined ? parseDate(text) : epochMs - ms;
}

/** What of the usage is asked for. */
export interface UsageSpan<Column> {
  by: Column[];
  /** Epoch milliseconds; `until` is not in it any more. */
  since: number;
  until: number;
}

/** Where nobody says for how long. */
const usualSpanMs = 7 * unitMs.d;

/**
 * Reads what is asked of the usage. Throws an InputError.
 * @param columns what it may be grouped by; the first is the default
 * @param prefix what stands before a name in messages
 */
export function readSpan<Column extends string>(
  given: Readonly<Partial<Record<'by' | 'since' | 'until', string | undefined>>>,
  { columns, epochMs, prefix }: { columns: readonly Column[]; epochMs: number; prefix: string },
): UsageSpan<Column> {
  const problems: string[] = [];
  function time(name: 'since' | 'until', fallback: number): number {
    const text = given[name];
    const at = text === undefined ? fallback : parseSince(text.trim(), epochMs);
    if (at !== undefined) return at;
    problems.push(
      `${prefix}${name}: found ${shown(text, false)}; allowed is ${durations} ago, or ${dates}`,
    );
    return fallback;
  }
  const by = partsOf(given.by ?? (columns[0] as string)).flatMap((word) => {
    const column = columns.find((each) => each === word);
    if (column !== undefined) return column;
    problems.push(`${prefix}by: found ${shown(word, false)}; allowed are ${columns.join(', ')}`);
    return [];
  });
  const until = time('until', epochMs);
  const since = time('since', until - usualSpanMs);
  if (since >= until && problems.length === 0) {
    problems.push(`${prefix}since: not before ${prefix}until; nothing lies between them`);
  }
  if (problems.length > 0) throw new InputError(problems);
  return { by: [...new Set(by)], since, until };
}
