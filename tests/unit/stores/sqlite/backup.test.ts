/** Copies of a store: what is in them, and that a store that is open, here or elsewhere, is not replaced. */
import { afterAll, expect, test } from 'bun:test';
import { mkdtempSync, readdirSync, rmSync, truncateSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { backUp, restore } from '../../../../src/stores/sqlite/backup.ts';
import { countIssuedKeys } from '../../../../src/stores/sqlite/datadir.ts';
import { issueKey } from '../../../../src/accounts/keys.ts';
import { openLedger } from '../../../../src/stores/open.ts';
import { plainPolicy } from '../../../support/samples.ts';

const folder = mkdtempSync(join(tmpdir(), 'backups-'));
afterAll(() => rmSync(folder, { recursive: true }));

/** Opens a store with one key. */
async function withKey(name: string) {
  const dir = join(folder, name);
  const stores = await openLedger(dir);
  await stores.accounts.addKey(issueKey(plainPolicy, 0).record, 'test');
  return { dir, stores };
}

test('a copy has what an open store has, and is restored once that is closed', async () => {
  const { dir, stores } = await withKey('open');
  const file = join(folder, 'open.sqlite');
  expect(backUp(dir, file, false)).toEqual({ file, bytes: statSync(file).size, version: 2 });
  await stores.accounts.addKey(issueKey(plainPolicy, 0).record, 'test');
  expect(() => restore(dir, file, true)).toThrow('Stop the gateway');
  expect(await stores.accounts.keys()).toHaveLength(2);
  await stores.close();
  expect(() => restore(dir, file, false)).toThrow('--force replaces it');
  restore(dir, file, true);
  expect(countIssuedKeys(dir)).toBe(1);
});

test('a copy that ends too early changes nothing and leaves nothing behind', async () => {
  const { dir, stores } = await withKey('short');
  await stores.close();
  const file = join(folder, 'short.sqlite');
  const { bytes } = backUp(dir, file, false);
  truncateSync(file, bytes - 8_192);
  const before = readdirSync(dir);
  expect(() => restore(dir, file, true)).toThrow('damaged');
  expect(readdirSync(dir)).toEqual(before);
  expect(countIssuedKeys(dir)).toBe(1);
});
