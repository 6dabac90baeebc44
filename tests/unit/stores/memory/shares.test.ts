/** The shares of a gateway that is alone keep the contract, and idle callers are forgotten in their order. */
import { expect, test } from 'bun:test';
import { MemoryShares } from '../../../../src/stores/memory/shares.ts';
import { testShareStore } from '../../../contracts/shares.ts';

testShareStore('memory', () => new MemoryShares());

test('ten thousand idle callers are remembered, those that were seen last', () => {
  const shares = new MemoryShares();
  for (let i = 0; i < 10_002; i++) {
    shares.settle(shares.open(`idle-${i}`, 1));
    if (i === 5_000) shares.settle(shares.open('idle-0', 1));
  }
  // The two that were seen longest ago are gone, and idle-0 was seen again.
  expect(shares.find('idle-0')).toBeDefined();
  expect(shares.find('idle-1')).toBeUndefined();
  expect(shares.find('idle-2')).toBeUndefined();
  expect(shares.find('idle-3')).toBeDefined();
});

test('an idle caller that is seen again is not the oldest', () => {
  const shares = new MemoryShares();
  const first = shares.open('first', 1);
  shares.settle(first);
  for (let i = 0; i < 9_999; i++) shares.settle(shares.open(`idle-${i}`, 1));
  shares.settle(first);
  shares.settle(shares.open('last', 1));
  expect(shares.find('first')).toBe(first);
  expect(shares.find('idle-0')).toBeUndefined();
});
