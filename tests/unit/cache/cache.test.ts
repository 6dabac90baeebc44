/**
 * The response cache: how much is kept and for how long, and that identical requests wait for each other, but not for
 * ever. Which answers may be kept is tested with the recording, and their keys with the key.
 */
import { describe, expect, test } from 'bun:test';
import { getEventListeners } from 'node:events';
import { replay, ResponseCache } from '../../../src/cache/cache.ts';
import { Recording, type Kept } from '../../../src/cache/recording.ts';
import { forSeeds, type Random } from '../../support/random.ts';

const day = 86_400_000;

/** A cache on its own clock, whose timers go off when told. */
function world({ maxBytes = 1_000_000, ttlMs = day } = {}) {
  const timers = new Set<() => void>();
  const clock = { now: 0 };
  const cache = new ResponseCache({
    maxBytes,
    ttlMs,
    now: () => clock.now,
    setTimer(callback) {
      timers.add(callback);
      return () => timers.delete(callback);
    },
  });
  return {
    cache,
    clock,
    timers,
    enter(name: string, more: { isFresh?: boolean; line?: string; bytes?: number } = {}) {
      const { isFresh = false, line = 'alice', bytes = 10 } = more;
      const leaving = new AbortController();
      const entered = cache.enter({ key: name, isFresh }, { line, bytes, signal: leaving.signal });
      return { entered, leave: () => leaving.abort(new Error('left')) };
    },
    /** Enters a request for which nothing is kept or in the making. */
    async lead(name: string, more = {}): Promise<Recording> {
      return leading(await this.enter(name, more).entered);
    },
    async isKept(name: string): Promise<boolean> {
      const entered = await this.enter(name, { line: `${Math.random()}` }).entered;
      if (!(entered instanceof Recording)) return true;
      entered.end('failed');
      return false;
    },
  };
}

function leading(entered: Kept | Recording): Recording {
  if (!(entered instanceof Recording)) throw new Error('it got an answer');
  return entered;
}

function textOf(entered: Kept | Recording): string {
  if (entered instanceof Recording) throw new Error('it has to ask the engine');
  return Buffer.from(entered.bytes).toString();
}

const plain = (headers = {}, status = 200) =>
  new Response('', { status, headers: { 'content-length': '1', ...headers } });

/** Lets all pending work run. */
async function settle(): Promise<void> {
  for (let i = 0; i < 20; i++) await Promise.resolve();
}

/** Fills in a whole plain answer. */
function fill(recording: Recording, text: string): void {
  recording.open(plain());
  recording.add(Buffer.from(text));
  recording.end('done');
}

describe('what is kept', () => {
  test('can be given as an answer again and again', async () => {
    const w = world();
    fill(await w.lead('a'), 'hello');
    for (let i = 0; i < 3; i++) {
      const answer = replay((await w.enter('a').entered) as Kept);
      expect([answer.status, answer.headers.get('content-length')]).toEqual([200, '5']);
      const bytes = await answer.bytes();
      expect(Buffer.from(bytes).toString()).toBe('hello');
      bytes.fill(0);
    }
    expect(w.cache.size).toBe(1);
  });
});

describe('time', () => {
  test('ends what is kept, to the millisecond', async () => {
    const w = world({ ttlMs: 1_000 });
    w.clock.now = 500;
    fill(await w.lead('a'), 'x');
    w.clock.now = 1_499;
    expect(await w.isKept('a')).toBe(true);
    w.clock.now = 1_500;
    expect(await w.isKept('a')).toBe(false);
    expect([w.cache.size, w.cache.bytes]).toEqual([0, 0]);
  });

  test('does not begin anew when it is used', async () => {
    const w = world({ ttlMs: 1_000 });
    fill(await w.lead('a'), 'x');
    w.clock.now = 900;
    expect(await w.isKept('a')).toBe(true);
    w.clock.now = 1_100;
    expect(await w.isKept('a')).toBe(false);
  });
});

describe('memory', () => {
  test('is that of the answers used last', async () => {
    const w = world({ maxBytes: 100_000 });
    // With the cost of an entry in addition to its body, eight fit.
    const names = Array.from({ length: 9 }, (_, i) => `${i}`);
    for (const name of names.slice(0, 8)) fill(await w.lead(name), 'x'.repeat(11_000));
    expect(w.cache.size).toBe(8);
    expect(await w.isKept('0')).toBe(true);
    fill(await w.lead('8'), 'x'.repeat(11_000));
    const kept = [];
    for (const name of names) if (await w.isKept(name)) kept.push(name);
    expect(kept).toEqual(['0', '2', '3', '4', '5', '6', '7', '8']);
    expect(w.cache.bytes).toBeLessThanOrEqual(100_000);
  });

  test('is not spent on an answer larger than an eighth of it', async () => {
    const w = world({ maxBytes: 80_000 });
    const recording = await w.lead('a');
    recording.open(plain());
    recording.add(Buffer.alloc(10_000));
    expect(w.cache.bytes).toBe(10_000);
    recording.add(Buffer.alloc(1));
    expect(w.cache.bytes).toBe(0);
    recording.add(Buffer.alloc(1));
    recording.end('done');
    expect([w.cache.size, w.cache.bytes]).toEqual([0, 0]);
    // Its cost in addition to its bytes counts, too.
    fill(await w.lead('b'), 'x'.repeat(9_500));
    expect(w.cache.size).toBe(0);
    fill(await w.lead('c'), 'x'.repeat(8_900));
    expect(w.cache.size).toBe(1);
  });

  test('is spent on answers in the making by half at most', async () => {
    const w = world({ maxBytes: 80_000 });
    const recordings = await Promise.all(
      ['a', 'b', 'c', 'd', 'e', 'f'].map((name) => w.lead(name)),
    );
    for (const recording of recordings) {
      recording.open(plain());
      recording.add(Buffer.alloc(8_000));
    }
    expect(w.cache.bytes).toBe(40_000);
    for (const recording of recordings) recording.end('done');
    expect(w.cache.size).toBe(5);
  });

  test('counts small answers with their cost in addition to their bytes', async () => {
    const w = world({ maxBytes: 80_000 });
    for (let i = 0; i < 200; i++) {
      fill(await w.lead(`${i}`), 'x');
      expect(w.cache.bytes).toBeLessThanOrEqual(80_000);
    }
    expect(w.cache.size).toBeLessThan(80);
    expect(w.cache.size).toBeGreaterThan(60);
  });

  /** Keeps an answer with these headers; returns by how much that made the cache grow. */
  async function sizeOf(w: ReturnType<typeof world>, name: string, text: string, headers = {}) {
    const before = w.cache.bytes;
    const recording = await w.lead(name);
    recording.open(plain(headers));
    recording.add(Buffer.from(text));
    recording.end('done');
    return w.cache.bytes - before;
  }

  test('counts headers by the characters of their names and values', async () => {
    const w = world();
    const bare = await sizeOf(w, 'a', 'x');
    expect(await sizeOf(w, 'b', 'x', { 'x-long': 'y'.repeat(500) })).toBe(bare + 6 + 500);
  });

  test('is used to its last byte: eight answers of an eighth each, and none that is larger', async () => {
    const w = world({ maxBytes: 80_000 });
    const text = 'x'.repeat(10_001 - (await sizeOf(world(), 'a', 'x')));
    for (let i = 0; i < 8; i++) expect(await sizeOf(w, `${i}`, text)).toBe(10_000);
    expect([w.cache.size, w.cache.bytes]).toEqual([8, 80_000]);
    expect(await sizeOf(w, 'larger', `${text}x`)).toBeLessThan(0);
    expect(await w.isKept('larger')).toBe(false);
  });

  test('is made free for an answer while it is recorded', async () => {
    const w = world({ maxBytes: 80_000 });
    for (let i = 0; i < 9; i++) fill(await w.lead(`${i}`), 'x'.repeat(8_500));
    expect(w.cache.size).toBe(8);
    const recording = await w.lead('next');
    recording.open(plain());
    recording.add(Buffer.alloc(8_000));
    expect(w.cache.bytes).toBeLessThanOrEqual(80_000);
    expect(w.cache.size).toBe(7);
    recording.end('failed');
  });

  test('is free when everything is forgotten, and what was begun before is not kept', async () => {
    const w = world();
    fill(await w.lead('a'), 'x');
    const before = await w.lead('b');
    w.cache.clear();
    expect([w.cache.size, w.cache.bytes]).toEqual([0, 0]);
    (await w.lead('b')).end('failed');
    fill(before, 'x');
    expect(await w.isKept('a')).toBe(false);
    expect(await w.isKept('b')).toBe(false);
  });
});

describe('identical requests', () => {
  test('wait for the first and get its answer', async () => {
    const w = world();
    const first = await w.lead('a');
    const others = Array.from({ length: 19 }, () => w.enter('a').entered);
    await settle();
    fill(first, 'x');
    expect((await Promise.all(others)).map(textOf)).toEqual(Array(19).fill('x'));
    expect(w.timers.size).toBe(0);
  });

  test('get it also when it is forgotten at once', async () => {
    const w = world({ ttlMs: 0 });
    const first = await w.lead('a');
    const other = w.enter('a').entered;
    fill(first, 'x');
    expect(textOf(await other)).toBe('x');
    expect(await w.isKept('a')).toBe(false);
  });

  test('of another line do not wait', async () => {
    const w = world();
    const first = await w.lead('a');
    const other = await w.lead('a', { line: 'bob' });
    fill(other, 'of bob');
    expect(textOf(await w.enter('a').entered)).toBe('of bob');
    fill(first, 'of alice');
    expect(textOf(await w.enter('a').entered)).toBe('of alice');
  });

  test('that want a fresh answer neither wait nor take a kept one, and theirs is kept', async () => {
    const w = world();
    const first = await w.lead('a');
    const freshes = [await w.lead('a', { isFresh: true }), await w.lead('a', { isFresh: true })];
    fill(first, 'old');
    const { bytes } = w.cache;
    expect(textOf(await w.enter('a').entered)).toBe('old');
    for (const fresh of freshes) fill(fresh, 'new');
    expect(textOf(await w.enter('a').entered)).toBe('new');
    expect([w.cache.size, w.cache.bytes]).toEqual([1, bytes]);
  });

  test('go on one after the other when the first client leaves', async () => {
    const w = world();
    const first = await w.lead('a');
    const [second, third] = [w.enter('a').entered, w.enter('a').entered];
    await settle();
    first.end('aborted');
    const next = leading(await second);
    await settle();
    fill(next, 'x');
    expect(textOf(await third)).toBe('x');
  });

  test('go on each by itself when the first has failed, or its answer cannot be kept', async () => {
    const failing: ((recording: Recording) => void)[] = [
      (recording) => recording.end('failed'),
      (recording) => recording.open(plain({}, 500)),
      (recording) => (recording.open(plain()), recording.add(Buffer.alloc(200_000))),
    ];
    for (const fail of failing) {
      const w = world();
      const first = await w.lead('a');
      const others = [w.enter('a').entered, w.enter('a').entered];
      await settle();
      fail(first);
      const alone = (await Promise.all(others)).map(leading);
      fill(alone[0] as Recording, 'x');
      expect(await w.isKept('a')).toBe(true);
    }
  });

  test('wait for no more than three in a row whose clients leave', async () => {
    const w = world();
    let leader = await w.lead('a');
    const others = Array.from({ length: 5 }, () => w.enter('a').entered);
    for (const next of others.slice(0, 3)) {
      await settle();
      leader.end('aborted');
      leader = leading(await next);
    }
    const alone = await Promise.all(others.slice(3));
    expect(alone.every((entered) => entered instanceof Recording)).toBe(true);
    expect(w.timers.size).toBe(0);
  });

  test('that leave while they wait end alone', async () => {
    const w = world();
    const first = await w.lead('a');
    const leaving = w.enter('a');
    const staying = w.enter('a').entered;
    await settle();
    leaving.leave();
    let error: unknown;
    try {
      await leaving.entered;
    } catch (thrown) {
      error = thrown;
    }
    expect(error).toEqual(new Error('left'));
    fill(first, 'x');
    expect(textOf(await staying)).toBe('x');
  });

  test('that have left already get nothing', async () => {
    const w = world();
    const signal = AbortSignal.abort(new Error('left'));
    let error: unknown;
    try {
      await w.cache.enter({ key: 'a', isFresh: false }, { line: '', bytes: 0, signal });
    } catch (thrown) {
      error = thrown;
    }
    expect(error).toEqual(new Error('left'));
  });

  test('wait for a minute and not longer', async () => {
    const w = world();
    const first = await w.lead('a');
    const waiting = w.enter('a').entered;
    w.clock.now = 59_999;
    const late = w.enter('a').entered;
    await settle();
    expect(w.timers.size).toBe(2);
    w.clock.now = 60_000;
    const next = leading(await w.enter('a').entered);
    for (const goOff of w.timers) goOff();
    await Promise.all([waiting, late].map(async (entered) => leading(await entered)));
    first.end('failed');
    const following = w.enter('a').entered;
    await settle();
    fill(next, 'next');
    expect(textOf(await following)).toBe('next');
  });

  test('go on by themselves when the bodies of those that wait become too many', async () => {
    const w = world({ maxBytes: 80_000 });
    const first = await w.lead('a');
    const waiting = w.enter('a', { bytes: 8_000 }).entered;
    await settle();
    const alone = await w.lead('a', { bytes: 8_000 });
    fill(first, 'x');
    expect(textOf(await waiting)).toBe('x');
    fill(alone, 'y');
    const again = await w.lead('b');
    const others = w.enter('b', { bytes: 8_000 }).entered;
    await settle();
    fill(again, 'z');
    expect(textOf(await others)).toBe('z');
  });
});

describe('the bodies of those that wait', () => {
  /** Enters requests of these sizes behind a first one; returns how many of them wait. */
  async function waiting(sizes: readonly number[]): Promise<number> {
    const w = world({ maxBytes: 80_000 });
    const first = await w.lead('a');
    let alone = 0;
    for (const bytes of sizes) {
      void w.enter('a', { bytes }).entered.then((entered) => {
        if (entered instanceof Recording) alone++;
      });
      await settle();
    }
    const count = sizes.length - alone;
    fill(first, 'x');
    return count;
  }

  test('have an eighth of the cache, with 1 KiB for each', async () => {
    expect(await waiting([10_000 - 1_024])).toBe(1);
    expect(await waiting([10_001 - 1_024])).toBe(0);
    expect(await waiting(Array(12).fill(10))).toBe(9);
  });

  test('leave room for others when they have their answer', async () => {
    const w = world({ maxBytes: 80_000 });
    for (const name of ['a', 'b']) {
      const first = await w.lead(name);
      const other = w.enter(name, { bytes: 8_000 }).entered;
      await settle();
      fill(first, name);
      expect(textOf(await other)).toBe(name);
    }
  });
});

test('a request that has waited no longer listens to its client', async () => {
  const w = world();
  const { signal } = new AbortController();
  const first = await w.lead('a');
  const entered = w.cache.enter({ key: 'a', isFresh: false }, { line: 'alice', bytes: 1, signal });
  await settle();
  expect(getEventListeners(signal, 'abort')).toHaveLength(1);
  fill(first, 'x');
  await entered;
  expect(getEventListeners(signal, 'abort')).toHaveLength(0);
});

/** A client that enters, waits, gets an answer or asks the engine, in random order. */
interface Asking {
  scope: string;
  name: string;
  result: Kept | Recording | 'left' | undefined;
  leave(): void;
}

/** Does something to an answer in the making; returns whether it has ended. */
function advance(random: Random, recording: Recording, { scope, name }: Asking): boolean {
  const text = `${scope} ${name} `;
  switch (random.below(8)) {
    case 0:
      recording.end('failed');
      return true;
    case 1:
      recording.end('aborted');
      return true;
    case 2:
      recording.open(plain({}, random.pick([200, 404, 500])));
      return false;
    case 3:
      fill(recording, text);
      return true;
    default:
      recording.open(plain());
      recording.add(Buffer.from(text.repeat(1 + random.below(600))));
      return false;
  }
}

test('under any order of events it stays within its bounds, mixes up no answers, and ends every wait', async () => {
  let hits = 0;
  await forSeeds(60, async (random) => {
    const maxBytes = 20_000 + random.below(60_000);
    const w = world({ maxBytes, ttlMs: 1 + random.below(5_000) });
    const askings = new Set<Asking>();

    async function ask(): Promise<void> {
      const scope = random.pick(['alice', 'bob']);
      const name = `${random.below(6)}`;
      const key = `${scope} ${name}`;
      const line = `${scope} ${random.below(2)}`;
      const { entered, leave } = w.enter(key, {
        line,
        isFresh: random.oneIn(10),
        bytes: random.below(1_000),
      });
      const asking: Asking = { scope, name, result: undefined, leave };
      askings.add(asking);
      asking.result = await entered.catch(() => 'left' as const);
      if (asking.result instanceof Recording) return;
      askings.delete(asking);
      if (asking.result === 'left') return;
      hits++;
      expect(textOf(asking.result)).toStartWith(`${scope} ${name} `);
    }

    const asked: Promise<void>[] = [];
    for (let step = 0; step < 300; step++) {
      w.clock.now += random.below(200);
      const asking = askings.size === 0 ? undefined : random.pick([...askings]);
      if (asking === undefined || random.oneIn(3)) asked.push(ask());
      else if (asking.result instanceof Recording) {
        if (advance(random, asking.result, asking)) askings.delete(asking);
      } else if (random.oneIn(4)) asking.leave();
      else if (random.oneIn(50)) w.cache.clear();
      else if (random.oneIn(10)) for (const goOff of w.timers) goOff();
      expect(w.cache.bytes).toBeLessThanOrEqual(maxBytes);
      if (random.oneIn(2)) await settle();
    }
    // The leader ends, and then the next one.
    for (let rounds = 0; askings.size > 0; rounds++) {
      await settle();
      for (const asking of askings) {
        if (!(asking.result instanceof Recording)) continue;
        asking.result.end(random.pick(['failed', 'aborted']));
        askings.delete(asking);
      }
      expect(rounds).toBeLessThan(1_000);
    }
    await Promise.all(asked);
    expect(w.timers.size).toBe(0);
    w.cache.clear();
    expect([w.cache.size, w.cache.bytes]).toEqual([0, 0]);
  });
  expect(hits).toBeGreaterThan(100);
});
