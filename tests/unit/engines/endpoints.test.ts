/** One question to an endpoint: what is sent, what is read, and what is too much. */
import { describe, expect, test } from 'bun:test';
import { askEndpoint, valueAt, type EndpointQuestion } from '../../../src/engines/endpoints.ts';

/** Asks an engine that answers so; gives the answer, and the request as it was sent. */
async function ask(answer: Response | Error, more: Partial<EndpointQuestion> = {}) {
  const sent: { url: string; init: RequestInit }[] = [];
  const order: string[] = [];
  const question = { url: 'http://a.invalid', apiKey: undefined, path: '/health', ...more };
  const result = await askEndpoint(question, {
    async fetch(url, init) {
      sent.push({ url, init });
      order.push('fetch');
      if (answer instanceof Error) throw answer;
      return answer;
    },
    answered: () => void order.push('answered'),
  });
  return { result, order, url: sent[0]?.url, init: sent[0]?.init };
}

describe('a question', () => {
  test('is a GET, or a POST of JSON where it has a body', async () => {
    const { url, init } = await ask(new Response());
    expect([url, init?.method, init?.body]).toEqual([
      'http://a.invalid/health',
      undefined,
      undefined,
    ]);
    const posted = await ask(new Response(), { path: '/tokenize', parts: [Buffer.from('{}')] });
    expect([posted.init?.method, `${posted.init?.body}`]).toEqual(['POST', '{}']);
    expect(new Headers(posted.init?.headers).get('content-type')).toBe('application/json');
  });

  test('has the key of the engine, where it has one', async () => {
    const keyOf = (init: RequestInit | undefined) =>
      new Headers(init?.headers).get('authorization');
    expect(keyOf((await ask(new Response())).init)).toBeNull();
    expect(keyOf((await ask(new Response(), { apiKey: 'sk-1' })).init)).toBe('Bearer sk-1');
  });

  test('can be given up', async () => {
    const { init } = await ask(new Response());
    expect(init?.signal?.aborted).toBe(false);
  });
});

describe('an answer', () => {
  test('is told of before its body is read, and read as text and as JSON', async () => {
    const { result, order } = await ask(Response.json({ a: 1 }, { status: 503 }));
    expect(order).toEqual(['fetch', 'answered']);
    const { status, text, json } = result;
    expect({ status, text, json }).toEqual({ status: 503, text: '{"a":1}', json: { a: 1 } });
  });

  test('that is no JSON is text alone', async () => {
    const { result } = await ask(new Response('up 1'));
    expect([result.text, result.json]).toEqual(['up 1', undefined]);
  });

  test('that is too long is not read', async () => {
    const headers = { 'content-length': `${4 * 1024 * 1024 + 1}` };
    const { result } = await ask(new Response('{}', { headers }));
    expect([result.status, result.text, result.json]).toEqual([200, '', undefined]);
  });

  test('is read no further when it is too long and does not say so', async () => {
    let pulls = 0;
    const endless = new ReadableStream({
      pull(controller) {
        pulls++;
        controller.enqueue(Buffer.alloc(1024 * 1024, ' '));
      },
    });
    const { result } = await ask(new Response(endless));
    expect([result.text, result.json]).toEqual(['', undefined]);
    expect(pulls).toBeLessThan(9);
  });
});

test('a failure is passed on, and no answer is told of', async () => {
  const failure = new Error('refused');
  await expect(ask(failure)).rejects.toBe(failure);
});

test('a value in JSON is found by its path, or is undefined', () => {
  const json = { list: [{ name: 'x' }], no: null };
  expect(valueAt(json, 'list', 0, 'name')).toBe('x');
  expect(valueAt(json)).toBe(json);
  for (const path of [
    ['list', 1, 'name'],
    ['no', 'name'],
    ['list', 'name'],
    ['other', 'name'],
  ]) {
    expect(valueAt(json, ...path)).toBeUndefined();
  }
});
