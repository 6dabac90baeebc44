/** How far two words are apart, against a plain recursive definition. */
import { expect, test } from 'bun:test';
import { editDistance } from '../../../src/wire/editdistance.ts';
import { forSeeds } from '../../support/random.ts';

/** Levenshtein's distance as it is defined. */
function defined(a: string, b: string): number {
  if (a === '' || b === '') return a.length + b.length;
  if (a[0] === b[0]) return defined(a.slice(1), b.slice(1));
  const next = [defined(a.slice(1), b), defined(a, b.slice(1)), defined(a.slice(1), b.slice(1))];
  return 1 + Math.min(...next);
}

test.each([
  ['', '', 0, 0],
  ['', 'abc', 3, 3],
  ['abc', '', 3, 3],
  ['score', 'score', 0, 0],
  ['score', 'scores', 1, 1],
  ['score', 'store', 1, 1],
  ['score', 'socre', 1, 2],
  ['abcd', 'badc', 2, 3],
])('%j and %j are %d apart, %d if a swap is two mistakes', (a, b, swapped, plain) => {
  expect(editDistance(a, b, 1)).toBe(swapped);
  expect(editDistance(a, b, 2)).toBe(plain);
});

test('is what the definition says where a swap is two mistakes, and never more where it is one', async () => {
  await forSeeds(200, (random) => {
    const word = () => Array.from({ length: random.below(7) }, () => random.pick(['a', 'b', 'c']));
    const [a, b] = [word().join(''), word().join('')];
    expect(editDistance(a, b, 2)).toBe(defined(a, b));
    expect(editDistance(a, b, 1)).toBeLessThanOrEqual(editDistance(a, b, 2));
    expect(editDistance(b, a, 1)).toBe(editDistance(a, b, 1));
  });
});
