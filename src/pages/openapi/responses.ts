/**
 * The specification of the bodies of OpenAI's Responses: the fields that clients and engines commonly use. Other fields
 * are allowed and passed on unchanged.
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

export const responsesSchemas: Record<string, Schema> = {
  ResponseRequest: object(
    {
      model: string(
        'The model, as listed by GET /v1/models. Optional if the engine serves only one.',
        { nullable: true },
      ),
      input: anyOf('A text, or the items of a conversation.', string(), arrayOf(anyObject())),
      instructions: string('Instructions to the model before the conversation.', {
        nullable: true,
      }),
      max_output_tokens: integer('The maximum number of tokens to generate.', { nullable: true }),
      temperature: number(),
      top_p: number(),
      stream: boolean('Send the answer as an event stream while it is generated.'),
      tools: arrayOf(anyObject()),
      tool_choice: anyOf('`none`, `auto`, `required`, or one tool.', string(), anyObject()),
      text: anyObject('The form of the answer.'),
      reasoning: anyObject(undefined, { nullable: true }),
    },
    ['input'],
  ),
  Response: object(
    {
      id: string(),
      object: string('`response`'),
      created_at: integer('Unix time in seconds.'),
      status: string('`completed`, `in_progress`, `incomplete` or `failed`.'),
      model: string(),
      output: arrayOf(ref('ResponseItem')),
      usage: object({
        input_tokens: integer(),
        output_tokens: integer(),
        total_tokens: integer(),
        input_tokens_details: object({ cached_tokens: integer() }),
      }),
    },
    ['id', 'output'],
  ),
  ResponseItem: object(
    {
      id: string(),
      type: string('`message`, `reasoning`, `function_call` or another.'),
      role: string(),
      status: string(),
      content: arrayOf(object({ type: string(), text: string() })),
    },
    ['type'],
  ),
};

const message = {
  id: 'msg_1',
  type: 'message',
  role: 'assistant',
  status: 'completed',
  content: [{ type: 'output_text', annotations: [], text: 'Хорошо!' }],
};
const response = {
  id: 'resp_1',
  object: 'response',
  created_at: 1795478400,
  status: 'completed',
  model: 'smollm2',
  output: [message],
  usage: { input_tokens: 31, output_tokens: 2, total_tokens: 33 },
};

export const responsesDocs: Record<string, RouteDoc> = {
  '/v1/responses': {
    tag: 'OpenAI',
    body: json('ResponseRequest', {
      'A question': { input: 'Привет! Как дела?', max_output_tokens: 100 },
      'A streamed answer': { input: 'Привет! Как дела?', max_output_tokens: 100, stream: true },
    }),
    answer: {
      ...json('Response', { 'An answer': response }),
      ...eventStream(
        'With `stream: true`: named events. A complete stream ends with `response.completed`, `response.incomplete` or `response.failed`.',
        namedFrames(
          {
            type: 'response.created',
            response: { id: 'resp_1', object: 'response', status: 'in_progress' },
          },
          { type: 'response.output_text.delta', item_id: 'msg_1', delta: 'Хорошо!' },
          { type: 'response.output_text.done', item_id: 'msg_1', text: 'Хорошо!' },
          { type: 'response.completed', response },
        ),
      ),
    },
  },
  '/v1/responses/input_tokens': {
    tag: 'llama.cpp',
    body: json('ResponseRequest', { 'A question': { input: 'Привет! Как дела?' } }),
    answer: json('InputTokens', {
      'The count': { object: 'response.input_tokens', input_tokens: 31 },
    }),
  },
};
