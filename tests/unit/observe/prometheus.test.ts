/**
 * The text that Prometheus reads of our series.
 */
import { expect, test } from 'bun:test';
import { textOf } from '../../../src/observe/prometheus.ts';
import { Count, Distribution, gauge, type Family } from '../../../src/observe/series.ts';

/** Returns the lines about names that begin like that. */
function linesOf(families: readonly Family[], start = 'llm_gateway_'): string[] {
  const lines = textOf(families).split('\n');
  return lines.filter((line) => line.replace(/^# (HELP|TYPE) /, '').startsWith(start));
}

test('a counter and a histogram are written with their help and type', () => {
  const count = new Count('hits_total', 'Hits.', ['key']);
  count.add(2, 'alice');
  const wait = new Distribution('wait_seconds', 'Wait.', [0.5, 1], []);
  wait.observe(750);
  expect(linesOf([count, wait], 'llm_gateway_hits')).toEqual([
    '# HELP llm_gateway_hits_total Hits.',
    '# TYPE llm_gateway_hits_total counter',
    'llm_gateway_hits_total{key="alice"} 2',
  ]);
  expect(linesOf([count, wait], 'llm_gateway_wait')).toEqual([
    '# HELP llm_gateway_wait_seconds Wait.',
    '# TYPE llm_gateway_wait_seconds histogram',
    'llm_gateway_wait_seconds_bucket{le="0.5"} 0',
    'llm_gateway_wait_seconds_bucket{le="1"} 1',
    'llm_gateway_wait_seconds_bucket{le="+Inf"} 1',
    'llm_gateway_wait_seconds_sum 0.75',
    'llm_gateway_wait_seconds_count 1',
  ]);
});

test('no value of a label breaks a line', () => {
  const count = new Count('hits_total', 'Hits.', ['key']);
  count.add(1, 'a"b\\c\nd');
  expect(linesOf([count])).toContain('llm_gateway_hits_total{key="a\\"b\\\\c\\nd"} 1');
});

test('a series that was removed is not written any more', () => {
  let upstreams = ['a', 'b'];
  const state = gauge('slots', 'Slots.', ['upstream'], () =>
    upstreams.map((upstream) => ({ labels: { upstream }, value: 4 })),
  );
  expect(textOf([state])).toContain('upstream="a"');
  upstreams = ['b'];
  const text = textOf([state]);
  expect(text).not.toContain('upstream="a"');
  expect(text).toContain('llm_gateway_slots{upstream="b"} 4');
});

test('no help breaks a line', () => {
  const count = new Count('hits_total', 'Hits\\and\nmisses.', []);
  expect(linesOf([count])[0]).toBe('# HELP llm_gateway_hits_total Hits\\\\and\\nmisses.');
});

test('NaN and the infinities are written as Prometheus expects', () => {
  const values = [Number.NaN, Infinity, -Infinity, 1e21, 0.1];
  const odd = values.map((value) => gauge('odd', 'Odd.', [], () => [{ labels: {}, value }]));
  const written = odd.flatMap((family) => linesOf([family]).slice(2));
  expect(written.map((line) => line.split(' ')[1])).toEqual([
    'NaN',
    '+Inf',
    '-Inf',
    '1e+21',
    '0.1',
  ]);
});

test('a text ends with the end of its last line, and none begins with a blank', () => {
  const text = textOf([new Count('hits_total', 'Hits.', []), new Count('misses_total', 'No.', [])]);
  expect(text.endsWith('llm_gateway_misses_total 0\n')).toBe(true);
  expect(text.split('\n').slice(0, -1)).not.toContain('');
});

test('two registries share nothing', () => {
  const [one, two] = [new Count('hits_total', 'One.', []), new Count('hits_total', 'Two.', [])];
  one.add(1);
  expect(linesOf([one])).toContain('llm_gateway_hits_total 1');
  expect(linesOf([two])).toContain('llm_gateway_hits_total 0');
});
