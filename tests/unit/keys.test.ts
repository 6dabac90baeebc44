/**
 * The keys that the gateway accepts, and for whom each of them speaks.
 */
import { describe, expect, test } from 'bun:test';
import { KeyRing, type KeyOptions } from '../../src/keys.ts';

const options: KeyOptions = {
  trusted: ['sk-second-key'],
  batch: ['sk-night-key'],
  hintOf: (key) => `…${key.slice(-2)}`,
};
const keys = ['sk-first-key', 'sk-second-key', 'sk-night-key', 'sk-ключ'];
const ring = new KeyRing(keys, options);

describe('find', () => {
  test('finds the caller behind each key', () => {
    const first = ring.find('sk-first-key', null);
    expect(first).toEqual({
      keyId: expect.stringMatching(/^[0-9a-f]{8}$/),
      principal: first?.keyId as string,
      hint: '…ey',
      weight: 1,
      priority: 'interactive',
      name: '…ey',
      limits: {},
      models: undefined,
    });
    expect(ring.find('sk-ключ', null)?.hint).toBe('…юч');
    expect(ring.find('sk-second-key', null)?.keyId).not.toBe(first?.keyId as string);
  });

  test.each([
    '',
    ' ',
    'sk-first-ke',
    'sk-first-key ',
    'SK-FIRST-KEY',
    'sk-first-key,sk-second-key',
  ])('knows nobody behind %j', (key) => {
    expect(ring.find(key, null)).toBeUndefined();
  });

  test('knows nobody when it has no keys', () => {
    expect(new KeyRing([], options).find('sk-first-key', null)).toBeUndefined();
  });

  test('gives a key the same id in every process', () => {
    const other = new KeyRing(['sk-first-key'], options);
    expect(other.find('sk-first-key', null)?.keyId).toBe(
      ring.find('sk-first-key', null)?.keyId as string,
    );
  });
});

describe('a trusted key', () => {
  test('speaks for the user whom it names', () => {
    const caller = ring.find('sk-second-key', 'eva');
    expect(caller?.principal).toBe(`${caller?.keyId}/eva`);
  });

  test.each([null, ''])('speaks for itself when it names %j', (user) => {
    const caller = ring.find('sk-second-key', user);
    expect(caller?.principal).toBe(caller?.keyId as string);
  });
});

test('a key that is not trusted speaks for itself, whomever it names', () => {
  const caller = ring.find('sk-first-key', 'eva');
  expect(caller?.principal).toBe(caller?.keyId as string);
});

describe('the class of a key', () => {
  test.each([
    ['sk-first-key', 'interactive'],
    ['sk-second-key', 'interactive'],
    ['sk-night-key', 'batch'],
  ] as const)('%s is %s, whomever it names', (key, priority) => {
    for (const user of [null, 'eva']) expect(ring.find(key, user)?.priority).toBe(priority);
  });

  test('a key can be trusted and of the class batch at once', () => {
    const both = new KeyRing(keys, { ...options, trusted: ['sk-night-key'] });
    const caller = both.find('sk-night-key', 'eva');
    expect(caller?.principal).toBe(`${caller?.keyId}/eva`);
    expect(caller?.priority).toBe('batch');
  });
});

describe('replace', () => {
  test('accepts the new keys and no others', () => {
    const changing = new KeyRing(['sk-first-key', 'sk-second-key'], options);
    changing.replace(['sk-second-key', 'sk-third-key'], options);
    expect(changing.find('sk-first-key', null)).toBeUndefined();
    expect(changing.find('sk-third-key', null)?.hint).toBe('…ey');
    expect(changing.find('sk-second-key', 'eva')).toEqual(ring.find('sk-second-key', 'eva'));
  });

  test('takes the options anew: trust, class and hint', () => {
    const changing = new KeyRing(keys, options);
    changing.replace(keys, { trusted: [], batch: ['sk-second-key'], hintOf: () => '…' });
    const second = changing.find('sk-second-key', 'eva');
    expect(second).toMatchObject({
      principal: second?.keyId as string,
      hint: '…',
      priority: 'batch',
    });
    expect(changing.find('sk-night-key', null)?.priority).toBe('interactive');
  });

  test('accepts nobody when there are no keys any more', () => {
    const changing = new KeyRing(keys, options);
    changing.replace([], options);
    for (const key of keys) expect(changing.find(key, null)).toBeUndefined();
  });
});

test('neither a ring nor a caller holds a key', () => {
  const shown = Bun.inspect([ring, ring.find('sk-second-key', 'eva')], { depth: 9 });
  expect(shown).not.toContain('second-key');
});
