/** What every implementation of the contract for fairness must do. */
import { describe, expect, test } from 'bun:test';
import type { ShareStore } from '../../src/scheduling/sharestore.ts';
import { anywhere } from '../support/schedulingworld.ts';

const nobody = Number.POSITIVE_INFINITY;

/** Tests an implementation; `make` returns one that knows no caller. */
export function testShareStore(name: string, make: () => ShareStore): void {
  describe(`the share of a caller in ${name}`, () => {
    test('is one and the same, with the weight given last', () => {
      const shares = make();
      const share = shares.open('a', 1);
      shares.charge(anywhere, 'a', 7);
      expect(shares.open('a', 3)).toBe(share);
      expect([share.principal, share.weight, share.counter]).toEqual(['a', 3, 7]);
      expect(shares.find('a')).toBe(share);
      expect(shares.find('b')).toBeUndefined();
    });

    test('begins with nothing', () => {
      const { counter, running, waiting, lines } = make().open('a', 1);
      expect([counter, running, waiting, lines.size]).toEqual([0, 0, 0, 0]);
    });

    test('grows by the tokens that were served, the less the more weight it has', () => {
      const shares = make();
      const light = shares.open('light', 1);
      const heavy = shares.open('heavy', 4);
      for (const principal of ['light', 'heavy']) shares.charge(anywhere, principal, 100);
      expect([light.counter, heavy.counter]).toEqual([100, 25]);
      expect(shares.charge(anywhere, 'light', -40)).toBe(light);
      expect(light.counter).toBe(60);
    });

    test('is not charged what is no number, nor that of a caller that is not known', () => {
      const shares = make();
      const share = shares.open('a', 1);
      for (const tokens of [Number.NaN, nobody, -nobody]) {
        shares.charge(anywhere, 'a', tokens);
        expect(share.counter).toBe(0);
      }
      expect(shares.charge(anywhere, 'b', 10)).toBeUndefined();
      expect(shares.find('b')).toBeUndefined();
    });

    test('is lifted to those that wait, and never lowered', () => {
      const shares = make();
      const share = shares.open('a', 1);
      shares.lift(share, 50);
      expect(share.counter).toBe(50);
      shares.lift(share, 20);
      expect(share.counter).toBe(50);
    });

    test('is lifted to the caller that was granted last where nobody waits', () => {
      const shares = make();
      const first = shares.open('a', 1);
      shares.lift(first, nobody);
      expect(first.counter).toBe(0);
      shares.take(first, 1);
      shares.charge(anywhere, 'a', 30);
      const second = shares.open('b', 1);
      shares.lift(second, nobody);
      expect(second.counter).toBe(30);
    });

    test('counts the units in use', () => {
      const shares = make();
      const share = shares.open('a', 1);
      shares.take(share, 3);
      shares.take(share, 1);
      shares.release(share, 3);
      expect(share.running).toBe(1);
    });

    test('is kept when it has come back, however long it was idle', () => {
      const shares = make();
      const share = shares.open('a', 1);
      shares.settle(share);
      shares.take(shares.open('a', 1), 1);
      for (let i = 0; i < 20_000; i++) shares.settle(shares.open(`idle-${i}`, 1));
      expect(shares.find('a')).toBe(share);
    });

    test('is kept while it waits or runs, however many others come and go', () => {
      const shares = make();
      const running = shares.open('running', 1);
      shares.take(running, 1);
      shares.settle(running);
      const waiting = shares.open('waiting', 1);
      waiting.waiting = 1;
      shares.settle(waiting);
      for (let i = 0; i < 20_000; i++) shares.settle(shares.open(`idle-${i}`, 1));
      expect(shares.find('running')).toBe(running);
      expect(shares.find('waiting')).toBe(waiting);
    });
  });
}
