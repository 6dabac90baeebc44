/** How Anthropic messages and OpenAI responses show a generated answer, plain and as named events. */
import { describe, expect, test } from 'bun:test';
import { messages, responses } from '../../../src/demo/events.ts';
import { tokenize } from '../../../src/demo/model.ts';
import { dataOf, demoRun, streamOf } from '../../support/demoruns.ts';

const run = demoRun();
const [promptTokens, outputTokens] = [run.prompt.tokens.length, run.output.length];

interface Event {
  type: string;
  sequence_number: number;
  delta?: string;
}

/** Returns the data of a stream's events; each must be named after its type. */
function eventsOf(stream: string): Event[] {
  const events = dataOf(stream) as Event[];
  const names = [...stream.matchAll(/^event: (.*)$/gm)].map(([, name]) => name as string);
  expect(events.map(({ type }) => type)).toEqual(names);
  return events;
}

describe('messages', () => {
  const usage = {
    cache_read_input_tokens: 1,
    input_tokens: promptTokens - 1,
    output_tokens: outputTokens,
  };

  test.each([
    ['length', 'max_tokens'],
    ['stop', 'end_turn'],
  ] as const)('a plain answer that ended by %s', (finish, stop_reason) => {
    expect(messages.plain([demoRun({ finish })])).toEqual({
      id: 'msg_00c0ffee',
      type: 'message',
      role: 'assistant',
      model: 'demo',
      content: [{ type: 'text', text: 'one two' }],
      stop_reason,
      stop_sequence: null,
      usage,
    });
  });

  test('a stream counts the prompt at its beginning and the answer at its end', () => {
    const events = eventsOf(streamOf(messages, run));
    expect(events.map(({ type }) => type)).toEqual([
      'message_start',
      'content_block_start',
      ...Array(outputTokens).fill('content_block_delta'),
      'content_block_stop',
      'message_delta',
      'message_stop',
    ]);
    expect(events[0]).toMatchObject({ message: { usage: { ...usage, output_tokens: 0 } } });
    expect(events[2]).toMatchObject({ index: 0, delta: { type: 'text_delta', text: 'one' } });
    expect(events.at(-2)).toMatchObject({
      delta: { stop_reason: 'max_tokens', stop_sequence: null },
      usage: { output_tokens: outputTokens },
    });
  });
});

const call = demoRun({ tool: 'look', output: tokenize('{"at":"it"}'), finish: 'stop' });

describe('a message that calls a tool', () => {
  const block = { type: 'tool_use', id: 'toolu_00c0ffee', name: 'look' };

  test('has the call with its arguments', () => {
    const plain = { content: [{ ...block, input: { at: 'it' } }], stop_reason: 'tool_use' };
    expect(messages.plain([call])).toMatchObject(plain);
  });

  test('streams the arguments in pieces', () => {
    const events = eventsOf(streamOf(messages, call)) as unknown as {
      delta?: { partial_json?: string };
    }[];
    expect(events[1]).toMatchObject({ content_block: { ...block, input: {} } });
    expect(events.map(({ delta }) => delta?.partial_json ?? '').join('')).toBe('{"at":"it"}');
    expect(events.at(-2)).toMatchObject({ delta: { stop_reason: 'tool_use' } });
  });
});

describe('a response that calls a tool', () => {
  const item = { type: 'function_call', name: 'look', call_id: 'call_00c0ffee' };
  const whole = { ...item, arguments: '{"at":"it"}', status: 'completed' };

  test('has the call with its arguments', () => {
    expect(responses.plain([call])).toMatchObject({ output: [whole] });
  });

  test('streams the arguments in pieces and ends with the whole', () => {
    const events = eventsOf(streamOf(responses, call));
    expect(events.map(({ sequence_number }) => sequence_number)).toEqual(events.map((_, i) => i));
    expect(events.map(({ type }) => type)).toEqual([
      'response.created',
      'response.in_progress',
      'response.output_item.added',
      ...Array(call.output.length).fill('response.function_call_arguments.delta'),
      'response.function_call_arguments.done',
      'response.output_item.done',
      'response.completed',
    ]);
    expect(events.map(({ delta }) => delta ?? '').join('')).toBe('{"at":"it"}');
    expect(events[2]).toMatchObject({ item: { ...item, arguments: '', status: 'in_progress' } });
    expect(events.at(-2)).toMatchObject({ item: whole });
    expect(events.at(-1)).toMatchObject({ response: { output: [whole] } });
  });
});

describe('responses', () => {
  const completed = {
    id: 'resp_00c0ffee',
    object: 'response',
    status: 'completed',
    output: [{ id: 'msg_00c0ffee', content: [{ type: 'output_text', text: 'one two' }] }],
    usage: {
      input_tokens: promptTokens,
      output_tokens: outputTokens,
      total_tokens: promptTokens + outputTokens,
      input_tokens_details: { cached_tokens: 1 },
    },
  };

  test('a plain answer is a response that is complete', () => {
    expect(responses.plain([run])).toMatchObject(completed);
  });

  test('a stream numbers its events and ends with the whole response', () => {
    const events = eventsOf(streamOf(responses, run));
    expect(events.map(({ sequence_number }) => sequence_number)).toEqual(events.map((_, i) => i));
    expect(events.map(({ type }) => type)).toEqual([
      'response.created',
      'response.in_progress',
      'response.output_item.added',
      'response.content_part.added',
      ...Array(outputTokens).fill('response.output_text.delta'),
      'response.output_text.done',
      'response.content_part.done',
      'response.output_item.done',
      'response.completed',
    ]);
    expect(events.map(({ delta }) => delta ?? '').join('')).toBe('one two');
    expect(events[0]).toMatchObject({ response: { status: 'in_progress', output: [] } });
    expect(events[2]).toMatchObject({ item: { status: 'in_progress', content: [] } });
    expect(events.at(-1)).toMatchObject({ response: completed });
  });
});
