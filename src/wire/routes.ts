/**
 * The allow-list: every path that reaches an engine, with what the gateway must know of it. Any other path is a 404. An
 * engine's administrative and shared-state routes (slots, LoRA, load and unload, /metrics, /props) must never be added.
 */
import type { Family } from './errors.ts';

export interface Route {
  method: 'GET' | 'POST';
  /** The path at the gateway, and at the engine after its base URL. */
  path: string;
  family: Family;
  /** The format of the body. Only `json` is parsed, and it must be an object. */
  body: 'json' | 'multipart' | 'none';
  /** `true` if the request occupies a slot of the engine; `false` for tokenizing and listing. */
  generates: boolean;
  /** The body must have one of these fields; the engine checks everything else. */
  needsOneOf?: readonly string[];
  /** One line for the documentation. */
  summary: string;
}

const post = (path: string, summary: string, more: Partial<Route> = {}): Route => ({
  method: 'POST',
  path,
  family: 'openai',
  body: 'json',
  generates: true,
  summary,
  ...more,
});

const get = (path: string, summary: string): Route => ({
  method: 'GET',
  path,
  family: 'openai',
  body: 'none',
  generates: false,
  summary,
});

const free = { generates: false } as const;
const multipart = { body: 'multipart' } as const;
const anthropic = { family: 'anthropic' } as const;
const responses = { family: 'responses' } as const;

export const routes: readonly Route[] = [
  post('/v1/completions', 'Complete a prompt', { needsOneOf: ['prompt', 'prompt_embeds'] }),
  post('/v1/chat/completions', 'Answer a conversation'),
  post('/v1/responses', 'Create a response', responses),
  post('/v1/messages', 'Create a message (Anthropic)', anthropic),
  post('/v1/messages/count_tokens', 'Count the tokens of a message (Anthropic)', {
    ...anthropic,
    ...free,
  }),
  post('/v1/embeddings', 'Embed texts'),
  post('/v1/rerank', 'Rank documents for a query'),
  post('/v1/reranking', 'Rank documents for a query (llama.cpp)'),
  post('/v1/score', 'Score pairs of texts (vLLM)'),
  post('/v1/audio/transcriptions', 'Transcribe audio', multipart),
  post('/v1/audio/translations', 'Translate audio into English', multipart),
  post('/v1/audio/speech', 'Speak a text'),
  post('/v1/chat/completions/input_tokens', 'Count the tokens of a conversation (llama.cpp)', free),
  post('/v1/responses/input_tokens', 'Count the tokens of a response (llama.cpp)', free),
  get('/v1/models', 'List the models'),
  get('/v1/models/*', 'Look one model up'),

  post('/completion', 'Complete a prompt, native format (llama.cpp)'),
  post('/completions', 'Complete a prompt, native format (llama.cpp)'),
  post('/chat/completions', 'Answer a conversation (llama.cpp)'),
  post('/chat/completions/input_tokens', 'Count the tokens of a conversation (llama.cpp)', free),
  post('/responses', 'Create a response (llama.cpp)', responses),
  post('/responses/input_tokens', 'Count the tokens of a response (llama.cpp)', free),
  post('/embedding', 'Embed a text, native format (llama.cpp)'),
  post('/embeddings', 'Embed texts, native format (llama.cpp)'),
  post('/rerank', 'Rank documents for a query (llama.cpp)'),
  post('/reranking', 'Rank documents for a query (llama.cpp)'),
  post('/audio/transcriptions', 'Transcribe audio (llama.cpp)', multipart),
  post('/infill', 'Fill in the middle of code (llama.cpp)'),
  post('/tokenize', 'Turn text into tokens (llama.cpp)', free),
  post('/detokenize', 'Turn tokens into text (llama.cpp)', free),
  post('/apply-template', 'Render a conversation as a prompt (llama.cpp)', free),
  get('/models', 'List the models (llama.cpp)'),
];

/** Returns the family whose error format a path gets. Works for unknown paths too. */
export function familyOfPath(path: string): Family {
  return path === '/v1/messages' || path.startsWith('/v1/messages/') ? 'anthropic' : 'openai';
}

/** Routes that take a slot but whose answer is not generated text. */
const reading = /embedding|rerank|score|audio/;

/** Returns whether the answer of a route is generated text. */
export function answersInTokens({ generates, path }: Route): boolean {
  return generates && !reading.test(path);
}

/** Returns the query of a URL with its question mark, or nothing. */
export function searchOf(url: string): string {
  const query = url.indexOf('?');
  return query === -1 ? '' : url.slice(query);
}
