/**
 * Where a request is best sent: to the upstream that has its conversation, unless waiting for it costs more than it saves.
 */
import { describe, expect, test } from 'bun:test';
import {
  place,
  PrefixIndex,
  SessionHomes,
  type Candidate,
  type Placed,
} from '../../src/affinity.ts';
import { randomFrom } from './random.ts';

const chain = (...hashes: number[]) => Uint32Array.from(hashes);

describe('the index', () => {
  test('tells how much of a prompt is held, from its beginning', () => {
    const index = new PrefixIndex();
    index.hold(chain(1, 2, 3));
    expect(index.matchOf(chain(1, 2, 3, 4)).blocks).toBe(3);
    expect(index.matchOf(chain(1, 9, 3)).blocks).toBe(1);
    expect(index.matchOf(chain()).blocks).toBe(0);
  });

  test('knows a beginning that several prompts share from one that is a conversation', () => {
    const index = new PrefixIndex();
    index.hold(chain(1, 2, 3));
    expect(index.matchOf(chain(1, 2, 3, 4)).isShared).toBe(false);
    index.hold(chain(1, 2, 7));
    expect(index.matchOf(chain(1, 2, 8)).isShared).toBe(true);
    expect(index.matchOf(chain(1, 2, 3, 4)).isShared).toBe(false);
    expect(index.matchOf(chain(5)).isShared).toBe(true);
  });

  test('forgets everything with a restart', () => {
    const index = new PrefixIndex();
    index.hold(chain(1, 2));
    index.forget();
    expect(index.size).toBe(0);
    expect(index.matchOf(chain(1, 2)).blocks).toBe(0);
  });

  test('stays bounded, and a prefix outlives what continues it', () => {
    const index = new PrefixIndex();
    const random = randomFrom(1);
    const start = [1, 2, 3];
    for (let i = 0; i < 3_000; i++) {
      index.hold(chain(...start, ...Array.from({ length: 40 }, () => 10 + random.below(2 ** 31))));
    }
    expect(index.size).toBeLessThanOrEqual(index.capacity);
    expect(index.matchOf(chain(1, 2, 3)).blocks).toBe(3);
  });

  test('shrinks when the engine has less than was thought, and keeps what it has just computed', () => {
    const index = new PrefixIndex();
    for (let i = 0; i < 1_000; i++) index.hold(chain(i * 10 + 1, i * 10 + 2));
    const before = index.capacity;
    const long = chain(2 ** 20, 2 ** 20 + 1, 2 ** 20 + 2, 2 ** 20 + 3, 2 ** 20 + 4, 2 ** 20 + 5);
    index.learn(long, 6, 0, 64);
    expect(index.capacity).toBeLessThan(before);
    expect(index.matchOf(long).blocks).toBe(6);
    const shrunk = index.capacity;
    for (let i = 0; i < 10; i++) index.learn(long, 6, 6 * 64, 64);
    expect(index.capacity).toBeGreaterThan(shrunk);
  });

  test('learns nothing where nothing was thought to be held', () => {
    const index = new PrefixIndex();
    const before = index.capacity;
    index.learn(chain(1), 0, 0, 64);
    expect(index.capacity).toBe(before);
  });
});

const idle: Candidate = {
  matchedBlocks: 0,
  isShared: true,
  usedShare: 0,
  isFree: true,
  heldBlocks: 0,
  weight: 1,
  prefillBlocksPerMs: 0.01,
  expectedWaitMs: 0,
  isSessionHome: false,
};
const busy: Candidate = { ...idle, usedShare: 1, isFree: false, expectedWaitMs: 500 };
const home = { matchedBlocks: 20, isShared: false };
const request: Placed = { blocks: 24, waitedMs: 0, turn: 0 };

describe('place', () => {
  test('a conversation goes on where it is', () => {
    const loaded = { ...idle, ...home, usedShare: 0.5 };
    expect(place(request, [idle, loaded, idle])).toEqual({ index: 1, isHeld: false });
  });

  test('it waits for its home where that is quicker than computing anew', () => {
    expect(place(request, [idle, { ...busy, ...home }])).toEqual({ index: 1, isHeld: true });
  });

  test('it never waits longer in all than that would save', () => {
    const late = { ...request, waitedMs: 1e6 };
    expect(place(late, [idle, { ...busy, ...home }])).toEqual({ index: 0, isHeld: false });
  });

  test('it does not wait for a home that is busy for too long', () => {
    const slow = { ...busy, ...home, expectedWaitMs: 1e6 };
    expect(place(request, [idle, slow])).toEqual({ index: 0, isHeld: false });
  });

  test('what only begins like others goes where least is to do', () => {
    const shared = { ...idle, matchedBlocks: 20, isShared: true, usedShare: 0.5 };
    expect(place(request, [shared, idle]).index).toBe(1);
  });

  test('with the same load, where more of it is held, then where less is held in all', () => {
    expect(place(request, [idle, { ...idle, matchedBlocks: 3 }]).index).toBe(1);
    expect(place(request, [{ ...idle, heldBlocks: 9 }, idle]).index).toBe(1);
  });

  test('with all else alike, in turn', () => {
    const chosen = [0, 1, 2].map((turn) => place({ ...request, turn }, [idle, idle, idle]).index);
    expect(new Set(chosen).size).toBe(3);
  });

  test('a session goes where it was when nothing else speaks for a place', () => {
    expect(place(request, [idle, { ...idle, isSessionHome: true }]).index).toBe(1);
  });

  test('the heavier an upstream, the more load it takes', () => {
    const used = { ...idle, usedShare: 0.4 };
    expect(place(request, [used, { ...used, weight: 2 }]).index).toBe(1);
  });

  test('always gives one that is free, or one to wait for', () => {
    const random = randomFrom(5);
    for (let i = 0; i < 2_000; i++) {
      const candidates = Array.from({ length: 1 + random.below(5) }, (): Candidate => {
        const isFree = random.oneIn(2);
        return {
          matchedBlocks: random.below(30),
          isShared: random.oneIn(2),
          usedShare: random.below(5) / 4,
          isFree,
          heldBlocks: random.below(100),
          weight: 1 + random.below(3),
          prefillBlocksPerMs: 0.001 * (1 + random.below(50)),
          expectedWaitMs: isFree ? 0 : random.below(5_000),
          isSessionHome: random.oneIn(6),
        };
      });
      if (!candidates.some(({ isFree }) => isFree)) candidates.push(idle);
      const asked = { blocks: 30, waitedMs: random.below(3_000), turn: random.below(9) };
      const { index, isHeld } = place(asked, candidates);
      expect(candidates[index]?.isFree).toBe(!isHeld);
    }
  });
});

test('sessions are remembered, the latest 10,000 of them', () => {
  const homes = new SessionHomes();
  for (let i = 0; i < 10_001; i++) homes.set(`s${i}`, 'a');
  expect(homes.get('s0')).toBeUndefined();
  expect(homes.get('s1')).toBe('a');
  homes.set('s1', 'b');
  expect(homes.get('s1')).toBe('b');
});
