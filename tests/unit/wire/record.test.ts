/** isRecord. */
import { expect, test } from 'bun:test';
import { isRecord } from '../../../src/wire/json.ts';

test('only an object that is not a list is a record', () => {
  expect([{}, { a: 1 }].map(isRecord)).toEqual([true, true]);
  expect([null, undefined, [], 'a', 1, true].map(isRecord)).not.toContain(true);
});
