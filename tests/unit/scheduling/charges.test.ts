/** What callers are charged for: the prompt, the stream, and at the end the corrected total. */
import { describe, expect, test } from 'bun:test';
import type { Job } from '../../../src/request/job.ts';
import { Charges } from '../../../src/scheduling/charges.ts';
import type { Lease, LeaseEnd } from '../../../src/scheduling/lease.ts';
import { SlotSet } from '../../../src/engines/slots.ts';
import { Upstream } from '../../../src/engines/upstream.ts';
import { jobOf, leaseOf, settingsOf } from '../../support/schedulingworld.ts';

const done: LeaseEnd = { outcome: 'done', tokens: {}, firstByteMs: undefined };

function stage() {
  const upstream = new Upstream(settingsOf('a'), () => 0);
  const slots = new SlotSet('a', 4, true);
  const charged = new Map<string, number>();
  const ended: string[] = [];
  let now = 0;
  const charges: Charges = new Charges({
    charge({ job }, tokens) {
      const { principal } = job.caller;
      charged.set(principal, (charged.get(principal) ?? 0) + tokens);
    },
  });
  function begin(job: Job, matchedBlocks = 0): Lease {
    const lease = leaseOf({
      job,
      upstream,
      slots,
      matchedBlocks,
      since: now,
      ended(of, end) {
        ended.push(of.job.caller.principal);
        charges.settle(of, end, now);
      },
    });
    charges.begin(lease);
    return lease;
  }
  const at = (time: number) => (now = time);
  return { upstream, slots, charges, charged, ended, begin, at };
}

describe('a prompt', () => {
  test('is charged at once, without what is held of it', () => {
    const { charged, begin } = stage();
    begin(jobOf('a', { promptBytes: 1_000 }));
    begin(jobOf('b', { promptBytes: 1_000 }), 2);
    begin(jobOf('c', { promptBytes: 100 }), 2);
    begin(jobOf('d', { promptBytes: 1_000, units: 0 }));
    expect(Object.fromEntries(charged)).toEqual({ a: 250, b: (1_000 - 512) / 4 });
  });

  test('is estimated from the counts of the engines', () => {
    const { charges, begin } = stage();
    expect(charges.tokensPerByte).toBe(0.25);
    const lease = begin(jobOf('a', { promptBytes: 1_000 }));
    lease.release({ ...done, tokens: { promptTokens: 500, completionTokens: 1 } });
    // (0.95 × 250 + 500) of (0.95 × 1000 + 1000)
    expect(charges.tokensPerByte).toBeCloseTo(737.5 / 1_950);
  });
});

test('no engine makes a prompt longer than its bytes for the others', () => {
  const { charges, begin } = stage();
  const lease = begin(jobOf('a', { promptBytes: 100 }));
  lease.release({ ...done, tokens: { promptTokens: 1e9, completionTokens: 1 } });
  // (0.95 × 250 + 100) of (0.95 × 1000 + 100)
  expect(charges.tokensPerByte).toBeCloseTo(337.5 / 1_050);
});

describe('an answer', () => {
  test('that streams is charged as it comes, at twice the price of a prompt', () => {
    const { upstream, charges, charged, begin } = stage();
    let served = 0;
    begin(jobOf('a', { served: () => served }));
    expect(charges.stream(100).size).toBe(0);
    served = 10;
    expect(charges.stream(200)).toEqual(new Set([upstream]));
    charges.stream(300);
    expect(charged.get('a')).toBe(20);
  });

  test('that comes whole is charged by the time that it takes', () => {
    const { upstream, charges, charged, begin } = stage();
    begin(jobOf('a'));
    charges.stream(1_000);
    expect(charged.get('a')).toBe(2 * upstream.speed.tokensPerSecond);
  });

  test('of a request that takes no slot is free', () => {
    const { charges, charged, begin } = stage();
    const lease = begin(jobOf('a', { units: 0, promptBytes: 1_000, served: () => 5 }));
    charges.stream(1_000);
    lease.release({ ...done, tokens: { promptTokens: 9, completionTokens: 9 } });
    expect(charged.size).toBe(0);
  });
});

describe('the end', () => {
  const tokens = { promptTokens: 100, cachedTokens: 40, completionTokens: 7 };

  test('corrects what was charged to what the engine says', () => {
    const { charges, charged, begin } = stage();
    const lease = begin(jobOf('a', { promptBytes: 4_000, served: () => 30 }));
    charges.stream(100);
    expect(charged.get('a')).toBe(1_000 + 60);
    lease.release({ ...done, tokens });
    expect(charged.get('a')).toBe(60 + 14);
  });

  test('of what was aborted counts what has come', () => {
    const { charged, begin } = stage();
    const lease = begin(jobOf('a', { promptBytes: 400, served: () => 3 }));
    lease.release({ ...done, outcome: 'aborted' });
    expect(charged.get('a')).toBe(100 + 6);
  });

  test('of a request that did not run takes back all charges', () => {
    const { charges, charged, begin } = stage();
    const lease = begin(jobOf('a', { promptBytes: 400 }));
    charges.stream(1_000);
    lease.release({ ...done, outcome: 'unserved' });
    expect(charged.get('a')).toBe(0);
  });

  test('comes once', () => {
    const { charges, charged, ended, begin } = stage();
    const lease = begin(jobOf('a', { promptBytes: 400 }));
    lease.release({ ...done, tokens });
    const after = charged.get('a');
    lease.release({ ...done, tokens });
    expect([ended, charged.get('a'), charges.size]).toEqual([['a'], after, 0]);
  });

  test('tells how long requests take at the upstream', () => {
    const { upstream, begin, at } = stage();
    const lease = begin(jobOf('a', { promptBytes: 400, served: () => 3 }));
    at(700);
    lease.release({ ...done, tokens, firstByteMs: 100 });
    expect(upstream.speed.serviceMs).toBe(700);
    expect(upstream.speed.prefillPerMs).toBeCloseTo(0.6);
    expect(upstream.speed.tokensPerSecond).toBeCloseTo(10);
  });
});

test('units at an upstream are those that were taken before', () => {
  const { upstream, charges, begin, at } = stage();
  begin(jobOf('a', { units: 2 }));
  at(50);
  begin(jobOf('b'));
  expect([0, 50, 51].map((before) => charges.unitsAt(upstream, before))).toEqual([0, 2, 3]);
  expect(charges.unitsAt(new Upstream(settingsOf('b'), () => 0), 51)).toBe(0);
});
