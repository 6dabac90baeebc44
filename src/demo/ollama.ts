/**
 * What the simulated engine serves when it speaks as Ollama: its native routes, whose streams are lines of JSON, and its
 * errors. Pure. The OpenAI routes that Ollama has too are those of the other files.
 */
import { vectorOf, type Lookup, type Reading } from './lookups.ts';
import { detokenize, hashOf } from './model.ts';
import { promptFromChat, promptsFrom } from './prompts.ts';
import { first, none, type Json, type Prompt, type Run, type Shape } from './run.ts';
import { EngineError, type Answer } from './wire.ts';

const created_at = '2026-01-01T00:00:00Z';
const nsPerMs = 1_000_000;

function line(data: unknown): string {
  return `${JSON.stringify(data)}\n`;
}

function head({ model }: Run): Json {
  return { model, created_at };
}

/** The times are the simulated ones, not measured. */
function ending(run: Run): Json {
  const promptNs = run.promptMs * nsPerMs;
  const evalNs = run.predictedMs * nsPerMs;
  return {
    done: true,
    done_reason: run.finish,
    total_duration: promptNs + evalNs,
    load_duration: 0,
    prompt_eval_count: run.prompt.tokens.length,
    prompt_eval_duration: promptNs,
    eval_count: run.output.length,
    eval_duration: evalNs,
  };
}

const reply = (content: string): Json => ({ message: { role: 'assistant', content } });

const chat: Shape = {
  plain(runs) {
    const run = first(runs);
    return { ...head(run), ...reply(detokenize(run.output)), ...ending(run) };
  },
  opening: none,
  token: (run, piece) => line({ ...head(run), ...reply(piece), done: false }),
  closing: (run) => line({ ...head(run), ...reply(''), ...ending(run) }),
  ending: none,
};

const complete: Shape = {
  plain(runs) {
    const run = first(runs);
    return { ...head(run), response: detokenize(run.output), ...ending(run) };
  },
  opening: none,
  token: (run, response) => line({ ...head(run), response, done: false }),
  closing: (run) => line({ ...head(run), response: '', ...ending(run) }),
  ending: none,
};

/** The model calls the first tool that it is given, and says nothing. */
function calling(name: string): Shape {
  const call = { function: { index: 0, name, arguments: { simulated: true } } };
  const message = { role: 'assistant', content: '', tool_calls: [call] };
  return {
    ...chat,
    plain: (runs) => ({ ...head(first(runs)), message, ...ending(first(runs)) }),
    opening: (run) => line({ ...head(run), message, done: false }),
    token: none,
  };
}

function nameOfTool(tools: unknown): string | undefined {
  const [tool] = Array.isArray(tools) ? tools : [];
  const name: unknown = tool?.function?.name;
  return typeof name === 'string' ? name : undefined;
}

/** A route that generates: what to make of its body, and how the answer looks. */
export interface OllamaGenerating {
  shape(body: Json): Shape;
  prompts(body: Json): Prompt[];
  /** The answer to a body that has nothing to answer, which loads the model or unloads it. */
  loaded(body: Json): Json | undefined;
}

function loading({ model, keep_alive }: Json, more: Json): Json {
  const done_reason = keep_alive === 0 ? 'unload' : 'load';
  return { model, created_at, ...more, done: true, done_reason };
}

/** The generating routes by path; the method is always POST. */
export const ollamaGeneratings: Readonly<Record<string, OllamaGenerating>> = {
  '/api/chat': {
    shape({ tools }) {
      const tool = nameOfTool(tools);
      return tool === undefined ? chat : calling(tool);
    },
    prompts: ({ messages }) => [promptFromChat(messages)],
    loaded(body) {
      const { messages = [] } = body;
      const isEmpty = Array.isArray(messages) && messages.length === 0;
      return isEmpty ? loading(body, reply('')) : undefined;
    },
  },
  '/api/generate': {
    shape: () => complete,
    prompts: ({ prompt }) => promptsFrom(prompt),
    loaded: (body) => (body['prompt'] ? undefined : loading(body, { response: '' })),
  },
};

/** Returns the body with Ollama's names of what other engines call otherwise. A stream is what is not refused. */
export function asOthersSay(body: Json): Json {
  const { n: _none, max_tokens: _other, options, stream = true, ...rest } = body;
  const limit = (options as Json | undefined)?.['num_predict'];
  const isLimit = typeof limit === 'number' && limit > 0;
  return { ...rest, stream, ...(isLimit && { n_predict: limit }) };
}

/** The reading routes by path. */
export const ollamaReadings: Readonly<Record<string, Reading>> = {
  '/api/embed': {
    input: ({ input }) => input,
    answer({ input }, model, prompt_eval_count) {
      const embeddings = promptsFrom(input).map(({ tokens }) => vectorOf(tokens));
      return { model, embeddings, total_duration: 0, load_duration: 0, prompt_eval_count };
    },
  },
  '/api/embeddings': {
    input: ({ prompt }) => prompt,
    answer: ({ prompt }) => ({ embedding: vectorOf(promptsFrom(prompt)[0]?.tokens ?? []) }),
  },
};

function entryOf(model: string): Json {
  const digest = hashOf([...Buffer.from(model)])
    .toString(16)
    .padStart(64, '0');
  const details = { format: 'simulated', family: 'simulated', families: null };
  return { name: model, model, modified_at: created_at, size: 1, digest, details };
}

/** Returns the model that a name means: Ollama adds the tag `latest` and ignores case. Throws its 404 for no model. */
export function ollamaModel(name: unknown, models: readonly string[]): string {
  const fold = (text: string) => text.toLowerCase().replace(/:latest$/, '');
  const wanted = typeof name === 'string' ? name : '';
  if (wanted === '') throw new EngineError(400, 'invalid_request_error', 'model is required');
  const found = models.find((model) => fold(model) === fold(wanted));
  if (found === undefined) {
    throw new EngineError(404, 'not_found_error', `model '${wanted}' not found`);
  }
  return found;
}

/** Returns an error answer in Ollama's format; any other as it is. */
export function asOllamaSays(answer: Answer): Answer {
  const { status, body } = answer;
  if (status < 400 || !(body instanceof Uint8Array) || body.length === 0) return answer;
  const { error } = JSON.parse(Buffer.from(body).toString());
  return { ...answer, body: Buffer.from(JSON.stringify({ error: error.message })) };
}

/** The lookups by method and path; none takes a slot. */
export const ollamaLookups: Readonly<Record<string, Lookup>> = {
  'GET /api/version': () => ({ version: '0.0.0-simulated' }),
  'GET /api/tags': (_body, { models }) => ({ models: models.map(entryOf) }),
  'GET /api/ps': (_body, { models }) => ({
    models: models.map((model) => ({ ...entryOf(model), expires_at: created_at, size_vram: 1 })),
  }),
  'GET /v1/models': (_body, { models }) => ({
    object: 'list',
    data: models.map((id) => ({
      id,
      object: 'model',
      created: 1_767_225_600,
      owned_by: 'library',
    })),
  }),
  'POST /api/show': ({ model, name }, { models, contextTokens }) => {
    const found = ollamaModel(model ?? name, models);
    const model_info = { 'simulated.context_length': contextTokens };
    const { details } = entryOf(found);
    return { modelfile: '', parameters: '', template: '', details, model_info, capabilities: [] };
  },
};
