/**
 * The exposition that Prometheus reads, as prom-client writes it of our series.
 */
import { expect, test } from 'bun:test';
import { loadExporter } from '../../../src/observe/prometheus.ts';
import { Count, Distribution, gauge, type Family } from '../../../src/observe/series.ts';
import { until } from '../../support/wait.ts';

/** Gives the lines about names that begin like that. */
async function linesOf(families: readonly Family[], start = 'llm_gateway_'): Promise<string[]> {
  const { registry } = await loadExporter(families);
  const text = await registry.metrics();
  return text.split('\n').filter((line) => line.replace(/^# (HELP|TYPE) /, '').startsWith(start));
}

test('a counter and a histogram are written with their help and type', async () => {
  const count = new Count('hits_total', 'Hits.', ['key']);
  count.add(2, 'alice');
  const wait = new Distribution('wait_seconds', 'Wait.', [0.5, 1], []);
  wait.observe(750);
  expect(await linesOf([count, wait], 'llm_gateway_hits')).toEqual([
    '# HELP llm_gateway_hits_total Hits.',
    '# TYPE llm_gateway_hits_total counter',
    'llm_gateway_hits_total{key="alice"} 2',
  ]);
  expect(await linesOf([count, wait], 'llm_gateway_wait')).toEqual([
    '# HELP llm_gateway_wait_seconds Wait.',
    '# TYPE llm_gateway_wait_seconds histogram',
    'llm_gateway_wait_seconds_bucket{le="0.5"} 0',
    'llm_gateway_wait_seconds_bucket{le="1"} 1',
    'llm_gateway_wait_seconds_bucket{le="+Inf"} 1',
    'llm_gateway_wait_seconds_sum 0.75',
    'llm_gateway_wait_seconds_count 1',
  ]);
});

test('no value of a label breaks a line', async () => {
  const count = new Count('hits_total', 'Hits.', ['key']);
  count.add(1, 'a"b\\c\nd');
  expect(await linesOf([count])).toContain('llm_gateway_hits_total{key="a\\"b\\\\c\\nd"} 1');
});

test('what is not there any more is not written any more', async () => {
  let upstreams = ['a', 'b'];
  const state = gauge('slots', 'Slots.', ['upstream'], () =>
    upstreams.map((upstream) => ({ labels: { upstream }, value: 4 })),
  );
  const { registry } = await loadExporter([state]);
  expect(await registry.metrics()).toContain('upstream="a"');
  upstreams = ['b'];
  const text = await registry.metrics();
  expect(text).not.toContain('upstream="a"');
  expect(text).toContain('llm_gateway_slots{upstream="b"} 4');
});

test('the lag of the event loop is measured, and is 0 before the first sample', async () => {
  const { registry, lag } = await loadExporter([]);
  async function lags(): Promise<number[]> {
    const values = ['mean', 'max'].map(async (which) => {
      const name = `llm_gateway_event_loop_lag_${which}_seconds`;
      return (await registry.getSingleMetric(name)?.get())?.values[0]?.value ?? Number.NaN;
    });
    return Promise.all(values);
  }
  expect(await lags()).toEqual([0, 0]);
  const sampled = () => until('there is a sample', () => lag.count > 0);
  await sampled();
  lag.reset();
  const endsAt = performance.now() + 250;
  while (performance.now() < endsAt);
  await sampled();
  // The timer that was due within 100 ms came after 250.
  const [mean = 0, max = 0] = await lags();
  expect(max).toBeGreaterThan(0.1);
  expect(mean).toBeGreaterThan(0);
});

test('two of them share nothing', async () => {
  const [one, two] = [new Count('hits_total', 'One.', []), new Count('hits_total', 'Two.', [])];
  one.add(1);
  expect(await linesOf([one])).toContain('llm_gateway_hits_total 1');
  expect(await linesOf([two])).toContain('llm_gateway_hits_total 0');
});
