/**
 * The embedded store: issued keys, the audit log and the usage ledger in one SQLite file, which the gateway and the
 * command line may have open at the same time. It keeps digests, never a key.
 */
import type { Database } from 'bun:sqlite';
import { resolve } from 'node:path';
import { GatewayError } from '../../wire/errors.ts';
import type { IssuedKey } from '../../accounts/keys.ts';
import {
  detailOf,
  entryOf,
  keyOf,
  rowOf,
  usageFields,
  type AuditAction,
  type AuditEntry,
  type AuditRow,
  type KeyChange,
  type KeyRow,
} from './rows.ts';
import { openDatabase } from './schema.ts';
import { Groups, unitMs, type CountedRow } from '../../accounts/totals.ts';
import type {
  Spent,
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
  model: 'model',
  upstream: 'upstream',
  route: 'route',
  code: 'code',
  day: `at / ${unitMs.day}`,
  hour: `at / ${unitMs.hour}`,
  minute: `at / ${unitMs.minute}`,
};

/** Rows that are read, or deleted, in one go: some milliseconds, and traffic has its turn before the next. */
const pageRows = 1_000;
/** Rows of usage that are kept where there is no disk: the latest, about 20 MB. */
export const maxRowsInMemory = 100_000;

type SpentRow = PageEnd & { principal: string; tokens: number };

type PageEnd = Pick<CountedRow, 'at' | 'id'>;

export class Store implements UsageStore {
  #dataVersion: number;
  #isClosed = false;
  #latestReport: Promise<unknown> = Promise.resolve();

  /** @param maxUsageRows of which the latest are kept */
  constructor(
    private readonly db: Database,
    private readonly maxUsageRows = Number.POSITIVE_INFINITY,
  ) {
    this.#dataVersion = this.#readDataVersion();
  }

  /**
   * Opens gateway.sqlite in that folder, and makes it if need be.
   * @param dir `undefined` keeps everything in memory, of usage the latest rows
   * @param busyTimeoutMs how long a write waits for another process, in milliseconds; the event loop waits with it
   * @throws Error that names the file when it cannot be used
   */
  static open(dir: string | undefined, busyTimeoutMs?: number): Store {
    const db = openDatabase(dir, busyTimeoutMs);
    return dir === undefined ? new Store(db, maxRowsInMemory) : new Store(db);
  }

  /** Where it is kept, for people. */
  get place(): string {
    return this.db.filename === ':memory:' ? 'memory' : resolve(this.db.filename);
  }

  /** All keys, revoked ones too, oldest first. */
  keys(): IssuedKey[] {
    const sql = 'SELECT * FROM keys ORDER BY createdAt, rowid';
    return this.db.query<KeyRow, []>(sql).all().map(keyOf);
  }

  /** @throws Error when there is one with its id or digest */
  addKey(key: IssuedKey, actor: string): void {
    this.#write(() => {
      this.db
        .query(
          `INSERT INTO keys (id, digest, policy, createdAt, revokedAt, replacedDigest, replacedUntil)
           VALUES ($id, $digest, $policy, $createdAt, $revokedAt, $replacedDigest, $replacedUntil)`,
        )
        .run(rowOf(key));
      const { createdAt: at, id: keyId, name } = key;
      this.note({ at, actor, action: 'key_added', keyId, name, detail: detailOf(key) });
    });
  }

  /**
   * Changes a key and gives it as it is then; `undefined` when there is none with that id.
   * @param changeOf gives what changes, from the key as it is now: nobody else changes it meanwhile. What it throws is
   *   thrown, and nothing is changed
   * @param now epoch milliseconds
   */
  changeKey(
    id: string,
    changeOf: (key: IssuedKey) => KeyChange,
    action: AuditAction,
    actor: string,
    now: number,
  ): IssuedKey | undefined {
    return this.#write(() => {
      const row = this.db.query<KeyRow, [string]>('SELECT * FROM keys WHERE id = ?').get(id);
      if (row === null) return undefined;
      const old = keyOf(row);
      const change = changeOf(old);
      const key = { ...old, ...change, id, createdAt: old.createdAt };
      this.db
        .query(
          `UPDATE keys SET digest = $digest, policy = $policy, revokedAt = $revokedAt,
             replacedDigest = $replacedDigest, replacedUntil = $replacedUntil WHERE id = $id`,
        )
        .run(rowOf(key));
      this.note({ at: now, actor, action, keyId: id, name: key.name, detail: detailOf(change) });
      return key;
    });
  }

  /** The latest entries of the audit log, the last first. */
  audit(limit: number): AuditEntry[] {
    const sql = 'SELECT at, actor, action, keyId, name, detail FROM audit ORDER BY id DESC LIMIT ?';
    return this.db.query<AuditRow, [number]>(sql).all(limit).map(entryOf);
  }

  /** Adds an entry to the audit log; changes of keys write their own. */
  note({ at, actor, action, keyId, name, detail }: AuditEntry): void {
    this.db
      .query('INSERT INTO audit (at, actor, action, keyId, name, detail) VALUES (?, ?, ?, ?, ?, ?)')
      .run(Math.round(at), actor, action, keyId ?? null, name ?? null, detail ?? null);
  }

  /** Whether another process, or another store on the file, has written since this was last asked. */
  hasOtherWrites(): boolean {
    const before = this.#dataVersion;
    this.#dataVersion = this.#readDataVersion();
    return this.#dataVersion !== before;
  }

  insertUsage(rows: readonly UsageRow[]): void {
    const columns = usageFields.join();
    const places = usageFields.map(() => '?').join();
    this.#write(() => {
      const insert = this.db.query(`INSERT INTO usage (${columns}) VALUES (${places})`);
      for (const row of rows) insert.run(...usageFields.map((name) => row[name] ?? null));
      const excess = this.lastRow() - this.maxUsageRows;
      if (excess > 0) this.db.query('DELETE FROM usage WHERE id <= ?').run(excess);
    });
  }

  /** One after the other, whoever asks: each reads many rows and keeps many sums. */
  async usage(query: UsageQuery): Promise<UsageTotals[]> {
    const report = this.#latestReport.then(() => this.#addUp(query));
    // Whoever has asked hears of a failure; the next report only waits.
    this.#latestReport = report.catch(() => {});
    return await report;
  }

  /** Adds up page by page, in time for traffic between them. */
  async #addUp(query: UsageQuery): Promise<UsageTotals[]> {
    // Its turn may have come late.
    this.#assertWanted(query.signal);
    const groups = new Groups(query.by);
    let before: PageEnd | undefined = { at: query.until, id: 0 };
    while (before !== undefined) {
      const rows = this.#usagePage(query, before);
      for (const row of rows) groups.add(row);
      before = await this.#nextPage(rows, query.signal);
    }
    return groups.totals();
  }

  lastRow(): number {
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
    return this.#write(() => this.db.query(sql).run(at, pageRows).changes);
  }

  close(): void {
    this.#isClosed = true;
    this.db.close(true);
  }

  /** Gives where the next page begins, once traffic has had its turn; `undefined` behind the last one. */
  async #nextPage(rows: readonly PageEnd[], signal?: AbortSignal): Promise<PageEnd | undefined> {
    if (rows.length < pageRows) return undefined;
    await new Promise<void>((resolve) => setImmediate(resolve));
    this.#assertWanted(signal);
    return rows.at(-1);
  }

  /** Throws where nobody waits for the rest any more. */
  #assertWanted(signal?: AbortSignal): void {
    signal?.throwIfAborted();
    if (this.#isClosed) throw new GatewayError('shutting_down');
  }

  #spentPage({ keyId, lastRow }: SpentQuery, { at, id }: PageEnd): SpentRow[] {
    const sql = `SELECT id, at, principal, ifnull(promptTokens, 0) + ifnull(completionTokens, 0) AS tokens
      FROM usage WHERE keyId = $keyId AND (at, id) > ($at, $id) AND id <= $lastRow AND NOT isCacheHit
      ORDER BY at, id LIMIT ${pageRows}`;
    const values = { keyId, at, id, lastRow };
    return this.db.query<SpentRow, Record<string, string | number>>(sql).all(values);
  }

  /** Gives the rows of a query that come before that one, the latest first. */
  #usagePage({ since, by, keyId }: UsageQuery, before: PageEnd): CountedRow[] {
    const groups = by.map((column) => `, ${expressions[column]} AS "${column}"`).join('');
    const ofKey = keyId === undefined ? '' : 'AND keyId = $keyId';
    const sql = `SELECT ${countedFields} ${groups} FROM usage
      WHERE (at, id) < ($at, $id) AND at >= $since ${ofKey} ORDER BY at DESC, id DESC LIMIT ${pageRows}`;
    const { at, id } = before;
    const values = { at, id, since, ...(keyId === undefined ? {} : { keyId }) };
    return this.db.query<CountedRow, Record<string, string | number>>(sql).all(values);
  }

  #readDataVersion(): number {
    const sql = 'PRAGMA data_version';
    return this.db.query<{ data_version: number }, []>(sql).get()?.data_version ?? 0;
  }

  /** All of it or nothing; reading in it sees what it changes. */
  #write<T>(change: () => T): T {
    return this.db.transaction(change).immediate();
  }
}
