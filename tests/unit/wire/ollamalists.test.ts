/** Ollama's lists: several as one, with aliases, reduced to what the operator offers and to what a key may use. */
import { expect, test } from 'bun:test';
import { mergeOllamaLists, type OllamaList } from '../../../src/wire/ollamalists.ts';

function listOf(text: string, more: Partial<OllamaList> = {}): OllamaList {
  return { list: Buffer.from(text), models: undefined, aliases: {}, ...more };
}
const a = '{"name": "a:latest", "model": "a:latest", "size": 1.0}';
const b = '{"name":"b:7b","model":"b:7b"}';
const merged = (lists: OllamaList[], allowed?: string[]) =>
  Buffer.from(mergeOllamaLists(lists, allowed)).toString();

test('entries are copied byte for byte, each once', () => {
  const lists = [listOf(`{"models":[${a}]}`), listOf(`{"models": [${b}, ${a}]}`)];
  expect(merged(lists)).toBe(`{"models":[${a},${b}]}`);
  expect(merged([listOf('{"models":null}'), listOf('{}')])).toBe('{"models":[]}');
});

test('an entry without a name is left out, and one may have it as its model alone', () => {
  expect(merged([listOf('{"models":[{},{"name":""},7,{"model":"c"}]}')])).toBe(
    '{"models":[{"model":"c"}]}',
  );
});

test('a key sees what it may use, by a name that Ollama takes', () => {
  const lists = [listOf(`{"models":[${a},${b}]}`)];
  expect(merged(lists, ['A'])).toBe(`{"models":[${a}]}`);
  expect(merged(lists, ['b'])).toBe('{"models":[]}');
  expect(merged(lists, [])).toBe('{"models":[]}');
});

test('what the operator does not offer is not listed', () => {
  expect(merged([listOf(`{"models":[${a},${b}]}`, { models: ['b:7b'] })])).toBe(
    `{"models":[${b}]}`,
  );
});

test('an alias has the entry of its model; one with a pattern has none', () => {
  const aliases = { fast: 'a', 'gpt-*': 'a', none: 'c' };
  const fast = '{"name": "fast", "model": "fast", "size": 1.0}';
  const lists = [listOf(`{"models":[${a},${b}]}`, { aliases })];
  expect(merged(lists)).toBe(`{"models":[${a},${fast},${b}]}`);
  expect(merged(lists, ['fast'])).toBe(`{"models":[${fast}]}`);
  expect(merged(lists, ['a'])).toBe(`{"models":[${a},${fast}]}`);
});
