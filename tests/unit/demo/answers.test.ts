/** The generating routes of the simulated engine: which shape each has, plain, streamed and huge. */
import { describe, expect, test } from 'bun:test';
import { answerReading, answerWith, generatings } from '../../../src/demo/answers.ts';
import { parseFaults } from '../../../src/demo/faults.ts';
import { readings } from '../../../src/demo/lookups.ts';
import type { Json } from '../../../src/demo/run.ts';
import type { Answer, Part } from '../../../src/demo/wire.ts';
import { dataOf, demoWorkshop } from '../../support/demoruns.ts';

function settingOf(faults = '') {
  const workshop = demoWorkshop(2);
  const { signal } = new AbortController();
  const requester = { signal, started: () => {} };
  const engine = { model: 'demo', contextTokens: 4096 };
  return { engine, workshop, requester, asked: parseFaults(faults) };
}

async function textOf({ body }: Answer): Promise<string> {
  if (body instanceof Uint8Array) return Buffer.from(body).toString();
  const parts: Part[] = await Array.fromAsync(body);
  return Buffer.concat(parts.map(({ bytes }) => bytes)).toString();
}

async function answer(path: string, body: Json, setting = settingOf()): Promise<Answer> {
  const generating = generatings[path];
  if (generating === undefined) throw new Error(`no route ${path}`);
  return answerWith(generating, { max_tokens: 3, n_predict: 3, ...body }, setting);
}

const messages = [{ role: 'user', content: 'hi' }];

describe('a plain answer', () => {
  test.each([
    ['/v1/completions', { prompt: 'hi' }, { object: 'text_completion' }],
    ['/completion', { prompt: 'hi' }, { stop_type: 'limit' }],
    ['/infill', { input_prefix: 'hi' }, { stop_type: 'limit' }],
    ['/v1/chat/completions', { messages }, { object: 'chat.completion' }],
    ['/v1/responses', { input: 'hi' }, { object: 'response' }],
    ['/v1/messages', { messages }, { type: 'message' }],
    ['/v1/audio/transcriptions', { audio: 'a.wav' }, { usage: { type: 'tokens' } }],
  ])('of %s has the shape of its family', async (path, body, shape) => {
    const setting = settingOf();
    const given = await answer(path, body, setting);
    expect(given.status).toBe(200);
    expect(JSON.parse(await textOf(given))).toMatchObject(shape);
    expect(setting.workshop.figures.predictedTokens).toBe(3);
  });

  test('has a choice for each that is asked for', async () => {
    const given = JSON.parse(await textOf(await answer('/v1/completions', { prompt: 'hi', n: 2 })));
    expect(given.choices).toHaveLength(2);
  });

  test('of a given huge size has that many bytes', async () => {
    const given = await answer('/v1/completions', { prompt: 'hi' }, settingOf('huge=5000'));
    expect(given.lengthBytes).toBe(5000);
    expect(await textOf(given)).toHaveLength(5000);
  });
});

describe('a stream', () => {
  const body = { messages, stream: true };

  test('has a frame for each token, and its usage if that is asked for', async () => {
    const plain = dataOf(await textOf(await answer('/v1/chat/completions', body)));
    expect(plain).toHaveLength(1 + 3 + 2);
    const options = { stream_options: { include_usage: true } };
    const counted = dataOf(
      await textOf(await answer('/v1/chat/completions', { ...body, ...options })),
    );
    expect(counted).toHaveLength(1 + 3 + 3);
    expect(counted.at(-2)).toMatchObject({ choices: [], usage: { completion_tokens: 3 } });
  });

  test('is also sent if a form has "stream" as a word', async () => {
    const given = await answer('/v1/audio/transcriptions', { audio: 'a.wav', stream: 'true' });
    expect(given.headers['Content-Type']).toBe('text/event-stream');
  });

  test('of a given huge size has more than that many bytes', async () => {
    const text = await textOf(
      await answer('/v1/completions', { prompt: 'x', stream: true }, settingOf('huge=100000')),
    );
    expect(text.length).toBeGreaterThan(100_000);
    expect(text).toEndWith('data: [DONE]\n\n');
  });
});

describe('a route that only reads', () => {
  test('counts its prompt and generates nothing', async () => {
    const setting = settingOf();
    const reading = readings['/v1/embeddings'] as (typeof readings)[string];
    const given = JSON.parse(await textOf(await answerReading(reading, { input: 'a b' }, setting)));
    expect(given.usage.prompt_tokens).toBe(setting.workshop.figures.promptTokens);
    expect(given.usage.prompt_tokens).toBeGreaterThan(0);
    expect(setting.workshop.figures.predictedTokens).toBe(0);
  });

  test('speaks as a WAV file', async () => {
    const reading = readings['/v1/audio/speech'] as (typeof readings)[string];
    const given = await answerReading(reading, { input: 'a' }, settingOf());
    expect(given.headers).toEqual({ 'Content-Type': 'audio/wav' });
  });
});
