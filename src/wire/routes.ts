/**
 * The allow-list: every path that reaches an engine, with what the gateway must know of it. Any other path is a 404. An
 * engine's administrative and shared-state routes (slots, LoRA, load and unload, /metrics, /props) must never be added.
 */
import type { Family } from './errors.ts';
import { engineKinds, type EngineKind } from './kinds.ts';

export interface Route {
  method: 'GET' | 'POST';
  /** The path at the gateway, and at an engine after its base URL unless `at` has another one. */
  path: string;
  /** The kinds of engine that serve it; absent where any may. One of kind `openai` or `unknown` may serve anything. */
  kinds?: readonly EngineKind[];
  /** The path at engines of some kinds, where it is not `path`. */
  at?: Readonly<Partial<Record<EngineKind, string>>>;
  family: Family;
  /** The format of the body. Only `json` is parsed, and it must be an object. */
  body: 'json' | 'multipart' | 'none';
  /** `true` if the request occupies a slot of the engine; `false` for tokenizing and listing. */
  generates: boolean;
  /** Whether the answer is a stream unless the body has `"stream": false`. */
  streamsUnasked?: true;
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

const get = (path: string, summary: string, more: Partial<Route> = {}): Route => ({
  method: 'GET',
  path,
  family: 'openai',
  body: 'none',
  generates: false,
  summary,
  ...more,
});

const free = { generates: false } as const;
const multipart = { body: 'multipart' } as const;
const anthropic = { family: 'anthropic' } as const;
const responses = { family: 'responses' } as const;
const ollama = { family: 'ollama', kinds: ['ollama'] } as const;

const llama = { kinds: ['llama.cpp'] } as const;
const vllm = { kinds: ['vllm'] } as const;
const vllmAndSglang = { kinds: ['vllm', 'sglang'] } as const;
const withImages = { kinds: ['vllm', 'sglang', 'ollama'] } as const;
const withTokenizer = { kinds: ['llama.cpp', 'vllm', 'sglang'] } as const;

/** Returns the member `at` of a route that only engines of these kinds serve under its own path. */
function elsewhere(path: string, ...own: readonly EngineKind[]): Pick<Route, 'at'> {
  const others = [...engineKinds, 'unknown' as const].filter((kind) => !own.includes(kind));
  return { at: Object.fromEntries(others.map((kind) => [kind, path])) };
}

/** Returns the row of a path without `/v1` that llama.cpp serves as it is, and every other engine with `/v1`. */
function bare(path: string, summary: string, more: Partial<Route> = {}): Route {
  return post(path, summary, { ...elsewhere(`/v1${path}`, 'llama.cpp'), ...more });
}

const ranks = 'Rank documents for a query';
const countsChat = 'Count the tokens of a conversation (llama.cpp)';
const countsResponse = 'Count the tokens of a response (llama.cpp)';

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
  post('/v1/moderations', 'Judge whether texts are harmful', { kinds: ['openai'] }),
  post('/v1/images/generations', 'Make images from a text', withImages),
  post('/v1/images/edits', 'Change images as a text says', { ...withImages, ...multipart }),
  post('/v1/rerank', ranks),
  post('/v1/reranking', ranks, elsewhere('/v1/rerank', 'llama.cpp')),
  post('/v2/rerank', `${ranks} (vLLM)`, vllm),
  post('/v1/score', 'Score pairs of texts (vLLM, SGLang)'),
  post('/v1/classify', 'Classify texts (vLLM, SGLang)', {
    ...vllmAndSglang,
    at: { vllm: '/classify' },
  }),
  post('/v1/audio/transcriptions', 'Transcribe audio', multipart),
  post('/v1/audio/translations', 'Translate audio into English', multipart),
  post('/v1/audio/speech', 'Speak a text'),
  post('/v1/chat/completions/input_tokens', countsChat, free),
  post('/v1/responses/input_tokens', countsResponse, free),
  get('/v1/models', 'List the models'),
  get('/v1/models/*', 'Look one model up'),

  bare('/chat/completions', 'Answer a conversation'),
  bare('/chat/completions/input_tokens', countsChat, free),
  bare('/responses', 'Create a response', responses),
  bare('/responses/input_tokens', countsResponse, free),
  bare('/audio/transcriptions', 'Transcribe audio', multipart),
  post('/rerank', ranks, elsewhere('/v1/rerank', 'llama.cpp', 'vllm')),
  post('/reranking', ranks, elsewhere('/v1/rerank', 'llama.cpp')),
  get('/models', 'List the models', elsewhere('/v1/models', 'llama.cpp')),

  // Under these two llama.cpp has formats of its own, and the other engines nothing.
  bare('/completions', 'Complete a prompt; native format of llama.cpp'),
  bare('/embeddings', 'Embed texts; native format of llama.cpp'),
  post('/completion', 'Complete a prompt, native format (llama.cpp)', llama),
  post('/embedding', 'Embed a text, native format (llama.cpp)', llama),
  post('/infill', 'Fill in the middle of code (llama.cpp)', llama),
  post('/apply-template', 'Render a conversation as a prompt (llama.cpp)', { ...llama, ...free }),
  post('/tokenize', 'Turn text into tokens (llama.cpp, vLLM, SGLang)', {
    ...withTokenizer,
    ...free,
  }),
  post('/detokenize', 'Turn tokens into text (llama.cpp, vLLM, SGLang)', {
    ...withTokenizer,
    ...free,
  }),

  post('/score', 'Score pairs of texts (vLLM)', vllm),
  post('/classify', 'Classify texts (vLLM, SGLang)', vllmAndSglang),
  post('/pooling', 'Pool the hidden states of texts (vLLM)', vllm),

  post('/api/chat', 'Answer a conversation (Ollama)', { ...ollama, streamsUnasked: true }),
  post('/api/generate', 'Complete a prompt (Ollama)', { ...ollama, streamsUnasked: true }),
  post('/api/embed', 'Embed texts (Ollama)', ollama),
  post('/api/embeddings', 'Embed a text (Ollama)', ollama),
  post('/api/show', 'Describe a model (Ollama)', {
    ...ollama,
    ...free,
    needsOneOf: ['model', 'name'],
  }),
  get('/api/tags', 'List the models (Ollama)', ollama),
  get('/api/ps', 'List the models that are loaded (Ollama)', ollama),
  get('/api/version', 'Tell the version (Ollama)', ollama),
];

/** Returns the path under which an engine of that kind serves the route, after its base URL. */
export function pathAt({ path, at }: Route, kind: EngineKind): string {
  return at?.[kind] ?? path;
}

/** Returns whether an engine of that kind may serve the route. */
export function isServedBy({ kinds }: Route, kind: EngineKind): boolean {
  if (kinds === undefined || kind === 'openai' || kind === 'unknown') return true;
  return kinds.includes(kind);
}

/** Returns the family whose error format a path gets. Works for unknown paths too. */
export function familyOfPath(path: string): Family {
  if (path.startsWith('/api/')) return 'ollama';
  return path === '/v1/messages' || path.startsWith('/v1/messages/') ? 'anthropic' : 'openai';
}

/** Routes that take a slot but whose answer is not generated text. */
const reading = /embed|rerank|score|classify|pooling|moderations|images|audio/;

/** Returns whether the answer of a route is generated text. */
export function answersInTokens({ generates, path }: Route): boolean {
  return generates && !reading.test(path);
}

/** Returns the query of a URL with its question mark, or nothing. */
export function searchOf(url: string): string {
  const query = url.indexOf('?');
  return query === -1 ? '' : url.slice(query);
}
