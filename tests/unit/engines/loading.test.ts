/** Only llama.cpp's own words count as a model that loads. */
import { describe, expect, test } from 'bun:test';
import { readUnavailable, saysLoading } from '../../../src/engines/loading.ts';
import { loadingModel } from '../../support/cannedengine.ts';
import { forSeeds } from '../../support/random.ts';

test('a model loads only where llama.cpp says so', () => {
  expect(saysLoading(503, loadingModel)).toBe(true);
  expect(saysLoading(200, loadingModel)).toBe(false);
  expect(saysLoading(503, { error: { message: 'Service unavailable' } })).toBe(false);
});

test('and by no other answer: busy or failing is not down', () => {
  for (const status of [200, 401, 404, 429, 500, 503]) {
    for (const json of [undefined, null, 'x', {}, { error: 'Loading model' }]) {
      expect(saysLoading(status, json)).toBe(false);
    }
  }
});

describe('an answer', () => {
  const loading = '{"error":{"message":"Loading model","type":"unavailable_error","code":503}}';
  async function isLoading(status: number, body: string | Buffer): Promise<boolean> {
    const headers = { 'content-length': `${Buffer.byteLength(body)}` };
    return (await readUnavailable(new Response(body, { status, headers }))).isLoading;
  }

  test('says so in the words of llama.cpp, in any order and spacing', async () => {
    expect(await isLoading(503, loading)).toBe(true);
    expect(
      await isLoading(503, '{ "error": {"code": 503, "message": "Loading model", "type": "x"} }\n'),
    ).toBe(true);
  });

  test.each([
    ['', 503],
    ['Loading model', 503],
    ['{"error":"Loading model"}', 503],
    ['{"error":null}', 503],
    ['{"error":{}}', 503],
    ['{"error":{"message":["Loading model"]}}', 503],
    ['{"error":{"message":"no slot available","type":"unavailable_error","code":503}}', 503],
    ['{"message":"Loading model"}', 503],
    [loading.slice(0, -2), 503],
    [loading, 500],
    [loading, 200],
    [`{"pad":"${'x'.repeat(2_000)}",${loading.slice(1)}`, 503],
  ])('of %p with status %d does not', async (body, status) => {
    expect(await isLoading(status, body)).toBe(false);
  });

  test('of any bytes is read without a failure', async () => {
    await forSeeds(200, async (random) => {
      const body = Buffer.from(loading);
      for (let i = 0; i < 3; i++) body[random.below(body.length)] = random.below(256);
      expect(typeof (await isLoading(503, body.subarray(random.below(20))))).toBe('boolean');
    });
  });
});

describe('a 503', () => {
  const answerOf = (body: string, headers: Record<string, string> = {}) => {
    const length = `${Buffer.byteLength(body)}`;
    return new Response(body, { status: 503, headers: { 'content-length': length, ...headers } });
  };

  test('that says so is known, and can still be read', async () => {
    const text = JSON.stringify(loadingModel);
    const { answer, isLoading } = await readUnavailable(answerOf(text, { 'x-engine': 'a' }));
    expect([isLoading, answer.status, answer.headers.get('x-engine')]).toEqual([true, 503, 'a']);
    expect(await answer.text()).toBe(text);
  });

  test('that says something else can still be read', async () => {
    const { answer, isLoading } = await readUnavailable(answerOf('busy'));
    expect([isLoading, await answer.text()]).toEqual([false, 'busy']);
  });

  test('that is long, or does not say how long it is, is not read', async () => {
    const long = answerOf('x'.repeat(4_097));
    const endless = new Response(new ReadableStream({ start() {} }), { status: 503 });
    for (const each of [long, endless]) {
      const { answer, isLoading } = await readUnavailable(each);
      expect([answer === each, isLoading, each.bodyUsed]).toEqual([true, false, false]);
    }
  });
});
