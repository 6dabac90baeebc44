/**
 * What callers may use: each limit by itself, all of them together, what is given back, and what is forgotten.
 */
import { describe, expect, test } from 'bun:test';
import { Limiter } from '../../../../src/stores/memory/limits.ts';
import type {
  Admission,
  Demand,
  LimitStore,
  Moment,
  Reservation,
} from '../../../../src/accounts/limits.ts';
import { forSeeds, type Random } from '../../../support/random.ts';
import type { Limits } from '../../../../src/request/caller.ts';

const noon = Date.parse('2026-11-24T12:00:00Z');
const dayMs = 86_400_000;

/** The clocks so many milliseconds after noon. */
function after(ms: number): Moment {
  return { ms: 1_000 + ms, epochMs: noon + ms };
}

function ask(limits: Limits, tokens = 0, principal = 'alice'): Demand {
  return { principal, limits, tokens };
}

function admitted(admission: Admission): Reservation {
  if (!admission.isAdmitted) throw new Error(`Refused: ${admission.code}`);
  return admission.reservation;
}

function refused(admission: Admission): { code: string; retryAfterMs: number } {
  if (admission.isAdmitted) throw new Error('Admitted.');
  const { code, retryAfterMs } = admission;
  return { code, retryAfterMs };
}

test('it is a store of the shape that a shared one can have', () => {
  const store: LimitStore = new Limiter();
  expect(store.usualTokens('alice')).toBe(256);
});

describe('a caller without limits', () => {
  test('leaves no trace, and its reservation is nothing of its own', () => {
    const limiter = new Limiter();
    const none: Limits[] = [{}, { budgets: [] }, { requestsPerMinute: undefined }];
    const admissions = none.map((limits) => limiter.admit(ask(limits, 1_000), after(0)));
    expect(new Set(admissions).size).toBe(1);
    const reservation = admitted(admissions[0] as Admission);
    limiter.settle(reservation, 1_000, after(1));
    limiter.settle(reservation, undefined, after(1));
    expect(admissions[0]).toEqual({ isAdmitted: true, reservation, standing: {} });
    expect(reservation.isSettled).toBe(true);
    expect(limiter.size).toBe(0);
  });
});

describe('requests a minute', () => {
  const limits = { requestsPerMinute: 2 };

  test('are refused beyond, with the time until the next one', () => {
    const limiter = new Limiter();
    const first = limiter.admit(ask(limits), after(0));
    expect(first.standing).toEqual({ requests: { limit: 2, remaining: 1, resetMs: 30_000 } });
    admitted(limiter.admit(ask(limits), after(0)));
    const third = limiter.admit(ask(limits), after(1_000));
    expect(third).toEqual({
      isAdmitted: false,
      code: 'rate_limited',
      retryAfterMs: 29_000,
      standing: { requests: { limit: 2, remaining: 0, resetMs: 59_000 } },
    });
    expect(limiter.admit(ask(limits), after(29_999)).isAdmitted).toBe(false);
    expect(limiter.admit(ask(limits), after(30_000)).isAdmitted).toBe(true);
  });

  test('count for each principal alone', () => {
    const limiter = new Limiter();
    for (const principal of ['alice', 'alice', 'bob', 'bob']) {
      admitted(limiter.admit(ask(limits, 0, principal), after(0)));
    }
    expect(limiter.admit(ask(limits, 0, 'bob'), after(0)).isAdmitted).toBe(false);
    expect(limiter.admit(ask(limits, 0, 'carol'), after(0)).isAdmitted).toBe(true);
  });

  test('stay spent when a request has ended, whatever it used', () => {
    const limiter = new Limiter();
    for (const used of [0, 10]) {
      limiter.settle(admitted(limiter.admit(ask(limits, 10), after(0))), used, after(0));
    }
    expect(refused(limiter.admit(ask(limits), after(0))).code).toBe('rate_limited');
  });

  test('are given back, once, when no engine had the request', () => {
    const limiter = new Limiter();
    const one = admitted(limiter.admit(ask(limits), after(0)));
    admitted(limiter.admit(ask(limits), after(0)));
    limiter.settle(one, undefined, after(0));
    limiter.settle(one, undefined, after(0));
    admitted(limiter.admit(ask(limits), after(0)));
    expect(limiter.admit(ask(limits), after(0)).isAdmitted).toBe(false);
  });

  test('follow a rate that changes', () => {
    const limiter = new Limiter();
    for (let i = 0; i < 10; i++) {
      admitted(limiter.admit(ask({ requestsPerMinute: 10 }), after(0)));
    }
    expect(refused(limiter.admit(ask({ requestsPerMinute: 5 }), after(0))).retryAfterMs).toBe(
      12_000,
    );
    const raised = limiter.admit(ask({ requestsPerMinute: 20 }), after(0));
    expect(raised.isAdmitted).toBe(true);
  });
});

describe('tokens a minute', () => {
  const limits = { tokensPerMinute: 600 };

  test('are reserved by the estimate', () => {
    const limiter = new Limiter();
    const first = limiter.admit(ask(limits, 400), after(0));
    expect(first.standing).toEqual({ tokens: { limit: 600, remaining: 200, resetMs: 40_000 } });
    expect(refused(limiter.admit(ask(limits, 300), after(0)))).toEqual({
      code: 'tokens_exhausted',
      retryAfterMs: 10_000,
    });
    expect(limiter.admit(ask(limits, 200), after(0)).isAdmitted).toBe(true);
  });

  test('are corrected to the truth, less and more', () => {
    const limiter = new Limiter();
    const one = admitted(limiter.admit(ask(limits, 600), after(0)));
    limiter.settle(one, 100, after(0));
    const two = limiter.admit(ask(limits, 500), after(0));
    limiter.settle(admitted(two), 1_100, after(0));
    // 1,200 used of 600: a minute of debt, and ten tokens more.
    expect(refused(limiter.admit(ask(limits, 10), after(0))).retryAfterMs).toBe(61_000);
  });

  test('are given back when no engine had the request, or it used nothing', () => {
    const limiter = new Limiter();
    for (const used of [undefined, 0]) {
      limiter.settle(admitted(limiter.admit(ask(limits, 600), after(0))), used, after(0));
    }
    expect(limiter.admit(ask(limits, 600), after(0)).isAdmitted).toBe(true);
  });

  test('let a request above the limit pass when nothing else is used, and remember what it used', () => {
    const limiter = new Limiter();
    const big = admitted(limiter.admit(ask(limits, 1e300), after(0)));
    expect(limiter.admit(ask(limits, 1), after(0)).isAdmitted).toBe(false);
    limiter.settle(big, 900, after(0));
    expect(refused(limiter.admit(ask(limits, 600), after(0))).retryAfterMs).toBe(90_000);
  });

  test('an estimate that is no number, or below zero, takes nothing', () => {
    const limiter = new Limiter();
    for (const tokens of [-1, Number.NaN]) {
      const { standing } = limiter.admit(ask(limits, tokens), after(0));
      expect(standing.tokens?.remaining).toBe(600);
    }
    expect(limiter.held()).toEqual({ requests: 2, tokens: 0 });
  });
});

describe('open requests', () => {
  const limits = { concurrentRequests: 2 };

  test('are refused beyond, and each that ends makes room for one, however often it is settled', () => {
    const limiter = new Limiter();
    const one = admitted(limiter.admit(ask(limits), after(0)));
    admitted(limiter.admit(ask(limits), after(0)));
    expect(refused(limiter.admit(ask(limits), after(0))).code).toBe('too_many_concurrent');
    limiter.settle(one, 5, after(0));
    limiter.settle(one, 5, after(0));
    admitted(limiter.admit(ask(limits), after(0)));
    expect(limiter.admit(ask(limits), after(0)).isAdmitted).toBe(false);
    expect(limiter.held().requests).toBe(2);
  });

  test('the wait is estimated from how long requests were open, and how many must end', () => {
    const limiter = new Limiter();
    for (let i = 0; i < 60; i++) {
      const one = admitted(limiter.admit(ask(limits), after(i * 8_000)));
      limiter.settle(one, 5, after((i + 1) * 8_000));
    }
    const wide = { concurrentRequests: 4 };
    for (let i = 0; i < 4; i++) admitted(limiter.admit(ask(wide), after(480_000)));
    const one = refused(limiter.admit(ask(wide), after(480_000))).retryAfterMs;
    expect(Math.abs(one - 2_000)).toBeLessThanOrEqual(2);
    const three = refused(limiter.admit(ask(limits), after(480_000))).retryAfterMs;
    expect(Math.abs(three - 6_000)).toBeLessThanOrEqual(2);
  });
});

describe('a budget', () => {
  const limits: Limits = { budgets: [{ tokens: 1_000, per: 'day' }] };

  function spend(limiter: Limiter, tokens: number, now: Moment, of = limits): void {
    limiter.settle(admitted(limiter.admit(ask(of, tokens), now)), tokens, now);
  }

  test('is over when it is spent, until the next day', () => {
    const limiter = new Limiter();
    spend(limiter, 1_000, after(0));
    expect(refused(limiter.admit(ask(limits, 1), after(500)))).toEqual({
      code: 'budget_spent',
      retryAfterMs: dayMs / 2 - 500,
    });
    expect(limiter.admit(ask(limits, 1), after(dayMs / 2 - 1)).isAdmitted).toBe(false);
    expect(limiter.admit(ask(limits, 1), after(dayMs / 2)).isAdmitted).toBe(true);
  });

  test('admits while something is left, whatever the estimate', () => {
    const limiter = new Limiter();
    spend(limiter, 999, after(0));
    spend(limiter, 5_000, after(0));
    expect(limiter.admit(ask(limits, 1), after(0)).isAdmitted).toBe(false);
  });

  test('counts what open requests have reserved, and may have it back when one ends', () => {
    const limiter = new Limiter();
    const open = admitted(limiter.admit(ask(limits, 1_000), after(0)));
    const { code, retryAfterMs } = refused(limiter.admit(ask(limits, 1), after(0)));
    expect(code).toBe('budget_spent');
    expect(retryAfterMs).toBeLessThan(60_000);
    limiter.settle(open, 10, after(0));
    expect(limiter.admit(ask(limits, 1), after(0)).isAdmitted).toBe(true);
  });

  test('is not touched by a request that no engine had', () => {
    const limiter = new Limiter();
    const open = admitted(limiter.admit(ask(limits, 1_000), after(0)));
    limiter.settle(open, undefined, after(0));
    spend(limiter, 999, after(0));
    expect(limiter.admit(ask(limits, 1), after(0)).isAdmitted).toBe(true);
  });

  test('is not spoilt by an estimate beyond all reason', () => {
    const limiter = new Limiter();
    const wide: Limits = { budgets: [{ tokens: 1e12, per: 'day' }] };
    const open = [5, 1e300, Infinity, 7].map((tokens) =>
      admitted(limiter.admit(ask(wide, tokens), after(0))),
    );
    for (const reservation of open.slice(1)) limiter.settle(reservation, 1, after(0));
    expect(limiter.held()).toEqual({ requests: 1, tokens: 5 });
  });

  test('of a month lasts over its days, and the one that lasts longest is told', () => {
    const both: Limits = { budgets: [...(limits.budgets ?? []), { tokens: 1_500, per: 'month' }] };
    const limiter = new Limiter();
    spend(limiter, 1_000, after(0), both);
    expect(refused(limiter.admit(ask(both, 1), after(0))).retryAfterMs).toBe(dayMs / 2);
    spend(limiter, 500, after(dayMs), both);
    const { code, retryAfterMs } = refused(limiter.admit(ask(both, 1), after(dayMs)));
    expect(code).toBe('budget_spent');
    expect(noon + dayMs + retryAfterMs).toBe(Date.parse('2026-12-01'));
    expect(limiter.admit(ask(both, 1), after(dayMs + retryAfterMs)).isAdmitted).toBe(true);
  });

  test('is counted in the day in which the request ended', () => {
    const limiter = new Limiter();
    const late = admitted(limiter.admit(ask(limits, 1_000), after(dayMs / 2 - 1)));
    limiter.settle(late, 1_000, after(dayMs / 2));
    expect(refused(limiter.admit(ask(limits, 1), after(dayMs / 2))).retryAfterMs).toBe(dayMs);
  });

  test('goes by the wall clock of the zone, also over the beginning and the end of summer time', () => {
    for (const [start, hours] of [
      ['2026-03-28T23:00:00Z', 23],
      ['2026-10-24T22:00:00Z', 25],
    ] as const) {
      const limiter = new Limiter('Europe/Berlin');
      const midnight = Date.parse(start);
      const at = (ms: number): Moment => ({ ms, epochMs: midnight + ms });
      spend(limiter, 1_000, at(0));
      const { retryAfterMs } = refused(limiter.admit(ask(limits, 1), at(0)));
      expect(retryAfterMs).toBe(hours * 3_600_000);
      expect(limiter.admit(ask(limits, 1), at(retryAfterMs - 1)).isAdmitted).toBe(false);
      expect(limiter.admit(ask(limits, 1), at(retryAfterMs)).isAdmitted).toBe(true);
    }
  });

  test('restored after a start stands as if it had been spent', async () => {
    await forSeeds(50, (random) => {
      const both: Limits = {
        budgets: [
          { tokens: 1_000, per: 'day' },
          { tokens: 2_000, per: 'month' },
        ],
      };
      const [spent, restored] = [new Limiter(), new Limiter()];
      const [yesterday, today] = [random.below(999) + 1, random.below(1_200)];
      spend(spent, yesterday, after(-dayMs), both);
      spend(spent, today, after(0), both);
      restored.restore('alice', { day: today, month: yesterday + today }, after(0));
      for (let i = 0; i < 20; i++) {
        const now = after(i * 7_200_000);
        const tokens = random.below(300);
        const [one, other] = [spent, restored].map((limiter) => {
          const admission = limiter.admit(ask(both, tokens), now);
          if (!admission.isAdmitted) return refused(admission);
          limiter.settle(admission.reservation, tokens, now);
          return 'admitted';
        });
        expect(other).toEqual(one as typeof other);
      }
    });
  });

  test('restored has what was spent before beside what has been spent since', () => {
    const limiter = new Limiter();
    spend(limiter, 400, after(0));
    limiter.restore('alice', { day: 500, month: 900 }, after(1));
    expect(limiter.admit(ask(limits, 1), after(1)).isAdmitted).toBe(true);
    limiter.restore('alice', { day: 100, month: 100 }, after(1));
    expect(limiter.admit(ask(limits, 1), after(1)).isAdmitted).toBe(false);
  });

  test('restored from nothing keeps nothing', () => {
    const limiter = new Limiter();
    limiter.restore('alice', { day: 0, month: 0 }, after(0));
    expect(limiter.size).toBe(0);
  });
});

describe('several limits', () => {
  test('the one that refuses for the longest is told', () => {
    const limits: Limits = {
      requestsPerMinute: 1,
      tokensPerMinute: 60,
      concurrentRequests: 1,
      budgets: [{ tokens: 60, per: 'day' }],
    };
    const limiter = new Limiter();
    const one = admitted(limiter.admit(ask(limits, 30), after(0)));
    expect(refused(limiter.admit(ask(limits, 60), after(0)))).toEqual({
      code: 'rate_limited',
      retryAfterMs: 60_000,
    });
    limiter.settle(one, 59, after(0));
    expect(refused(limiter.admit(ask(limits, 60), after(10_000)))).toEqual({
      code: 'rate_limited',
      retryAfterMs: 50_000,
    });
    const two = admitted(limiter.admit(ask(limits, 1), after(60_000)));
    limiter.settle(two, 160, after(60_000));
    expect(refused(limiter.admit(ask(limits, 1), after(60_000))).code).toBe('budget_spent');
    const lax = { ...limits, budgets: [] };
    expect(refused(limiter.admit(ask(lax, 1), after(110_000))).code).toBe('tokens_exhausted');
  });

  test('a refusal by one takes nothing from another', () => {
    const limits: Limits = { requestsPerMinute: 2, tokensPerMinute: 100, concurrentRequests: 1 };
    const limiter = new Limiter();
    const one = admitted(limiter.admit(ask(limits, 10), after(0)));
    for (let i = 0; i < 5; i++) {
      expect(refused(limiter.admit(ask(limits, 10), after(0))).code).toBe('too_many_concurrent');
    }
    limiter.settle(one, 10, after(0));
    const { standing } = limiter.admit(ask(limits, 10), after(0));
    expect(standing.requests?.remaining).toBe(0);
    expect(standing.tokens?.remaining).toBe(80);
  });
});

describe('the usual length', () => {
  const limits = { tokensPerMinute: 1_000_000 };

  test('is 256 at first, and then that of the answers', () => {
    const limiter = new Limiter();
    expect(limiter.usualTokens('alice')).toBe(256);
    for (let i = 0; i < 60; i++) {
      const asked = { ...ask(limits, 5_000), promptTokens: 1_000 };
      limiter.settle(admitted(limiter.admit(asked, after(0))), 1_040, after(0));
    }
    expect(limiter.usualTokens('alice')).toBe(41);
    expect(limiter.usualTokens('bob')).toBe(256);
  });

  test('learns nothing from a request that no engine had', () => {
    const limiter = new Limiter();
    limiter.settle(admitted(limiter.admit(ask(limits, 5_000), after(0))), undefined, after(0));
    expect(limiter.usualTokens('alice')).toBe(256);
  });
});

describe('sweep', () => {
  test('keeps a caller while a bucket fills, and while a request is open', () => {
    const limiter = new Limiter();
    const limits = { requestsPerMinute: 60, tokensPerMinute: 60 };
    const open = admitted(limiter.admit(ask(limits, 30), after(0)));
    limiter.sweep(after(600_000));
    expect(limiter.size).toBe(1);
    limiter.settle(open, 60, after(600_000));
    limiter.sweep(after(600_000));
    expect(limiter.size).toBe(1);
    limiter.sweep(after(660_000));
    expect(limiter.size).toBe(0);
  });

  test('keeps what was spent of a budget until the month ends', () => {
    const limiter = new Limiter();
    const limits: Limits = { budgets: [{ tokens: 10, per: 'month' }] };
    limiter.settle(admitted(limiter.admit(ask(limits, 10), after(0))), 10, after(0));
    limiter.sweep(after(6 * dayMs));
    expect(limiter.size).toBe(1);
    expect(limiter.admit(ask(limits, 10), after(6 * dayMs)).isAdmitted).toBe(false);
    limiter.sweep(after(7 * dayMs));
    expect(limiter.size).toBe(0);
  });

  test('forgets a caller that was refused at once', () => {
    const limiter = new Limiter();
    const limits: Limits = { budgets: [{ tokens: 0, per: 'day' }] };
    expect(limiter.admit(ask(limits, 10), after(0)).isAdmitted).toBe(false);
    expect(limiter.size).toBe(0);
  });
});

describe('under any order of events', () => {
  interface Admitted {
    asked: Demand;
    now: Moment;
  }

  interface Settled {
    /** Of the admission that it ends, among all. */
    index: number;
    used: number | undefined;
    now: Moment;
  }

  /** A limiter to which things happen by chance, and a log of what has changed it. */
  class World {
    readonly limiter = new Limiter();
    readonly limits: Limits;
    readonly log: (Admitted | Settled)[] = [];
    readonly #reservations: Reservation[] = [];
    readonly #open: number[] = [];
    #ms = 0;

    constructor(
      readonly random: Random,
      readonly used: (tokens: number) => number | undefined,
    ) {
      const some = (below: number) => (random.oneIn(3) ? undefined : random.below(below) + 1);
      this.limits = { requestsPerMinute: some(20), tokensPerMinute: some(3_000) };
    }

    get now(): Moment {
      return after(this.#ms);
    }

    nextAsk(): Demand {
      const tokens = this.random.below(this.limits.tokensPerMinute ?? 500) + 1;
      return ask(this.limits, tokens, this.random.pick(['alice', 'bob', 'carol']));
    }

    step(): { asked: Demand; admission: Admission } | undefined {
      const { random, limiter, now } = this;
      this.#ms += random.oneIn(2) ? random.below(random.pick([5, 3_000, 40_000])) : 0;
      if (random.oneIn(10)) limiter.sweep(now);
      if (random.oneIn(2) && this.#open.length > 0) {
        this.settle(random.below(this.#open.length));
        return undefined;
      }
      const asked = this.nextAsk();
      const admission = limiter.admit(asked, this.now);
      if (admission.isAdmitted) {
        this.log.push({ asked, now: this.now });
        this.#open.push(this.#reservations.push(admission.reservation) - 1);
      }
      return { asked, admission };
    }

    /** @param place among the open ones */
    settle(place: number): void {
      const [index] = this.#open.splice(place, 1);
      const reservation = this.#reservations[index ?? -1];
      if (index === undefined || reservation === undefined) throw new Error('Not open.');
      const used = this.used(reservation.tokens);
      this.limiter.settle(reservation, used, this.now);
      this.log.push({ index, used, now: this.now });
    }

    settleAll(): void {
      while (this.#open.length > 0) this.settle(this.random.below(this.#open.length));
    }

    /** Gives another limiter to which the same has happened, but for what was refused and swept. */
    twin(): Limiter {
      const limiter = new Limiter();
      const reservations: Reservation[] = [];
      for (const entry of this.log) {
        if ('asked' in entry) reservations.push(admitted(limiter.admit(entry.asked, entry.now)));
        else limiter.settle(reservations[entry.index] as Reservation, entry.used, entry.now);
      }
      return limiter;
    }
  }

  const anyUse = (random: Random) => (tokens: number) =>
    random.pick([undefined, 0, tokens, random.below(2 * tokens)]);

  test('no stretch of time has more requests, or tokens known exactly, than burst and rate', async () => {
    await forSeeds(200, (random) => {
      const world = new World(random, (tokens) => (random.oneIn(3) ? undefined : tokens));
      for (let i = 0; i < 150; i++) world.step();
      const { requestsPerMinute = Infinity, tokensPerMinute = Infinity } = world.limits;
      const admissions = world.log.filter((entry) => 'asked' in entry);
      const settlements = world.log.filter((entry) => 'index' in entry);
      // What no engine had has not passed.
      const returned = settlements.filter(({ used }) => used === undefined);
      const gone = new Set(returned.map(({ index }) => admissions[index]));
      const passed = admissions.filter((entry) => !gone.has(entry));
      for (const [first, { asked: own, now: from }] of passed.entries()) {
        let [requests, tokens] = [0, 0];
        for (const { asked, now } of passed.slice(first)) {
          if (asked.principal !== own.principal) continue;
          requests++;
          tokens += asked.tokens;
          const minutes = 1 + (now.ms - from.ms + 0.01) / 60_000;
          expect(requests).toBeLessThanOrEqual(requestsPerMinute * minutes);
          expect(tokens).toBeLessThanOrEqual(tokensPerMinute * minutes);
        }
      }
    });
  });

  test('what was refused has changed nothing, nor what was swept', async () => {
    await forSeeds(100, (random) => {
      const world = new World(random, anyUse(random));
      for (let i = 0; i < 100; i++) {
        if (world.step()?.admission.isAdmitted !== false) continue;
        const twin = world.twin();
        expect(world.limiter.held()).toEqual(twin.held());
        const asked = world.nextAsk();
        const expected = twin.admit(asked, world.now);
        if (expected.isAdmitted) continue;
        expect(world.limiter.admit(asked, world.now)).toEqual(expected);
      }
      const { limiter, now } = world;
      const asked = world.nextAsk();
      expect(world.twin().admit(asked, now)).toEqual(limiter.admit(asked, now));
    });
  });

  test('who waits as long as told gets in, and two milliseconds less are not enough', async () => {
    await forSeeds(100, (random) => {
      const world = new World(random, anyUse(random));
      for (let i = 0; i < 100; i++) {
        const step = world.step();
        if (step === undefined || step.admission.isAdmitted) continue;
        const { retryAfterMs } = step.admission;
        const { ms, epochMs } = world.now;
        const isAdmittedAfter = (waitMs: number) =>
          world.twin().admit(step.asked, { ms: ms + waitMs, epochMs: epochMs + waitMs }).isAdmitted;
        expect(isAdmittedAfter(retryAfterMs)).toBe(true);
        if (retryAfterMs >= 2) expect(isAdmittedAfter(retryAfterMs - 2)).toBe(false);
      }
    });
  });

  test('nothing is held when all have ended, and nothing is kept a month later', async () => {
    await forSeeds(100, (random) => {
      const world = new World(random, anyUse(random));
      const limits: Limits = {
        ...world.limits,
        concurrentRequests: 4,
        budgets: [{ tokens: 20_000, per: random.pick(['day', 'month']) }],
      };
      world.nextAsk = () => ask(limits, random.below(3_000) / 7, random.pick(['alice', 'bob']));
      let most = 0;
      for (let i = 0; i < 150; i++) {
        world.step();
        most = Math.max(most, world.limiter.held().requests);
      }
      expect(most).toBeGreaterThan(0);
      expect(most).toBeLessThanOrEqual(2 * 4);
      world.settleAll();
      expect(world.limiter.held()).toEqual({ requests: 0, tokens: 0 });
      world.limiter.sweep(after(32 * dayMs));
      expect(world.limiter.size).toBe(0);
    });
  });
});
