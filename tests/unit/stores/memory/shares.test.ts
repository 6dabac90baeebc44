/** The shares of a gateway that is alone keep the contract, and idle callers are forgotten in their order. */
import { expect, test } from 'bun:test';
import { Domain } from '../../../../src/engines/slots.ts';
import { MemoryShares } from '../../../../src/stores/memory/shares.ts';
import { testShareStore } from '../../../contracts/shares.ts';

testShareStore('memory', () => new MemoryShares());

const domains = [new Domain('a'), new Domain('b')] as const;

function stage() {
  const shares = new MemoryShares();
  const open = (principal: string, domain: Domain = domains[0]) =>
    shares.open(domain, 'interactive', principal, 1);
  const settle = (principal: string) => shares.settle(open(principal).holder);
  return { shares, open, settle };
}

test('ten thousand idle callers are remembered, those that were seen last', () => {
  const { shares, settle } = stage();
  for (let i = 0; i < 10_002; i++) {
    settle(`idle-${i}`);
    if (i === 5_000) settle('idle-0');
  }
  // The two that were seen longest ago are gone, and idle-0 was seen again.
  expect(shares.holder('idle-0')).toBeDefined();
  expect(shares.holder('idle-1')).toBeUndefined();
  expect(shares.holder('idle-2')).toBeUndefined();
  expect(shares.holder('idle-3')).toBeDefined();
});

test('an idle caller that is seen again is not the oldest', () => {
  const { shares, open, settle } = stage();
  const { holder } = open('first');
  shares.settle(holder);
  for (let i = 0; i < 9_999; i++) settle(`idle-${i}`);
  shares.settle(holder);
  settle('last');
  expect(shares.holder('first')).toBe(holder);
  expect(shares.holder('idle-0')).toBeUndefined();
});

test('a caller that is forgotten is forgotten in every domain', () => {
  const { shares, open, settle } = stage();
  for (const domain of domains) {
    open('first', domain);
    shares.charge(domain, 'interactive', 'first', 100);
  }
  settle('first');
  for (let i = 0; i < 10_000; i++) settle(`idle-${i}`);
  expect(domains.map((domain) => shares.charge(domain, 'interactive', 'first', 1))).toEqual([
    undefined,
    undefined,
  ]);
  expect(domains.map((domain) => open('first', domain).counter)).toEqual([0, 0]);
});
