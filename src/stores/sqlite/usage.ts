/**
 * The ledger in SQLite, in a file or in memory. It reads many rows page by page, so that traffic has its turn between
 * them.
 */
import type { Database } from 'bun:sqlite';
import { GatewayError } from '../../wire/errors.ts';
import { usageFields } from './rows.ts';
import { writing } from './schema.ts';
import type { Spent } from '../../accounts/limits.ts';
import { Totals, unitMs, type CountedRow } from '../../accounts/totals.ts';
import type {
  SpentQuery,
  UsageColumn,
  UsageQuery,
  UsageRow,
  UsageStore,
  UsageTotals,
} from '../../accounts/usage.ts';

const countedFields = `at, id, keyName, status, code, outcome, isCacheHit, tokensAre, promptTokens, cachedTokens, completionTokens,
  engineMs, firstTokenMs, queuedMs`;

/** Where a column comes from; times as whole units. */
const expressions: Record<UsageColumn, string> = {
  key: 'keyId',
  principal: 'principal',
  model: 'ifnull(model, servedModel)',
  upstream: 'upstream',
  route: 'route',
  code: 'code',
  day: `at / ${unitMs.day}`,
  hour: `at / ${unitMs.hour}`,
  minute: `at / ${unitMs.minute}`,
};

/** A uuid takes half the room as bytes. */
const places = `(${usageFields.map((name) => (name === 'uuid' ? "unhex(?, '-')" : '?')).join()})`;

/** How many rows one statement writes, if there are so many: a row costs a third less then, and more gain nothing. */
const rowsAtOnce = 40;

const insertOne = insertionOf(1);
const insertMany = insertionOf(rowsAtOnce);

/** Returns the statement that writes so many rows. A row that is there already is left out. */
function insertionOf(count: number): string {
  const values = Array<string>(count).fill(places).join();
  return `INSERT INTO usage (${usageFields.join()}) VALUES ${values} ON CONFLICT DO NOTHING`;
}

/** Returns what stands in the places of the rows. */
function valuesOf(rows: readonly UsageRow[]) {
  const values: (string | number | boolean | null)[] = [];
  for (const row of rows) for (const name of usageFields) values.push(row[name] ?? null);
  return values;
}

/** Rows that are read, or deleted, in one go: some milliseconds, and traffic has its turn before the next. */
const pageRows = 1_000;
/** How many rows are kept in memory: the latest, about 30 MB. */
export const maxRowsInMemory = 100_000;

type SpentRow = PageEnd & { principal: string; tokens: number };

type PageEnd = Pick<CountedRow, 'at' | 'id'>;

export class SqliteUsage implements UsageStore {
  #isClosed = false;
  #latestReport: Promise<unknown> = Promise.resolve();

  /** @param maxRows only so many of the latest are kept */
  constructor(
    private readonly db: Database,
    private readonly maxRows = Number.POSITIVE_INFINITY,
  ) {}

  insertUsage(rows: readonly UsageRow[]): void {
    writing(this.db, () => {
      for (let from = 0; from < rows.length;) {
        const isMany = rows.length - from >= rowsAtOnce;
        const some = rows.slice(from, from + (isMany ? rowsAtOnce : 1));
        this.db.query(isMany ? insertMany : insertOne).run(...valuesOf(some));
        from += some.length;
      }
      const excess = this.#latestId() - this.maxRows;
      if (excess > 0) this.db.query('DELETE FROM usage WHERE id <= ?').run(excess);
    });
  }

  /** Makes one report after the other: each reads many rows and keeps many sums. */
  async usage(query: UsageQuery): Promise<UsageTotals[]> {
    const report = this.#latestReport.then(() => this.#addUp(query));
    // The one who has asked hears of a failure; the next report only waits.
    this.#latestReport = report.catch(() => {});
    return await report;
  }

  /** Adds up page by page, in time for traffic between them. */
  async #addUp(query: UsageQuery): Promise<UsageTotals[]> {
    // Its turn may have come late.
    this.#assertWanted(query.signal);
    const groups = new Totals(query.by);
    let before: PageEnd | undefined = { at: query.until, id: 0 };
    while (before !== undefined) {
      const rows = this.#usagePage(query, before);
      for (const row of rows) groups.add(row);
      before = await this.#nextPage(rows, query.signal);
    }
    return groups.totals();
  }

  latestUuid(): string | undefined {
    const sql =
      'SELECT lower(hex(uuid)) AS hex FROM usage WHERE uuid NOT NULL ORDER BY uuid DESC LIMIT 1';
    const found = this.db.query<{ hex: string }, []>(sql).get();
    return found?.hex.replace(/^(.{8})(.{4})(.{4})(.{4})/, '$1-$2-$3-$4-');
  }

  #latestId(): number {
    const sql = 'SELECT max(id) AS id FROM usage';
    return this.db.query<{ id: number | null }, []>(sql).get()?.id ?? 0;
  }

  /** Adds up page by page, in time for traffic between them. */
  async spent(query: SpentQuery): Promise<Spent[]> {
    const found = new Map<string, Spent>();
    let after: PageEnd | undefined = { at: query.month, id: 0 };
    while (after !== undefined) {
      const rows = this.#spentPage(query, after);
      for (const { principal, at, tokens } of rows) {
        const sum = found.get(principal) ?? { principal, day: 0, month: 0 };
        sum.month += tokens;
        if (at >= query.day) sum.day += tokens;
        found.set(principal, sum);
      }
      after = await this.#nextPage(rows);
    }
    return [...found.values()];
  }

  dropUsageBefore(at: number): number {
    const sql =
      'DELETE FROM usage WHERE id IN (SELECT id FROM usage WHERE at < ? ORDER BY at LIMIT ?)';
    return writing(this.db, () => this.db.query(sql).run(at, pageRows).changes);
  }

  /** Ends the reports that are being made; the database may be closed then. */
  close(): void {
    this.#isClosed = true;
  }

  /** Returns where the next page begins, once traffic has had its turn; `undefined` after the last one. */
  async #nextPage(rows: readonly PageEnd[], signal?: AbortSignal): Promise<PageEnd | undefined> {
    if (rows.length < pageRows) return undefined;
    await new Promise<void>((resolve) => setImmediate(resolve));
    this.#assertWanted(signal);
    return rows.at(-1);
  }

  /** Throws if nobody waits for the rest any more. */
  #assertWanted(signal?: AbortSignal): void {
    signal?.throwIfAborted();
    if (this.#isClosed) throw new GatewayError('shutting_down');
  }

  #spentPage({ keyId, before }: SpentQuery, { at, id }: PageEnd): SpentRow[] {
    const sql = `SELECT id, at, principal, ifnull(promptTokens, 0) + ifnull(completionTokens, 0) AS tokens
      FROM usage WHERE keyId = $keyId AND (at, id) > ($at, $id) AND NOT isCacheHit
        AND (uuid IS NULL OR uuid < unhex($before, '-'))
      ORDER BY at, id LIMIT ${pageRows}`;
    const values = { keyId, at, id, before };
    return this.db.query<SpentRow, Record<string, string | number>>(sql).all(values);
  }

  /** Returns the rows of a query that come before that one, the latest first. */
  #usagePage({ since, by, keyId }: UsageQuery, before: PageEnd): CountedRow[] {
    const groups = by.map((column) => `, ${expressions[column]} AS "${column}"`).join('');
    const ofKey = keyId === undefined ? '' : 'AND keyId = $keyId';
    const sql = `SELECT ${countedFields} ${groups} FROM usage
      WHERE (at, id) < ($at, $id) AND at >= $since ${ofKey} ORDER BY at DESC, id DESC LIMIT ${pageRows}`;
    const { at, id } = before;
    const values = { at, id, since, ...(keyId === undefined ? {} : { keyId }) };
    return this.db.query<CountedRow, Record<string, string | number>>(sql).all(values);
  }
}
