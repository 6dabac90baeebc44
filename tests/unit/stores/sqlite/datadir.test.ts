/** The check of the store's folder: how many keys it has, why it cannot be used, and that the check creates nothing. */
import { afterAll, describe, expect, test } from 'bun:test';
import { existsSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { countIssuedKeys } from '../../../../src/stores/sqlite/datadir.ts';
import { issueKey } from '../../../../src/accounts/keys.ts';
import { openLedger } from '../../../../src/stores/open.ts';
import { plainPolicy } from '../../../support/samples.ts';

const folder = mkdtempSync(join(tmpdir(), 'datadir-'));
afterAll(() => rmSync(folder, { recursive: true }));

function write(name: string, text: string): string {
  const path = join(folder, name);
  writeFileSync(path, text);
  return path;
}

describe('countIssuedKeys', () => {
  test('returns the number of keys, revoked ones too', async () => {
    const dir = join(folder, 'used');
    const { accounts, close } = await openLedger(dir);
    expect(countIssuedKeys(dir)).toBe(0);
    await accounts.addKey({ ...issueKey(plainPolicy, 0).record, revokedAt: 1 }, 'test');
    expect(countIssuedKeys(dir)).toBe(1);
    await close();
    expect(countIssuedKeys(dir)).toBe(1);
  });

  test('finds none without a store, and makes none', () => {
    const dir = mkdtempSync(join(folder, 'empty-'));
    expect(countIssuedKeys(dir)).toBe(0);
    expect(readdirSync(dir)).toEqual([]);
    expect(countIssuedKeys(join(dir, 'not', 'there'))).toBe(0);
    expect(readdirSync(dir)).toEqual([]);
    expect(countIssuedKeys('none')).toBe(0);
    expect(existsSync('none')).toBe(false);
  });

  test('says why there can be no store: a file in place of the folder, or a damaged store', () => {
    const file = write('a-file', 'x');
    for (const dir of [file, join(file, 'below')]) {
      expect(() => countIssuedKeys(dir)).toThrow(`${file} is a file, not a folder`);
    }
    const dir = mkdtempSync(join(folder, 'damaged-'));
    writeFileSync(join(dir, 'gateway.sqlite'), 'this is no database at all'.repeat(100));
    expect(() => countIssuedKeys(dir)).toThrow(/gateway\.sqlite: .*damaged/);
  });
});
