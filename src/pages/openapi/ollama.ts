/**
 * The specification of Ollama's own routes: the fields that clients commonly use. Other fields are allowed and passed on
 * unchanged, but for those that decide about models in memory.
 */
import {
  anyObject,
  anyOf,
  arrayOf,
  boolean,
  integer,
  json,
  number,
  object,
  ref,
  string,
} from './parts.ts';
import type { Content, RouteDoc, Schema } from './parts.ts';

const tag = 'Ollama';
const model = string('The model. Optional if there is only one.', { nullable: true });
const kept =
  'Taken out unless the operator has set `OLLAMA_LOADING=on`: how long the model stays in memory.';
const keep_alive = anyOf(kept, string(), number());
const options = object(
  {
    num_predict: integer('The maximum number of tokens to generate; -1 for no limit.'),
    num_ctx: integer(
      'Taken out unless the operator has set `OLLAMA_LOADING=on`, like every option that loads the model anew.',
    ),
    temperature: number(),
    seed: integer(),
    stop: arrayOf(string()),
  },
  [],
  'Options of the model.',
);
const stream = boolean('`false` for one answer. Without it the answer is lines of JSON.');

const counts = {
  total_duration: integer('Nanoseconds.'),
  prompt_eval_count: integer('Tokens of the prompt.'),
  eval_count: integer('Tokens of the answer.'),
};
const ending = { done: boolean(), done_reason: string(), ...counts };

export const ollamaSchemas: Record<string, Schema> = {
  OllamaMessage: object(
    {
      role: string('`system`, `user`, `assistant` or `tool`.'),
      content: string(),
      images: arrayOf(string('Base64.')),
      tool_calls: arrayOf(anyObject()),
    },
    ['role'],
  ),
  OllamaChatRequest: object({
    model,
    messages: arrayOf(ref('OllamaMessage'), 'Without one the model is loaded.'),
    tools: arrayOf(anyObject()),
    format: anyOf('`json`, or a JSON Schema.', string(), anyObject()),
    stream,
    options,
    keep_alive,
  }),
  OllamaChat: object({
    model: string(),
    created_at: string(),
    message: ref('OllamaMessage'),
    ...ending,
  }),
  OllamaGenerateRequest: object({
    model,
    prompt: string('Without it the model is loaded.'),
    suffix: string(),
    system: string(),
    format: anyOf('`json`, or a JSON Schema.', string(), anyObject()),
    stream,
    options,
    keep_alive,
  }),
  OllamaGeneration: object({
    model: string(),
    created_at: string(),
    response: string(),
    ...ending,
  }),
  OllamaEmbedRequest: object({
    model,
    input: anyOf('A text, or a list of texts.', string(), arrayOf(string())),
    truncate: boolean(),
    dimensions: integer(),
    options,
    keep_alive,
  }),
  OllamaEmbeds: object({ model: string(), embeddings: arrayOf(arrayOf(number())), ...counts }),
  OllamaEmbeddingRequest: object({ model, prompt: string(), options, keep_alive }),
  OllamaEmbedding: object({ embedding: arrayOf(number()) }),
  OllamaShowRequest: {
    ...object({ model: string('The model.'), name: string('The same, in older clients.') }),
    anyOf: [{ required: ['model'] }, { required: ['name'] }],
  },
  OllamaModelCard: object({ details: anyObject(), model_info: anyObject() }),
  OllamaModels: object({
    models: arrayOf(object({ name: string(), model: string(), size: integer() })),
  }),
  OllamaVersion: object({ version: string() }),
};

function lines(...said: object[]): Content {
  const value = said.map((each) => `${JSON.stringify(each)}\n`).join('');
  const description =
    'A JSON object a line. The last one has `"done": true`, or `error` if the engine has failed.';
  return {
    'application/x-ndjson': {
      schema: { type: 'string', description },
      examples: { example1: { summary: 'A complete stream', value } },
    },
  };
}

const created_at = '2026-11-24T00:00:00Z';
const done = { done: true, done_reason: 'stop', prompt_eval_count: 31, eval_count: 2 };
const said = (content: string) => ({
  model: 'smollm2:latest',
  created_at,
  message: { role: 'assistant', content },
});
const written = (response: string) => ({ model: 'smollm2:latest', created_at, response });
const question = { model: 'smollm2', messages: [{ role: 'user', content: 'Привет! Как дела?' }] };
const listed = { models: [{ name: 'smollm2:latest', model: 'smollm2:latest', size: 270898672 }] };

export const ollamaDocs: Record<string, RouteDoc> = {
  '/api/chat': {
    tag,
    body: json('OllamaChatRequest', {
      'A streamed answer': question,
      'One answer': { ...question, stream: false, options: { num_predict: 100 } },
    }),
    answer: {
      ...lines({ ...said('Хорошо!'), done: false }, { ...said(''), ...done }),
      ...json('OllamaChat', { 'With `stream: false`': { ...said('Хорошо!'), ...done } }),
    },
  },
  '/api/generate': {
    tag,
    body: json('OllamaGenerateRequest', {
      'A prompt': { model: 'smollm2', prompt: 'Привет! Как дела?', stream: false },
    }),
    answer: {
      ...lines({ ...written('Хорошо!'), done: false }, { ...written(''), ...done }),
      ...json('OllamaGeneration', { 'With `stream: false`': { ...written('Хорошо!'), ...done } }),
    },
  },
  '/api/embed': {
    tag,
    body: json('OllamaEmbedRequest', { Texts: { model: 'smollm2', input: ['Привет!', 'Пока!'] } }),
    answer: json('OllamaEmbeds', {
      'The vectors': { model: 'smollm2', embeddings: [[0.1, 0.2]], prompt_eval_count: 4 },
    }),
  },
  '/api/embeddings': {
    tag,
    body: json('OllamaEmbeddingRequest', { 'A text': { model: 'smollm2', prompt: 'Привет!' } }),
    answer: json('OllamaEmbedding', { 'The vector': { embedding: [0.1, 0.2] } }),
  },
  '/api/show': {
    tag,
    body: json('OllamaShowRequest', { 'A model': { model: 'smollm2' } }),
    answer: json('OllamaModelCard', {
      'The model': { details: { family: 'llama' }, model_info: { 'llama.context_length': 8192 } },
    }),
  },
  '/api/tags': {
    tag,
    description: 'The models of all upstreams of kind ollama that the key may use, and aliases.',
    answer: json('OllamaModels', { 'The models': listed }),
  },
  '/api/ps': {
    tag,
    description: 'Those of the same models that are in memory.',
    answer: json('OllamaModels', { 'The models': listed }),
  },
  '/api/version': {
    tag,
    description: 'That of the first upstream of kind ollama.',
    answer: json('OllamaVersion', { 'The version': { version: '0.12.0' } }),
  },
};
