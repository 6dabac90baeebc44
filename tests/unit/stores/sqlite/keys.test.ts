/**
 * Keys and the audit log in SQLite: the contract, on a file and in memory; what two connections to one file know of each
 * other; and that no secret gets into the file.
 */
import { afterAll, describe, expect, test } from 'bun:test';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { issueKey, rotateKey } from '../../../../src/accounts/keys.ts';
import type { KeyEdit } from '../../../../src/accounts/keystore.ts';
import { openLedger } from '../../../../src/stores/open.ts';
import { SqliteKeys } from '../../../../src/stores/sqlite/keys.ts';
import { openDatabase } from '../../../../src/stores/sqlite/schema.ts';
import { accountContract } from '../../../contracts/accounts.ts';
import { fullPolicy, plainPolicy, usageRow } from '../../../support/samples.ts';

const root = mkdtempSync(join(tmpdir(), 'llm-gateway-keys-'));
afterAll(() => rmSync(root, { recursive: true, force: true }));

let folders = 0;
const folder = () => join(root, String(++folders));
const now = Date.UTC(2026, 10, 5, 13, 30);

/** Opens the keys of a folder. */
function open(dir: string | undefined) {
  const db = openDatabase(dir);
  return { store: new SqliteKeys(db), db, [Symbol.dispose]: () => db.close(true) };
}

accountContract('SQLite on a file', () => {
  const dir = folder();
  const opened = [open(dir)];
  return {
    store: (opened[0] as (typeof opened)[0]).store,
    other() {
      const another = open(dir);
      opened.push(another);
      return another.store;
    },
    close() {
      for (const each of opened) each[Symbol.dispose]();
    },
  };
});

accountContract('SQLite in memory', () => {
  const { store, db } = open(undefined);
  return { store, close: () => db.close(true) };
});

const edit = (id: string, changeOf: KeyEdit['changeOf']): KeyEdit => {
  return { id, changeOf, action: 'key_changed', actor: 'admin', at: now };
};

describe('two that have one file open', () => {
  test('learn once of each write of the other', () => {
    const dir = folder();
    using gateway = open(dir);
    using cli = open(dir);
    expect(gateway.store.hasOtherWrites()).toBe(false);
    const { record } = issueKey(plainPolicy, now);
    cli.store.addKey(record, 'cli');
    expect(cli.store.hasOtherWrites()).toBe(false);
    expect(gateway.store.hasOtherWrites()).toBe(true);
    expect(gateway.store.hasOtherWrites()).toBe(false);
    gateway.store.changeKey(edit(record.id, () => ({ weight: 2 })));
    expect(gateway.store.hasOtherWrites()).toBe(false);
    expect(cli.store.hasOtherWrites()).toBe(true);
  });

  test('do not change a key at the same time', () => {
    const dir = folder();
    using gateway = open(dir);
    using cli = open(dir);
    const { record } = issueKey(plainPolicy, now);
    cli.store.addKey(record, 'cli');
    function change() {
      const meanwhile = () => cli.store.changeKey(edit(record.id, () => ({ weight: 3 })));
      expect(meanwhile).toThrow('locked');
      return { weight: 2 };
    }
    gateway.store.changeKey(edit(record.id, change));
    expect(cli.store.keys()).toEqual([{ ...record, weight: 2 }]);
  });
});

test('a store in memory has no other process', () => {
  using alone = open(undefined);
  alone.store.addKey(issueKey(plainPolicy, now).record, 'cli');
  expect(alone.store.hasOtherWrites()).toBe(false);
});

test('a file that cannot be looked at may have changed', () => {
  const closed = open(folder());
  closed.db.close(true);
  expect(closed.store.hasOtherWrites()).toBe(true);
});

test('of a file that was deleted no key is read or written, and it may have changed', () => {
  const dir = folder();
  using gone = open(dir);
  expect(gone.store.hasOtherWrites()).toBe(false);
  rmSync(join(dir, 'gateway.sqlite'));
  expect(gone.store.hasOtherWrites()).toBe(true);
  expect(() => gone.store.keys()).toThrow('was deleted or replaced');
  const { record } = issueKey(plainPolicy, now);
  expect(() => gone.store.addKey(record, 'cli')).toThrow('was deleted or replaced');
});

test('no secret of a key gets into the files', async () => {
  const dir = folder();
  const { accounts, usage, close } = await openLedger(dir);
  const { key: first, record } = issueKey(fullPolicy, now);
  // The argument has more members than a record, and they must not be kept.
  await accounts.addKey(Object.assign({ key: first }, record), 'cli');
  const { key: second, change } = rotateKey(record, 3_600_000, now);
  const leak = Object.assign({ key: second }, change);
  await accounts.changeKey(edit(record.id, () => leak));
  await usage.insertUsage([usageRow({ keyId: record.id, principal: record.id })]);
  const bytes = () =>
    Buffer.concat(readdirSync(dir).map((file) => readFileSync(join(dir, file)))).toString('latin1');
  const openBytes = bytes();
  await close();
  for (const found of [openBytes, bytes()]) {
    expect(found).toContain(record.id);
    expect(found).toContain(record.digest);
    for (const key of [first, second]) {
      const secret = key.slice(`sk-gw-${record.id}-`.length);
      expect(secret).toHaveLength(43);
      expect(found).not.toContain(secret);
    }
  }
  using again = open(dir);
  const audit = JSON.stringify(again.store.audit(10));
  for (const digest of [record.digest, change.digest]) expect(audit).not.toContain(digest);
});
