/**
 * The view of a key: all that it may do, and no part of its secret.
 */
import { describe, expect, test } from 'bun:test';
import { issueKey, rotateKey } from '../../../src/accounts/keys.ts';
import { keyView } from '../../../src/accounts/keyview.ts';
import { fullPolicy, plainPolicy } from '../../support/samples.ts';

const now = Date.parse('2026-11-24T12:00:00Z');
const dayMs = 86_400_000;

describe('the view of a key', () => {
  test('has its policy and its times, and neither secret nor digest', () => {
    const { key, record } = issueKey(fullPolicy, now);
    const view = keyView(record, now);
    expect(view).toEqual({
      id: record.id,
      name: fullPolicy.name,
      hint: `sk-gw-${record.id}-…`,
      state: 'active',
      createdAt: '2026-11-24T12:00:00.000Z',
      expiresAt: '2027-02-22T12:00:00.000Z',
      revokedAt: null,
      replacedUntil: null,
      models: ['a', 'b/c:q4'],
      weight: 0.5,
      priority: 'batch',
      userHeader: 'x-openwebui-user-id',
      limits: fullPolicy.limits,
    });
    const text = JSON.stringify(view);
    expect(text).not.toContain(record.digest);
    expect(text).not.toContain(key);
  });

  test('has null for everything that is not set', () => {
    const view = keyView(issueKey(plainPolicy, now).record, now);
    expect(view).toMatchObject({ models: null, userHeader: null, expiresAt: null, limits: {} });
  });

  test('says until when the replaced secret is accepted', () => {
    const { record } = issueKey(plainPolicy, now);
    const rotated = { ...record, ...rotateKey(record, 1_000, now).change };
    expect(keyView(rotated, now).replacedUntil).toBe('2026-11-24T12:00:01.000Z');
    expect(keyView(rotated, now + 1_000).replacedUntil).toBeNull();
  });

  test('says that it has expired or was revoked', () => {
    const { record } = issueKey(fullPolicy, now);
    expect(keyView(record, now + 90 * dayMs).state).toBe('expired');
    const revoked = { ...record, revokedAt: now };
    expect(keyView(revoked, now)).toMatchObject({
      state: 'revoked',
      revokedAt: '2026-11-24T12:00:00.000Z',
    });
  });
});
