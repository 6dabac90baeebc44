/** Problems of input: the error that carries all of them, and how a message quotes a value. */
import { expect, test } from 'bun:test';
import { attempt, InputError, partsOf, shown } from '../../../src/config/problems.ts';

test('words stand between commas, with whatever space around them', () => {
  expect(partsOf('a, b/c:q4 ,,d e,')).toEqual(['a', 'b/c:q4', 'd e']);
  for (const text of ['', ' ', ' , ']) expect(partsOf(text)).toEqual([]);
});

test('an error has one line for every problem', () => {
  const { problems, message } = new InputError(['one', 'two']);
  expect(problems).toEqual(['one', 'two']);
  expect(message).toBe('one\ntwo');
});

test('an error with a heading lists its problems below it', () => {
  expect(new InputError(['one', 'two'], 'All wrong:').message).toBe('All wrong:\n- one\n- two');
});

test('an attempt returns the result, or adds the problems', () => {
  const problems = ['before'];
  expect(attempt(problems, () => 5)).toBe(5);
  const failing = () => {
    throw new InputError(['one', 'two']);
  };
  expect(attempt(problems, failing)).toBeUndefined();
  expect(problems).toEqual(['before', 'one', 'two']);
});

test('an attempt throws on any other error', () => {
  const work = () => {
    throw new TypeError('of another kind');
  };
  expect(() => attempt([], work)).toThrow(TypeError);
});

test.each([
  [null, 'nothing'],
  [[], 'an empty list'],
  [['secret'], 'a list'],
  [{ a: 'secret' }, 'a mapping'],
  [5, '5'],
  [true, 'true'],
  ['a "b"', '"a \\"b\\""'],
  ['a'.repeat(80), `"${'a'.repeat(80)}"`],
  ['a'.repeat(81), '81 characters (not shown)'],
  ['http://user:secret@engine', '25 characters (not shown)'],
  ['http://engine?secret', '20 characters (not shown)'],
  ['http://engine#secret', '20 characters (not shown)'],
  ['two\nlines', '9 characters (not shown)'],
])('%j is shown as %s', (value, text) => {
  expect(shown(value, false)).toBe(text);
});

test.each([
  ['secret', '6 characters (not shown)'],
  [12_345, 'a number without quotes'],
  [true, 'a boolean without quotes'],
  [null, 'nothing'],
])('of a hidden %j only %s is shown', (value, text) => {
  expect(shown(value, true)).toBe(text);
});
