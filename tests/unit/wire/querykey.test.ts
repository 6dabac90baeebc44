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
  ['/?keys=1&monkey=2&keyed=3&a=key', [], '/?keys=1&monkey=2&keyed=3&a=key'],
  ['/?KEY=1&Key[]=2&key[0]=3&+key=4&a', [], '/?a'],
  ['/?api_key=1&api-key=2&X-Goog-Api-Key=3&Authorization=4&access_token=5', [], '/'],
  ['/?a=1;key=s;b=2&c', [], '/?a=1&c'],
  ['/?;key=s', [], '/?'],
  ['/?a=1;b&key=s;t', ['s;t'], '/?a=1;b'],
  ['/?%4Bey=1&%zzkey=2', [], '/?%zzkey=2'],
  ['/?a=?key=1', [], '/?a=?key=1'],
];

describe('the key in a query', () => {
  test.each(cases)('%s', (url, keys, rest) => {
    expect(queryKeys(url)).toEqual(keys);
    expect(withoutKey(url)).toBe(rest);
  });
});

test('a key of the request is taken out under whatever name, and its place alone', () => {
  const keys = () => ['sk-client+key', 'other'];
  const url = '/?a=1&user=sk-client%2Bkey&sk-client%2bkey&b=%zzother;x&c=sk-client';
  expect(withoutKey(url, keys)).toBe('/?a=1&c=sk-client');
});

test('the keys of a request are not looked for without a query', () => {
  const keys = () => {
    throw new Error('no need');
  };
  expect(withoutKey('/v1/models', keys)).toBe('/v1/models');
});
