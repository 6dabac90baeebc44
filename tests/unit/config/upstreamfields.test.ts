/** The table of what an upstream can have. */
import { expect, test } from 'bun:test';
import { upstreamFields } from '../../../src/config/upstreamfields.ts';

const [url] = upstreamFields;

test('names each key once, and what it is for in a sentence', () => {
  const keys = upstreamFields.map(({ key }) => key);
  expect(new Set(keys).size).toBe(keys.length);
  for (const { description } of upstreamFields) expect(description).toEndWith('.');
});

test('wants a URL alone, and takes its key as a secret alone', () => {
  const keysWith = (name: 'isRequired' | 'secret') =>
    upstreamFields.filter((field) => field[name]).map(({ key }) => key);
  expect(keysWith('isRequired')).toEqual(['url']);
  expect(keysWith('secret')).toEqual(['api_key']);
});

test('takes one server by URL, as its base', () => {
  expect(url.decode('http://A:8080/v1/completions')).toBe('http://a:8080');
  expect(() => url.decode('http://a,http://b')).toThrow('several servers are several entries');
  expect(() => url.decode('http://a?key')).toThrow('use api_key for a key');
});
