/** What every implementation of the contract for fairness must do. */
import { describe, expect, test } from 'bun:test';
import type { ShareStore } from '../../src/scheduling/sharestore.ts';
import { Domain } from '../../src/engines/slots.ts';

const nobody = Number.POSITIVE_INFINITY;
const here = new Domain('here');
const there = new Domain('there');
const joint = new Domain('here there');

/** Tests an implementation; `make` returns one that knows no caller. */
export function testShareStore(name: string, make: () => ShareStore): void {
  /** A store, and short ways to use it for interactive requests. */
  function stage() {
    const shares = make();
    const open = (principal: string, domain = here) =>
      shares.open(domain, 'interactive', principal, 1);
    const charge = (principal: string, tokens: number, domain = here) =>
      shares.charge(domain, 'interactive', principal, tokens);
    const settle = (principal: string) => shares.settle(open(principal).holder);
    return { shares, open, charge, settle };
  }

  describe(`the share of a caller in ${name}`, () => {
    test('is one and the same, with the weight given last', () => {
      const { shares, open, charge } = stage();
      const share = open('a');
      charge('a', 7);
      expect(shares.open(here, 'interactive', 'a', 3)).toBe(share);
      expect([share.holder.principal, share.weight, share.counter]).toEqual(['a', 3, 7]);
      expect([share.domain, share.priority]).toEqual([here, 'interactive']);
      expect(shares.holder('a')).toBe(share.holder);
      expect(shares.holder('b')).toBeUndefined();
    });

    test('begins with nothing', () => {
      const { counter, grantedAt, lines, holder } = stage().open('a');
      expect([counter, grantedAt, lines.size]).toEqual([0, 0, 0]);
      expect([holder.running, holder.waiting, holder.shares.length]).toEqual([0, 0, 1]);
    });

    test('is another one in another domain and in another class, of one holder', () => {
      const { shares, open, charge } = stage();
      const share = open('a');
      const elsewhere = open('a', there);
      const batch = shares.open(here, 'batch', 'a', 1);
      charge('a', 5);
      charge('a', 7, there);
      shares.charge(here, 'batch', 'a', 9);
      expect([share.counter, elsewhere.counter, batch.counter]).toEqual([5, 7, 9]);
      expect(share.holder.shares).toEqual([share, elsewhere, batch]);
    });

    test('grows by the tokens that were served, the less the more weight it has', () => {
      const { shares, open, charge } = stage();
      const light = open('light');
      const heavy = shares.open(here, 'interactive', 'heavy', 4);
      for (const principal of ['light', 'heavy']) charge(principal, 100);
      expect([light.counter, heavy.counter]).toEqual([100, 25]);
      expect(charge('light', -40)).toBe(light);
      expect(light.counter).toBe(60);
    });

    test('is not charged what is no number, nor that of a caller that is not known there', () => {
      const { shares, open, charge } = stage();
      const share = open('a');
      for (const tokens of [Number.NaN, nobody, -nobody]) {
        charge('a', tokens);
        expect(share.counter).toBe(0);
      }
      expect(charge('b', 10)).toBeUndefined();
      expect(charge('a', 10, there)).toBeUndefined();
      expect(shares.holder('b')).toBeUndefined();
    });

    test('is lifted to those that wait, and never lowered', () => {
      const { shares, open } = stage();
      const share = open('a');
      shares.lift(share, 50);
      expect(share.counter).toBe(50);
      shares.lift(share, 20);
      expect(share.counter).toBe(50);
    });

    test('is lifted to the caller that was granted last in its domain and class where nobody waits', () => {
      const { shares, open, charge } = stage();
      const first = open('a');
      shares.lift(first, nobody);
      expect(first.counter).toBe(0);
      shares.take(first, 1);
      charge('a', 30);
      const others = [open('b'), open('b', there), shares.open(here, 'batch', 'b', 1)];
      for (const share of others) shares.lift(share, nobody);
      expect(others.map(({ counter }) => counter)).toEqual([30, 0, 0]);
    });

    test('counts the units in use, in all domains together, and knows which grant was later', () => {
      const { shares, open } = stage();
      const [share, elsewhere] = [open('a'), open('a', there)];
      shares.take(share, 3);
      shares.take(elsewhere, 1);
      shares.release(share.holder, 2);
      expect(share.holder.running).toBe(2);
      expect(elsewhere.grantedAt).toBeGreaterThan(share.grantedAt);
    });

    test('is kept when it has come back, however long it was idle', () => {
      const { shares, open, settle } = stage();
      const share = open('a');
      settle('a');
      shares.take(open('a'), 1);
      for (let i = 0; i < 20_000; i++) settle(`idle-${i}`);
      expect(open('a')).toBe(share);
    });

    test('is kept while it waits or runs, however many others come and go', () => {
      const { shares, open, settle } = stage();
      shares.take(open('running'), 1);
      settle('running');
      open('waiting').holder.waiting = 1;
      settle('waiting');
      for (let i = 0; i < 20_000; i++) settle(`idle-${i}`);
      expect(shares.holder('running')).toBeDefined();
      expect(shares.holder('waiting')).toBeDefined();
    });
  });

  describe(`where engines come to serve something else, ${name}`, () => {
    /** Two callers with counters in two domains. */
    function served() {
      const staged = stage();
      const { open, charge } = staged;
      for (const domain of [here, there]) for (const name of ['a', 'b']) open(name, domain);
      charge('a', 110);
      charge('b', 130);
      charge('a', 1_007, there);
      charge('b', 1_000, there);
      const countersIn = (domain: Domain) =>
        ['a', 'b'].map((principal) => open(principal, domain).counter);
      return { ...staged, countersIn };
    }
    const floors = (domain: Domain) => (domain === here ? 100 : 1_000);

    test('leaves a domain as it is that stays', () => {
      const { shares, open, countersIn } = served();
      const share = open('a');
      shares.succeed([{ domain: here, origins: [here] }], floors);
      expect(open('a')).toBe(share);
      expect(countersIn(here)).toEqual([110, 130]);
      expect(share.holder.shares).toEqual([share]);
    });

    test('adds up the leads of domains that merge', () => {
      const { shares, countersIn } = served();
      shares.succeed([{ domain: joint, origins: [here, there] }], floors);
      expect(countersIn(joint)).toEqual([10 + 7, 30 + 0]);
    });

    test('keeps the lead in each part of a domain that splits', () => {
      const { shares, countersIn } = served();
      const parts = [new Domain('one'), new Domain('two')];
      shares.succeed(
        parts.map((domain) => ({ domain, origins: [here] })),
        floors,
      );
      expect(parts.map(countersIn)).toEqual([
        [10, 30],
        [10, 30],
      ]);
    });

    test('takes no credit along, and counts from the caller granted last where nobody waits', () => {
      const { shares, open, countersIn } = served();
      shares.take(open('a'), 1);
      open('idle');
      shares.succeed([{ domain: joint, origins: [here] }], () => nobody);
      expect(open('idle', joint).counter).toBe(0);
      expect(countersIn(joint)).toEqual([0, 20]);
    });

    test('keeps the classes apart', () => {
      const { shares, countersIn } = served();
      shares.open(here, 'batch', 'a', 1);
      shares.charge(here, 'batch', 'a', 500);
      shares.succeed([{ domain: joint, origins: [here] }], (_, priority) => {
        return priority === 'batch' ? 200 : 100;
      });
      expect(countersIn(joint)).toEqual([10, 30]);
      expect(shares.open(joint, 'batch', 'a', 1).counter).toBe(300);
    });

    test('keeps what runs and waits, and forgets what domains had that are gone', () => {
      const { shares, open, charge } = served();
      const { holder } = open('a');
      shares.take(open('a'), 2);
      shares.succeed([{ domain: joint, origins: [there] }], floors);
      expect(holder.running).toBe(2);
      expect(holder.shares.map(({ domain }) => domain)).toEqual([joint]);
      expect(charge('a', 10)).toBeUndefined();
    });
  });
}
