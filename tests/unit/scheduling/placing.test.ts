/** Where requests are placed: at home, held for it, or elsewhere; and how long requests were held before. */
import { describe, expect, test } from 'bun:test';
import type { Job } from '../../../src/request/job.ts';
import { Placing } from '../../../src/scheduling/placing.ts';
import { canRun } from '../../../src/engines/slots.ts';
import type { Upstream } from '../../../src/engines/upstream.ts';
import { forSeeds } from '../../support/random.ts';
import { jobOf, fleetOf, settingsOf } from '../../support/schedulingworld.ts';

/** A prompt of that many blocks that nobody else has. */
function chainOf(seed: number, blocks = 400): Uint32Array {
  return Uint32Array.from({ length: blocks }, (_, i) => seed * 10_000 + i);
}

function stage(upstreams = [settingsOf('a'), settingsOf('b')]) {
  const fleet = fleetOf(upstreams);
  const placing = new Placing(fleet, () => 0.25);
  const { slotSets } = fleet.groupOf(fleet.resolve(jobOf('k')));
  const choose = (job: Job, now = 0) => {
    const free = slotSets.filter((slots) => canRun(slots, 1, slots.capacity));
    return placing.choose(job, slotSets, free, now)?.slots.id;
  };
  const find = (id: string) => fleet.upstreams.find((each) => each.id === id) as Upstream;
  const start = (job: Job, id: string) => placing.took(job, find(id), undefined);
  const run = (job: Job, id: string) => {
    const blocks = start(job, id);
    placing.ran(job, find(id));
    return blocks;
  };
  const setUsed = (...used: number[]) => {
    for (const [i, slots] of slotSets.entries()) slots.used = used[i] ?? 0;
  };
  return { fleet, placing, slotSets, choose, start, run, setUsed };
}

describe('a conversation', () => {
  test('goes where its beginning is', () => {
    for (const home of ['a', 'b']) {
      const { choose, run } = stage();
      const job = jobOf('k', { chain: chainOf(1) });
      expect(run(job, home)).toBe(0);
      expect([choose(job), choose(job)]).toEqual([home, home]);
      expect(run(job, home)).toBe(400);
    }
  });

  test('goes where its conversation was, of the same caller alone', () => {
    const { choose, run } = stage();
    const conversation = 'chat';
    run(jobOf('k', { conversation }), 'b');
    for (let i = 0; i < 4; i++) expect(choose(jobOf('k', { conversation }))).toBe('b');
    const others = Array.from({ length: 4 }, () => choose(jobOf('other', { conversation })));
    expect(others).toContain('a');
  });

  test('is held while its home is busy, and spills when that has lasted too long', () => {
    const { choose, run, setUsed } = stage();
    const job = jobOf('k', { chain: chainOf(1) });
    run(job, 'a');
    setUsed(1, 0);
    expect(choose(job, 0)).toBeUndefined();
    expect(choose(job, 100)).toBeUndefined();
    expect(choose(job, 1_000_000)).toBe('b');
  });

  test('that has begun to wait anew has all its patience', () => {
    const { placing, choose, run, setUsed } = stage();
    const job = jobOf('k', { chain: chainOf(1) });
    run(job, 'a');
    setUsed(1, 0);
    choose(job, 0);
    placing.leave(job);
    expect(choose(job, 1_000_000)).toBeUndefined();
  });

  test('does not wait behind so many that its prompt is computed sooner elsewhere', () => {
    const { placing, choose, run, setUsed } = stage();
    const jobs = Array.from({ length: 60 }, (_, i) => jobOf('k', { chain: chainOf(i + 1) }));
    for (const job of jobs) run(job, 'a');
    setUsed(1, 0);
    const places = jobs.map((job) => choose(job));
    const held = places.indexOf('b');
    expect(held).toBeGreaterThan(0);
    expect(places.slice(0, held).every((place) => place === undefined)).toBe(true);
    expect(places.slice(held).every((place) => place === 'b')).toBe(true);
    // Those before it are counted, and no others: the first still waits, and so does the next when one has left.
    expect(choose(jobs[0] as Job)).toBeUndefined();
    placing.leave(jobs[0] as Job);
    expect(choose(jobs[held] as Job)).toBeUndefined();
  });
});

describe('a prompt that is only being computed', () => {
  test('is held nowhere before it has run', () => {
    const { choose, start, run } = stage();
    const job = jobOf('k', { chain: chainOf(1) });
    expect([start(job, 'a'), run(job, 'a'), start(job, 'a')]).toEqual([0, 0, 400]);
    expect([choose(job), choose(job)]).toEqual(['a', 'a']);
  });

  test('holds no request: requests that begin alike at the same time are spread over all slots', async () => {
    await forSeeds(100, (random) => {
      const slots = Array.from({ length: 2 + random.below(4) }, () => 1 + random.below(4));
      const { slotSets, choose, start } = stage(
        slots.map((count, i) => settingsOf(`${i}`, { slots: count })),
      );
      const common = random.below(300);
      const isOnePrompt = random.oneIn(2);
      const total = slots.reduce((sum, count) => sum + count, 0);
      for (let i = 0; i < total; i++) {
        const tail = chainOf(isOnePrompt ? 1 : i + 2, 300 - common);
        const chain = Uint32Array.from([...chainOf(0, common), ...tail]);
        const leastUsed = Math.min(...slotSets.map(({ used, capacity }) => used / capacity));
        const job = jobOf(`k${i}`, { chain });
        const chosen = choose(job);
        const slots = slotSets.find(({ id }) => id === chosen);
        if (slots === undefined) throw new Error(`${i} waits, of ${total}.`);
        expect(slots.used / slots.capacity).toBe(leastUsed);
        start(job, slots.id);
        slots.used++;
      }
    });
  });
});

test('a job without a chain has no known blocks', () => {
  const { run } = stage();
  expect(run(jobOf('k'), 'a')).toBe(0);
  expect(run(jobOf('k', { chain: new Uint32Array() }), 'a')).toBe(0);
});
