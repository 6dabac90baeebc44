/**
 * The file of the store: how it is made, for whom it is readable, how it is brought up to date, and what is refused.
 */
import { afterAll, describe, expect, test } from 'bun:test';
import { Database } from 'bun:sqlite';
import {
  mkdirSync,
  mkdtempSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  assertInPlace,
  migrate,
  migrations,
  openDatabase,
  writing,
  type Migration,
} from '../../../../src/stores/sqlite/schema.ts';

const root = mkdtempSync(join(tmpdir(), 'llm-gateway-schema-'));
afterAll(() => rmSync(root, { recursive: true, force: true }));

let folders = 0;

/** Returns the path of a folder that does not exist yet, and of the file that will be in it. */
function place(): { dir: string; file: string } {
  const dir = join(root, String(++folders), 'data');
  return { dir, file: join(dir, 'gateway.sqlite') };
}

/** Returns the message with which something is refused. */
function refusal(act: () => unknown): string {
  try {
    act();
  } catch (error) {
    return (error as Error).message;
  }
  return 'not refused';
}

const tablesOf = (db: Database) =>
  db
    .query<{ name: string }, []>("SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY 1")
    .all()
    .map(({ name }) => name);
const versionsOf = (db: Database) =>
  db.query('SELECT version, since FROM schema_version ORDER BY version').values();
const pragma = (db: Database, name: string) => db.query(`PRAGMA ${name}`).values()[0]?.[0];
const modeOf = (path: string) => (statSync(path).mode & 0o777).toString(8);

/** Makes a file that holds what `fill` puts into it. */
function made(fill: (db: Database) => void): { dir: string; file: string } {
  const made = place();
  mkdirSync(made.dir, { recursive: true });
  const db = new Database(made.file);
  fill(db);
  db.close(true);
  return made;
}

describe('openDatabase', () => {
  test('makes the folder and the file, for their owner alone', () => {
    const { dir, file } = place();
    const db = openDatabase(dir);
    expect(tablesOf(db)).toEqual(['audit', 'keys', 'schema_version', 'usage']);
    expect(versionsOf(db)).toEqual(migrations.map(({ since }, index) => [index + 1, since]));
    expect(pragma(db, 'journal_mode')).toBe('wal');
    expect(pragma(db, 'synchronous')).toBe(1);
    expect(pragma(db, 'busy_timeout')).toBe(50);
    expect(modeOf(dir)).toBe('700');
    for (const suffix of ['', '-wal', '-shm']) expect(modeOf(file + suffix)).toBe('600');
    db.close(true);
  });

  test('leaves a file that is up to date as it is', () => {
    const { dir, file } = place();
    openDatabase(dir).close(true);
    const before = readFileSync(file);
    openDatabase(dir).close(true);
    expect(readFileSync(file).equals(before)).toBe(true);
  });

  test('waits for no lock when nothing is to be done', () => {
    const { dir } = place();
    const writer = openDatabase(dir);
    writer.run('BEGIN IMMEDIATE');
    openDatabase(dir).close(true);
    writer.close(true);
  });

  test('keeps everything in memory where there is no folder', () => {
    const db = openDatabase(undefined);
    expect(tablesOf(db)).toContain('usage');
    db.close(true);
  });

  test('takes an empty file for a new one', () => {
    const { dir, file } = place();
    mkdirSync(dir, { recursive: true });
    writeFileSync(file, '');
    const db = openDatabase(dir);
    expect(tablesOf(db)).toContain('keys');
    db.close(true);
  });

  test('refuses a file that is no database, and leaves it as it is', () => {
    const { dir, file } = place();
    mkdirSync(dir, { recursive: true });
    writeFileSync(file, 'these are the notes of somebody\n'.repeat(1_000));
    const before = readFileSync(file);
    expect(refusal(() => openDatabase(dir))).toBe(
      `${file}: the file is damaged or no database. Restore a backup, or move it away.`,
    );
    expect(readFileSync(file).equals(before)).toBe(true);
  });

  test('refuses a file that has been cut off', () => {
    const { dir, file } = place();
    openDatabase(dir).close(true);
    truncateSync(file, 3 * 4_096);
    expect(refusal(() => openDatabase(dir))).toStartWith(`${file}: the file is damaged`);
  });

  test('refuses a file whose table of keys is damaged', () => {
    const { dir, file } = place();
    const db = openDatabase(dir);
    const root = db.query("SELECT rootpage FROM sqlite_schema WHERE name = 'keys'").values();
    db.close(true);
    const bytes = readFileSync(file);
    const page = Number(root[0]?.[0]);
    bytes.fill(0xff, (page - 1) * 4_096, page * 4_096);
    writeFileSync(file, bytes);
    expect(refusal(() => openDatabase(dir))).toStartWith(`${file}: the file is damaged`);
  });

  test('refuses a database of another program, and leaves it as it is', () => {
    const { dir, file } = made((db) => db.run('CREATE TABLE recipes (name TEXT)'));
    const before = readFileSync(file);
    expect(refusal(() => openDatabase(dir))).toBe(
      `${file}: this is a database of another program. Set DATA_DIR to another folder.`,
    );
    expect(readFileSync(file).equals(before)).toBe(true);
  });

  test('refuses a file of a newer version, says which is needed, and leaves it as it is', () => {
    const { dir, file } = place();
    const db = openDatabase(dir);
    const next = migrations.length + 1;
    db.run("INSERT INTO schema_version VALUES (?, '7.1.0'), (?, '7.2.0')", [next, next + 1]);
    db.close(true);
    const before = readFileSync(file);
    expect(refusal(() => openDatabase(dir))).toBe(
      `${file}: a newer version of this program has written it: LLM Gateway 7.2.0 or later is needed.`,
    );
    expect(readFileSync(file).equals(before)).toBe(true);
  });

  test('names the file when its folder cannot be made', () => {
    const { dir } = place();
    mkdirSync(join(dir, '..'), { recursive: true });
    writeFileSync(dir, 'a file where the folder should be');
    expect(refusal(() => openDatabase(dir))).toStartWith(`${join(dir, 'gateway.sqlite')}: `);
  });
});

describe('version 2', () => {
  test('keeps the rows of version 1, and knows of them what can be known', () => {
    const { dir } = made((db) => {
      migrate(db, migrations.slice(0, 1));
      const insert = db.query(
        `INSERT INTO usage (at, requestId, keyId, principal, keyName, route, model, status, outcome, stream,
           queuedMs, engineMs, totalMs, promptTokens, isCacheHit)
         VALUES (?, 'r', 'k1', ?, 'alice', '/v1/completions', ?, 200, 'done', 0, 1, 2, 3, 7, 0)`,
      );
      for (const row of [1, 2]) insert.run(row, row === 1 ? 'k1' : 'k1/eva', 'qwen');
    });
    const db = openDatabase(dir);
    const sql = 'SELECT id, at, uuid, principal, user, model, servedModel, priority, promptTokens';
    const unknown = { uuid: null, servedModel: null, priority: null };
    const known = { model: 'qwen', promptTokens: 7, ...unknown };
    expect(db.query(`${sql} FROM usage ORDER BY id`).all()).toEqual([
      { id: 1, at: 1, principal: 'k1', user: null, ...known },
      { id: 2, at: 2, principal: 'k1/eva', user: 'eva', ...known },
    ]);
    db.close(true);
  });

  test('lets a process of version 1 go on writing', () => {
    const { dir } = made((db) => migrate(db, migrations.slice(0, 1)));
    const db = openDatabase(dir);
    const written = ['x', 'y'].map((requestId) =>
      db
        .query(
          `INSERT INTO usage (at, requestId, keyId, principal, keyName, route, status, outcome, stream, queuedMs,
             engineMs, totalMs, isCacheHit) VALUES (1, ?, 'k', 'k', 'n', '/', 200, 'done', 0, 0, 0, 0, 0)`,
        )
        .run(requestId),
    );
    expect(written.map(({ changes }) => changes)).toEqual([1, 1]);
    db.close(true);
  });
});

describe('migrate', () => {
  const first: Migration = { since: '0.1.0', sql: 'CREATE TABLE a (x TEXT)' };
  const second: Migration = {
    since: '0.2.0',
    sql: "ALTER TABLE a ADD COLUMN y TEXT NOT NULL DEFAULT 'new'; CREATE INDEX aByY ON a (y)",
  };
  const broken: Migration = {
    since: '0.3.0',
    sql: 'CREATE TABLE b (x TEXT); INSERT INTO nowhere VALUES (1)',
  };

  test('takes all steps from an empty file', () => {
    const db = new Database(':memory:');
    migrate(db, [first, second]);
    expect(versionsOf(db)).toEqual([
      [1, '0.1.0'],
      [2, '0.2.0'],
    ]);
    db.close(true);
  });

  test('takes a file of version 1 further and keeps its rows', () => {
    const { file } = made((db) => {
      migrate(db, [first]);
      db.run("INSERT INTO a VALUES ('kept')");
    });
    const db = new Database(file);
    migrate(db, [first, second]);
    expect(db.query('SELECT x, y FROM a').values()).toEqual([['kept', 'new']]);
    expect(versionsOf(db)).toHaveLength(2);
    migrate(db, [first, second]);
    expect(versionsOf(db)).toHaveLength(2);
    db.close(true);
  });

  test('undoes a step that fails, and keeps those before', () => {
    const db = new Database(':memory:');
    expect(refusal(() => migrate(db, [first, second, broken]))).toContain('nowhere');
    expect(tablesOf(db)).toEqual(['a', 'schema_version']);
    expect(versionsOf(db)).toHaveLength(2);
    db.close(true);
  });

  test('is done once when several processes open a new file at the same time', async () => {
    const { dir } = place();
    const path = join(import.meta.dir, '../../../../src/stores/sqlite/schema.ts');
    const script = `
      const { openDatabase } = await import(${JSON.stringify(path)});
      const db = openDatabase(${JSON.stringify(dir)});
      console.log(db.query('SELECT version FROM schema_version').values().length);
      db.close(true);`;
    const children = Array.from({ length: 4 }, () =>
      Bun.spawn([process.execPath, '-e', script], { stdout: 'pipe', stderr: 'pipe' }),
    );
    const outputs = await Promise.all(
      children.map(async ({ stdout, stderr }) => (await stdout.text()) + (await stderr.text())),
    );
    expect(outputs).toEqual(children.map(() => `${migrations.length}\n`));
  });
});

describe('a file that goes while it is open', () => {
  function opened() {
    const { dir, file } = place();
    const db = openDatabase(dir);
    const isWritten = () => {
      try {
        writing(db, () => {});
        return true;
      } catch {
        return false;
      }
    };
    return { dir, file, db, isWritten };
  }

  test('is not written when it was deleted, or another one has its place', () => {
    const { dir, file, db, isWritten } = opened();
    expect(isWritten()).toBe(true);
    rmSync(file);
    expect(isWritten()).toBe(false);
    expect(() => assertInPlace(db)).toThrow(`${file} was deleted or replaced while it was open.`);
    openDatabase(dir).close(true);
    expect(isWritten()).toBe(false);
    db.close(true);
  });

  test('is written again when it is put back', () => {
    const { file, db, isWritten } = opened();
    renameSync(file, `${file}.old`);
    expect(isWritten()).toBe(false);
    renameSync(`${file}.old`, file);
    expect(isWritten()).toBe(true);
    db.close(true);
  });

  test('is none in memory', () => {
    using db = openDatabase(undefined);
    expect(() => assertInPlace(db)).not.toThrow();
  });
});
