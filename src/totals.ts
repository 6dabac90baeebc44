/**
 * Adds up rows of the usage ledger by group. Pure: whoever has the rows hands them over one by one, the latest first.
 */
import { GatewayError, type ErrorCode } from './errors.ts';
import { refusalCodes } from './limits.ts';
import { maxGroups, type UsageColumn, type UsageRow, type UsageTotals } from './usage.ts';

/** What is read of a row to add it up, and the columns that it is grouped by. */
export type CountedRow = {
  at: number;
  id: number;
  keyName: string;
  status: number;
  code: string | null;
  outcome: UsageRow['outcome'];
  isCacheHit: 0 | 1;
  tokensAre: string | null;
  promptTokens: number | null;
  cachedTokens: number | null;
  completionTokens: number | null;
  engineMs: number;
  firstTokenMs: number | null;
  queuedMs: number;
} & { [column in UsageColumn]?: string | number | null };

export const unitMs = { day: 86_400_000, hour: 3_600_000, minute: 60_000 } as const;

/** With these the gateway refuses: a limit is reached, or there is no room in the queue. No engine has failed. */
const refusals: ReadonlySet<string | null> = new Set<ErrorCode>([...refusalCodes, 'queue_full']);

/** Says what became of a request that brought no answer; `undefined` of one that did. */
function endOf({
  code,
  outcome,
  status,
}: CountedRow): 'refused' | 'failed' | 'cancelled' | undefined {
  if (refusals.has(code)) return 'refused';
  if (outcome === 'aborted') return 'cancelled';
  // What an engine refuses is an answer that has come whole.
  return outcome === 'failed' || status >= 400 ? 'failed' : undefined;
}

function isTime(column: UsageColumn): column is keyof typeof unitMs {
  return column in unitMs;
}

/** Gives the value of a column as people read it: a unit of time by its beginning. */
function shownAs(column: UsageColumn, value: string | number | null | undefined): string | null {
  if (value === null || value === undefined) return null;
  if (!isTime(column)) return String(value);
  const iso = new Date(Number(value) * unitMs[column]).toISOString();
  return column === 'day' ? iso.slice(0, 10) : `${iso.slice(0, 16)}Z`;
}

/** Gives the smallest value that at least `percent` of all do not exceed; `null` where there is none. */
function percentile(sorted: Float64Array, percent: number): number | null {
  return sorted[Math.ceil((sorted.length * percent) / 100) - 1] ?? null;
}

/** One group while it is added up. */
class Group {
  readonly #columns: { [column in UsageColumn | 'name']?: string | null };
  readonly #firstTokenMs: number[] = [];
  readonly #queuedMs: number[] = [];
  readonly #sums = {
    requests: 0,
    refused: 0,
    failed: 0,
    cancelled: 0,
    cacheHits: 0,
    promptTokens: 0,
    cachedTokens: 0,
    completionTokens: 0,
    estimated: 0,
  };
  #engineMs = 0;

  constructor(columns: { [column in UsageColumn | 'name']?: string | null }) {
    this.#columns = columns;
  }

  add(row: CountedRow): void {
    const sums = this.#sums;
    sums.requests++;
    const end = endOf(row);
    if (end !== undefined) sums[end]++;
    // Who was not let in has not waited, however many they are.
    if (end !== 'refused') this.#queuedMs.push(row.queuedMs);
    if (row.isCacheHit) {
      sums.cacheHits++;
      return;
    }
    sums.promptTokens += row.promptTokens ?? 0;
    sums.cachedTokens += row.cachedTokens ?? 0;
    sums.completionTokens += row.completionTokens ?? 0;
    if (row.tokensAre === 'estimated') sums.estimated++;
    this.#engineMs += row.engineMs;
    if (row.firstTokenMs !== null) this.#firstTokenMs.push(row.firstTokenMs);
  }

  totals(): UsageTotals {
    const firstTokenMs = Float64Array.from(this.#firstTokenMs).sort();
    const queuedMs = Float64Array.from(this.#queuedMs).sort();
    return {
      ...this.#columns,
      ...this.#sums,
      engineSeconds: Math.round(this.#engineMs) / 1_000,
      firstTokenMsP50: percentile(firstTokenMs, 50),
      firstTokenMsP95: percentile(firstTokenMs, 95),
      queuedMsP50: percentile(queuedMs, 50),
      queuedMsP95: percentile(queuedMs, 95),
    };
  }
}

function tooMany(): GatewayError {
  const message = `That makes more than ${maxGroups} groups. Ask for a shorter time, or for fewer columns in "by".`;
  return new GatewayError('invalid_field', { message, param: 'by' });
}

/** Adds up rows by group; they come latest first. */
export class Groups {
  readonly #groups = new Map<string, Group>();

  constructor(private readonly by: readonly UsageColumn[]) {
    // The sum of nothing is one group too.
    if (by.length === 0) this.#groups.set('[]', new Group({}));
  }

  add(row: CountedRow): void {
    const id = JSON.stringify(this.by.map((column) => row[column]));
    let group = this.#groups.get(id);
    if (group === undefined) {
      if (this.#groups.size >= maxGroups) throw tooMany();
      group = new Group(this.#columnsOf(row));
      this.#groups.set(id, group);
    }
    group.add(row);
  }

  /** Gives the groups in the order of time where that is a column, and then most tokens first. */
  totals(): UsageTotals[] {
    const time = (['minute', 'hour', 'day'] as const).find((unit) => this.by.includes(unit));
    const timeOf = (totals: UsageTotals) => (time === undefined ? '' : (totals[time] ?? ''));
    const tokensOf = (totals: UsageTotals) => totals.promptTokens + totals.completionTokens;
    return [...this.#groups.values()]
      .map((group) => group.totals())
      .sort((a, b) => timeOf(a).localeCompare(timeOf(b)) || tokensOf(b) - tokensOf(a));
  }

  #columnsOf(row: CountedRow): { [column in UsageColumn | 'name']?: string | null } {
    const columns = this.by.map((column) => [column, shownAs(column, row[column])]);
    const name = this.by.includes('key') ? { name: row.keyName } : {};
    return { ...Object.fromEntries(columns), ...name };
  }
}
