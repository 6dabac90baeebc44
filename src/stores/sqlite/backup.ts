/**
 * Copies the store to one file while a gateway writes to it, and puts such a copy in the place of a store that nobody
 * uses. A copy that is damaged, of another program or of a newer version changes nothing.
 */
import { Database, SQLiteError } from 'bun:sqlite';
import {
  closeSync,
  existsSync,
  fsyncSync,
  mkdirSync,
  openSync,
  realpathSync,
  renameSync,
  rmSync,
  statSync,
} from 'node:fs';
import { join, resolve } from 'node:path';
import { damaged, reasonOf, storeFile, versionOf } from './schema.ts';

/** A copy that was made. */
interface Copied {
  /** Where it is. */
  file: string;
  bytes: number;
  /** The version of its tables. */
  version: number;
}

/** How long to wait for another process, in milliseconds. */
const busyTimeoutMs = 5_000;

/**
 * Copies the store in that folder to a new file, as it is at one moment.
 * @param isForced whether a file that is there may be replaced
 * @throws Error that says why there is no copy
 */
export function backUp(dir: string, file: string, isForced: boolean): Copied {
  const store = join(dir, storeFile);
  if (!existsSync(store)) throw new Error(`there is no store yet: ${resolve(store)}`);
  const target = resolve(file);
  if (existsSync(target)) {
    if (statSync(target).isDirectory()) throw new Error(`${target} is a folder; name a file in it`);
    if (realpathSync(target) === realpathSync(store)) throw new Error(`${target} is the store`);
    if (!isForced) throw new Error(`${target} is there already; --force replaces it`);
  }
  return copy(store, `${target}.${process.pid}.part`, (part) => renameSync(part, target), target);
}

/**
 * Puts a copy in the place of the store in that folder, which is made if need be.
 * @param isForced whether a store that is there may be replaced
 * @throws Error that says why the store stays as it is: also while another process has it open
 */
export function restore(dir: string, file: string, isForced: boolean): Copied {
  const source = resolve(file);
  if (!existsSync(source)) throw new Error(`${source} is not there`);
  const store = resolve(dir, storeFile);
  const isThere = existsSync(store);
  if (isThere && realpathSync(store) === realpathSync(source)) {
    throw new Error(`${source} is the store itself`);
  }
  if (isThere && !isForced) {
    throw new Error(`there is a store already: ${store}; --force replaces it`);
  }
  mkdirSync(dir, { recursive: true, mode: 0o700 });
  return copy(source, `${store}.${process.pid}.part`, (part) => replaceStore(store, part), store);
}

/** Copies a whole database to `part`, which `place` then moves to `target`; nothing stays of one that fails. */
function copy(from: string, part: string, place: (part: string) => void, target: string): Copied {
  let version = 0;
  try {
    const db = new Database(from, { readonly: true, strict: true });
    try {
      db.run(`PRAGMA busy_timeout = ${busyTimeoutMs}`);
      version = versionOf(db);
      if (version === 0) throw new Error('it has no tables of LLM Gateway.');
      rmSync(part, { force: true });
      // SQLite would make it readable for everybody; it takes an empty file for a new one.
      closeSync(openSync(part, 'wx', 0o600));
      db.run('VACUUM INTO ?', [part]);
    } finally {
      db.close();
    }
    checkAll(part);
  } catch (error) {
    rmSync(part, { force: true });
    throw new Error(`${from}: ${reasonOf(error)}`, { cause: error });
  }
  try {
    place(part);
  } catch (error) {
    rmSync(part, { force: true });
    throw error;
  }
  return { file: target, bytes: statSync(target).size, version };
}

/** Throws if anything in that database is damaged; else it is on the disk afterwards. */
function checkAll(file: string): void {
  const db = new Database(file, { readonly: true });
  try {
    if (db.query<[string], []>('PRAGMA integrity_check').values()[0]?.[0] !== 'ok') {
      throw new Error(damaged);
    }
  } finally {
    db.close();
  }
  const fd = openSync(file, 'r+');
  fsyncSync(fd);
  closeSync(fd);
}

/** Moves `part` to where the store is, or was. Throws an Error if another process has the store open. */
function replaceStore(store: string, part: string): void {
  if (!existsSync(store)) return moveTo(store, part);
  const db = new Database(store, { readwrite: true });
  try {
    // Only who is alone with a database can end its write-ahead log; no process opens it before the new one is there.
    db.run('PRAGMA locking_mode = EXCLUSIVE');
    db.run('PRAGMA journal_mode = DELETE');
    db.run('BEGIN EXCLUSIVE');
    moveTo(store, part);
  } catch (error) {
    const code = error instanceof SQLiteError ? (error.code ?? '') : '';
    if (code.startsWith('SQLITE_BUSY')) {
      throw new Error(
        `${store} is open in another process. Stop the gateway that runs on it, and try again.`,
        { cause: error },
      );
    }
    // A damaged store is what a backup is for.
    if (!/^SQLITE_(NOTADB|CORRUPT)/.test(code)) throw error;
    moveTo(store, part);
  } finally {
    db.close();
  }
}

function moveTo(store: string, part: string): void {
  // What they held would be read into the new store.
  for (const companion of ['-wal', '-shm', '-journal']) rmSync(store + companion, { force: true });
  renameSync(part, store);
}
