/** How an engine counts its streams, as it was seen. */
import { expect, test } from 'bun:test';
import { StreamUsage } from '../../../src/engines/streamusage.ts';

test('the first stream is watched, and the others are asked for meanwhile', () => {
  const usage = new StreamUsage();
  expect([usage.plan(), usage.plan(), usage.plan()]).toEqual(['watch', 'ask', 'ask']);
});

test('an engine that counts unasked is left alone, one that does not is asked', () => {
  for (const [isCounted, plan] of [
    [true, 'leave'],
    [false, 'ask'],
  ] as const) {
    const usage = new StreamUsage();
    usage.plan();
    usage.watched(isCounted);
    expect(usage.plan()).toBe(plan);
  }
});

test('an engine that refuses to be asked is left alone, until it may be another one', () => {
  const usage = new StreamUsage();
  usage.plan();
  usage.refused();
  expect(usage.plan()).toBe('leave');
  usage.forget();
  expect(usage.plan()).toBe('watch');
});
