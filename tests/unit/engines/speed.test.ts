/** How fast an engine is thought to be, by what its requests have shown. */
import { describe, expect, test } from 'bun:test';
import { Speed, type Observation } from '../../../src/engines/speed.ts';

function after(...observations: Partial<Observation>[]): Speed {
  const speed = new Speed();
  for (const observation of observations) {
    speed.observe({
      serviceMs: 1_000,
      firstByteMs: undefined,
      computedTokens: undefined,
      completionTokens: undefined,
      ...observation,
    });
  }
  return speed;
}

describe('the speed', () => {
  test('is assumed until anything was observed', () => {
    const { serviceMs, tokensPerSecond, prefillPerMs } = after();
    expect([serviceMs, tokensPerSecond, prefillPerMs]).toEqual([2_000, 30, undefined]);
  });

  test('is that of the first request, and then a fifth of each that follows', () => {
    expect(after({ serviceMs: 500 }).serviceMs).toBe(500);
    expect(after({ serviceMs: 500 }, { serviceMs: 1_000 }).serviceMs).toBeCloseTo(600);
  });

  test('of an answer counts from its first token to its last', () => {
    const speed = after({ serviceMs: 2_100, firstByteMs: 100, completionTokens: 41 });
    expect(speed.tokensPerSecond).toBeCloseTo(20);
    const single = after({ serviceMs: 2_100, firstByteMs: 100, completionTokens: 1 });
    expect(single.tokensPerSecond).toBe(30);
  });

  test('of a prompt counts until the first byte, where it is long enough to tell', () => {
    expect(after({ firstByteMs: 100, computedTokens: 32 }).prefillPerMs).toBeCloseTo(0.32);
    expect(after({ firstByteMs: 100, computedTokens: 31 }).prefillPerMs).toBeUndefined();
  });

  test('without a first byte tells only how long a request takes', () => {
    const speed = after({ computedTokens: 500, completionTokens: 100 });
    const { serviceMs, tokensPerSecond, prefillPerMs } = speed;
    expect([serviceMs, tokensPerSecond, prefillPerMs]).toEqual([1_000, 30, undefined]);
  });

  test('learns nothing from figures without sense', () => {
    const speed = after({ serviceMs: 0, firstByteMs: 0, computedTokens: 50, completionTokens: 5 });
    const { serviceMs, tokensPerSecond, prefillPerMs } = speed;
    expect([serviceMs, tokensPerSecond, prefillPerMs]).toEqual([2_000, 30, undefined]);
  });
});
