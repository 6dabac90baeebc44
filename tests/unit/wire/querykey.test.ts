/**
 * The key in a query: found whatever its spelling, and taken out with no other byte changed.
 */
import { describe, expect, test } from 'bun:test';
import { queryKeys, withoutKey } from '../../../src/wire/querykey.ts';

const cases: [url: string, keys: string[], rest: string][] = [
  ['http://a/v1/models', [], 'http://a/v1/models'],
  ['/v1/models?', [], '/v1/models?'],
  ['/v1/models?key=k', ['k'], '/v1/models'],
  ['http://a/?key=k', ['k'], 'http://a/'],
  ['/?a=1&key=k&b=2', ['k'], '/?a=1&b=2'],
  ['/?key=k&a=%41+%zz&&b', ['k'], '/?a=%41+%zz&&b'],
  ['/?%6Be%79=%6B', ['k'], '/'],
  ['/?key=1&a&key=2', ['1', '2'], '/?a'],
  ['/?key', [''], '/'],
  ['/?key=a%2Bb%2Fc', ['a+b/c'], '/'],
  ['/?keys=1&monkey=2&Key=3&a=key', [], '/?keys=1&monkey=2&Key=3&a=key'],
  ['/?a=?key=1', [], '/?a=?key=1'],
];

describe('the key in a query', () => {
  test.each(cases)('%s', (url, keys, rest) => {
    expect(queryKeys(url)).toEqual(keys);
    expect(withoutKey(url)).toBe(rest);
  });
});
