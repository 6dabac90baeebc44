/** Which beginnings of prompts an upstream is thought to hold. */
import { describe, expect, test } from 'bun:test';
import { PrefixIndex } from '../../../src/engines/prefixes.ts';
import { forSeeds, type Random } from '../../support/random.ts';

/** The chain of a text: a hash of every prefix, as prompt.ts makes it of blocks. */
function chainOf(text: string): Uint32Array {
  let hash = 0;
  return Uint32Array.from(text, (letter) => (hash = Bun.hash.xxHash32(letter, hash)));
}

/** A chain that begins like no other. */
function longChain(name: string, blocks: number): Uint32Array {
  return chainOf(name.padEnd(blocks, 'x').slice(0, blocks));
}

function indexWith(...texts: string[]): PrefixIndex {
  const index = new PrefixIndex();
  for (const text of texts) index.hold(chainOf(text));
  return index;
}

/** A path in a small tree, so that chains share beginnings; some are longer than the least capacity. */
function randomChain(random: Random): Uint32Array {
  const length = random.oneIn(20) ? 400 : 1 + random.below(60);
  let text = '';
  while (text.length < length) text += random.pick(['a', 'b']).repeat(20);
  return chainOf(text.slice(0, length));
}

function linearMatch(list: readonly number[], chain: Uint32Array): number {
  const held = new Set(list);
  let blocks = 0;
  while (blocks < chain.length && held.has(chain[blocks] as number)) blocks++;
  return blocks;
}

describe('matchOf', () => {
  test('gives how far the beginning of a prompt is held', () => {
    const index = indexWith('hello');
    const blocks = ['hello', 'hello world', 'help', 'hell', 'world', ''].map(
      (text) => index.matchOf(chainOf(text)).blocks,
    );
    expect(blocks).toEqual([5, 5, 3, 4, 0, 0]);
  });

  test('calls a match shared when it ends where several went on differently', () => {
    const index = indexWith('system-a', 'system-b');
    expect(index.matchOf(chainOf('system-c'))).toEqual({ blocks: 7, isShared: true });
    expect(index.matchOf(chainOf('system-a, more'))).toEqual({ blocks: 8, isShared: false });
    expect(index.matchOf(chainOf('sys'))).toEqual({ blocks: 3, isShared: false });
  });

  test('calls no match shared: it says nothing of a home', () => {
    expect(indexWith('a').matchOf(chainOf('b'))).toEqual({ blocks: 0, isShared: true });
  });

  test('does not take one conversation that goes on for several', () => {
    const index = indexWith('a', 'ab', 'abc', 'abc', 'abcd');
    expect(index.matchOf(chainOf('abcdef'))).toEqual({ blocks: 4, isShared: false });
  });
});

test('a beginning that is asked for by itself is no other way, and hides none', () => {
  const index = indexWith('abc', 'ab');
  expect(index.matchOf(chainOf('abx'))).toEqual({ blocks: 2, isShared: false });
  for (const text of ['abd', 'ab', 'abd']) index.hold(chainOf(text));
  expect(index.matchOf(chainOf('abx'))).toEqual({ blocks: 2, isShared: true });
});

test('forget leaves nothing held', () => {
  const index = indexWith('hello');
  index.forget();
  expect(index.size).toBe(0);
  expect(index.matchOf(chainOf('hello')).blocks).toBe(0);
});

test('the index stays bounded, and what all begin with outlives what continues it', () => {
  const index = new PrefixIndex();
  for (let i = 0; i < 1_000; i++) index.hold(chainOf(`system ${i} `.padEnd(100, 'x')));
  expect(index.size).toBe(65_536);
  expect(index.matchOf(chainOf('system prompt'))).toEqual({ blocks: 7, isShared: true });
  expect(index.matchOf(chainOf('system 0 '.padEnd(100, 'x'))).blocks).toBeLessThan(10);
});

describe('learn', () => {
  /** Makes an index that holds ten prompts of 100 blocks. */
  function filled(): PrefixIndex {
    const index = new PrefixIndex();
    for (let i = 0; i < 10; i++) index.hold(longChain(`${i} chat`, 100));
    return index;
  }

  test('a report of less than half lets go of what was used longest ago, ends first', () => {
    const index = filled();
    const chain = longChain('0 chat', 100);
    index.hold(chain);
    index.learn(chain, 100, 0, 64);
    expect(index.capacity).toBe(900);
    expect(index.size).toBe(900);
    expect(index.matchOf(chain).blocks).toBe(100);
    const others = Array.from({ length: 9 }, (_, i) => longChain(`${i + 1} chat`, 100));
    const blocks = others.map((other) => index.matchOf(other).blocks);
    expect(blocks).toEqual([0, ...Array(8).fill(100)]);
    index.learn(chain, 100, 3_000, 64);
    expect(index.matchOf(others[1] as Uint32Array).blocks).toBe(10);
  });

  test('a report of what was thought, or of more, lets go of nothing', () => {
    for (const cachedTokens of [3_200, 6_400, 9_999]) {
      const index = filled();
      index.learn(longChain('0 chat', 100), 100, cachedTokens, 64);
      expect(index.size).toBe(1_000);
      expect(index.capacity).toBe(65_536);
    }
  });

  test('the estimate never falls below 256 blocks', () => {
    const index = filled();
    for (let i = 0; i < 100; i++) index.learn(longChain(`${i % 10} chat`, 100), 100, 0, 64);
    expect(index.capacity).toBe(256);
  });

  test('it grows back, faster by what was cached without being expected, and not beyond its maximum', () => {
    const index = filled();
    const chain = longChain('0 chat', 100);
    index.learn(chain, 100, 0, 64);
    index.learn(chain, 100, 6_400, 64);
    expect(index.capacity).toBe(909);
    index.learn(chain, 0, 6_400, 64);
    expect(index.capacity).toBe(999);
    for (let i = 0; i < 100; i++) index.learn(chain, 0, 6_400, 64);
    expect(index.capacity).toBe(65_536);
  });

  test('what counts is a match of four blocks, and more than twice of what was thought', () => {
    const index = filled();
    const chain = longChain('0 chat', 100);
    index.learn(chain, 100, 0, 64);
    expect(index.capacity).toBe(900);
    index.learn(chain, 3, 3 * 64, 64);
    expect(index.capacity).toBe(900);
    index.learn(chain, 4, 4 * 64, 64);
    expect(index.capacity).toBe(909);
    index.learn(chain, 50, 100 * 64, 64);
    expect(index.capacity).toBe(918);
  });

  test('a prompt of a few blocks teaches nothing', () => {
    const index = filled();
    index.learn(chainOf('abc'), 3, 0, 64);
    expect(index.capacity).toBe(65_536);
  });

  test('an engine that keeps nothing for anyone is not sought for what it does not have', () => {
    const index = new PrefixIndex();
    const matched: number[] = [];
    for (let i = 0; i < 500; i++) {
      const chain = longChain(String.fromCodePoint(97 + (i % 20)), 100);
      const { blocks } = index.matchOf(chain);
      index.hold(chain);
      index.learn(chain, blocks, 0, 64);
      matched.push(blocks);
    }
    expect(Math.max(...matched)).toBe(100);
    expect(Math.max(...matched.slice(-100))).toBe(0);
  });
});

test('under any order of events the index holds what a plain list of blocks would', async () => {
  await forSeeds(50, (random) => {
    const index = new PrefixIndex();
    /** Last used first. */
    let list: number[] = [];
    for (let step = 0; step < 200; step++) {
      const chain = randomChain(random);
      const held = linearMatch(list, chain);
      expect(index.matchOf(chain).blocks).toBe(held);
      if (random.oneIn(60)) {
        index.forget();
        list = [];
        continue;
      }
      index.hold(chain);
      list = [...new Set([...chain, ...list])].slice(0, index.capacity);
      index.learn(chain, held, random.oneIn(3) ? 0 : held * 64, 64);
      list = list.slice(0, index.capacity);
      expect(index.size).toBe(list.length);
    }
  });
});
