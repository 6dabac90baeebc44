/** Which known name is suggested for one that there is not, and when none is. */
import { expect, test } from 'bun:test';
import { didYouMean, nearest } from '../../../src/config/nearest.ts';

const commands = ['serve', 'demo', 'keys', 'usage', 'check-config', 'revoke'];

test.each([
  ['chek-config', 'check-config'],
  ['checkconfig', 'check-config'],
  ['sevre', 'serve'],
  ['kyes', 'keys'],
  ['USAGE', 'usage'],
  ['remove', 'revoke'],
])('%s is probably %s', (given, meant) => {
  expect(nearest(given, commands)).toBe(meant);
  expect(didYouMean(given, commands)).toBe(`; did you mean ${meant}?`);
});

test.each(['start', 'x', '', 'delete', `serve${'e'.repeat(80)}`])('%j is near to none', (given) => {
  expect(nearest(given, commands)).toBeUndefined();
  expect(didYouMean(given, commands)).toBe('');
});

test('two swapped letters are one mistake, and the nearest of several wins', () => {
  expect(nearest('abdc', ['abcd'], 4)).toBe('abcd');
  expect(nearest('abxy', ['abcd'], 4)).toBeUndefined();
  expect(nearest('ports', ['posts', 'port', 'sports_'])).toBe('posts');
  expect(nearest('METRIC_PORT', ['PORT', 'METRICS_PORT'])).toBe('METRICS_PORT');
});
