/** Keys of the store: how they are made and replaced, and when each is accepted. */
import { describe, expect, test } from 'bun:test';
import {
  digestOf,
  hintOfIssued,
  issuedIdOf,
  issueKey,
  rotateKey,
  stateOf,
  type KeyPolicy,
} from '../../../src/accounts/keys.ts';

const now = Date.UTC(2026, 0, 1);
const dayMs = 86_400_000;
const policy: KeyPolicy = {
  name: 'alice',
  limits: { requestsPerMinute: 60 },
  models: ['a', 'b'],
  weight: 2,
  priority: 'batch',
  userHeader: undefined,
  expiresAt: undefined,
};

describe('a key of the store', () => {
  const { key, record } = issueKey(policy, now);

  test('has the form sk-gw-<id>-<secret> and is kept as a digest alone', () => {
    expect(key).toMatch(/^sk-gw-[0-9a-f]{10}-[\w-]{43}$/);
    expect(key.split('-')[2]).toBe(record.id);
    expect(record).toMatchObject({ ...policy, createdAt: now });
    expect(record.digest).toBe(new Bun.CryptoHasher('sha256').update(key).digest('hex'));
    expect(JSON.stringify(record)).not.toContain(key.slice(17));
  });

  test('is another one each time', () => {
    const others = Array.from({ length: 100 }, () => issueKey(policy, now).key);
    expect(new Set(others).size).toBe(100);
  });

  test('has its public id in it, and a hint with that id alone', () => {
    expect(issuedIdOf(key)).toBe(record.id);
    expect(hintOfIssued(record.id)).toBe(`sk-gw-${record.id}-…`);
    for (const other of ['sk-test-key-1', 'sk-gw-012345678-x', `x${key}`, 'sk-gw-0123456789']) {
      expect(issuedIdOf(other)).toBeUndefined();
    }
  });

  test('gets a new secret under the same id by a rotation, and keeps the old one for its grace', () => {
    const { key: fresh, change } = rotateKey(record, dayMs, now);
    expect(issuedIdOf(fresh)).toBe(record.id);
    expect(fresh).not.toBe(key);
    expect(change).toEqual({
      digest: digestOf(fresh).toString('hex'),
      replaced: { digest: record.digest, until: now + dayMs },
    });
  });

  test('loses its old secret at once in a rotation without grace', () => {
    expect(rotateKey(record, 0, now).change.replaced).toBeUndefined();
  });
});

test.each([
  [{ revokedAt: undefined, expiresAt: undefined }, 'active'],
  [{ revokedAt: undefined, expiresAt: now + 1 }, 'active'],
  [{ revokedAt: undefined, expiresAt: now }, 'expired'],
  [{ revokedAt: now - 1, expiresAt: now }, 'revoked'],
] as const)('a key with %j is %s', (record, state) => {
  expect(stateOf(record, now)).toBe(state);
});
