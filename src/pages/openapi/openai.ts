/**
 * The specification of the bodies of OpenAI's wire format: completions, chat, embeddings and models. It has the fields
 * that clients and engines commonly use; other fields are allowed and passed on unchanged.
 */
import {
  anyObject,
  anyOf,
  arrayOf,
  boolean,
  dataFrames,
  eitherJson,
  eventStream,
  integer,
  json,
  number,
  object,
  ref,
  string,
  someOf,
} from './parts.ts';
import type { RouteDoc, Schema } from './parts.ts';

const tag = 'OpenAI';

const model = string(
  'The model, as listed by GET /v1/models. Optional if the engine serves only one.',
  { nullable: true },
);

const stop = anyOf('Where to stop.', string(), arrayOf(string()));

/** The fields that steer generation, the same for completions and chat. */
const sampling: Record<string, Schema> = {
  temperature: number('0 always takes the likeliest token; higher values vary more.'),
  top_p: number('Sample only from the likeliest tokens that together have this probability.'),
  n: integer('How many answers to generate.', { minimum: 1 }),
  stop,
  seed: integer('The same seed and settings repeat an answer, if the engine supports it.'),
  presence_penalty: number(),
  frequency_penalty: number(),
  logit_bias: anyObject('Changes to the likelihood of tokens, by token id.'),
  stream: boolean('Send the answer as an event stream while it is generated.'),
  stream_options: object({
    include_usage: boolean('End the stream with a chunk that holds `usage`.'),
  }),
  user: string(),
};

const nullableString = string(undefined, { nullable: true });
const index = integer();
const created = integer('Unix time in seconds.');
const finishReason = string('`stop`, `length`, `tool_calls` or another; null until the end.', {
  nullable: true,
});

const content = anyOf(
  'A text, or parts such as text, images and audio.',
  nullableString,
  arrayOf(ref('ContentPart')),
);

export const openaiSchemas: Record<string, Schema> = {
  Usage: {
    ...object({
      prompt_tokens: integer(),
      completion_tokens: integer(),
      total_tokens: integer(),
      prompt_tokens_details: {
        ...object({
          cached_tokens: integer('Tokens of the prompt that the engine had cached.'),
        }),
        nullable: true,
      },
    }),
    nullable: true,
  },
  CompletionRequest: {
    ...object({
      model,
      prompt: anyOf(
        'The prompt: a text, tokens, or a list of either.',
        string(),
        someOf(string()),
        someOf(integer()),
        someOf(arrayOf(integer())),
      ),
      prompt_embeds: anyOf(
        'The prompt as embeddings in base64 (vLLM).',
        string(),
        arrayOf(string()),
      ),
      max_tokens: integer('The maximum number of tokens to generate.', { nullable: true }),
      ...sampling,
      logprobs: integer('How many of the likeliest tokens to report at each step.', {
        nullable: true,
      }),
      echo: boolean('Begin the answer with the prompt.'),
      suffix: string('The text after the completion.', { nullable: true }),
      best_of: integer(),
    }),
    anyOf: [
      { title: 'A prompt of text or tokens', required: ['prompt'] },
      { title: 'A prompt of embeddings', required: ['prompt_embeds'] },
    ],
  },
  Completion: object(
    {
      id: string(),
      object: string('`text_completion`, also in each chunk of a stream.'),
      created,
      model: string(),
      choices: arrayOf(
        object(
          {
            index,
            text: string(),
            finish_reason: finishReason,
            logprobs: anyObject(undefined, { nullable: true }),
          },
          ['index', 'text'],
        ),
      ),
      usage: ref('Usage'),
    },
    ['choices'],
  ),
  ContentPart: object({ type: string('`text`, `image_url`, `input_audio` or another.') }, ['type']),
  ChatMessage: object(
    {
      role: string('`system`, `developer`, `user`, `assistant` or `tool`.'),
      content,
      name: string(),
      tool_calls: arrayOf(anyObject()),
      tool_call_id: string('The call that a message with the role `tool` answers.'),
      reasoning_content: nullableString,
    },
    ['role'],
  ),
  ChatCompletionRequest: object(
    {
      model,
      messages: arrayOf(ref('ChatMessage'), 'The conversation so far.'),
      max_tokens: integer('The maximum number of tokens to generate.', { nullable: true }),
      max_completion_tokens: integer('The newer name of `max_tokens`.', { nullable: true }),
      ...sampling,
      logprobs: boolean(),
      top_logprobs: integer(),
      tools: arrayOf(anyObject(), 'Functions that the model may call.'),
      tool_choice: anyOf(
        '`none`, `auto`, `required`, or one function.',
        string(),
        object({ type: string() }),
      ),
      response_format: object(
        { type: string('`text`, `json_object` or `json_schema`.') },
        [],
        'The form of the answer.',
      ),
    },
    ['messages'],
  ),
  ChatCompletion: object(
    {
      id: string(),
      object: string('`chat.completion`'),
      created,
      model: string(),
      choices: arrayOf(
        object({ index, message: ref('ChatMessage'), finish_reason: finishReason }, ['message']),
      ),
      usage: ref('Usage'),
    },
    ['choices'],
  ),
  ChatCompletionChunk: object(
    {
      id: string(),
      object: string('`chat.completion.chunk`'),
      created,
      model: string(),
      choices: arrayOf(
        object({
          index,
          delta: object({ role: string(), content: nullableString }),
          finish_reason: finishReason,
        }),
        'Empty in the chunk that holds `usage`.',
      ),
      usage: ref('Usage'),
    },
    ['choices'],
    'The data of each event of a streamed chat.',
  ),
  InputTokens: object({ object: string(), input_tokens: integer() }, ['input_tokens']),
  EmbeddingRequest: object(
    {
      model,
      input: anyOf(
        'What to embed.',
        string(),
        arrayOf(string()),
        arrayOf(integer()),
        arrayOf(arrayOf(integer())),
      ),
      encoding_format: string(undefined, { enum: ['float', 'base64'] }),
      dimensions: integer(),
    },
    ['input'],
  ),
  EmbeddingList: object(
    {
      object: string('`list`'),
      model: string(),
      data: arrayOf(
        object({
          object: string('`embedding`'),
          index,
          embedding: anyOf('As `encoding_format` asked.', arrayOf(number()), string()),
        }),
      ),
      usage: ref('Usage'),
    },
    ['data'],
  ),
  Model: object({ id: string(), object: string('`model`'), created, owned_by: string() }, ['id']),
  ModelList: object({ object: string('`list`'), data: arrayOf(ref('Model')) }, ['data']),
};

const messages = [{ role: 'user', content: 'Привет! Как дела?' }];
const usage = { prompt_tokens: 8, completion_tokens: 2, total_tokens: 10 };
const completion = {
  id: 'cmpl-1',
  object: 'text_completion',
  created: 1795478400,
  model: 'smollm2',
};
const chunk = {
  id: 'chatcmpl-1',
  object: 'chat.completion.chunk',
  created: 1795478400,
  model: 'smollm2',
};
const delta = (delta: object, finish_reason: string | null = null) => ({
  ...chunk,
  choices: [{ index: 0, delta, finish_reason }],
});

const modelExample = { id: 'smollm2', object: 'model', created: 1795478400, owned_by: 'llamacpp' };

const anthropicExample = {
  type: 'model',
  id: 'smollm2',
  display_name: 'smollm2',
  created_at: '2026-11-24T00:00:00Z',
  max_input_tokens: 4096,
  max_tokens: null,
  capabilities: null,
  lifecycle: 'active',
  line: null,
  deprecated_at: null,
  retires_at: null,
};
const bothShapes = 'With `anthropic-version` in Anthropic’s shape.';
const anthropicVersion = {
  in: 'header',
  name: 'anthropic-version',
  required: false,
  description: 'Asks for Anthropic’s shape.',
  schema: { type: 'string' },
} as const;

export const openaiDocs: Record<string, RouteDoc> = {
  '/v1/completions': {
    tag,
    description: 'Needs `prompt` or `prompt_embeds`; the engine checks all other fields.',
    body: json('CompletionRequest', {
      'A completion': { prompt: 'Привет! Как дела?', max_tokens: 100, temperature: 0.7 },
      'A streamed completion': {
        prompt: 'Привет! Как дела?',
        max_tokens: 100,
        stream: true,
        stream_options: { include_usage: true },
      },
    }),
    answer: {
      ...json('Completion', {
        'A completion': {
          ...completion,
          choices: [{ index: 0, text: ' Хорошо!', logprobs: null, finish_reason: 'stop' }],
          usage,
        },
      }),
      ...eventStream(
        'With `stream: true`: each event holds a Completion with the next piece of text; a complete stream ends with `[DONE]`.',
        dataFrames(
          {
            ...completion,
            choices: [{ index: 0, text: ' Хорошо', logprobs: null, finish_reason: null }],
          },
          {
            ...completion,
            choices: [{ index: 0, text: '!', logprobs: null, finish_reason: 'stop' }],
          },
          { ...completion, choices: [], usage },
          '[DONE]',
        ),
      ),
    },
  },
  '/v1/chat/completions': {
    tag,
    body: json('ChatCompletionRequest', {
      'A conversation': { messages, max_tokens: 100, temperature: 0.7 },
      'A streamed answer': {
        messages,
        max_tokens: 100,
        stream: true,
        stream_options: { include_usage: true },
      },
    }),
    answer: {
      ...json('ChatCompletion', {
        'An answer': {
          ...chunk,
          object: 'chat.completion',
          choices: [
            {
              index: 0,
              message: { role: 'assistant', content: 'Хорошо!' },
              finish_reason: 'stop',
            },
          ],
          usage,
        },
      }),
      ...eventStream(
        'With `stream: true`: each event holds a ChatCompletionChunk; a complete stream ends with `[DONE]`.',
        dataFrames(
          delta({ role: 'assistant', content: null }),
          delta({ content: 'Хорошо!' }),
          delta({}, 'stop'),
          { ...chunk, choices: [], usage },
          '[DONE]',
        ),
      ),
    },
  },
  '/v1/chat/completions/input_tokens': {
    tag: 'llama.cpp',
    body: json('ChatCompletionRequest', { 'A conversation': { messages } }),
    answer: json('InputTokens', {
      'The count': { object: 'response.input_tokens', input_tokens: 31 },
    }),
  },
  '/v1/embeddings': {
    tag,
    body: json('EmbeddingRequest', {
      'One text': { input: 'Привет!' },
      'Several texts': { input: ['Привет!', 'Как дела?'], encoding_format: 'float' },
    }),
    answer: json('EmbeddingList', {
      'One vector, shortened': {
        object: 'list',
        model: 'smollm2',
        data: [{ object: 'embedding', index: 0, embedding: [-0.0129, -0.0188, 0.0007] }],
        usage: { prompt_tokens: 4, total_tokens: 4 },
      },
    }),
  },
  '/v1/models': {
    tag,
    description:
      'A client that sends `anthropic-version` gets the list, a model and errors in Anthropic’s shape; `limit`, `after_id` and `before_id` then choose a page.',
    parameters: [anthropicVersion],
    answer: eitherJson(bothShapes, ['ModelList', 'AnthropicModelList'], {
      'One model': { object: 'list', data: [modelExample] },
      'In Anthropic’s shape': {
        data: [anthropicExample],
        has_more: false,
        first_id: 'smollm2',
        last_id: 'smollm2',
      },
    }),
  },
  '/v1/models/*': {
    tag,
    description: 'The gateway looks the model up in the engine’s list. An id may contain slashes.',
    parameters: [
      anthropicVersion,
      {
        in: 'path',
        name: 'id',
        required: true,
        description: 'The id of the model, as listed by GET /v1/models.',
        schema: { type: 'string' },
        example: 'smollm2',
      },
    ],
    answer: eitherJson(bothShapes, ['Model', 'AnthropicModel'], {
      'A model': modelExample,
      'In Anthropic’s shape': anthropicExample,
    }),
  },
};
