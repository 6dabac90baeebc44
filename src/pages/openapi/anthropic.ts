/**
 * The specification of the bodies of Anthropic's Messages: the fields that clients and engines commonly use. Other
 * fields are allowed and passed on unchanged.
 */
import {
  anyObject,
  anyOf,
  arrayOf,
  boolean,
  eventStream,
  integer,
  json,
  namedFrames,
  number,
  object,
  ref,
  string,
} from './parts.ts';
import type { RouteDoc, Schema } from './parts.ts';

/** The conversation, the same for a message and for counting its tokens. */
const conversation: Record<string, Schema> = {
  model: string('The model. Optional if the engine serves only one.', {
    nullable: true,
  }),
  messages: arrayOf(
    object(
      {
        role: string('`user` or `assistant`.'),
        content: anyOf('A text, or a list of blocks.', string(), arrayOf(ref('ContentBlock'))),
      },
      ['role', 'content'],
    ),
    'The conversation so far.',
  ),
  system: anyOf(
    'Instructions to the model before the conversation.',
    string(),
    arrayOf(ref('ContentBlock')),
  ),
  tools: arrayOf(anyObject(), 'Tools that the model may call.'),
  tool_choice: anyObject(),
  thinking: anyObject(),
};

export const anthropicSchemas: Record<string, Schema> = {
  ContentBlock: object(
    {
      type: string('`text`, `image`, `thinking`, `tool_use`, `tool_result` or another.'),
      text: string(),
    },
    ['type'],
  ),
  MessageRequest: object(
    {
      ...conversation,
      max_tokens: integer('The maximum number of tokens to generate.'),
      stream: boolean('Send the answer as an event stream while it is generated.'),
      temperature: number(),
      top_p: number(),
      top_k: integer(),
      stop_sequences: arrayOf(string()),
      metadata: anyObject(),
    },
    ['messages', 'max_tokens'],
  ),
  Message: object(
    {
      id: string(),
      type: string('`message`'),
      role: string('`assistant`'),
      model: string(),
      content: arrayOf(ref('ContentBlock')),
      stop_reason: string('`end_turn`, `max_tokens`, `stop_sequence`, `tool_use` or another.', {
        nullable: true,
      }),
      stop_sequence: string(undefined, { nullable: true }),
      usage: object({
        input_tokens: integer('Tokens of the prompt that were not cached.'),
        output_tokens: integer(),
        cache_read_input_tokens: integer('Tokens of the prompt that the engine had cached.'),
      }),
    },
    ['content'],
  ),
  CountTokensRequest: object(conversation, ['messages']),
  TokenCount: object({ input_tokens: integer() }, ['input_tokens']),
  AnthropicModel: object(
    {
      type: string('`model`'),
      id: string(),
      display_name: string('The id again.'),
      created_at: string('1970-01-01T00:00:00Z where the engine does not tell it.'),
      max_input_tokens: integer('The context, where the engine tells it.', { nullable: true }),
    },
    ['type', 'id', 'display_name', 'created_at'],
  ),
  AnthropicModelList: object(
    {
      data: arrayOf(ref('AnthropicModel')),
      has_more: boolean(),
      first_id: string(undefined, { nullable: true }),
      last_id: string(undefined, { nullable: true }),
    },
    ['data', 'has_more'],
  ),
};

const parameters: RouteDoc['parameters'] = [
  {
    in: 'header',
    name: 'anthropic-version',
    required: false,
    description: 'Passed to the engine.',
    schema: { type: 'string' },
    example: '2023-06-01',
  },
];

const messages = [{ role: 'user', content: 'Привет! Как дела?' }];
const message = {
  id: 'msg_1',
  type: 'message',
  role: 'assistant',
  model: 'smollm2',
  content: [{ type: 'text', text: 'Хорошо!' }],
  stop_reason: 'end_turn',
  stop_sequence: null,
  usage: { input_tokens: 31, output_tokens: 2 },
};

export const anthropicDocs: Record<string, RouteDoc> = {
  '/v1/messages': {
    tag: 'Anthropic',
    parameters,
    body: json('MessageRequest', {
      'A message': { max_tokens: 100, messages },
      'A streamed message': { max_tokens: 100, messages, stream: true },
    }),
    answer: {
      ...json('Message', { 'An answer': message }),
      ...eventStream(
        'With `stream: true`: named events. A complete stream ends with `message_stop`.',
        namedFrames(
          {
            type: 'message_start',
            message: {
              ...message,
              content: [],
              stop_reason: null,
              usage: { input_tokens: 31, output_tokens: 0 },
            },
          },
          { type: 'content_block_start', index: 0, content_block: { type: 'text', text: '' } },
          {
            type: 'content_block_delta',
            index: 0,
            delta: { type: 'text_delta', text: 'Хорошо!' },
          },
          { type: 'content_block_stop', index: 0 },
          {
            type: 'message_delta',
            delta: { stop_reason: 'end_turn', stop_sequence: null },
            usage: { output_tokens: 2 },
          },
          { type: 'message_stop' },
        ),
      ),
    },
  },
  '/v1/messages/count_tokens': {
    tag: 'Anthropic',
    parameters,
    body: json('CountTokensRequest', { 'A message': { messages } }),
    answer: json('TokenCount', { 'The count': { input_tokens: 31 } }),
  },
};
