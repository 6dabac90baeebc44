/**
 * The file of the embedded store: opens it, makes it if need be, and brings its tables up to date step by step. It
 * refuses a file that is damaged, of another program, or newer than this one, and never repairs or overwrites it.
 */
import { Database, SQLiteError } from 'bun:sqlite';
import { chmodSync, closeSync, mkdirSync, openSync, statSync } from 'node:fs';
import { join, resolve } from 'node:path';

/** One step from a version of the tables to the next; once released, it never changes. */
export interface Migration {
  /** The first version of this program that knows the outcome. */
  since: string;
  sql: string;
}

/**
 * The steps in order; the version of a file is how many it has taken. Times are epoch milliseconds where a column is
 * called `at` or ends so, else milliseconds. Columns have the names of the fields that they keep.
 */
export const migrations: readonly Migration[] = [
  {
    since: '0.1.0',
    sql: `
      CREATE TABLE keys (
        id TEXT PRIMARY KEY NOT NULL,
        digest TEXT NOT NULL UNIQUE,
        policy TEXT NOT NULL,
        createdAt INTEGER NOT NULL,
        revokedAt INTEGER,
        replacedDigest TEXT,
        replacedUntil INTEGER
      ) STRICT;

      CREATE TABLE audit (
        id INTEGER PRIMARY KEY,
        at INTEGER NOT NULL,
        actor TEXT NOT NULL,
        action TEXT NOT NULL,
        keyId TEXT,
        name TEXT,
        detail TEXT
      ) STRICT;

      -- The request's id can be the client's choice, so it is not unique. Rows come in the order of time: a plain
      -- table appends them, and its index by time grows at its end alone.
      CREATE TABLE usage (
        id INTEGER PRIMARY KEY,
        at INTEGER NOT NULL,
        requestId TEXT NOT NULL,
        keyId TEXT NOT NULL,
        principal TEXT NOT NULL,
        keyName TEXT NOT NULL,
        route TEXT NOT NULL,
        model TEXT,
        upstream TEXT,
        status INTEGER NOT NULL,
        code TEXT,
        outcome TEXT NOT NULL,
        stream INTEGER NOT NULL,
        queuedMs REAL NOT NULL,
        firstTokenMs REAL,
        engineMs REAL NOT NULL,
        totalMs REAL NOT NULL,
        promptTokens INTEGER,
        cachedTokens INTEGER,
        completionTokens INTEGER,
        tokensAre TEXT,
        isCacheHit INTEGER NOT NULL
      ) STRICT;
      CREATE INDEX usageByTime ON usage (at);
      CREATE INDEX usageByKey ON usage (keyId, at);
    `,
  },
  {
    since: '0.2.0',
    sql: `
      -- Only columns are added, so that a process of version 1 that still runs can go on writing. Its rows, and those
      -- from before, have no uuid; their model is what the client named or else what it got.
      ALTER TABLE usage ADD COLUMN uuid BLOB;
      ALTER TABLE usage ADD COLUMN priority TEXT;
      ALTER TABLE usage ADD COLUMN servedModel TEXT;
      ALTER TABLE usage ADD COLUMN user TEXT
        AS (CASE WHEN principal <> keyId THEN substr(principal, length(keyId) + 2) END) VIRTUAL;
      CREATE UNIQUE INDEX usageByUuid ON usage (uuid) WHERE uuid NOT NULL;
    `,
  },
];

/** How long opening waits for another process that does so, in milliseconds. */
const openTimeoutMs = 5_000;

/** After a long reader the write-ahead log shrinks to this, in bytes. */
const maxIdleLogBytes = 16 * 1024 * 1024;

/** Its name in the folder of the store. */
export const storeFile = 'gateway.sqlite';

/**
 * Opens gateway.sqlite in that folder with its tables up to date. What it makes is for the owner alone.
 * @param dir `undefined` keeps everything in memory
 * @param busyTimeoutMs how long a write waits for another process, in milliseconds; the event loop waits with it
 * @throws Error that names the file and says what is wrong with it
 */
export function openDatabase(dir: string | undefined, busyTimeoutMs = 50): Database {
  if (dir === undefined) return prepare(':memory:', busyTimeoutMs);
  const file = join(dir, storeFile);
  try {
    mkdirSync(dir, { recursive: true, mode: 0o700 });
    // SQLite would make it readable for everybody; its companion files take over the mode of this one.
    closeSync(openSync(file, 'a', 0o600));
    const db = prepare(file, busyTimeoutMs);
    // It may be older than this rule.
    chmodSync(file, 0o600);
    inodes.set(db, statSync(file).ino);
    return db;
  } catch (error) {
    const reason = reasonOf(error);
    // A message of this file already says what to do.
    const advice = reason.endsWith('.') ? '' : '. Set DATA_DIR to a folder that can be written.';
    throw new Error(`${file}: ${reason}${advice}`, { cause: error });
  }
}

/** Returns where a database is, for people. */
export function placeOf({ filename }: Database): string {
  return filename === ':memory:' ? 'memory' : resolve(filename);
}

/** The files of open databases, as they were when they were opened. */
const inodes = new WeakMap<Database, number>();

/**
 * Throws if the file of a database was deleted or replaced since it was opened. SQLite goes on with the old one, which
 * nobody else sees and which is gone when it is closed.
 */
export function assertInPlace(db: Database): void {
  const inode = inodes.get(db);
  if (inode === undefined || statSync(db.filename, { throwIfNoEntry: false })?.ino === inode)
    return;
  throw new Error(
    `${db.filename} was deleted or replaced while it was open. Put the file back that was there, or start again with the new one.`,
  );
}

/** Writes all of something or nothing. Reading in it sees what it changes, and no other process writes meanwhile. */
export function writing<T>(db: Database, change: () => T): T {
  assertInPlace(db);
  return db.transaction(change).immediate();
}

function prepare(file: string, busyTimeoutMs: number): Database {
  const db = new Database(file, { strict: true });
  try {
    db.run(`PRAGMA busy_timeout = ${openTimeoutMs}`);
    // Before anything is written: a file that is refused stays as it is.
    versionOf(db, migrations);
    db.run('PRAGMA journal_mode = WAL');
    db.run('PRAGMA synchronous = NORMAL');
    db.run(`PRAGMA journal_size_limit = ${maxIdleLogBytes}`);
    migrate(db);
    checkKeys(db);
    db.run(`PRAGMA busy_timeout = ${busyTimeoutMs}`);
    return db;
  } catch (error) {
    db.close();
    throw error;
  }
}

/**
 * Brings the tables up to date, each step in its own transaction: a step that fails leaves the earlier ones in place.
 * @throws Error when the file is of another program or newer than the steps
 */
export function migrate(db: Database, steps: readonly Migration[] = migrations): void {
  const advance = db.transaction(function takeStep() {
    // Another process may have taken it while this one waited.
    const version = versionOf(db, steps);
    const step = steps[version];
    if (step === undefined) return;
    db.run(
      'CREATE TABLE IF NOT EXISTS schema_version (version INTEGER PRIMARY KEY, since TEXT NOT NULL) STRICT',
    );
    db.run(step.sql);
    db.run('INSERT INTO schema_version VALUES (?, ?)', [version + 1, step.since]);
  });
  while (versionOf(db, steps) < steps.length) advance.immediate();
}

/**
 * Returns how many steps the tables of a file have taken; 0 if it has none.
 * @throws Error when the file is of another program or newer than the steps
 */
export function versionOf(db: Database, steps: readonly Migration[] = migrations): number {
  const tables = db
    .query<{ name: string }, []>("SELECT name FROM sqlite_schema WHERE type = 'table'")
    .all();
  if (tables.length === 0) return 0;
  if (!tables.some(({ name }) => name === 'schema_version')) {
    throw new Error('this is a database of another program. Set DATA_DIR to another folder.');
  }
  const latest = db
    .query<{ version: number; since: string }, []>(
      'SELECT version, since FROM schema_version ORDER BY version DESC LIMIT 1',
    )
    .get();
  if (latest === null) return 0;
  if (latest.version > steps.length) {
    throw new Error(
      `a newer version of this program has written it: LLM Gateway ${latest.since} or later is needed.`,
    );
  }
  return latest.version;
}

/** What is wrong with a damaged file, and what to do. */
export const damaged = 'the file is damaged or no database. Restore a backup, or move it away.';

/** To read all of a large ledger would hold up the start; a wrong key would do harm. */
function checkKeys(db: Database): void {
  const findings = db.query<[string], []>("PRAGMA quick_check('keys')").values();
  if (findings[0]?.[0] !== 'ok') throw new Error(damaged);
}

/** Returns why a file cannot be used, for people. */
export function reasonOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  if ('code' in error && error.code === 'EEXIST') return 'its folder is a file.';
  if (!(error instanceof SQLiteError)) return error.message;
  const code = error.code ?? '';
  if (code.startsWith('SQLITE_NOTADB') || code.startsWith('SQLITE_CORRUPT')) return damaged;
  if (code.startsWith('SQLITE_BUSY')) return 'another process has locked it. Try again.';
  return error.message;
}
