/**
 * Series of numbers: what is added up under which labels, and how many label values there can be.
 */
import { describe, expect, test } from 'bun:test';
import {
  Count,
  Distribution,
  gauge,
  LabelValues,
  other,
  single,
} from '../../../src/observe/series.ts';
import { randomFrom } from '../../support/random.ts';

describe('the values of a label', () => {
  test('are the first hundred, and one for all others', () => {
    const values = new LabelValues();
    const names = Array.from({ length: 250 }, (_, i) => `name-${i}`);
    const found = names.map((name) => values.of(name));
    expect(found.slice(0, 100)).toEqual(names.slice(0, 100));
    expect(new Set(found.slice(100))).toEqual(new Set([other]));
    expect(values.of('name-7')).toBe('name-7');
    expect([values.has('name-99'), values.has('name-100')]).toEqual([true, false]);
  });

  test('are short, and no two of them look the same when they are written', () => {
    const values = new LabelValues();
    expect(values.of('x'.repeat(10_000))).toBe('x'.repeat(200));
    expect(values.of('\ud800')).toBe('\ufffd');
    expect(values.of('\ud801')).toBe('\ufffd');
    // The three values above count as two.
    for (let i = 0; i < 98; i++) values.of(`${i}`);
    expect(values.of('one more')).toBe(other);
  });
});

describe('a counter', () => {
  test('adds up by its labels, in the order in which they came', () => {
    const count = new Count('tokens_total', 'Tokens.', ['model', 'key']);
    expect([...count.read()]).toEqual([]);
    count.add(1, 'b', 'a');
    count.add(2, 'a', 'b');
    count.add(3, 'b', 'a');
    expect([...count.read()]).toEqual([
      { labels: { model: 'b', key: 'a' }, value: 4 },
      { labels: { model: 'a', key: 'b' }, value: 2 },
    ]);
    expect(count.name).toBe('llm_gateway_tokens_total');
  });

  test('without labels is there from the beginning', () => {
    expect([...new Count('hits_total', 'Hits.', []).read()]).toEqual([{ labels: {}, value: 0 }]);
  });

  test('shows a 0, and takes nothing that makes no sense', () => {
    const count = new Count('tokens_total', 'Tokens.', ['key']);
    count.add(0, 'a');
    for (const value of [undefined, -1, Number.NaN]) count.add(value, 'b');
    expect([...count.read()]).toEqual([{ labels: { key: 'a' }, value: 0 }]);
  });
});

test('a histogram counts each time in every bucket that it is not above', () => {
  const bounds = [0.005, 0.1, 1, 60, 600];
  const waits = new Distribution('wait_seconds', 'Wait.', bounds, ['model']);
  const random = randomFrom(7);
  const times = Array.from({ length: 500 }, () => random.below(1_000) * random.below(1_000));
  times.push(0, 5, 600_000, 600_001); // On the bounds and above the last one.
  for (const ms of times) waits.observe(ms, 'a');
  const samples = [...waits.read()];
  const buckets = samples.filter(
    ({ metricName }) => metricName === 'llm_gateway_wait_seconds_bucket',
  );
  expect(buckets.map(({ labels }) => labels['le'])).toEqual([...bounds.map(String), '+Inf']);
  expect(buckets.map(({ value }) => value)).toEqual(
    [...bounds, Number.POSITIVE_INFINITY].map(
      (bound) => times.filter((ms) => ms / 1000 <= bound).length,
    ),
  );
  const [sum, count, ...others] = samples.filter(
    ({ metricName }) => !metricName?.endsWith('bucket'),
  );
  expect(others).toEqual([]);
  expect(sum).toMatchObject({ metricName: 'llm_gateway_wait_seconds_sum', labels: { model: 'a' } });
  expect(sum?.value).toBeCloseTo(times.reduce((total, ms) => total + ms, 0) / 1000);
  expect(count?.value).toBe(times.length);
});

test('a gauge is read each time that it is asked', () => {
  let value = 1;
  const one = single('queue_length', 'Queue.', () => value);
  const several = gauge('slots', 'Slots.', ['upstream'], () => [
    { labels: { upstream: 'a' }, value },
  ]);
  value = 2;
  expect([...one.read()]).toEqual([{ labels: {}, value: 2 }]);
  expect([...several.read()]).toEqual([{ labels: { upstream: 'a' }, value: 2 }]);
  expect([one.name, several.type]).toEqual(['llm_gateway_queue_length', 'gauge']);
});
