/**
 * What one upstream serves under a name, by its kind, its models and the operator's aliases.
 */
import { expect, test } from 'bun:test';
import {
  isNameAt,
  matches,
  namedBy,
  patternedBy,
  patternsOf,
  type Served,
} from '../../../src/engines/naming.ts';

const served = (more: Partial<Served>): Served => {
  return { upstream: 'a', kind: 'vllm', models: ['x', 'l:latest'], aliases: {}, ...more };
};

test('an engine takes its own names, and those without the tag latest', () => {
  expect(namedBy(served({}), 'x')).toEqual({ upstream: 'a', model: 'x', takesName: true });
  expect(namedBy(served({}), 'l')?.model).toBe('l:latest');
  expect(namedBy(served({}), 'X')).toBeUndefined();
  expect(namedBy(served({ models: undefined }), 'x')).toBeUndefined();
});

test('Ollama takes them in any case, and gets them as it lists them', () => {
  const ollama = served({ kind: 'ollama' });
  expect(namedBy(ollama, 'X')).toEqual({ upstream: 'a', model: 'x', takesName: false });
  expect(namedBy(ollama, 'x:latest')?.model).toBe('x');
  expect(namedBy(ollama, 'L:Latest')?.model).toBe('l:latest');
  expect(namedBy(ollama, 'l')?.takesName).toBe(true);
});

test('an alias is followed once, and a pattern is no name', () => {
  const some = served({ aliases: { fast: 'x', 'g*': 'x' } });
  expect(namedBy(some, 'fast')).toEqual({ upstream: 'a', model: 'x', takesName: false });
  expect(namedBy(some, 'g*')).toBeUndefined();
  expect([isNameAt(some, 'fast'), isNameAt(some, 'g*'), isNameAt(some, 'gpt')]).toEqual([
    true,
    false,
    false,
  ]);
});

test('patterns are in order of their length, each once', () => {
  const some = served({ aliases: { '*': 'x', 'gpt-*': 'x', fast: 'x' } });
  const other = served({ aliases: { 'gpt-4*': 'x', 'gpt-*': 'l' } });
  expect(patternsOf([some, other])).toEqual(['gpt-4*', 'gpt-*', '*']);
  expect(patternedBy(other, 'gpt-*')).toEqual({
    upstream: 'a',
    model: 'l:latest',
    takesName: false,
  });
  expect(patternedBy(other, '*')).toBeUndefined();
});

test('a pattern matches what begins like it', () => {
  expect(matches('gpt-*', 'gpt-4')).toBe(true);
  expect(matches('gpt-*', 'gpt')).toBe(false);
  expect(matches('*', '')).toBe(true);
});
