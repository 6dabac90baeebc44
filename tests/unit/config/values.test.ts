/** The reader of values: what a row takes in which form, and what is reported of the rest. */
import { describe, expect, test } from 'bun:test';
import { Type } from '@sinclair/typebox';
import { allowed, oneOf, row, type Row } from '../../../src/config/row.ts';
import { mappingLayer } from '../../../src/config/sources.ts';
import { accept, knownKeys, readRows, unknownKeys } from '../../../src/config/values.ts';

const small = Type.Integer({ minimum: 1, maximum: 9 });
const name = Type.String({ pattern: '^[a-z]+$', description: 'a name' });
const rowOf = (schema: Row['schema'], extras = {}) => row('it', schema, undefined, 'It.', extras);

/** Returns the value that is accepted, or the problems. */
function read(each: Row, value: unknown, hidden = false): unknown {
  const problems: string[] = [];
  const accepted = accept(each, { label: '@', value, hidden }, problems);
  return problems.length > 0 ? problems : accepted;
}

describe('a text', () => {
  test.each([
    [small, ' 7 ', 7],
    [Type.Integer({ minimum: 1, maximum: 99 }), '42', 42],
    [Type.Number({ description: 'a number' }), '0.25', 0.25],
    [Type.Number({ description: 'a number' }), '12', 12],
    [Type.Boolean({ description: 'true or false' }), 'True', true],
    [Type.Boolean({ description: 'true or false' }), 'FALSE', false],
    [oneOf('Auto', 'none'), 'auto', 'Auto'],
    [Type.Union([Type.Literal('auto'), small]), 'AUTO', 'auto'],
    [Type.Union([Type.Literal('auto'), small]), '3', 3],
    [name, ' abc ', 'abc'],
  ])('is read as what the schema takes: %j of %j', (schema, text, value) => {
    expect(read(rowOf(schema), text)).toBe(value);
  });

  test.each([
    [small, '1.0'],
    [small, '0x7'],
    [small, '10'],
    [Type.Number({ description: 'a number' }), '.5'],
    [Type.Number({ description: 'a number' }), '1e3'],
    [Type.Boolean({ description: 'true or false' }), 'yes'],
    [oneOf('Auto', 'none'), 'automatic'],
    [name, '7'],
  ])('is refused as what the schema does not take: %j of %j', (schema, text) => {
    expect(read(rowOf(schema), text)).toEqual([
      `@: found ${JSON.stringify(text)}; allowed is ${allowed(schema)}`,
    ]);
  });

  test('is decoded before it is checked; the reason of a failure is reported', () => {
    const lower = rowOf(name, { decode: (text: string) => text.toLowerCase() });
    expect(read(lower, 'ABC')).toBe('abc');
    const decode = () => {
      throw new Error('no such name');
    };
    expect(read(rowOf(name, { decode }), 'abc')).toEqual([
      '@: found "abc" (no such name); allowed is a name',
    ]);
  });

  test('is not quoted if it is hidden', () => {
    expect(read(rowOf(name), 'A B', true)).toEqual([
      '@: found 3 characters (not shown); allowed is a name',
    ]);
  });
});

describe('a list', () => {
  const names = Type.Array(name, { minItems: 1, uniqueItems: true });

  test('is a list, or a text where the row is split', () => {
    expect(read(rowOf(names), ['a', 'b'])).toEqual(['a', 'b']);
    expect(read(rowOf(names, { isSplit: true }), 'a, b,\n\r\n , c')).toEqual(['a', 'b', 'c']);
    expect(read(rowOf(names), 'a')).toEqual(['@: found "a"; allowed is a name']);
    expect(read(rowOf(name), ['a'])).toEqual(['@: found a list; allowed is a name']);
  });

  test('is reported with the place of each wrong entry', () => {
    expect(read(rowOf(names), ['a', 7, 'B'])).toEqual([
      '@: entry 2 of 3, found 7; allowed is a name',
      '@: entry 3 of 3, found "B"; allowed is a name',
    ]);
    expect(read(rowOf(names, { isSplit: true }), 7)).toEqual([
      '@: entry 1 of 1, found 7; allowed is a name',
    ]);
  });

  test('has no entry twice and is not empty, where the schema says so', () => {
    expect(read(rowOf(names), ['a', 'b', 'a'])).toEqual(['@: entry 3 repeats entry 1']);
    expect(read(rowOf(names), [])).toEqual(['@: found an empty list; allowed is a name']);
    expect(read(rowOf(Type.Array(name)), [])).toEqual([]);
    expect(read(rowOf(Type.Array(name)), ['a', 'a'])).toEqual(['a', 'a']);
  });
});

describe('a mapping', () => {
  const sizes = Type.Record(Type.String(), small, {
    propertyNames: name,
    description: 'sizes by name',
  });

  test('is read by its entries', () => {
    expect(read(rowOf(sizes), { a: 1, b: '2' })).toEqual({ a: 1, b: 2 });
    expect(read(rowOf(Type.Union([small, sizes])), { a: 1 })).toEqual({ a: 1 });
    expect(read(rowOf(Type.Union([small, sizes])), '5')).toBe(5);
  });

  test('is reported with the place of each wrong name and value', () => {
    expect(read(rowOf(sizes), { a: 0, B: 1 })).toEqual([
      '@: entry 1 of 2, found 0; allowed is a whole number from 1 to 9',
      '@: entry 2 of 2, its name: found "B"; allowed is a name',
    ]);
    expect(read(rowOf(sizes), 'x')).toEqual(['@: found "x"; allowed is sizes by name']);
    expect(read(rowOf(name), { a: 1 })).toEqual(['@: found a mapping; allowed is a name']);
  });
});

describe('a table', () => {
  const rows = [
    row('max_size', small, 4, 'Size.'),
    row('name', name, undefined, 'Name.', { isRequired: true }),
    row('api_key', name, undefined, 'Key.', { secret: true }),
  ] as const;

  function readAll(mapping: object) {
    const problems: string[] = [];
    const reading = readRows(
      rows,
      {
        layers: [mappingLayer(new Map(Object.entries(mapping)), 'f: ', {})],
        readFile: () => ' secret\n',
        labelOf: ({ key }) => `the ${key}`,
      },
      problems,
    );
    const { values, found, broken } = reading;
    return { values, problems, found: [...found.keys()], broken: [...broken] };
  }

  test('returns each value in its type, or its default', () => {
    const read = readAll({ name: 'x', api_key_file: '/run/key' });
    const size: number = read.values.maxSize;
    expect(size).toBe(4);
    expect(read).toEqual({
      values: { maxSize: 4, name: 'x', apiKey: 'secret' },
      problems: [],
      found: ['name', 'api_key'],
      broken: [],
    });
  });

  test('returns no value of a broken row, and every problem', () => {
    expect(readAll({ max_size: 12, api_key: 'x', api_key_file: '/run/key' })).toEqual({
      values: { maxSize: undefined as never, name: undefined, apiKey: undefined },
      problems: [
        'f: max_size: found 12; allowed is a whole number from 1 to 9',
        'the name: not set; allowed is a name',
        'f: api_key and f: api_key_file are both set; keep one of them',
      ],
      found: ['max_size'],
      broken: ['max_size', 'name', 'api_key'],
    });
  });

  test('knows its keys, and refuses others with a near one or a hint', () => {
    const known = knownKeys(rows);
    expect(known).toEqual(['max_size', 'name', 'api_key', 'api_key_file']);
    const keys = ['name', 'maxSize', 'colour', 'KEY=secret a', '-name'];
    expect(unknownKeys('f', ['colour'], known)).toEqual(['f: no setting is called "colour"']);
    expect(unknownKeys('f', keys, known, '; look again')).toEqual([
      'f: no setting is called "maxSize"; did you mean max_size?',
      'f: no setting is called "colour"; look again',
      'f: a key of 12 characters (not shown) is no name of a setting; look again',
      'f: a key of 5 characters (not shown) is no name of a setting; did you mean name?',
    ]);
  });
});
