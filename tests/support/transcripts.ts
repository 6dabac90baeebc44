/**
 * Event streams as engines write them, each as the list of its frames, so that a test knows where frames end without
 * asking the code under test. Frames hold all their bytes, blank line included; `transcript` joins them.
 */
import type { Family } from '../../src/wire/errors.ts';

export interface Transcript {
  name: string;
  family: Family;
  frames: readonly string[];
  /** How many of the frames carry data. */
  dataFrames: number;
}

/** Returns the bytes of frames, one after the other. */
export function bytesOf(frames: readonly string[]): Uint8Array {
  return Buffer.from(frames.join(''));
}

function withEnds(frames: readonly string[], end: string): string[] {
  return frames.map((frame) => frame.replaceAll('\n', end));
}

function chat(delta: object, more: object = {}): string {
  const choices = [{ index: 0, delta, logprobs: null, finish_reason: null }];
  const head = { id: 'chatcmpl-7f3a', object: 'chat.completion.chunk', created: 1_763_000_000 };
  return `data: ${JSON.stringify({ ...head, model: 'qwen3-8b', choices, ...more })}\n\n`;
}

const usage = {
  prompt_tokens: 19,
  completion_tokens: 6,
  total_tokens: 25,
  prompt_tokens_details: { cached_tokens: 16 },
};

const chatFrames = [
  ': waiting for a slot\n\n',
  chat({ role: 'assistant', content: '' }),
  chat({ content: 'Привет' }),
  `id: 17\n${chat({ content: '! 👋🏽' })}`,
  chat({ content: 'a\u0000b \\n "stop": true, \u2028' }),
  ': keep-alive\n\n',
  `event: message\nid: 18\nretry: 3000\n${chat({ content: '👨‍👩‍👧‍👦 日本語' })}`,
  chat({}, { choices: [{ index: 0, delta: {}, finish_reason: 'stop' }] }),
  chat({}, { choices: [], usage }),
  'data: [DONE]\n\n',
];

function completion(text: string, more: object = {}): string {
  const choices = [{ index: 0, text, logprobs: null, finish_reason: null, stop_reason: null }];
  return `data: ${JSON.stringify({ id: 'cmpl-1', object: 'text_completion', choices, usage: null, ...more })}\n\n`;
}

const completionFrames = [
  completion('Всё'),
  completion(' хорошо'),
  ': ping - 2026-11-24 06:30:00.000000+00:00\n\n',
  completion(' 🙂'),
  completion('', {
    choices: [],
    usage: { prompt_tokens: 7, total_tokens: 10, completion_tokens: 3 },
  }),
  'data: [DONE]\n\n',
];

function named(event: string, data: object): string {
  return `event: ${event}\ndata: ${JSON.stringify({ type: event, ...data })}\n\n`;
}

const anthropicFrames = [
  named('message_start', {
    message: {
      id: 'msg_01',
      type: 'message',
      role: 'assistant',
      content: [],
      usage: { input_tokens: 25, cache_read_input_tokens: 100, output_tokens: 1 },
    },
  }),
  named('content_block_start', { index: 0, content_block: { type: 'text', text: '' } }),
  named('ping', {}),
  named('content_block_delta', { index: 0, delta: { type: 'text_delta', text: 'Да, ' } }),
  named('content_block_delta', { index: 0, delta: { type: 'text_delta', text: 'конечно 🚀' } }),
  named('content_block_stop', { index: 0 }),
  named('message_delta', {
    delta: { stop_reason: 'end_turn', stop_sequence: null },
    usage: { output_tokens: 15 },
  }),
  named('message_stop', {}),
];

const responsesFrames = [
  named('response.created', {
    sequence_number: 0,
    response: { id: 'resp_1', status: 'in_progress' },
  }),
  named('response.output_text.delta', { sequence_number: 1, item_id: 'msg_1', delta: 'Ёлка' }),
  named('response.output_text.delta', { sequence_number: 2, item_id: 'msg_1', delta: ' 🎄' }),
  named('response.completed', {
    sequence_number: 3,
    response: {
      id: 'resp_1',
      status: 'completed',
      usage: {
        input_tokens: 12,
        input_tokens_details: { cached_tokens: 4 },
        output_tokens: 2,
        total_tokens: 14,
      },
      user: null,
    },
  }),
];

const nativeFrames = [
  'data: {"index":0,"content":"Мир","tokens":[1032],"stop":false,"id_slot":-1,"tokens_predicted":1,"tokens_evaluated":4}\n\n',
  'data: {"index":0,"content":"!","tokens":[0],"stop":false,"id_slot":-1,"tokens_predicted":2,"tokens_evaluated":4}\n\n',
  'data: {"index":0,"content":"","tokens":[],"id_slot":0,"stop":true,"model":"smollm2","tokens_predicted":2,"tokens_evaluated":4,' +
    '"generation_settings":{"temperature":0.800000011920929,"seed":4294967295,"stop":[]},"truncated":false,"stop_type":"eos",' +
    '"timings":{"cache_n":3,"prompt_n":1,"prompt_ms":9.413,"predicted_n":2,"predicted_ms":31.07}}\n\n',
];

const longFrames = [
  chat({ content: 'ж🙂'.repeat(12_000) }),
  ': keep-alive\n\n',
  chat({ content: 'x'.repeat(70_000) }),
  'data: [DONE]\n\n',
];

export const transcripts: readonly Transcript[] = [
  {
    name: 'OpenAI chat with comments and ids',
    family: 'openai',
    frames: chatFrames,
    dataFrames: 8,
  },
  {
    name: 'OpenAI chat in CR LF',
    family: 'openai',
    frames: withEnds(chatFrames, '\r\n'),
    dataFrames: 8,
  },
  {
    name: 'OpenAI chat in CR alone',
    family: 'openai',
    frames: withEnds(chatFrames, '\r'),
    dataFrames: 8,
  },
  {
    name: 'OpenAI completions in CR LF with pings',
    family: 'openai',
    frames: withEnds(completionFrames, '\r\n'),
    dataFrames: 5,
  },
  {
    name: 'mixed line ends',
    family: 'openai',
    frames: [
      'data: {"a":1}\r\n\n',
      'data: {"b":"ы"}\n\r\n',
      'id: 3\rdata: {"c":3}\n\r',
      'data: {"d":4}\r\r\n',
      'event: x\r\ndata: {"e":5}\r\r',
      'data: [DONE]\n\n',
    ],
    dataFrames: 6,
  },
  {
    name: 'events without data and lines to spare',
    family: 'openai',
    frames: [
      '\n',
      'retry: 3000\n\n',
      'id: 1\n\n',
      'event: ping\n\n',
      'data: {"a":1}\n\n',
      '\n',
      ':\n\n',
      ': one\n: two\n\n',
      'data: one\ndata: two\n\n',
      'data: [DONE]\n\n',
      '\n',
    ],
    dataFrames: 3,
  },
  {
    name: 'comments in front of the data of their frame',
    family: 'openai',
    frames: [
      ': keep-alive\ndata: {"a":1}\n\n',
      ': keep-alive\n: keep-alive\ndata: {"b":2}\n\n',
      ': keep-alive\ndata: [DONE]\n\n',
    ],
    dataFrames: 3,
  },
  {
    name: 'a byte order mark',
    family: 'openai',
    frames: ['\uFEFFdata: {"a":"é"}\n\n', 'data: [DONE]\n\n'],
    dataFrames: 2,
  },
  { name: 'Anthropic messages', family: 'anthropic', frames: anthropicFrames, dataFrames: 8 },
  { name: 'Responses', family: 'responses', frames: responsesFrames, dataFrames: 4 },
  { name: 'llama.cpp native', family: 'openai', frames: nativeFrames, dataFrames: 3 },
  { name: 'frames above 64 KB', family: 'openai', frames: longFrames, dataFrames: 3 },
  {
    name: 'frames above 64 KB in CR LF',
    family: 'openai',
    frames: withEnds(longFrames, '\r\n'),
    dataFrames: 3,
  },
];

/** Returns the transcript with that name. */
export function transcript(name: string): Transcript {
  const found = transcripts.find((candidate) => candidate.name === name);
  if (found === undefined) throw new Error(`no transcript is called "${name}"`);
  return found;
}
