/** Accounts of callers: who is lifted, and who is remembered. */
import { describe, expect, test } from 'bun:test';
import { Shares } from '../../../src/scheduling/shares.ts';

describe('the account of a caller', () => {
  test('is one and the same, with the weight given last', () => {
    const shares = new Shares();
    const account = shares.open('a', 1);
    account.counter = 7;
    expect(shares.open('a', 3)).toBe(account);
    expect([account.weight, account.counter]).toEqual([3, 7]);
    expect(shares.find('b')).toBeUndefined();
  });

  test('is lifted to those that wait, and never lowered', () => {
    const shares = new Shares();
    const account = shares.open('a', 1);
    shares.lift(account, 50);
    expect(account.counter).toBe(50);
    shares.lift(account, 20);
    expect(account.counter).toBe(50);
  });

  test('is lifted to who was granted last where nobody waits', () => {
    const shares = new Shares();
    const first = shares.open('a', 1);
    shares.lift(first, Number.POSITIVE_INFINITY);
    expect(first.counter).toBe(0);
    shares.take(first, 1);
    first.counter = 30;
    const second = shares.open('b', 1);
    shares.lift(second, Number.POSITIVE_INFINITY);
    expect(second.counter).toBe(30);
  });

  test('is kept while it waits or runs, and among ten thousand idle ones', () => {
    const shares = new Shares();
    const running = shares.open('running', 1);
    shares.take(running, 1);
    shares.settle(running);
    const waiting = shares.open('waiting', 1);
    waiting.waiting = 1;
    shares.settle(waiting);
    for (let i = 0; i < 10_002; i++) {
      shares.settle(shares.open(`idle-${i}`, 1));
      if (i === 5_000) shares.settle(shares.open('idle-0', 1));
    }
    expect(shares.find('running')).toBe(running);
    expect(shares.find('waiting')).toBe(waiting);
    // The two that were seen longest ago are gone, and idle-0 was seen again.
    expect(shares.find('idle-0')).toBeDefined();
    expect(shares.find('idle-1')).toBeUndefined();
    expect(shares.find('idle-2')).toBeUndefined();
    expect(shares.find('idle-3')).toBeDefined();
  });
});
