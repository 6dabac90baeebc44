/** Runs of the simulated engine in its slots, and the parts of their streams. */
import { describe, expect, test } from 'bun:test';
import {
  generate,
  hugePlain,
  hugeStream,
  merge,
  partsOf,
  type Requester,
} from '../../../src/demo/generate.ts';
import { completions, chat } from '../../../src/demo/shapes.ts';
import type { Part } from '../../../src/demo/wire.ts';
import { demoRun, demoWorkshop } from '../../support/demoruns.ts';

function requesterWith(signal = new AbortController().signal): Requester & { count: number } {
  const requester = { signal, count: 0, started: () => void requester.count++ };
  return requester;
}

const textOf = (parts: readonly Part[]) =>
  Buffer.concat(parts.map(({ bytes }) => bytes)).toString();

describe('a run', () => {
  test('computes its prompt, then yields its tokens one by one, and frees its slot', async () => {
    const workshop = demoWorkshop();
    const requester = requesterWith();
    const run = demoRun();
    expect(await Array.fromAsync(generate(run, workshop, requester))).toEqual([
      -1,
      ...run.output.keys(),
    ]);
    expect(requester.count).toBe(1);
    expect(workshop.slots.tasks).toEqual([undefined]);
    expect(workshop.figures).toMatchObject({
      promptTokens: run.prompt.tokens.length,
      cachedTokens: 0,
      predictedTokens: run.output.length,
    });
  });

  test('takes over what the cache holds of its prompt, all but the last token', async () => {
    const workshop = demoWorkshop();
    await Array.fromAsync(generate(demoRun(), workshop, requesterWith()));
    const again = demoRun();
    await Array.fromAsync(generate(again, workshop, requesterWith()));
    expect(again.cachedTokens).toBe(again.prompt.tokens.length - 1);
    expect(workshop.figures.cachedTokens).toBe(again.cachedTokens);
  });

  test('that is abandoned frees its slot', async () => {
    const workshop = demoWorkshop();
    for await (const position of generate(demoRun(), workshop, requesterWith())) {
      if (position === 0) break;
    }
    expect(workshop.slots.tasks).toEqual([undefined]);
    expect(workshop.figures.predictedTokens).toBe(1);
  });

  test('whose client left before never starts', async () => {
    const requester = requesterWith(AbortSignal.abort(new Error('gone')));
    const all = Array.fromAsync(generate(demoRun(), demoWorkshop(), requester));
    await expect(all).rejects.toThrow('gone');
    expect(requester.count).toBe(0);
  });
});

describe('the parts of a stream', () => {
  async function* positions() {
    yield* [-1, 0, 1];
  }

  test('are an opening, the tokens and a closing', async () => {
    const parts = await Array.fromAsync(partsOf(demoRun(), chat, positions()));
    expect(parts.map(({ kind }) => kind)).toEqual(['opening', 'token', 'token', 'closing']);
    expect(textOf(parts)).toContain('"role":"assistant"');
  });

  test('have no opening where the shape has none', async () => {
    const parts = await Array.fromAsync(partsOf(demoRun(), completions, positions()));
    expect(parts.map(({ kind }) => kind)).toEqual(['token', 'token', 'closing']);
  });
});

describe('several streams', () => {
  async function* counting(name: string, count: number, ended: string[] = []) {
    try {
      for (let i = 0; i < count; i++) yield `${name}${i}`;
    } finally {
      ended.push(name);
    }
  }

  test('yield everything, each in its order', async () => {
    const all = await Array.fromAsync(merge([counting('a', 3), counting('b', 1)]));
    expect(all.toSorted()).toEqual(['a0', 'a1', 'a2', 'b0']);
    expect(all.filter((each) => each.startsWith('a'))).toEqual(['a0', 'a1', 'a2']);
    expect(await Array.fromAsync(merge([counting('c', 2)]))).toEqual(['c0', 'c1']);
    expect(await Array.fromAsync(merge<string>([]))).toEqual([]);
  });

  test('all end when they are left, or one fails', async () => {
    const ended: string[] = [];
    const both = () => [counting('a', 9, ended), counting('b', 9, ended)];
    for await (const _ of merge(both())) break;
    expect(ended.toSorted()).toEqual(['a', 'b']);
    async function* failing(): AsyncGenerator<string> {
      yield 'one';
      throw new Error('broken');
    }
    await expect(Array.fromAsync(merge([...both(), failing()]))).rejects.toThrow('broken');
    expect(ended.toSorted()).toEqual(['a', 'a', 'b', 'b']);
  });
});

describe('a huge answer', () => {
  const { signal } = new AbortController();

  test.each([2, 3, 100_000])('of %d bytes is a JSON string of that length', async (bytes) => {
    const text = textOf(await Array.fromAsync(hugePlain(bytes, signal)));
    expect(text.length).toBe(bytes);
    expect(JSON.parse(text)).toBe('x'.repeat(bytes - 2));
  });

  test('as a stream has at least that many bytes of tokens, and its closing', async () => {
    const parts = await Array.fromAsync(hugeStream(demoRun(), completions, 100_000, signal));
    expect(parts.map(({ kind }) => kind)).toEqual(['token', 'token', 'closing']);
    expect(textOf(parts).length).toBeGreaterThan(100_000);
  });
});
