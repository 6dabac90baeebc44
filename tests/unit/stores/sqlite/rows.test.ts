/**
 * What the store writes of a key and reads again, and what the audit log says of a change: no secret of a key and no
 * digest.
 */
import { expect, test } from 'bun:test';
import { issueKey, rotateKey } from '../../../../src/accounts/keys.ts';
import { detailOf, entryOf, keyOf, rowOf } from '../../../../src/stores/sqlite/rows.ts';
import { fullPolicy, plainPolicy } from '../../../support/samples.ts';

const now = Date.UTC(2026, 10, 5, 13, 30);

test('a key comes back as it was', () => {
  const { record } = issueKey(fullPolicy, now);
  const rotated = { ...record, ...rotateKey(record, 1_000, now).change, revokedAt: now };
  for (const key of [record, rotated, issueKey(plainPolicy, now).record]) {
    expect(keyOf(rowOf(key))).toEqual(key);
  }
});

test('what is no part of a key is not written', () => {
  const { key, record } = issueKey(fullPolicy, now);
  const row = rowOf(Object.assign({ key, note: 'x' }, record));
  expect(row).toEqual(rowOf(record));
  expect(JSON.stringify(row)).not.toContain(key);
});

test('the audit log says what a change sets and what it takes away, and no digest', () => {
  const { key, record } = issueKey(plainPolicy, now);
  const rotation = rotateKey(record, 1_000, now).change;
  const detail = detailOf(Object.assign({ key, models: undefined, weight: 2 }, rotation));
  expect(JSON.parse(detail)).toEqual({ models: null, weight: 2, replacedUntil: now + 1_000 });
  expect(JSON.parse(detailOf({ revokedAt: now }))).toEqual({ revokedAt: now });
  expect(JSON.parse(detailOf(record))).not.toContainKey('revokedAt');
});

test('an entry of the audit log has null for missing values', () => {
  const row = { at: now, actor: 'admin', action: 'request_stopped' as const };
  expect(entryOf({ ...row, keyId: null, name: null, detail: 'request-1' })).toEqual({
    ...row,
    keyId: undefined,
    name: undefined,
    detail: 'request-1',
  });
});
