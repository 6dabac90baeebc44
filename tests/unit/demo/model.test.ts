/** The tokenizer, the words, the prefix cache and the slots of the simulated engine. */
import { describe, expect, test } from 'bun:test';
import type { Task } from '../../../src/demo/model.ts';
import { PrefixCache, Slots, answerTo, detokenize, tokenize } from '../../../src/demo/model.ts';

const texts = [
  '',
  'Hello, world',
  '  two  spaces ',
  'a\n\nb\n',
  'Привет! 🙂🚀 naïve 世界',
  '\u0000x<|y|>',
];

describe('the tokenizer', () => {
  test.each(texts)('returns %j after detokenizing', (text) => {
    expect(detokenize(tokenize(text))).toBe(text);
  });

  test('never splits a character', () => {
    for (const token of tokenize('Привет! 🙂🚀 naïve 世界')) {
      expect(detokenize([token])).not.toContain('\ufffd');
    }
  });

  test('returns the same tokens for a text when more text follows', () => {
    const prompt = '<|im_start|>user\nСколько стоит?<|im_end|>\n<|im_start|>assistant\n';
    const answer = detokenize(answerTo('Сколько стоит?', 40));
    const both = [...tokenize(prompt), ...tokenize(answer), ...tokenize('<|im_end|>\n')];
    expect(tokenize(`${prompt}${answer}<|im_end|>\n`)).toEqual(both);
  });

  test('returns no text for numbers that are not tokens', () => {
    expect(detokenize([-1, 0.5, Number.NaN, 1e12])).toBe('');
  });
});

describe('an answer', () => {
  test('has the requested number of tokens, also far beyond its first sentence', () => {
    for (const count of [0, 1, 7, 64, 1000]) expect(answerTo('a b c', count)).toHaveLength(count);
  });

  test('says that it is simulated, repeats words of the prompt, and is not all ASCII', () => {
    const text = detokenize(answerTo('Tell me of llamas', 64));
    expect(text).toContain('simulated engine without a model');
    expect(text).toContain('Tell me of llamas.');
    expect(text).toContain('🤖 Симуляция');
  });

  test('is the same for the same prompt and different for another prompt', () => {
    expect(answerTo('one', 50)).toEqual(answerTo('one', 50));
    expect(answerTo('one', 50)).not.toEqual(answerTo('two', 50));
  });
});

describe('the prefix cache', () => {
  test('holds every prefix of computed prompts', () => {
    const cache = new PrefixCache(100);
    cache.hold([1, 2, 3, 4]);
    expect(cache.lengthOf([1, 2, 3, 4])).toBe(4);
    expect(cache.lengthOf([1, 2, 9, 4])).toBe(2);
    expect(cache.lengthOf([1, 2, 3, 4, 5])).toBe(4);
    expect(cache.lengthOf([2, 3])).toBe(0);
  });

  test('counts a shared prefix once and removes the least recently used prefixes, the longest first', () => {
    const cache = new PrefixCache(6);
    cache.hold([1, 2, 3, 4]);
    cache.hold([1, 2, 7, 8]);
    expect(cache.lengthOf([1, 2, 3, 4])).toBe(4);
    cache.hold([1, 2, 9]);
    expect(cache.lengthOf([1, 2, 3, 4])).toBe(3);
    expect(cache.lengthOf([1, 2, 7, 8])).toBe(4);
  });

  test('keeps the beginning of a prompt that is larger than the cache, and nothing with size 0', () => {
    const small = new PrefixCache(2);
    small.hold([1, 2, 3, 4]);
    expect(small.lengthOf([1, 2, 3, 4])).toBe(2);
    const none = new PrefixCache(0);
    none.hold([1]);
    expect(none.lengthOf([1])).toBe(0);
  });
});

describe('slots', () => {
  const task = (): Task => ({
    promptTokens: 1,
    cachedTokens: 0,
    computedTokens: 0,
    decodedTokens: 0,
  });
  const stay = new AbortController().signal;

  test('go to waiting tasks, first come, first served', async () => {
    const slots = new Slots(1, () => {});
    const order: string[] = [];
    await slots.acquire(task(), stay);
    const first = slots.acquire(task(), stay).then(() => order.push('first'));
    const second = slots.acquire(task(), stay).then(() => order.push('second'));
    expect([slots.busy, slots.waiting]).toEqual([1, 2]);
    slots.release(0);
    await first;
    expect(order).toEqual(['first']);
    slots.release(0);
    await second;
    slots.release(0);
    expect(order).toEqual(['first', 'second']);
    expect([slots.busy, slots.waiting]).toEqual([0, 0]);
  });

  test('never go to a task that left the queue', async () => {
    const slots = new Slots(1, () => {});
    await slots.acquire(task(), stay);
    const gone = new AbortController();
    const left = slots.acquire(task(), gone.signal);
    const next = slots.acquire(task(), stay);
    gone.abort('left');
    await expect(left).rejects.toBe('left');
    slots.release(0);
    expect(await next).toBe(0);
    expect([slots.busy, slots.waiting]).toEqual([1, 0]);
  });

  test('refuse a task that was aborted before', async () => {
    const slots = new Slots(1, () => {});
    await expect(slots.acquire(task(), AbortSignal.abort('left'))).rejects.toBe('left');
    expect([slots.busy, slots.waiting]).toEqual([0, 0]);
  });

  test('report every change', async () => {
    let changes = 0;
    const slots = new Slots(1, () => changes++);
    await slots.acquire(task(), stay);
    void slots.acquire(task(), stay);
    slots.release(0);
    expect(changes).toBe(3);
  });
});
