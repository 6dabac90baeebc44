/** What the simulated engine answers without generating a token. */
import { describe, expect, test } from 'bun:test';
import { lookups, readings } from '../../../src/demo/lookups.ts';
import { tokenize } from '../../../src/demo/model.ts';
import type { Json } from '../../../src/demo/run.ts';

const task = { promptTokens: 9, cachedTokens: 2, computedTokens: 3, decodedTokens: 4 };
const engine = {
  model: 'demo',
  models: ['demo', 'other'],
  contextTokens: 4096,
  tasks: [task, undefined],
};

const look = (name: string, body: Json = {}) => lookups[name]?.(body, engine);
const read = (path: string, body: Json) => readings[path]?.answer(body, 'demo', 7);

describe('a lookup', () => {
  test('lists the models, in both forms', () => {
    expect(look('GET /v1/models')).toMatchObject({
      data: [{ id: 'demo', meta: { n_ctx: 4096 } }, { id: 'other' }],
      models: [{ name: 'demo' }, { name: 'other' }],
    });
    expect(look('GET /models')).toEqual(look('GET /v1/models'));
  });

  test('tells the context and the slots', () => {
    expect(look('GET /props')).toMatchObject({
      total_slots: 2,
      model_alias: 'demo',
      default_generation_settings: { n_ctx: 4096 },
    });
    expect(look('GET /slots')).toEqual([
      {
        id: 0,
        n_ctx: 4096,
        is_processing: true,
        n_prompt_tokens: 9,
        n_prompt_tokens_processed: 3,
        n_prompt_tokens_cache: 2,
        next_token: [{ has_next_token: true, n_decoded: 4 }],
      },
      { id: 1, n_ctx: 4096, is_processing: false },
    ]);
  });

  test('makes tokens of a text, with their pieces on demand, and a text of tokens', () => {
    const tokens = tokenize('one two');
    expect(look('POST /tokenize', { content: 'one two' })).toEqual({ tokens });
    expect(look('POST /tokenize', {})).toEqual({ tokens: [] });
    expect(look('POST /tokenize', { content: 'one two', with_pieces: true })).toMatchObject({
      tokens: [{ piece: 'one' }, { piece: ' two' }],
    });
    expect(look('POST /detokenize', { tokens })).toEqual({ content: 'one two' });
    expect(look('POST /detokenize', {})).toEqual({ content: '' });
  });

  test('counts the prompt of a conversation in each family', () => {
    const messages = [{ role: 'user', content: 'hi' }];
    const { prompt } = look('POST /apply-template', { messages }) as { prompt: string };
    const input_tokens = tokenize(prompt).length;
    expect(look('POST /v1/messages/count_tokens', { messages })).toEqual({ input_tokens });
    const object = 'response.input_tokens';
    expect(look('POST /v1/chat/completions/input_tokens', { messages })).toEqual({
      input_tokens,
      object,
    });
    expect(look('POST /v1/responses/input_tokens', { input: 'hi' })).toEqual({
      input_tokens,
      object,
    });
  });

  test('of /health says that the engine is alive', () => {
    expect(look('GET /health')).toEqual({ status: 'ok' });
  });
});

describe('a reading', () => {
  test('returns a vector of length 1 for each text, the same one in base64', () => {
    const { data } = read('/v1/embeddings', { input: ['a', 'b'] }) as {
      data: { embedding: number[]; index: number }[];
    };
    expect(data.map(({ index }) => index)).toEqual([0, 1]);
    expect(data[0]?.embedding).not.toEqual(data[1]?.embedding as number[]);
    for (const { embedding } of data) expect(Math.hypot(...embedding)).toBeCloseTo(1);
    const packed = read('/v1/embeddings', { input: 'a', encoding_format: 'base64' }) as {
      data: [{ embedding: string }];
    };
    const bytes = Buffer.from(packed.data[0].embedding, 'base64');
    const floats = new Float32Array(new Uint8Array(bytes).buffer);
    expect([...floats]).toEqual([...Float32Array.from(data[0]?.embedding ?? [])]);
  });

  test('embeds in the native format, from content or input', () => {
    const native = read('/embedding', { content: 'a' });
    expect(native).toEqual(read('/embedding', { input: 'a' }) as never);
    expect(native).toMatchObject([{ index: 0, embedding: [expect.any(Array)] }]);
  });

  test('ranks documents by the words of the query, and keeps as many as are asked for', () => {
    const body = { query: 'red fish', documents: ['a bird', { text: 'Red fish' }, 'a fish'] };
    const { results } = read('/v1/rerank', body) as {
      results: { index: number; relevance_score: number }[];
    };
    expect(results.map(({ index, relevance_score }) => [index, relevance_score])).toEqual([
      [1, 1],
      [2, 0.5],
      [0, 0],
    ]);
    expect(read('/v1/rerank', { ...body, top_n: 1 })).toMatchObject({ results: [{ index: 1 }] });
    expect(read('/v1/rerank', { ...body, query: '…' })).toMatchObject({
      results: [{ relevance_score: 0 }, { relevance_score: 0 }, { relevance_score: 0 }],
    });
    expect(readings['/v1/rerank']?.input(body)).toEqual([
      'red fish',
      'a bird',
      'Red fish',
      'a fish',
    ]);
  });

  test('scores pairs of texts', () => {
    const body = { text_1: 'red fish', text_2: ['fish', 'red fish'] };
    expect(read('/v1/score', body)).toMatchObject({
      data: [{ score: 0.5 }, { score: 1 }],
      usage: { prompt_tokens: 7 },
    });
    expect(readings['/v1/score']?.input(body)).toEqual(['red fish', 'fish', 'red fish']);
  });

  test('speaks a WAV file, longer for a longer text', () => {
    const file = Buffer.from(read('/v1/audio/speech', { input: 'a' }) as Uint8Array);
    expect(file.toString('latin1', 0, 4)).toBe('RIFF');
    expect(file.readUInt32LE(4)).toBe(file.length - 8);
    expect(file.readUInt32LE(40)).toBe(file.length - 44);
    expect(file.length - 44).toBe(7 * 800);
  });
});
