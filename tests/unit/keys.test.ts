/**
 * The keys that the gateway accepts, and for whom each of them speaks.
 */
import { describe, expect, test } from 'bun:test';
import { KeyRing } from '../../src/keys.ts';

const hintOf = (key: string) => `…${key.slice(-2)}`;
const ring = new KeyRing(['sk-first-key', 'sk-second-key', 'sk-ключ'], ['sk-second-key'], hintOf);

describe('find', () => {
  test('finds the caller behind each key', () => {
    const first = ring.find('sk-first-key', null);
    expect(first).toEqual({
      keyId: expect.stringMatching(/^[0-9a-f]{8}$/),
      principal: first?.keyId as string,
      hint: '…ey',
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
    expect(new KeyRing([], [], hintOf).find('sk-first-key', null)).toBeUndefined();
  });

  test('gives a key the same id in every process', () => {
    const other = new KeyRing(['sk-first-key'], [], hintOf);
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

test('neither a ring nor a caller holds a key', () => {
  const shown = Bun.inspect([ring, ring.find('sk-second-key', 'eva')], { depth: 9 });
  expect(shown).not.toContain('second-key');
});
