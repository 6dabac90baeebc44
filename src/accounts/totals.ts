/**
 * Adds up rows of the usage ledger by group. Pure: the rows are handed over one by one, the latest first.
 */
import { GatewayError, type ErrorCode } from '../wire/errors.ts';
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

/** Returns what became of a request that brought no answer; `undefined` if it brought one. */
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

/** Returns whether a request has been in the queue, however briefly. A request that was refused there has not waited. */
function hasWaited({ code, queuedMs, engineMs, isCacheHit }: CountedRow): boolean {
  return !refusals.has(code) && (queuedMs > 0 || engineMs > 0 || isCacheHit === 1);
}

function isTime(column: UsageColumn): column is keyof typeof unitMs {
  return column in unitMs;
}

/** Returns the value of a column as people read it: a unit of time by its beginning. */
function shownAs(column: UsageColumn, value: string | number | null | undefined): string | null {
  if (value === null || value === undefined) return null;
  if (!isTime(column)) return String(value);
  const iso = new Date(Number(value) * unitMs[column]).toISOString();
  return column === 'day' ? iso.slice(0, 10) : `${iso.slice(0, 16)}Z`;
}

/** Times to two significant digits, and how often each is among them: some hundred numbers, however many times come. */
class Times {
  #total = 0;
  #zeros = 0;
  /** By power of ten, from tenths of a millisecond up: how many times have each number of two digits, or are 100. */
  readonly #decades: (Uint32Array | undefined)[] = [];

  /** @param ms in whole tenths */
  add(ms: number): void {
    this.#total++;
    if (ms <= 0) {
      this.#zeros++;
      return;
    }
    const decade = Math.floor(Math.log10(ms)) + 1;
    const counts = (this.#decades[decade] ??= new Uint32Array(101));
    const digits = Math.round(ms / 10 ** (decade - 2));
    counts[digits] = (counts[digits] ?? 0) + 1;
  }

  /** Returns the smallest time that at least `percent` of all do not exceed; `null` if there is no time. */
  percentile(percent: number): number | null {
    if (this.#total === 0) return null;
    let rank = Math.ceil((this.#total * percent) / 100) - this.#zeros;
    if (rank <= 0) return 0;
    for (const [decade, counts = []] of this.#decades.entries()) {
      // There can be thousands of groups, for which iterators would be slow.
      for (let digits = 10; digits < counts.length; digits++) {
        rank -= counts[digits] ?? 0;
        // In decimals, since 7 * 0.1 is not 0.7 in binary.
        if (rank <= 0) return Number(`${digits}e${decade - 2}`);
      }
    }
    return null;
  }
}

/** One group while it is added up. */
class GroupSums {
  readonly #columns: { [column in UsageColumn | 'name']?: string | null };
  readonly #firstTokenMs = new Times();
  readonly #queuedMs = new Times();
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
    if (hasWaited(row)) this.#queuedMs.add(row.queuedMs);
    if (row.isCacheHit) {
      sums.cacheHits++;
      return;
    }
    sums.promptTokens += row.promptTokens ?? 0;
    sums.cachedTokens += row.cachedTokens ?? 0;
    sums.completionTokens += row.completionTokens ?? 0;
    if (row.tokensAre === 'estimated') sums.estimated++;
    this.#engineMs += row.engineMs;
    if (row.firstTokenMs !== null) this.#firstTokenMs.add(row.firstTokenMs);
  }

  totals(): UsageTotals {
    return {
      ...this.#columns,
      ...this.#sums,
      engineSeconds: Math.round(this.#engineMs) / 1_000,
      firstTokenMsP50: this.#firstTokenMs.percentile(50),
      firstTokenMsP95: this.#firstTokenMs.percentile(95),
      queuedMsP50: this.#queuedMs.percentile(50),
      queuedMsP95: this.#queuedMs.percentile(95),
    };
  }
}

function tooMany(): GatewayError {
  const message = `That makes more than ${maxGroups} units of time. Ask for a shorter time, or for longer units in "by".`;
  return new GatewayError('invalid_field', { message, param: 'by' });
}

/** What a group beyond the bound has in each column that is no time. */
const otherGroup = 'other';

/**
 * Adds up rows by group; they come latest first. Clients choose names, so that too many groups are no error: the rows of
 * those that come beyond the bound are added up as `other`, by time alone.
 */
export class Totals {
  readonly #groups = new Map<string, GroupSums>();
  /** By their time. */
  readonly #others = new Map<string, GroupSums>();

  constructor(private readonly by: readonly UsageColumn[]) {
    // The sum of nothing is one group too.
    if (by.length === 0) this.#groups.set('[]', new GroupSums({}));
  }

  add(row: CountedRow): void {
    const id = JSON.stringify(this.by.map((column) => row[column]));
    let group = this.#groups.get(id);
    if (group === undefined) {
      if (this.#groups.size >= maxGroups) return this.#otherOf(row).add(row);
      group = new GroupSums(this.#columnsOf(row));
      this.#groups.set(id, group);
    }
    group.add(row);
  }

  #otherOf(row: CountedRow): GroupSums {
    const isNamed = this.by.some((column) => !isTime(column));
    const id = JSON.stringify(this.by.filter(isTime).map((column) => row[column]));
    let group = this.#others.get(id);
    if (group === undefined) {
      if (!isNamed || this.#others.size >= maxGroups) throw tooMany();
      const named = this.by.filter((column) => !isTime(column));
      const names = Object.fromEntries(named.map((column) => [column, otherGroup]));
      const columns = this.#columnsOf({ ...row, ...names, keyName: otherGroup });
      group = new GroupSums(columns);
      this.#others.set(id, group);
    }
    return group;
  }

  /** Returns the groups in the order of time if that is a column, and then most tokens first. */
  totals(): UsageTotals[] {
    const time = (['minute', 'hour', 'day'] as const).find((unit) => this.by.includes(unit));
    const timeOf = (totals: UsageTotals) => (time === undefined ? '' : (totals[time] ?? ''));
    const tokensOf = (totals: UsageTotals) => totals.promptTokens + totals.completionTokens;
    return [...this.#groups.values(), ...this.#others.values()]
      .map((group) => group.totals())
      .sort((a, b) => timeOf(a).localeCompare(timeOf(b)) || tokensOf(b) - tokensOf(a));
  }

  #columnsOf(row: CountedRow): { [column in UsageColumn | 'name']?: string | null } {
    const columns = this.by.map((column) => [column, shownAs(column, row[column])]);
    const name = this.by.includes('key') ? { name: row.keyName } : {};
    return { ...Object.fromEntries(columns), ...name };
  }
}
