/**
 * The routes of the simulated engine that generate no token: facts about the engine, tokens and templates, and the
 * routes that only read their input, such as embeddings. Pure; the same input always has the same answer.
 */
import type { Task } from './model.ts';
import type { Json } from './run.ts';
import { detokenize, hashOf, tokenize } from './model.ts';
import type { Engine } from './prompts.ts';
import {
  anthropicMessages,
  isObject,
  promptFromChat,
  promptsFrom,
  renderChat,
  responsesMessages,
} from './prompts.ts';

/** The facts about the engine that a lookup may return. */
export interface EngineView extends Engine {
  models: readonly string[];
  tasks: readonly (Task | undefined)[];
}

export type Lookup = (body: Json, engine: EngineView) => unknown;

const health: Lookup = () => ({ status: 'ok' });

const modelList: Lookup = (_body, { models, contextTokens }) => {
  const meta = { n_ctx: contextTokens, n_params: 0 };
  const data = models.map((id) => ({
    id,
    object: 'model',
    created: 0,
    owned_by: 'llamacpp',
    meta,
  }));
  const native = models.map((model) => ({ name: model, model, type: 'model' }));
  return { models: native, object: 'list', data };
};

const props: Lookup = (_body, { model, contextTokens, tasks }) => ({
  default_generation_settings: { n_ctx: contextTokens },
  total_slots: tasks.length,
  model_alias: model,
  model_path: 'simulated',
  modalities: { vision: false, audio: false },
  endpoint_slots: true,
  endpoint_props: false,
  endpoint_metrics: true,
  chat_template: 'simulated',
  build_info: 'simulated engine of LLM Gateway',
  is_sleeping: false,
});

const slots: Lookup = (_body, engine) =>
  engine.tasks.map((task, id) => {
    const slot = { id, n_ctx: engine.contextTokens, is_processing: task !== undefined };
    if (task === undefined) return slot;
    const { cachedTokens, computedTokens, decodedTokens } = task;
    return {
      ...slot,
      // As in llama.cpp, the tokens that the slot holds by now, not the whole prompt during prefill.
      n_prompt_tokens: cachedTokens + computedTokens + decodedTokens,
      n_prompt_tokens_processed: computedTokens,
      n_prompt_tokens_cache: cachedTokens,
      next_token: [{ has_next_token: true, n_decoded: decodedTokens }],
    };
  });

const tokens: Lookup = ({ content, with_pieces }) => {
  const ids = tokenize(String(content ?? ''));
  if (with_pieces !== true) return { tokens: ids };
  return { tokens: ids.map((id) => ({ id, piece: detokenize([id]) })) };
};

const text: Lookup = ({ tokens: ids }) => ({
  content: detokenize(Array.isArray(ids) ? ids.map(Number) : []),
});

function countChat(messages: unknown): number {
  return promptFromChat(messages).tokens.length;
}

const chatCount: Lookup = ({ messages }) => {
  return { input_tokens: countChat(messages), object: 'response.input_tokens' };
};

const responsesCount: Lookup = (body) => {
  const input_tokens = countChat(responsesMessages(body));
  return { input_tokens, object: 'response.input_tokens' };
};

/** The lookups by method and path; none takes a slot. */
export const lookups: Readonly<Record<string, Lookup>> = {
  'GET /health': health,
  'GET /v1/health': health,
  'GET /props': props,
  'GET /slots': slots,
  'GET /models': modelList,
  'GET /v1/models': modelList,
  'POST /tokenize': tokens,
  'POST /detokenize': text,
  'POST /apply-template': ({ messages }) => ({ prompt: renderChat(messages) }),
  'POST /v1/messages/count_tokens': (body) => ({
    input_tokens: countChat(anthropicMessages(body)),
  }),
  'POST /chat/completions/input_tokens': chatCount,
  'POST /v1/chat/completions/input_tokens': chatCount,
  'POST /responses/input_tokens': responsesCount,
  'POST /v1/responses/input_tokens': responsesCount,
};

/** A route that reads texts in one slot and generates nothing. */
export interface Reading {
  /** Returns the text, or the list of texts, that the slot reads. */
  input(body: Json): unknown;
  /** Returns the answer: a value for JSON, or the bytes of a WAV file. */
  answer(body: Json, model: string, promptTokens: number): unknown;
}

const dimensions = 16;

/** Returns a vector of length 1 that depends on the tokens only. */
export function vectorOf(ids: readonly number[]): number[] {
  const raw = Array.from({ length: dimensions }, (_, i) => (hashOf(ids, i + 1) % 2001) - 1000);
  const norm = Math.hypot(...raw) || 1;
  return raw.map((value) => value / norm);
}

function usageOf(promptTokens: number): Json {
  return { prompt_tokens: promptTokens, total_tokens: promptTokens };
}

const embeddings: Reading = {
  input: ({ input }) => input,
  answer({ input, encoding_format }, model, promptTokens) {
    const data = promptsFrom(input).map((prompt, index) => {
      const vector = vectorOf(prompt.tokens);
      const packed = (): string => Buffer.from(Float32Array.from(vector).buffer).toString('base64');
      const embedding = encoding_format === 'base64' ? packed() : vector;
      return { embedding, index, object: 'embedding' };
    });
    return { model, object: 'list', usage: usageOf(promptTokens), data };
  },
};

const nativeEmbeddings: Reading = {
  input: ({ content, input }) => content ?? input,
  answer(body) {
    const prompts = promptsFrom(nativeEmbeddings.input(body));
    return prompts.map(({ tokens: ids }, index) => ({ index, embedding: [vectorOf(ids)] }));
  },
};

/** Returns the share of the query's words that the document contains, 0 to 1. */
function relevanceOf(query: string, document: string): number {
  const words = query.toLowerCase().match(/[\p{L}\p{N}]+/gu) ?? [];
  const found = words.filter((word) => document.toLowerCase().includes(word));
  return words.length === 0 ? 0 : found.length / words.length;
}

/** Returns the texts of a string, of an object with a `text`, or of a list of these. */
function textsOf(value: unknown): string[] {
  const items: unknown[] = Array.isArray(value) ? value : [value];
  return items.map((item) => String((isObject(item) ? item['text'] : item) ?? ''));
}

const rerank: Reading = {
  input: ({ query, documents }) => [query, ...textsOf(documents)],
  answer({ query, documents, top_n }, model, promptTokens) {
    const results = textsOf(documents)
      .map((document, index) => ({ index, relevance_score: relevanceOf(String(query), document) }))
      .sort((a, b) => b.relevance_score - a.relevance_score)
      .slice(0, typeof top_n === 'number' ? top_n : undefined);
    return { model, object: 'list', usage: usageOf(promptTokens), results };
  },
};

const score: Reading = {
  input: ({ text_1, text_2 }) => [...textsOf(text_1), ...textsOf(text_2)],
  answer({ text_1, text_2 }, model, promptTokens) {
    const [query = ''] = textsOf(text_1);
    const data = textsOf(text_2).map((document, index) => {
      return { index, object: 'score', score: relevanceOf(query, document) };
    });
    return { id: 'score-simulated', object: 'list', model, data, usage: usageOf(promptTokens) };
  },
};

const samplesPerToken = 800;

/** Returns a WAV file, 8 bit and 8 kHz, of a buzz. Its samples count through all byte values, to test binary bodies. */
function buzz(samples: number): Uint8Array {
  const file = Buffer.alloc(44 + samples);
  file.write('RIFF');
  file.writeUInt32LE(36 + samples, 4);
  file.write('WAVEfmt ', 8);
  file.writeUInt32LE(16, 16);
  file.writeUInt16LE(1, 20);
  file.writeUInt16LE(1, 22);
  file.writeUInt32LE(8000, 24);
  file.writeUInt32LE(8000, 28);
  file.writeUInt16LE(1, 32);
  file.writeUInt16LE(8, 34);
  file.write('data', 36);
  file.writeUInt32LE(samples, 40);
  for (let i = 0; i < samples; i++) file[44 + i] = i % 256;
  return file;
}

const speech: Reading = {
  input: ({ input }) => input,
  answer: (_body, _model, promptTokens) => buzz(promptTokens * samplesPerToken),
};

/** The reading routes by path; the method is always POST. Each holds a slot while its prompt is computed. */
export const readings: Readonly<Record<string, Reading>> = {
  '/v1/embeddings': embeddings,
  '/embedding': nativeEmbeddings,
  '/embeddings': nativeEmbeddings,
  '/rerank': rerank,
  '/reranking': rerank,
  '/v1/rerank': rerank,
  '/v1/reranking': rerank,
  '/v1/score': score,
  '/v1/audio/speech': speech,
};
