/** What people give: words between commas, and an error that says all that is wrong. */
import { expect, test } from 'bun:test';
import { InputError, partsOf } from '../../../src/config/problems.ts';

test('words stand between commas, with whatever space around them', () => {
  expect(partsOf('a, b/c:q4 ,,d e,')).toEqual(['a', 'b/c:q4', 'd e']);
  for (const text of ['', ' ', ' , ']) expect(partsOf(text)).toEqual([]);
});

test('an error has one line for every problem', () => {
  const { problems, message } = new InputError(['one', 'two']);
  expect(problems).toEqual(['one', 'two']);
  expect(message).toBe('one\ntwo');
});
