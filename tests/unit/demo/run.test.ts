/** The counts of runs of the simulated engine. */
import { expect, test } from 'bun:test';
import { countsOf, created, first, frame, none } from '../../../src/demo/run.ts';
import { demoRun } from '../../support/demoruns.ts';

test('the counts of several runs are added up', () => {
  const one = demoRun({ prompt: { tokens: [1, 2, 3], subject: '' }, output: [1], cachedTokens: 2 });
  const two = demoRun({ prompt: { tokens: [4], subject: '' }, output: [1, 2], cachedTokens: 0 });
  expect(countsOf([one, two])).toEqual({ prompt: 4, completion: 3, cached: 2, total: 7 });
  expect(countsOf([])).toEqual({ prompt: 0, completion: 0, cached: 0, total: 0 });
});

test('the first run is that of the first choice', () => {
  const runs = [demoRun({ index: 0 }), demoRun({ index: 1 })];
  expect(first(runs)).toBe(runs[0] as never);
});

test('a frame is one event of a stream', () => {
  expect(frame({ a: 'x\ny' })).toBe('data: {"a":"x\\ny"}\n\n');
  expect(none()).toBe('');
});

test('every answer is of the same day', () => {
  expect(new Date(created * 1000).toISOString()).toBe('2026-01-01T00:00:00.000Z');
});
