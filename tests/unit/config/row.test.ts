/** Rows of a table: what is derived from a key and from a schema. */
import { describe, expect, test } from 'bun:test';
import { Type } from '@sinclair/typebox';
import {
  allowed,
  defaultsOf,
  keysOf,
  oneOf,
  optionsOf,
  propertyOf,
  row,
  useOf,
  wordsOf,
} from '../../../src/config/row.ts';

const plain = row('max_size', Type.Integer({ minimum: 1, maximum: 9 }), 4, 'Size.');
const hidden = row('key', Type.String(), undefined, 'Key.', { secret: true });

test('a row is neither secret, split, required nor reloadable, and decodes nothing, unless it says so', () => {
  expect(plain).toMatchObject({
    secret: false,
    isSplit: false,
    isRequired: false,
    isReloadable: false,
  });
  expect(plain.decode('Text')).toBe('Text');
  const extras = { secret: true, isSplit: true, isRequired: true, isReloadable: true };
  expect(row('key', Type.String(), undefined, 'Key.', extras)).toMatchObject(extras);
});

test('a secret has a second key, for the file that holds it', () => {
  expect(keysOf(plain)).toEqual(['max_size']);
  expect(keysOf(hidden)).toEqual(['key', 'key_file']);
});

test('people read what a row is for and which values it allows', () => {
  expect(useOf(plain)).toBe('Size. Allowed: a whole number from 1 to 9.');
});

test('the defaults stand under the keys in camelCase', () => {
  expect(defaultsOf([plain, hidden])).toEqual({ maxSize: 4, key: undefined });
});

test.each([
  ['PORT', 'port'],
  ['max_size_of_all', 'maxSizeOfAll'],
])('%s is the property %s', (name, property) => {
  expect(propertyOf(name)).toBe(property);
});

describe('a schema', () => {
  const words = oneOf('Auto', 'none');
  const mixed = Type.Union([Type.Literal('auto'), Type.Integer()]);

  test('has its words and its alternatives', () => {
    expect(wordsOf(words)).toEqual(['Auto', 'none']);
    expect(wordsOf(mixed)).toEqual(['auto']);
    expect(wordsOf(Type.String())).toEqual([]);
    expect(optionsOf(mixed)).toHaveLength(2);
    expect(optionsOf(plain.schema)).toEqual([plain.schema]);
  });

  test.each([
    [Type.String({ description: 'a name' }), 'a name'],
    [plain.schema, 'a whole number from 1 to 9'],
    [words, 'one of Auto, none (in any case)'],
    [Type.Array(words), 'one of Auto, none (in any case)'],
    [Type.Array(words, { description: 'a list of words' }), 'a list of words'],
    [Type.Number({ minimum: 0, description: 'a number' }), 'a number'],
  ])('says which values it allows: %j', (schema, text) => {
    expect(allowed(schema)).toBe(text);
  });
});
