/** Which engine is asked whether a prompt fits, and when none is. */
import { describe, expect, test } from 'bun:test';
import { JsonBody } from '../../../src/wire/jsonbody.ts';
import { ContextCheck } from '../../../src/engines/contextcheck.ts';
import type { Job } from '../../../src/request/job.ts';
import { routes, type Route } from '../../../src/wire/routes.ts';
import { fleetOf, jobOf, settingsOf } from '../../support/schedulingworld.ts';

const route = routes.find(({ path }) => path === '/v1/completions') as Route; // One of the table.
const fields = { prompt: 'x'.repeat(200) };
const prompt = {
  route,
  json: JsonBody.parse(Buffer.from(JSON.stringify(fields))),
  signal: new AbortController().signal,
};

/** Two engines with a context of 100 tokens, whose tokenizers count so many in every prompt. */
function stage({ tokens = 200, isOn = true } = {}) {
  const fleet = fleetOf([
    settingsOf('a', { models: ['x'] }),
    settingsOf('b', { models: ['x', 'y'] }),
  ]);
  for (const each of fleet.upstreams) each.saw({ kind: 'llama.cpp', contextTokens: 100 });
  const asked: string[] = [];
  const check = new ContextCheck({
    fleet,
    isOn: () => isOn,
    async post({ id }, path) {
      asked.push(`${id} ${path}`);
      return { tokens: Array.from({ length: tokens }) };
    },
  });
  const assertFits = (more: Partial<Job> = {}) => {
    return check.assertFits(jobOf('k', { model: 'x', promptBytes: 200, ...more }), prompt);
  };
  return { fleet, check, asked, assertFits };
}

describe('a prompt', () => {
  test('that an engine counts as too long is refused', async () => {
    const { asked, assertFits } = stage();
    await expect(assertFits()).rejects.toThrow('maximum context length is 100 tokens');
    expect(asked).toEqual(['a /tokenize']);
  });

  test('that fits is not', async () => {
    const { asked, assertFits } = stage({ tokens: 99 });
    await assertFits();
    expect(asked).toEqual(['a /tokenize']);
  });

  test('is counted once by one engine, however often it comes', async () => {
    const { asked, assertFits } = stage({ tokens: 99 });
    await assertFits();
    await assertFits();
    expect(asked).toHaveLength(1);
  });

  test('is counted by an engine that serves its model and is up', async () => {
    const { fleet, asked, assertFits } = stage({ tokens: 99 });
    await assertFits({ model: 'y' });
    expect(asked).toEqual(['b /tokenize']);
    fleet.upstreams[0]?.loads(true);
    await assertFits({ model: 'x' });
    expect(asked).toHaveLength(1);
    fleet.upstreams[1]?.loads(true);
    await assertFits({ model: 'x' });
    expect(asked).toHaveLength(1);
  });

  test('for a model that nobody serves is refused for that', async () => {
    await expect(stage().assertFits({ model: 'z' })).rejects.toThrow('Served here: x, y.');
  });

  test('is not counted where it needs no slot, or the check is off', async () => {
    const slotless = stage();
    await slotless.assertFits({ units: 0 });
    const off = stage({ isOn: false });
    await off.assertFits();
    expect([slotless.asked, off.asked]).toEqual([[], []]);
    expect([slotless.check.isOn, off.check.isOn]).toEqual([true, false]);
  });
});
