/**
 * Issued keys and the audit log in SQLite, which the gateway and the command line may have open at the same time. It
 * keeps digests, never a key.
 */
import type { Database } from 'bun:sqlite';
import type { IssuedKey } from '../../accounts/keys.ts';
import type { AccountStore, AuditEntry, KeyEdit } from '../../accounts/keystore.ts';
import { detailOf, entryOf, keyOf, rowOf, type AuditRow, type KeyRow } from './rows.ts';
import { assertInPlace, writing } from './schema.ts';

/** How often `watch` looks: a change by another process takes effect within a second. */
const lookMs = 500;

export class SqliteKeys implements AccountStore {
  #dataVersion: number;

  constructor(private readonly db: Database) {
    this.#dataVersion = this.#readDataVersion();
  }

  keys(): IssuedKey[] {
    assertInPlace(this.db);
    const sql = 'SELECT * FROM keys ORDER BY createdAt, rowid';
    return this.db.query<KeyRow, []>(sql).all().map(keyOf);
  }

  addKey(key: IssuedKey, actor: string): void {
    writing(this.db, () => {
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

  changeKey({ id, changeOf, action, actor, at }: KeyEdit): IssuedKey | undefined {
    return writing(this.db, () => {
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
      this.note({ at, actor, action, keyId: id, name: key.name, detail: detailOf(change) });
      return key;
    });
  }

  audit(limit: number): AuditEntry[] {
    const sql = 'SELECT at, actor, action, keyId, name, detail FROM audit ORDER BY id DESC LIMIT ?';
    return this.db.query<AuditRow, [number]>(sql).all(limit).map(entryOf);
  }

  note({ at, actor, action, keyId, name, detail }: AuditEntry): void {
    assertInPlace(this.db);
    this.db
      .query('INSERT INTO audit (at, actor, action, keyId, name, detail) VALUES (?, ?, ?, ?, ?, ?)')
      .run(Math.round(at), actor, action, keyId ?? null, name ?? null, detail ?? null);
  }

  watch(changed: () => void): () => void {
    const timer = setInterval(() => {
      if (this.hasOtherWrites()) changed();
    }, lookMs);
    return () => clearInterval(timer);
  }

  /** Returns whether another connection to the file has written since this was last asked, or that cannot be told. */
  hasOtherWrites(): boolean {
    const before = this.#dataVersion;
    try {
      this.#dataVersion = this.#readDataVersion();
    } catch {
      // Reading the keys fails as well, and says why.
      return true;
    }
    return this.#dataVersion !== before;
  }

  #readDataVersion(): number {
    assertInPlace(this.db);
    const sql = 'PRAGMA data_version';
    return this.db.query<{ data_version: number }, []>(sql).get()?.data_version ?? 0;
  }
}
