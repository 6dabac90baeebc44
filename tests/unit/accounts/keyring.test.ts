/** The keys that the gateway accepts, and for whom each of them speaks. */
import { describe, expect, test } from 'bun:test';
import { KeyRing, type KeyOptions } from '../../../src/accounts/keyring.ts';
import { issueKey, rotateKey, type KeyPolicy } from '../../../src/accounts/keys.ts';
import { GatewayError } from '../../../src/wire/errors.ts';

const userHeader = 'x-openwebui-user-id';
const options: KeyOptions = {
  trusted: ['sk-second-key'],
  batch: ['sk-night-key'],
  userHeader,
  hintOf: (key) => `…${key.slice(-2)}`,
};
const keys = ['sk-first-key', 'sk-second-key', 'sk-night-key', 'sk-ключ'];
const ring = new KeyRing(keys, options);
const now = Date.UTC(2026, 0, 1);
const dayMs = 86_400_000;

/** Returns the caller behind a key, or the code of the refusal. */
function find(presented: string, user: string | null = null, at = now, among = ring) {
  const headers = new Headers(user === null ? {} : { [userHeader]: user });
  try {
    return among.find(presented, headers, at);
  } catch (error) {
    if (error instanceof GatewayError) return error.code;
    throw error;
  }
}

function principalOf(presented: string, user: string | null, among = ring): string {
  const found = find(presented, user, now, among);
  return typeof found === 'string' ? found : found.principal.slice(found.keyId.length);
}

describe('a key of the configuration', () => {
  test('has a caller', () => {
    expect(find('sk-first-key')).toEqual({
      keyId: expect.stringMatching(/^[0-9a-f]{8}$/),
      principal: expect.stringMatching(/^[0-9a-f]{8}$/),
      hint: '…ey',
      weight: 1,
      priority: 'interactive',
      name: '…ey',
      limits: {},
      models: undefined,
    });
    expect(find('sk-ключ')).toMatchObject({ hint: '…юч' });
    expect(find('sk-second-key')).not.toEqual(find('sk-first-key'));
  });

  test.each([
    '',
    ' ',
    'sk-first-ke',
    'sk-first-key ',
    'SK-FIRST-KEY',
    'sk-first-key,sk-second-key',
    'sk-gw-0123456789-x',
  ])('knows nobody behind %j', (key) => {
    expect(find(key)).toBe('invalid_api_key');
  });

  test('knows nobody when it has no keys', () => {
    const none = new KeyRing([], options);
    expect(find('sk-first-key', null, now, none)).toBe('invalid_api_key');
  });

  test('has the same id in every process', () => {
    const other = new KeyRing(['sk-first-key'], options);
    expect(find('sk-first-key', null, now, other)).toEqual(find('sk-first-key'));
  });

  test('speaks for the user whom it names if it is trusted', () => {
    expect(principalOf('sk-second-key', 'eva')).toBe('/eva');
    expect(principalOf('sk-second-key', 'e'.repeat(500))).toBe(`/${'e'.repeat(128)}`);
    expect(principalOf('sk-second-key', 'a\u009b31m\u00ad')).toBe('/a\uFFFD31m\uFFFD');
  });

  test('speaks for itself if it names nobody or is not trusted', () => {
    expect(principalOf('sk-second-key', null)).toBe('');
    expect(principalOf('sk-second-key', '')).toBe('');
    expect(principalOf('sk-first-key', 'eva')).toBe('');
    const nowhere = new KeyRing(keys, { ...options, userHeader: undefined });
    expect(principalOf('sk-second-key', 'eva', nowhere)).toBe('');
  });

  test.each([
    ['sk-first-key', 'interactive'],
    ['sk-second-key', 'interactive'],
    ['sk-night-key', 'batch'],
  ] as const)('%s is %s, whomever it names', (key, priority) => {
    for (const user of [null, 'eva']) expect(find(key, user)).toMatchObject({ priority });
  });
});

describe('replace', () => {
  test('accepts the new keys and no others', () => {
    const changing = new KeyRing(['sk-first-key', 'sk-second-key'], options);
    changing.replace(['sk-second-key', 'sk-third-key'], options);
    expect(find('sk-first-key', null, now, changing)).toBe('invalid_api_key');
    expect(find('sk-third-key', null, now, changing)).toMatchObject({ hint: '…ey' });
    expect(find('sk-second-key', 'eva', now, changing)).toEqual(find('sk-second-key', 'eva'));
  });

  test('takes the options anew: trust, class, header and hint', () => {
    const changing = new KeyRing(keys, options);
    changing.replace(keys, {
      trusted: [],
      batch: ['sk-second-key'],
      userHeader,
      hintOf: () => '…',
    });
    expect(principalOf('sk-second-key', 'eva', changing)).toBe('');
    const second = find('sk-second-key', null, now, changing);
    expect(second).toMatchObject({ hint: '…', priority: 'batch' });
  });

  test('leaves the keys of the store as they are', () => {
    const changing = new KeyRing(keys, options);
    const { key, record } = issueKey(policy, now);
    changing.replaceIssued([record]);
    changing.replace([], options);
    expect(find(key, null, now, changing)).toMatchObject({ name: 'alice' });
  });
});

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
  const issued = new KeyRing(keys, options);
  issued.replaceIssued([record]);

  test('has the caller that its policy says', () => {
    expect(find(key, null, now, issued)).toEqual({
      keyId: record.id,
      principal: record.id,
      hint: `sk-gw-${record.id}-…`,
      name: 'alice',
      weight: 2,
      priority: 'batch',
      limits: { requestsPerMinute: 60 },
      models: ['a', 'b'],
    });
  });

  test.each([
    ['another secret', `sk-gw-${record.id}-${'x'.repeat(43)}`],
    ['a secret cut short', key.slice(0, -1)],
    ['another id', key.replace(record.id, '0123456789')],
  ])('is not found with %s', (_, presented) => {
    expect(find(presented, null, now, issued)).toBe('invalid_api_key');
  });

  test('speaks for the user in its own header, and only there', () => {
    const forUsers = new KeyRing([], options);
    const { key: trusted, record: named } = issueKey({ ...policy, userHeader }, now);
    forUsers.replaceIssued([named]);
    expect(principalOf(trusted, 'eva', forUsers)).toBe('/eva');
    expect(principalOf(key, 'eva', issued)).toBe('');
  });

  test('ends when it expires, to the millisecond', () => {
    const ending = new KeyRing([], options);
    ending.replaceIssued([{ ...record, expiresAt: now + dayMs }]);
    expect(find(key, null, now + dayMs - 1, ending)).toMatchObject({ name: 'alice' });
    expect(find(key, null, now + dayMs, ending)).toBe('key_expired');
    expect(ending.isRevoked(record.id)).toBe(false);
  });

  test('ends when it is revoked, and only its holder is told so', () => {
    const ending = new KeyRing([], options);
    ending.replaceIssued([{ ...record, revokedAt: now }]);
    expect(find(key, null, now, ending)).toBe('key_revoked');
    expect(find(`${key}x`, null, now, ending)).toBe('invalid_api_key');
    expect(ending.isRevoked(record.id)).toBe(true);
    expect(ending.isRevoked('other')).toBe(false);
  });

  test('ends at once when this process revokes it, whatever the store says afterwards', () => {
    const ending = new KeyRing([], options);
    ending.replaceIssued([record]);
    ending.revoke(record.id);
    for (let round = 0; round < 2; round++) {
      expect(find(key, null, now, ending)).toBe('key_revoked');
      expect(find(`${key}x`, null, now, ending)).toBe('invalid_api_key');
      expect(ending.isRevoked(record.id)).toBe(true);
      ending.replaceIssued([record]);
    }
  });

  test('keeps its old secret for the grace of a rotation, and no longer', () => {
    const rotated = new KeyRing([], options);
    const { key: fresh, change } = rotateKey(record, dayMs, now);
    rotated.replaceIssued([{ ...record, ...change }]);
    expect(fresh.split('-')[2]).toBe(record.id);
    expect(fresh).not.toBe(key);
    for (const each of [fresh, key]) {
      expect(find(each, null, now + dayMs - 1, rotated)).toMatchObject({ keyId: record.id });
    }
    expect(find(fresh, null, now + dayMs, rotated)).toMatchObject({ keyId: record.id });
    expect(find(key, null, now + dayMs, rotated)).toBe('invalid_api_key');
  });
});

test('neither a ring nor a caller holds a key', () => {
  const { key, record } = issueKey(policy, now);
  const full = new KeyRing(keys, options);
  full.replaceIssued([record]);
  const shown = Bun.inspect([full, find(key, null, now, full)], { depth: 9 });
  expect(shown).not.toContain('second-key');
  expect(shown).not.toContain(key.slice(17));
});
