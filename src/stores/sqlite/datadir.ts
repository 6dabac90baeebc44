/**
 * Looks at the folder of the store before it is used. It makes nothing: a start that is refused leaves no trace.
 */
import { accessSync, constants, existsSync, statSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { messageOf } from '../../wire/errors.ts';
import { SqliteKeys } from './keys.ts';
import { openDatabase, storeFile } from './schema.ts';

/**
 * Returns how many keys the store in that folder has, revoked ones too; 0 if there is no store yet.
 * @param dir `none` is no folder
 * @throws Error that says why there can be no store
 */
export function countIssuedKeys(dir: string): number {
  if (dir === 'none') return 0;
  if (!existsSync(join(dir, storeFile))) {
    assertCreatable(resolve(dir));
    return 0;
  }
  const db = openDatabase(dir);
  try {
    return new SqliteKeys(db).keys().length;
  } finally {
    db.close(true);
  }
}

/** Throws an Error if the folder, or what is missing of its path, cannot be made. */
function assertCreatable(dir: string): void {
  if (!existsSync(dir)) return assertCreatable(dirname(dir));
  if (!statSync(dir).isDirectory()) throw new Error(`${dir} is a file, not a folder`);
  try {
    accessSync(dir, constants.W_OK | constants.X_OK);
  } catch (cause) {
    throw new Error(`nothing can be written in ${dir}: ${messageOf(cause)}`, { cause });
  }
}
