/**
 * The watch on the event loop: which lag it reports, and since when.
 */
import { expect, test } from 'bun:test';
import { EventLoopLag } from '../../../src/observe/eventloop.ts';
import { until } from '../../support/wait.ts';

function valuesOf({ families }: EventLoopLag) {
  return Object.fromEntries(
    families.map(({ name, read }) => [name, [...read()].map(({ value }) => value)]),
  );
}

test('the lag is read in seconds at each scrape, and nothing before there is a sample', () => {
  const delays = { count: 0, mean: Number.NaN, max: 0, reset() {} };
  const lag = new EventLoopLag(delays);
  expect(valuesOf(lag)).toEqual({
    llm_gateway_event_loop_lag_mean_seconds: [0],
    llm_gateway_event_loop_lag_max_seconds: [0],
  });
  Object.assign(delays, { count: 3, mean: 2e6, max: 1.5e9 });
  expect(valuesOf(lag)).toEqual({
    llm_gateway_event_loop_lag_mean_seconds: [0.002],
    llm_gateway_event_loop_lag_max_seconds: [1.5],
  });
});

test('it begins anew on request', () => {
  let resets = 0;
  const lag = new EventLoopLag({ count: 1, mean: 1, max: 1, reset: () => void resets++ });
  lag.reset();
  expect(resets).toBe(1);
});

test('a block of the loop shows, until it begins anew', async () => {
  const lag = await EventLoopLag.watch();
  const worst = () => valuesOf(lag)['llm_gateway_event_loop_lag_max_seconds']?.[0] ?? 0;
  await until('there is a sample', () => worst() > 0);
  lag.reset();
  const endsAt = performance.now() + 250;
  while (performance.now() < endsAt);
  // The timer that was due within 100 ms came after 250.
  await until('the block shows', () => worst() > 0.1);
});
