/**
 * What every LimitStore does, whatever it is made of: each limit by itself, all of them together, what is given back,
 * and what holds under any order of events. Time is the test's: a store with its own clock must be given this one.
 */
import { describe, expect, test } from 'bun:test';
import type {
  Decision,
  Demand,
  LimitStore,
  Moment,
  Reservation,
} from '../../src/accounts/limits.ts';
import { Calendar } from '../../src/accounts/calendar.ts';
import { forSeeds, type Random } from '../support/random.ts';
import type { Limits } from '../../src/request/caller.ts';

const noon = Date.parse('2026-11-24T12:00:00Z');
export const dayMs = 86_400_000;

/** The clocks so many milliseconds after noon. */
export function after(ms: number): Moment {
  return { ms: 1_000 + ms, epochMs: noon + ms };
}

/** A request that reserves so many tokens, of its prompt. */
export function ask(limits: Limits, tokens = 0, principal = 'alice'): Demand {
  return { principal, limits, promptTokens: tokens, maxAnswerTokens: undefined, answers: 0 };
}

export function admitted(decision: Decision): Reservation {
  if (!decision.isAdmitted) throw new Error(`Refused: ${decision.code}`);
  return decision.reservation;
}

function refused(decision: Decision): { code: string; retryAfterMs: number } {
  if (decision.isAdmitted) throw new Error('Admitted.');
  const { code, retryAfterMs } = decision;
  return { code, retryAfterMs };
}

/** @param make makes a store that knows nobody, whose days and months are those of the calendar */
export function limitContract(name: string, make: (calendar: Calendar) => LimitStore) {
  const fresh = (timeZone?: string) => make(new Calendar(timeZone));

  describe(`limits, ${name}`, () => {
    describe('a caller without limits', () => {
      test('is admitted whatever it asks for', async () => {
        const store = fresh();
        const none: Limits[] = [{}, { budgets: [] }, { requestsPerMinute: undefined }];
        for (const limits of none) {
          const decision = await store.admit(ask(limits, 1e12), after(0));
          expect(decision.standing).toEqual({});
          await store.settle(admitted(decision), 1e12, after(1));
          await store.settle(admitted(decision), undefined, after(1));
        }
      });
    });

    describe('a reservation', () => {
      const limits: Limits = { concurrentRequests: 2 };

      test('is data, and a copy of it ends the request', async () => {
        const store = fresh();
        const one = admitted(await store.admit(ask(limits), after(0)));
        admitted(await store.admit(ask(limits), after(0)));
        const copy = JSON.parse(JSON.stringify(one)) as Reservation;
        expect(copy).toEqual(one);
        await store.settle(copy, 1, after(0));
        expect((await store.admit(ask(limits), after(0))).isAdmitted).toBe(true);
      });

      test('that has ended ends no other, however many have come since', async () => {
        const store = fresh();
        const ended = admitted(await store.admit(ask(limits), after(0)));
        await store.settle(ended, 1, after(0));
        for (let i = 0; i < 2; i++) admitted(await store.admit(ask(limits), after(0)));
        await store.settle(ended, 1, after(0));
        await store.settle({ id: 'of another store' }, 1, after(0));
        expect((await store.admit(ask(limits), after(0))).isAdmitted).toBe(false);
      });
    });

    describe('an answer without a maximum', () => {
      const limits: Limits = { tokensPerMinute: 1_000_000 };

      /** Returns how many tokens such a request reserves. */
      async function reserved(store: LimitStore, more: Partial<Demand> = {}): Promise<number> {
        const asked = { ...ask(limits, 10), answers: 1, ...more };
        const decision = await store.admit(asked, after(0));
        const left = decision.standing.tokens?.remaining ?? 0;
        await store.settle(admitted(decision), undefined, after(0));
        return 1_000_000 - left;
      }

      /** Has a request of this caller use 40 tokens for its answer. */
      async function learn(store: LimitStore, more: Partial<Demand> = {}): Promise<void> {
        const asked = { ...ask(limits, 1_000), maxAnswerTokens: 4_000, answers: 1, ...more };
        await store.settle(admitted(await store.admit(asked, after(0))), 1_040, after(0));
      }

      test('reserves 256 tokens at first, and then what this caller’s answers usually have', async () => {
        const store = fresh();
        expect(await reserved(store)).toBe(266);
        for (let i = 0; i < 60; i++) await learn(store);
        const used = 60 * 1_040;
        expect(await reserved(store)).toBe(used + 51);
        expect(await reserved(store, { principal: 'bob' })).toBe(266);
      });

      test('reserves for each of several answers', async () => {
        expect(await reserved(fresh(), { answers: 3 })).toBe(10 + 3 * 256);
      });

      test('counts nothing for an answer that has no tokens, and learns nothing from it', async () => {
        const store = fresh();
        expect(await reserved(store, { answers: 0 })).toBe(10);
        for (let i = 0; i < 9; i++) await learn(store, { answers: 0 });
        expect(await reserved(store)).toBe(9 * 1_040 + 266);
      });

      test('with a maximum reserves that, also none', async () => {
        const store = fresh();
        expect(await reserved(store, { maxAnswerTokens: 7, answers: 2 })).toBe(24);
        expect(await reserved(store, { maxAnswerTokens: 0 })).toBe(10);
      });

      test('learns nothing from a request that no engine had', async () => {
        const store = fresh();
        const asked = { ...ask(limits, 5), maxAnswerTokens: 4_000, answers: 1 };
        await store.settle(admitted(await store.admit(asked, after(0))), undefined, after(0));
        expect(await reserved(store)).toBe(266);
      });
    });

    describe('requests a minute', () => {
      const limits = { requestsPerMinute: 2 };

      test('are refused beyond, with the time until the next one', async () => {
        const store = fresh();
        const first = await store.admit(ask(limits), after(0));
        expect(first.standing).toEqual({ requests: { limit: 2, remaining: 1, resetMs: 30_000 } });
        admitted(await store.admit(ask(limits), after(0)));
        const third = await store.admit(ask(limits), after(1_000));
        expect(third).toEqual({
          isAdmitted: false,
          code: 'rate_limited',
          retryAfterMs: 29_000,
          standing: { requests: { limit: 2, remaining: 0, resetMs: 59_000 } },
        });
        expect((await store.admit(ask(limits), after(29_999))).isAdmitted).toBe(false);
        expect((await store.admit(ask(limits), after(30_000))).isAdmitted).toBe(true);
      });

      test('count for each principal alone', async () => {
        const store = fresh();
        for (const principal of ['alice', 'alice', 'bob', 'bob']) {
          admitted(await store.admit(ask(limits, 0, principal), after(0)));
        }
        expect((await store.admit(ask(limits, 0, 'bob'), after(0))).isAdmitted).toBe(false);
        expect((await store.admit(ask(limits, 0, 'carol'), after(0))).isAdmitted).toBe(true);
      });

      test('stay spent when a request has ended, whatever it used', async () => {
        const store = fresh();
        for (const used of [0, 10]) {
          await store.settle(
            admitted(await store.admit(ask(limits, 10), after(0))),
            used,
            after(0),
          );
        }
        expect(refused(await store.admit(ask(limits), after(0))).code).toBe('rate_limited');
      });

      test('are given back, once, when no engine had the request', async () => {
        const store = fresh();
        const one = admitted(await store.admit(ask(limits), after(0)));
        admitted(await store.admit(ask(limits), after(0)));
        await store.settle(one, undefined, after(0));
        await store.settle(one, undefined, after(0));
        admitted(await store.admit(ask(limits), after(0)));
        expect((await store.admit(ask(limits), after(0))).isAdmitted).toBe(false);
      });

      test('follow a rate that changes', async () => {
        const store = fresh();
        for (let i = 0; i < 10; i++) {
          admitted(await store.admit(ask({ requestsPerMinute: 10 }), after(0)));
        }
        expect(
          refused(await store.admit(ask({ requestsPerMinute: 5 }), after(0))).retryAfterMs,
        ).toBe(12_000);
        const raised = await store.admit(ask({ requestsPerMinute: 20 }), after(0));
        expect(raised.isAdmitted).toBe(true);
      });
    });

    describe('tokens a minute', () => {
      const limits = { tokensPerMinute: 600 };

      test('are reserved by the estimate', async () => {
        const store = fresh();
        const first = await store.admit(ask(limits, 400), after(0));
        expect(first.standing).toEqual({ tokens: { limit: 600, remaining: 200, resetMs: 40_000 } });
        expect(refused(await store.admit(ask(limits, 300), after(0)))).toEqual({
          code: 'tokens_exhausted',
          retryAfterMs: 10_000,
        });
        expect((await store.admit(ask(limits, 200), after(0))).isAdmitted).toBe(true);
      });

      test('are corrected to the truth, less and more', async () => {
        const store = fresh();
        const one = admitted(await store.admit(ask(limits, 600), after(0)));
        await store.settle(one, 100, after(0));
        const two = await store.admit(ask(limits, 500), after(0));
        await store.settle(admitted(two), 1_100, after(0));
        // 1,200 used of 600: a minute of debt, and ten tokens more.
        expect(refused(await store.admit(ask(limits, 10), after(0))).retryAfterMs).toBe(61_000);
      });

      test('are given back when no engine had the request, or it used nothing', async () => {
        const store = fresh();
        for (const used of [undefined, 0]) {
          await store.settle(
            admitted(await store.admit(ask(limits, 600), after(0))),
            used,
            after(0),
          );
        }
        expect((await store.admit(ask(limits, 600), after(0))).isAdmitted).toBe(true);
      });

      test('let a request above the limit pass when nothing else is used, and remember what it used', async () => {
        const store = fresh();
        const big = admitted(await store.admit(ask(limits, 1e300), after(0)));
        expect((await store.admit(ask(limits, 1), after(0))).isAdmitted).toBe(false);
        await store.settle(big, 900, after(0));
        expect(refused(await store.admit(ask(limits, 600), after(0))).retryAfterMs).toBe(90_000);
      });

      test('an estimate that is no number, or below zero, takes nothing', async () => {
        const store = fresh();
        for (const tokens of [-1, Number.NaN]) {
          const { standing } = await store.admit(ask(limits, tokens), after(0));
          expect(standing.tokens?.remaining).toBe(600);
        }
      });
    });

    describe('open requests', () => {
      const limits = { concurrentRequests: 2 };

      test('are refused beyond, and each that ends makes room for one, however often it is settled', async () => {
        const store = fresh();
        const one = admitted(await store.admit(ask(limits), after(0)));
        admitted(await store.admit(ask(limits), after(0)));
        expect(refused(await store.admit(ask(limits), after(0))).code).toBe('too_many_concurrent');
        await store.settle(one, 5, after(0));
        await store.settle(one, 5, after(0));
        admitted(await store.admit(ask(limits), after(0)));
        expect((await store.admit(ask(limits), after(0))).isAdmitted).toBe(false);
      });

      test('the wait is estimated from how long requests were open, and how many must end', async () => {
        const store = fresh();
        for (let i = 0; i < 60; i++) {
          const one = admitted(await store.admit(ask(limits), after(i * 8_000)));
          await store.settle(one, 5, after((i + 1) * 8_000));
        }
        const wide = { concurrentRequests: 4 };
        for (let i = 0; i < 4; i++) admitted(await store.admit(ask(wide), after(480_000)));
        const one = refused(await store.admit(ask(wide), after(480_000))).retryAfterMs;
        expect(Math.abs(one - 2_000)).toBeLessThanOrEqual(2);
        const three = refused(await store.admit(ask(limits), after(480_000))).retryAfterMs;
        expect(Math.abs(three - 6_000)).toBeLessThanOrEqual(2);
      });
    });

    describe('a budget', () => {
      const limits: Limits = { budgets: [{ tokens: 1_000, per: 'day' }] };

      async function spend(store: LimitStore, tokens: number, now: Moment, of = limits) {
        await store.settle(admitted(await store.admit(ask(of, tokens), now)), tokens, now);
      }

      test('survives a clock that steps back a day and passes midnight again', async () => {
        const store = fresh();
        const isSpent = async (ms: number) =>
          !(await store.admit(ask(limits, 1), { ms: 1_000, epochMs: noon + ms })).isAdmitted;
        await spend(store, 600, after(0));
        await spend(store, 1_000, after(dayMs));
        await spend(store, 400, after(0));
        expect(await isSpent(0)).toBe(true);
        expect(await isSpent(dayMs)).toBe(true);
        expect(await isSpent(2 * dayMs)).toBe(false);
      });

      test('is over when it is spent, until the next day', async () => {
        const store = fresh();
        await spend(store, 1_000, after(0));
        expect(refused(await store.admit(ask(limits, 1), after(500)))).toEqual({
          code: 'budget_spent',
          retryAfterMs: dayMs / 2 - 500,
        });
        expect((await store.admit(ask(limits, 1), after(dayMs / 2 - 1))).isAdmitted).toBe(false);
        expect((await store.admit(ask(limits, 1), after(dayMs / 2))).isAdmitted).toBe(true);
      });

      test('admits while something is left, whatever the estimate', async () => {
        const store = fresh();
        await spend(store, 999, after(0));
        await spend(store, 5_000, after(0));
        expect((await store.admit(ask(limits, 1), after(0))).isAdmitted).toBe(false);
      });

      test('counts what open requests have reserved, and may have it back when one ends', async () => {
        const store = fresh();
        const open = admitted(await store.admit(ask(limits, 1_000), after(0)));
        const { code, retryAfterMs } = refused(await store.admit(ask(limits, 1), after(0)));
        expect(code).toBe('budget_spent');
        expect(retryAfterMs).toBeLessThan(60_000);
        await store.settle(open, 10, after(0));
        expect((await store.admit(ask(limits, 1), after(0))).isAdmitted).toBe(true);
      });

      test('is not touched by a request that no engine had', async () => {
        const store = fresh();
        const open = admitted(await store.admit(ask(limits, 1_000), after(0)));
        await store.settle(open, undefined, after(0));
        await spend(store, 999, after(0));
        expect((await store.admit(ask(limits, 1), after(0))).isAdmitted).toBe(true);
      });

      test('is not spoilt by an estimate beyond all reason', async () => {
        const store = fresh();
        const wide: Limits = { budgets: [{ tokens: 100, per: 'day' }] };
        for (const tokens of [1e300, Infinity]) {
          const open = admitted(await store.admit(ask(wide, tokens), after(0)));
          await store.settle(open, 1, after(0));
        }
        const open = admitted(await store.admit(ask(wide, 97), after(0)));
        expect((await store.admit(ask(wide, 0), after(0))).isAdmitted).toBe(true);
        await store.settle(open, 98, after(0));
        expect((await store.admit(ask(wide, 0), after(0))).isAdmitted).toBe(false);
      });

      test('of a month lasts over its days, and the one that lasts longest is told', async () => {
        const both: Limits = {
          budgets: [...(limits.budgets ?? []), { tokens: 1_500, per: 'month' }],
        };
        const store = fresh();
        await spend(store, 1_000, after(0), both);
        expect(refused(await store.admit(ask(both, 1), after(0))).retryAfterMs).toBe(dayMs / 2);
        await spend(store, 500, after(dayMs), both);
        const { code, retryAfterMs } = refused(await store.admit(ask(both, 1), after(dayMs)));
        expect(code).toBe('budget_spent');
        expect(noon + dayMs + retryAfterMs).toBe(Date.parse('2026-12-01'));
        expect((await store.admit(ask(both, 1), after(dayMs + retryAfterMs))).isAdmitted).toBe(
          true,
        );
      });

      test('is counted in the day in which the request ended', async () => {
        const store = fresh();
        const late = admitted(await store.admit(ask(limits, 1_000), after(dayMs / 2 - 1)));
        await store.settle(late, 1_000, after(dayMs / 2));
        expect(refused(await store.admit(ask(limits, 1), after(dayMs / 2))).retryAfterMs).toBe(
          dayMs,
        );
      });

      test('goes by the wall clock of the zone, also over the beginning and the end of summer time', async () => {
        for (const [start, hours] of [
          ['2026-03-28T23:00:00Z', 23],
          ['2026-10-24T22:00:00Z', 25],
        ] as const) {
          const store = fresh('Europe/Berlin');
          const midnight = Date.parse(start);
          const at = (ms: number): Moment => ({ ms, epochMs: midnight + ms });
          await spend(store, 1_000, at(0));
          const { retryAfterMs } = refused(await store.admit(ask(limits, 1), at(0)));
          expect(retryAfterMs).toBe(hours * 3_600_000);
          expect((await store.admit(ask(limits, 1), at(retryAfterMs - 1))).isAdmitted).toBe(false);
          expect((await store.admit(ask(limits, 1), at(retryAfterMs))).isAdmitted).toBe(true);
        }
      });

      test('restored after a start stands as if it had been spent', async () => {
        await forSeeds(50, async (random) => {
          const both: Limits = {
            budgets: [
              { tokens: 1_000, per: 'day' },
              { tokens: 2_000, per: 'month' },
            ],
          };
          const [spent, restored] = [fresh(), fresh()];
          const [yesterday, today] = [random.below(999) + 1, random.below(1_200)];
          await spend(spent, yesterday, after(-dayMs), both);
          await spend(spent, today, after(0), both);
          const earlier = { principal: 'alice', day: today, month: yesterday + today };
          await restored.restore([earlier, { principal: 'bob', day: 1, month: 1 }], after(0));
          for (let i = 0; i < 20; i++) {
            const now = after(i * 7_200_000);
            const tokens = random.below(300);
            const outcomes = [];
            for (const store of [spent, restored]) {
              const decision = await store.admit(ask(both, tokens), now);
              outcomes.push(decision.isAdmitted ? 'admitted' : refused(decision));
              if (decision.isAdmitted) await store.settle(decision.reservation, tokens, now);
            }
            expect(outcomes[1]).toEqual(outcomes[0] as (typeof outcomes)[0]);
          }
        });
      });

      test('counts what was used without a reservation, in addition to what was spent before and since', async () => {
        const store = fresh();
        await spend(store, 400, after(0));
        await store.count({ principal: 'alice', day: 100, month: 100 }, after(1));
        await store.restore([{ principal: 'alice', day: 400, month: 900 }], after(1));
        expect((await store.admit(ask(limits, 1), after(1))).isAdmitted).toBe(true);
        await store.count({ principal: 'alice', day: 100, month: 100 }, after(1));
        expect((await store.admit(ask(limits, 1), after(1))).isAdmitted).toBe(false);
      });

      test('counts what was used in the month before this day for the month alone', async () => {
        const store = fresh();
        await store.count({ principal: 'alice', day: 0, month: 5_000 }, after(0));
        expect((await store.admit(ask(limits, 1), after(0))).isAdmitted).toBe(true);
        const ofMonth: Limits = { budgets: [{ tokens: 5_000, per: 'month' }] };
        expect((await store.admit(ask(ofMonth, 1), after(0))).isAdmitted).toBe(false);
      });

      test('is kept while callers are forgotten, until it is over', async () => {
        const ofMonth: Limits = { budgets: [{ tokens: 10, per: 'month' }] };
        const store = fresh();
        await spend(store, 10, after(0), ofMonth);
        await store.sweep(after(6 * dayMs));
        expect((await store.admit(ask(ofMonth, 10), after(6 * dayMs))).isAdmitted).toBe(false);
        await store.sweep(after(7 * dayMs));
        expect((await store.admit(ask(ofMonth, 10), after(7 * dayMs))).isAdmitted).toBe(true);
      });
    });

    describe('several limits', () => {
      test('the one that refuses for the longest is told', async () => {
        const limits: Limits = {
          requestsPerMinute: 1,
          tokensPerMinute: 60,
          concurrentRequests: 1,
          budgets: [{ tokens: 60, per: 'day' }],
        };
        const store = fresh();
        const one = admitted(await store.admit(ask(limits, 30), after(0)));
        expect(refused(await store.admit(ask(limits, 60), after(0)))).toEqual({
          code: 'rate_limited',
          retryAfterMs: 60_000,
        });
        await store.settle(one, 59, after(0));
        expect(refused(await store.admit(ask(limits, 60), after(10_000)))).toEqual({
          code: 'rate_limited',
          retryAfterMs: 50_000,
        });
        const two = admitted(await store.admit(ask(limits, 1), after(60_000)));
        await store.settle(two, 160, after(60_000));
        expect(refused(await store.admit(ask(limits, 1), after(60_000))).code).toBe('budget_spent');
        const lax = { ...limits, budgets: [] };
        expect(refused(await store.admit(ask(lax, 1), after(110_000))).code).toBe(
          'tokens_exhausted',
        );
      });

      test('a refusal by one takes nothing from another', async () => {
        const limits: Limits = {
          requestsPerMinute: 2,
          tokensPerMinute: 100,
          concurrentRequests: 1,
        };
        const store = fresh();
        const one = admitted(await store.admit(ask(limits, 10), after(0)));
        for (let i = 0; i < 5; i++) {
          expect(refused(await store.admit(ask(limits, 10), after(0))).code).toBe(
            'too_many_concurrent',
          );
        }
        await store.settle(one, 10, after(0));
        const { standing } = await store.admit(ask(limits, 10), after(0));
        expect(standing.requests?.remaining).toBe(0);
        expect(standing.tokens?.remaining).toBe(80);
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

      /** A store to which things happen by chance, and a log of what has changed it. */
      class World {
        readonly store = fresh();
        readonly limits: Limits;
        readonly log: (Admitted | Settled)[] = [];
        readonly #reservations: Reservation[] = [];
        readonly #tokens: number[] = [];
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

        async step(): Promise<{ asked: Demand; decision: Decision } | undefined> {
          const { random, store, now } = this;
          this.#ms += random.oneIn(2) ? random.below(random.pick([5, 3_000, 40_000])) : 0;
          if (random.oneIn(10)) await store.sweep(now);
          if (random.oneIn(2) && this.#open.length > 0) {
            await this.settle(random.below(this.#open.length));
            return undefined;
          }
          const asked = this.nextAsk();
          const decision = await store.admit(asked, this.now);
          if (decision.isAdmitted) {
            this.log.push({ asked, now: this.now });
            this.#tokens.push(asked.promptTokens);
            this.#open.push(this.#reservations.push(decision.reservation) - 1);
          }
          return { asked, decision };
        }

        /** @param place among the open ones */
        async settle(place: number): Promise<void> {
          const [index] = this.#open.splice(place, 1);
          const reservation = this.#reservations[index ?? -1];
          if (index === undefined || reservation === undefined) throw new Error('Not open.');
          const used = this.used(this.#tokens[index] ?? 0);
          await this.store.settle(reservation, used, this.now);
          this.log.push({ index, used, now: this.now });
        }

        /** Returns another store to which the same has happened, but for what was refused and swept. */
        async twin(): Promise<LimitStore> {
          const store = fresh();
          const reservations: Reservation[] = [];
          for (const entry of this.log) {
            if ('asked' in entry) {
              reservations.push(admitted(await store.admit(entry.asked, entry.now)));
            } else {
              const reservation = reservations[entry.index] as Reservation;
              await store.settle(reservation, entry.used, entry.now);
            }
          }
          return store;
        }
      }

      const anyUse = (random: Random) => (tokens: number) =>
        random.pick([undefined, 0, tokens, random.below(2 * tokens)]);

      test('no stretch of time has more requests, or tokens known exactly, than burst and rate', async () => {
        await forSeeds(200, async (random) => {
          const world = new World(random, (tokens) => (random.oneIn(3) ? undefined : tokens));
          for (let i = 0; i < 150; i++) await world.step();
          const { requestsPerMinute = Infinity, tokensPerMinute = Infinity } = world.limits;
          const admissions = world.log.filter((entry) => 'asked' in entry);
          const settlements = world.log.filter((entry) => 'index' in entry);
          // A request that no engine had does not count.
          const returned = settlements.filter(({ used }) => used === undefined);
          const gone = new Set(returned.map(({ index }) => admissions[index]));
          const passed = admissions.filter((entry) => !gone.has(entry));
          for (const [first, { asked: own, now: from }] of passed.entries()) {
            let [requests, tokens] = [0, 0];
            for (const { asked, now } of passed.slice(first)) {
              if (asked.principal !== own.principal) continue;
              requests++;
              tokens += asked.promptTokens;
              const minutes = 1 + (now.ms - from.ms + 0.01) / 60_000;
              expect(requests).toBeLessThanOrEqual(requestsPerMinute * minutes);
              expect(tokens).toBeLessThanOrEqual(tokensPerMinute * minutes);
            }
          }
        });
      });

      test('what was refused has changed nothing, nor what was swept', async () => {
        await forSeeds(60, async (random) => {
          const world = new World(random, anyUse(random));
          for (let i = 0; i < 100; i++) {
            if ((await world.step())?.decision.isAdmitted !== false) continue;
            const asked = world.nextAsk();
            const expected = await (await world.twin()).admit(asked, world.now);
            if (expected.isAdmitted) continue;
            expect(await world.store.admit(asked, world.now)).toEqual(expected);
          }
          const asked = world.nextAsk();
          const expected = await (await world.twin()).admit(asked, world.now);
          // Each store chooses its own ids.
          const standing = ({ standing, isAdmitted }: Decision) => ({ standing, isAdmitted });
          expect(standing(await world.store.admit(asked, world.now))).toEqual(standing(expected));
        });
      });

      test('a request after the wait that was told is admitted, and one two milliseconds earlier is not', async () => {
        await forSeeds(60, async (random) => {
          const world = new World(random, anyUse(random));
          for (let i = 0; i < 100; i++) {
            const step = await world.step();
            if (step === undefined || step.decision.isAdmitted) continue;
            const { retryAfterMs } = step.decision;
            const { ms, epochMs } = world.now;
            async function isAdmittedAfter(waitMs: number, { asked } = step as { asked: Demand }) {
              const then = { ms: ms + waitMs, epochMs: epochMs + waitMs };
              return (await (await world.twin()).admit(asked, then)).isAdmitted;
            }
            expect(await isAdmittedAfter(retryAfterMs)).toBe(true);
            if (retryAfterMs >= 2) expect(await isAdmittedAfter(retryAfterMs - 2)).toBe(false);
          }
        });
      });
    });
  });
}
