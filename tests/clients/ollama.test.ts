/**
 * The official `ollama` client for JavaScript, unchanged but for its host and its key, before the simulated engine as
 * Ollama: answers, streams, tools, lists, its own errors, and an abort that frees the engine's slot.
 */
import { afterAll, beforeAll, expect, setDefaultTimeout, test } from 'bun:test';
import { Ollama } from 'ollama';
import { startDemoEngine, type DemoEngine } from '../../src/demo/engine.ts';
import { untilUpstream } from '../support/gatewayhealth.ts';
import { key, startGateway, type Gateway } from '../support/gatewayprocess.ts';
import { until } from '../support/wait.ts';

setDefaultTimeout(90_000);

const model = 'demo';
const messages = [{ role: 'user', content: 'Say hello to all of them.' }];
const options = { num_predict: 5 };

let engine: DemoEngine;
let gateway: Gateway;

beforeAll(async () => {
  engine = startDemoEngine({ kind: 'ollama', tokensPerSecond: 100 });
  gateway = await startGateway({ LLM_SERVER_URL: engine.url });
  await untilUpstream(gateway, 'engine', { kind: 'ollama', state: 'up' });
});

afterAll(async () => {
  await gateway[Symbol.asyncDispose]();
  await engine.stop();
});

function clientOf(headers: Record<string, string> = {}, host = gateway.url): Ollama {
  return new Ollama({ host, headers: { Authorization: `Bearer ${key}`, ...headers } });
}

async function thrownBy(
  asked: Promise<unknown>,
): Promise<{ message: string; status_code?: number }> {
  return await asked.then(
    () => expect.unreachable(),
    (thrown) => thrown,
  );
}

test('answers a conversation and completes a prompt', async () => {
  const ollama = clientOf();
  const chat = await ollama.chat({ model, messages, options });
  expect(chat.message.content).not.toBe('');
  expect(chat).toMatchObject({ done: true, eval_count: 5 });
  const text = await ollama.generate({ model, prompt: 'one two', options });
  expect(text.response).not.toBe('');
});

test.each(['', '/', '//'])(
  'streams a conversation, with the host and %p behind it',
  async (end) => {
    const parts = [];
    const ollama = clientOf({}, gateway.url + end);
    for await (const part of await ollama.chat({ model, messages, options, stream: true })) {
      parts.push(part);
    }
    expect(parts).toHaveLength(6);
    expect(parts.map(({ message }) => message.content).join('')).not.toBe('');
    expect(parts.at(-1)).toMatchObject({ done: true, eval_count: 5 });
  },
);

test('streams a completion', async () => {
  let text = '';
  const asked = { model, prompt: 'one two', options, stream: true } as const;
  for await (const { response } of await clientOf().generate(asked)) text += response;
  expect(text).not.toBe('');
});

test('is called back for a tool, streamed and whole', async () => {
  const tools = [{ type: 'function', function: { name: 'look', description: 'Looks.' } }];
  const asked = { model, messages, tools, options };
  const { message } = await clientOf().chat(asked);
  expect(message.tool_calls?.[0]?.function.name).toBe('look');
  const names: string[] = [];
  for await (const part of await clientOf().chat({ ...asked, stream: true })) {
    for (const call of part.message.tool_calls ?? []) names.push(call.function.name);
  }
  expect(names).toEqual(['look']);
});

test('embeds texts', async () => {
  const { embeddings } = await clientOf().embed({ model, input: ['one', 'two'] });
  expect(embeddings.map(({ length }) => length)).toEqual([16, 16]);
  const { embedding } = await clientOf().embeddings({ model, prompt: 'one' });
  expect(embedding).toEqual(embeddings[0] as number[]);
});

test('lists the models and describes one', async () => {
  const ollama = clientOf();
  expect((await ollama.list()).models.map(({ name }) => name)).toEqual(['demo:latest']);
  expect((await ollama.ps()).models.map(({ name }) => name)).toEqual(['demo:latest']);
  expect(await ollama.show({ model })).toMatchObject({ capabilities: [] });
  expect(await ollama.version()).toEqual({ version: '0.0.0-simulated' });
});

test('an abort ends the stream and frees the slot', async () => {
  const ollama = clientOf({ 'x-demo-fault': 'stall=1' });
  const stream = await ollama.chat({ model, messages, stream: true });
  const reading = (async () => {
    for await (const _part of stream) await until('it runs', () => engine.busySlots() === 1);
  })();
  await until('it runs', () => engine.busySlots() === 1);
  ollama.abort();
  expect((await thrownBy(reading)).message).toMatch(/abort/i);
  await until('the slot is free', () => engine.busySlots() === 0);
});

test('throws the words of the gateway and of the engine', async () => {
  const wrong = await thrownBy(clientOf({ Authorization: 'Bearer sk-wrong-key' }).list());
  expect(wrong).toMatchObject({ status_code: 403, message: expect.stringContaining('API key') });
  const unknown = await thrownBy(clientOf().pull({ model }));
  expect(unknown.message).toContain('Unknown route.');
  const failing = clientOf({ 'x-demo-fault': 'error-500' });
  const failed = await thrownBy(failing.chat({ model, messages }));
  expect(failed.message).toContain('Simulated failure');
});

test('throws at a stream that is cut', async () => {
  const ollama = clientOf({ 'x-demo-fault': 'cut=2' });
  const contents: string[] = [];
  const reading = (async () => {
    for await (const { message } of await ollama.chat({ model, messages, stream: true })) {
      contents.push(message.content);
    }
  })();
  expect((await thrownBy(reading)).message).toContain('closed the connection');
  expect(contents).toHaveLength(2);
});
