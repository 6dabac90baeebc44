/**
 * What is masked in texts, and what may be shown of a key.
 */
import { describe, expect, test } from 'bun:test';
import { maskKey, secretMasker } from '../../../src/log/masking.ts';
import { forms, secrets } from '../../support/secrettexts.ts';

const mask = secretMasker(secrets);

describe('secretMasker', () => {
  test.each(secrets)('masks %j in every form that JSON can have', (secret) => {
    for (const form of forms(secret)) {
      expect(mask(`before ${form} after`)).toBe('before *** after');
      expect(mask(form + form)).not.toContain(form);
    }
  });

  test('masks the longer of two secrets if one is the beginning of the other', () => {
    expect(mask('plainpassword-longer')).toBe('***');
  });

  test.each([
    ['{"authorization":"Bearer abcdef123456"}', '{"authorization":"Bearer ***"}'],
    ['bearer abcdef123456==, x', 'bearer ***, x'],
    ['key sk-unknown_key-9 here', 'key *** here'],
    ['sk-ant-api03-AbC_dEf', '***'],
  ])(
    'masks text that looks like a key even if it is not a configured secret: %j',
    (text, masked) => {
      expect(mask(text)).toBe(masked);
    },
  );

  test.each([
    '',
    'risk-averse',
    'sk-',
    'sk-1',
    'Bearer',
    '{"requestId":"4f2a","principal":"00112233/eva"}',
    'sk-…4f2a',
    'Привет',
  ])('does not change %j', (text) => {
    expect(mask(text)).toBe(text);
  });

  test('does not change a text when there are no secrets', () => {
    expect(secretMasker([])('nothing to hide')).toBe('nothing to hide');
  });
});

describe('a secret that is short', () => {
  const short = secretMasker(['12345', '123456']);

  test('is not masked below 6 characters, which would make lines unreadable', () => {
    expect(short('a 12345 b')).toBe('a 12345 b');
  });

  test('is masked from 6 on', () => {
    expect(short('a 123456 b')).toBe('a *** b');
  });
});

test('the public part of a key of the store stays, a whole one does not', () => {
  expect(mask('sk-gw-0123456789-…4f2a')).toBe('sk-gw-0123456789-…4f2a');
  expect(mask('sk-gw-0123456789-abcdef')).toBe('***');
});

test.each([
  ['sk-0123456789abc', 'sk-…9abc'],
  ['0123456789abcde', '…de'],
  ['12345678', '…78'],
  ['1234567', '…'],
  ['', '…'],
])('of the key %j logs show %j', (key, shown) => {
  expect(maskKey(key)).toBe(shown);
});
