/**
 * The embedded store: issued keys, the audit log and the usage ledger in one SQLite file, which the gateway and the
 * command line may have open at the same time. It keeps digests, never a key.
 */
import type { Database } from 'bun:sqlite';
import type { IssuedKey, KeyPolicy } from './keys.ts';
import { busyTimeoutMs, openDatabase } from './schema.ts';
import {
  maxGroups,
  type Spent,
  type UsageColumn,
  type UsageQuery,
  type UsageRow,
  type UsageStore,
  type UsageTotals,
} from './usage.ts';

export type AuditAction =
  'key_added' | 'key_changed' | 'key_rotated' | 'key_revoked' | 'request_stopped';

/** What somebody has done with the admin key or at the command line; never a secret or a digest. */
export interface AuditEntry {
  /** Epoch milliseconds. */
  at: number;
  actor: string;
  action: AuditAction;
  keyId: string | undefined;
  /** The name of the key. */
  name: string | undefined;
  /** Of a key: what has been set, as JSON. */
  detail: string | undefined;
}

/** What of a key can change; a field that is there and `undefined` is taken away. */
export type KeyChange = Partial<Omit<IssuedKey, 'id' | 'createdAt'>>;

/** Nothing of a policy but these gets into the file. */
const policyFields = Object.keys({
  name: true,
  limits: true,
  models: true,
  weight: true,
  priority: true,
  userHeader: true,
  expiresAt: true,
} satisfies Record<keyof KeyPolicy, true>);

/** Gives what there is of a policy, as JSON. */
function policyText(policy: Partial<KeyPolicy>): string {
  const fields = policyFields.filter((name) => name in policy);
  return JSON.stringify(
    Object.fromEntries(fields.map((name) => [name, Reflect.get(policy, name)])),
  );
}

/** Gives what the audit log says of a change. */
function detailOf(change: KeyChange): string {
  const shown: Record<string, unknown> = {};
  for (const name of [...policyFields, 'revokedAt']) {
    if (name in change) shown[name] = Reflect.get(change, name) ?? null;
  }
  if (change.replaced !== undefined) shown['replacedUntil'] = change.replaced.until;
  return JSON.stringify(shown);
}

interface KeyRow {
  [column: string]: string | number | null;
  id: string;
  digest: string;
  policy: string;
  createdAt: number;
  revokedAt: number | null;
  replacedDigest: string | null;
  replacedUntil: number | null;
}

function rowOf(key: IssuedKey): KeyRow {
  return {
    id: key.id,
    digest: key.digest,
    policy: policyText(key),
    createdAt: key.createdAt,
    revokedAt: key.revokedAt ?? null,
    replacedDigest: key.replaced?.digest ?? null,
    replacedUntil: key.replaced?.until ?? null,
  };
}

function keyOf(row: KeyRow): IssuedKey {
  const { id, digest, createdAt, revokedAt, replacedDigest, replacedUntil } = row;
  const isReplaced = replacedDigest !== null && replacedUntil !== null;
  return {
    // `rowOf` has written it; what is absent was `undefined`.
    ...(JSON.parse(row.policy) as KeyPolicy),
    id,
    digest,
    createdAt,
    revokedAt: revokedAt ?? undefined,
    replaced: isReplaced ? { digest: replacedDigest, until: replacedUntil } : undefined,
  };
}

interface AuditRow {
  at: number;
  actor: string;
  action: AuditAction;
  keyId: string | null;
  name: string | null;
  detail: string | null;
}

function entryOf({ keyId, name, detail, ...row }: AuditRow): AuditEntry {
  return {
    ...row,
    keyId: keyId ?? undefined,
    name: name ?? undefined,
    detail: detail ?? undefined,
  };
}

const usageFields = Object.keys({
  at: true,
  requestId: true,
  keyId: true,
  principal: true,
  keyName: true,
  route: true,
  model: true,
  upstream: true,
  status: true,
  code: true,
  outcome: true,
  stream: true,
  queuedMs: true,
  firstTokenMs: true,
  engineMs: true,
  totalMs: true,
  promptTokens: true,
  cachedTokens: true,
  completionTokens: true,
  tokensAre: true,
  isCacheHit: true,
} satisfies Record<keyof UsageRow, true>) as (keyof UsageRow)[];

/** What is read of a row to add it up, and the columns that it is grouped by. */
type CountedRow = {
  at: number;
  id: number;
  keyName: string;
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

const countedFields = `at, id, keyName, outcome, isCacheHit, tokensAre, promptTokens, cachedTokens, completionTokens,
  engineMs, firstTokenMs, queuedMs`;

const unitMs = { day: 86_400_000, hour: 3_600_000, minute: 60_000 } as const;

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
    if (row.outcome === 'failed') sums.failed++;
    if (row.outcome === 'aborted') sums.cancelled++;
    this.#queuedMs.push(row.queuedMs);
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

/** Adds up rows by group; they come latest first. */
class Groups {
  readonly #groups = new Map<string, Group>();

  constructor(private readonly by: readonly UsageColumn[]) {
    // The sum of nothing is one group too.
    if (by.length === 0) this.#groups.set('[]', new Group({}));
  }

  add(row: CountedRow): void {
    const id = JSON.stringify(this.by.map((column) => row[column]));
    let group = this.#groups.get(id);
    if (group === undefined) {
      if (this.#groups.size >= maxGroups) return;
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

/** Rows that are read, or deleted, in one go: some milliseconds, and traffic has its turn before the next. */
const pageRows = 1_000;

type PageEnd = Pick<CountedRow, 'at' | 'id'>;

/** How long usage waits for another process before its caller tries again: the event loop waits with it. */
const usageTimeoutMs = 50;

export class Store implements UsageStore {
  #dataVersion: number;

  constructor(private readonly db: Database) {
    this.#dataVersion = this.#readDataVersion();
  }

  /**
   * Opens gateway.sqlite in that folder, and makes it if need be.
   * @param dir `undefined` keeps everything in memory
   * @throws Error that names the file when it cannot be used
   */
  static open(dir: string | undefined): Store {
    return new Store(openDatabase(dir));
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
   * Changes what `change` names and gives the key as it is then; `undefined` when there is none with that id.
   * @param now epoch milliseconds
   */
  changeKey(
    id: string,
    change: KeyChange,
    action: AuditAction,
    actor: string,
    now: number,
  ): IssuedKey | undefined {
    return this.#write(() => {
      const row = this.db.query<KeyRow, [string]>('SELECT * FROM keys WHERE id = ?').get(id);
      if (row === null) return undefined;
      const old = keyOf(row);
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
    this.#writeSoon(() => {
      const insert = this.db.query(`INSERT INTO usage (${columns}) VALUES (${places})`);
      for (const row of rows) insert.run(...usageFields.map((name) => row[name] ?? null));
    });
  }

  /** Adds up page by page, in time for traffic between them. */
  async usage(query: UsageQuery): Promise<UsageTotals[]> {
    const groups = new Groups(query.by);
    for (let before: PageEnd | undefined = { at: query.until, id: 0 }; before !== undefined;) {
      const rows = this.#usagePage(query, before);
      for (const row of rows) groups.add(row);
      before = rows.length < pageRows ? undefined : rows.at(-1);
      if (before !== undefined) await new Promise<void>((resolve) => setImmediate(resolve));
    }
    return groups.totals();
  }

  spent(since: { day: number; month: number }): Spent[] {
    return this.db
      .query<Spent, { day: number; month: number }>(
        `SELECT principal, sum(iif(at >= $day, tokens, 0)) AS day, sum(tokens) AS month
         FROM (SELECT principal, at, ifnull(promptTokens, 0) + ifnull(completionTokens, 0) AS tokens
               FROM usage WHERE at >= $month AND NOT isCacheHit)
         GROUP BY principal`,
      )
      .all(since);
  }

  dropUsageBefore(at: number): number {
    const sql =
      'DELETE FROM usage WHERE id IN (SELECT id FROM usage WHERE at < ? ORDER BY at LIMIT ?)';
    return this.#writeSoon(() => this.db.query(sql).run(at, pageRows).changes);
  }

  close(): void {
    this.db.close(true);
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

  /** The same for writes that are tried again when another process holds the file. */
  #writeSoon<T>(change: () => T): T {
    this.db.run(`PRAGMA busy_timeout = ${usageTimeoutMs}`);
    try {
      return this.#write(change);
    } finally {
      this.db.run(`PRAGMA busy_timeout = ${busyTimeoutMs}`);
    }
  }
}
