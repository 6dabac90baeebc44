/** The simulated engine as Ollama: its own routes and errors, lines of JSON, and nothing of llama.cpp. */
import { afterAll, describe, expect, test } from 'bun:test';
import { startDemoEngine } from '../../../src/demo/engine.ts';
import { asOthersSay, ollamaModel } from '../../../src/demo/ollama.ts';

const engine = startDemoEngine({ kind: 'ollama', models: ['demo:latest', 'other:7b'] });
afterAll(() => engine.stop());

type Json = Record<string, unknown>;

function ask(path: string, body?: Json, headers: Record<string, string> = {}) {
  const init = body && { method: 'POST', body: JSON.stringify(body), headers };
  return fetch(engine.url + path, init);
}

async function linesOf(answer: Response): Promise<Json[]> {
  expect(answer.headers.get('content-type')).toBe('application/x-ndjson');
  const text = await answer.text();
  expect(text.endsWith('\n')).toBe(true);
  return text
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line));
}

const messages = [{ role: 'user', content: 'one two three' }];
const brief = { options: { num_predict: 2 } };

test('a chat is a stream unless that is refused, and its last line has the counts', async () => {
  const lines = await linesOf(await ask('/api/chat', { model: 'Demo', messages, ...brief }));
  expect(lines.map(({ done }) => done)).toEqual([false, false, true]);
  expect(lines[0]).toMatchObject({ model: 'demo:latest', message: { role: 'assistant' } });
  expect(lines[2]).toMatchObject({ done_reason: 'length', eval_count: 2 });
  const plain = await ask('/api/chat', { model: 'demo', messages, stream: false, ...brief });
  expect(await plain.json()).toMatchObject({ message: { role: 'assistant' }, eval_count: 2 });
});

test('a prompt is completed', async () => {
  const body = { model: 'demo', prompt: 'one two three', ...brief };
  const lines = await linesOf(await ask('/api/generate', body));
  expect(lines.map(({ response }) => typeof response)).toEqual(['string', 'string', 'string']);
  const plain = await ask('/api/generate', { ...body, stream: false });
  expect(await plain.json()).toMatchObject({ done: true, eval_count: 2 });
});

test('a tool is called, streamed and whole', async () => {
  const tools = [{ type: 'function', function: { name: 'look' } }];
  const body = { model: 'demo', messages, tools, ...brief };
  const call = { message: { tool_calls: [{ function: { name: 'look' } }] } };
  const lines = await linesOf(await ask('/api/chat', body));
  expect(lines).toHaveLength(2);
  expect(lines[0]).toMatchObject(call);
  expect(await (await ask('/api/chat', { ...body, stream: false })).json()).toMatchObject(call);
});

test('without anything to answer the model is loaded or unloaded', async () => {
  const done = async (path: string, more: Json) =>
    ((await (await ask(path, { model: 'demo', ...more })).json()) as Json)['done_reason'];
  expect(await done('/api/chat', {})).toBe('load');
  expect(await done('/api/chat', { messages: [], keep_alive: 0 })).toBe('unload');
  expect(await done('/api/generate', { prompt: '' })).toBe('load');
});

test('texts are embedded, on both routes', async () => {
  const many = await ask('/api/embed', { model: 'demo', input: ['one', 'two'] });
  const { embeddings } = (await many.json()) as { embeddings: number[][] };
  expect(embeddings.map(({ length }) => length)).toEqual([16, 16]);
  const one = await ask('/api/embeddings', { model: 'demo', prompt: 'one' });
  expect(await one.json()).toEqual({ embedding: embeddings[0] });
});

test('models are listed and shown', async () => {
  const names = { models: [{ name: 'demo:latest' }, { name: 'other:7b' }] };
  expect(await (await ask('/api/tags')).json()).toMatchObject(names);
  expect(await (await ask('/api/ps')).json()).toMatchObject(names);
  const list = { data: [{ id: 'demo:latest' }, { id: 'other:7b' }] };
  expect(await (await ask('/v1/models')).json()).toMatchObject(list);
  const shown = await ask('/api/show', { name: 'other:7b' });
  expect(await shown.json()).toMatchObject({ model_info: { 'simulated.context_length': 4096 } });
  expect(await (await ask('/api/version')).json()).toMatchObject({ version: expect.any(String) });
});

describe('an error', () => {
  test.each([
    ['/api/chat', { model: 'none', messages }, 404, "model 'none' not found"],
    ['/api/chat', { messages }, 400, 'model is required'],
    ['/api/pull', { model: 'demo' }, 404, 'File Not Found'],
    ['/slots', undefined, 404, 'File Not Found'],
    ['/completion', { prompt: 'x' }, 404, 'File Not Found'],
  ] as const)('of %s %j is a text', async (path, body, status, error) => {
    const answer = await ask(path, body);
    expect(answer.status).toBe(status);
    expect(await answer.json()).toEqual({ error });
  });

  test('of every route that takes a slot, on demand', async () => {
    engine.setFailing(503);
    const answer = await ask('/api/chat', { model: 'demo', messages });
    engine.setFailing(undefined);
    expect(answer.status).toBe(503);
    expect(await answer.json()).toEqual({ error: 'Simulated status 503' });
  });
});

test('it has the OpenAI routes of Ollama, and does not call itself llama.cpp', async () => {
  const answer = await ask('/v1/chat/completions', { messages, max_tokens: 1 });
  expect(answer.headers.get('server')).toBe('simulated');
  expect(await answer.json()).toMatchObject({ model: 'demo:latest', choices: [{ index: 0 }] });
});

test('names are compared without case and the tag latest', () => {
  expect(ollamaModel('DEMO:latest', ['demo'])).toBe('demo');
  expect(() => ollamaModel('demo:7b', ['demo'])).toThrow('not found');
});

test('only a positive num_predict limits an answer, and what others call so does not', () => {
  const others = { max_tokens: 1, n: 2 };
  expect(asOthersSay({ ...others, options: { num_predict: 7 } })).toEqual({
    stream: true,
    n_predict: 7,
  });
  expect(asOthersSay({ options: { num_predict: -1 }, stream: false })).toEqual({ stream: false });
});
