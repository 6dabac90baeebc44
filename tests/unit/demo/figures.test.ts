/** The counters of the simulated engine as the text of llama.cpp's `/metrics`. */
import { expect, test } from 'bun:test';
import { metricsText, noFigures } from '../../../src/demo/figures.ts';

function valuesOf(text: string): Record<string, number> {
  const samples = text.matchAll(/^llamacpp:(\w+) (\S+)$/gm);
  return Object.fromEntries(Array.from(samples, ([, name, value]) => [name, Number(value)]));
}

test('all counters start at 0', () => {
  const values = valuesOf(metricsText(noFigures(), { running: 0, waiting: 0 }));
  expect(Object.keys(values)).toHaveLength(5);
  expect(Object.values(values).every((value) => value === 0)).toBe(true);
});

test('prompt tokens do not include cached ones, as in llama.cpp', () => {
  const figures = { ...noFigures(), promptTokens: 10, cachedTokens: 7, predictedTokens: 5 };
  expect(valuesOf(metricsText(figures, { running: 2, waiting: 1 }))).toEqual({
    prompt_tokens_total: 3,
    prompt_tokens_cached_total: 7,
    tokens_predicted_total: 5,
    requests_processing: 2,
    requests_deferred: 1,
  });
});

test('every sample has a type line before it', () => {
  const lines = metricsText(noFigures(), { running: 0, waiting: 0 }).trimEnd().split('\n');
  for (let i = 0; i < lines.length; i += 2) {
    expect(lines[i]).toMatch(/^# TYPE (\S+) (counter|gauge)$/);
    expect(lines[i + 1]).toStartWith(`${lines[i]?.split(' ')[2]} `);
  }
});
