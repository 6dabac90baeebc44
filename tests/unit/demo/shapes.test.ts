/** How the OpenAI families and llama.cpp's native format show a generated answer, plain and streamed. */
import { describe, expect, test } from 'bun:test';
import { chat, completions, native, transcriptions } from '../../../src/demo/shapes.ts';
import { tokenize } from '../../../src/demo/model.ts';
import { dataOf, demoRun, streamOf } from '../../support/demoruns.ts';

const run = demoRun();
const [promptTokens, outputTokens] = [run.prompt.tokens.length, run.output.length];
const usage = {
  completion_tokens: outputTokens,
  prompt_tokens: promptTokens,
  total_tokens: promptTokens + outputTokens,
  prompt_tokens_details: { cached_tokens: 1 },
};
const timings = {
  cache_n: 1,
  prompt_n: promptTokens - 1,
  prompt_ms: 100,
  prompt_per_second: (promptTokens - 1) * 10,
  predicted_n: outputTokens,
  predicted_ms: 50,
  predicted_per_second: outputTokens * 20,
};

test('a run that took no time has no speed', () => {
  expect(completions.plain([demoRun({ promptMs: 0, predictedMs: 0 })])).toMatchObject({
    timings: { prompt_per_second: 0, predicted_per_second: 0 },
  });
});

describe('completions', () => {
  test('a plain answer has a choice for each run, and the usage of all', () => {
    const two = demoRun({ index: 1, output: tokenize('three'), finish: 'stop' });
    expect(completions.plain([run, two])).toMatchObject({
      id: 'chatcmpl-00c0ffee',
      object: 'text_completion',
      model: 'demo',
      choices: [
        { text: 'one two', index: 0, finish_reason: 'length' },
        { text: 'three', index: 1, finish_reason: 'stop' },
      ],
      usage: { completion_tokens: outputTokens + two.output.length },
      timings,
    });
  });

  test('a stream has its text in pieces, then the counts, then [DONE]', () => {
    const frames = dataOf(streamOf(completions, run));
    expect(frames).toHaveLength(outputTokens + 2);
    const pieces = frames.slice(0, outputTokens) as { choices: [{ text: string }] }[];
    expect(pieces.map(({ choices }) => choices[0].text).join('')).toBe('one two');
    expect(frames.at(-2)).toMatchObject({ choices: [{ finish_reason: 'length' }], usage, timings });
    expect(frames.at(-1)).toBe('[DONE]');
  });
});

describe('a conversation that calls a tool', () => {
  const call = demoRun({ tool: 'look', output: tokenize('{"at":"it"}'), finish: 'stop' });

  test('has the call with its arguments in place of a text', () => {
    const tool = { name: 'look', arguments: '{"at":"it"}' };
    const calls = [{ id: 'call_00c0ffee', type: 'function', function: tool }];
    const message = { content: null, tool_calls: calls };
    const choices = [{ finish_reason: 'tool_calls', message }];
    expect(chat.plain([call])).toMatchObject({ choices });
  });

  test('streams the name first, then the arguments in pieces', () => {
    interface Chunk {
      choices: {
        finish_reason: string | null;
        delta: { tool_calls?: { function: { name?: string; arguments: string } }[] };
      }[];
    }
    const chunks = dataOf(streamOf(chat, call)).slice(0, -1) as Chunk[];
    const calls = chunks.map(({ choices }) => choices[0]?.delta.tool_calls?.[0]?.function);
    expect(calls[0]).toEqual({ name: 'look', arguments: '' });
    expect(calls.map((piece) => piece?.arguments ?? '').join('')).toBe('{"at":"it"}');
    expect(chunks.at(-1)?.choices[0]?.finish_reason).toBe('tool_calls');
  });
});

describe('chat', () => {
  test('a plain answer is a message of the assistant', () => {
    expect(chat.plain([run])).toMatchObject({
      object: 'chat.completion',
      choices: [
        { index: 0, finish_reason: 'length', message: { role: 'assistant', content: 'one two' } },
      ],
      usage,
      timings,
    });
  });

  test('a stream opens with the role, and counts only where it is asked to', () => {
    const [opening, ...others] = dataOf(streamOf(chat, run));
    expect(opening).toMatchObject({ choices: [{ delta: { role: 'assistant', content: null } }] });
    expect(others.slice(0, -2)).toHaveLength(outputTokens);
    expect(others.at(-2)).toMatchObject({ choices: [{ finish_reason: 'length', delta: {} }] });
    expect(others.at(-2)).not.toHaveProperty('usage');
    expect(others.at(-1)).toBe('[DONE]');
    const counted = dataOf(streamOf(chat, run, true));
    expect(counted.at(-2)).toMatchObject({ choices: [], usage, timings });
  });
});

describe('the native format', () => {
  test('a plain answer is one result, or a list of them', () => {
    const result = {
      content: 'one two',
      stop: true,
      stop_type: 'limit',
      tokens_predicted: outputTokens,
      tokens_evaluated: promptTokens,
      tokens_cached: promptTokens + outputTokens,
      timings,
    };
    expect(native.plain([run])).toMatchObject(result);
    const ended = demoRun({ index: 1, finish: 'stop' });
    expect(native.plain([run, ended])).toMatchObject([
      { ...result, index: 0 },
      { index: 1, stop_type: 'eos' },
    ]);
  });

  test('a stream numbers its tokens and ends with the counts', () => {
    const frames = dataOf(streamOf(native, run));
    expect(frames).toHaveLength(outputTokens + 1);
    expect(frames[1]).toMatchObject({ stop: false, tokens: [run.output[1]], tokens_predicted: 2 });
    expect(frames.at(-1)).toMatchObject({ stop: true, content: '', timings });
  });
});

test('a transcription has its text in pieces, then whole with its counts', () => {
  const counts = {
    type: 'tokens',
    input_tokens: promptTokens,
    output_tokens: outputTokens,
    total_tokens: promptTokens + outputTokens,
  };
  expect(transcriptions.plain([run])).toEqual({ text: 'one two', usage: counts });
  const frames = dataOf(streamOf(transcriptions, run)) as { type: string; delta?: string }[];
  expect(frames.map(({ delta }) => delta ?? '').join('')).toBe('one two');
  expect(frames.at(-1)).toEqual({
    type: 'transcript.text.done',
    text: 'one two',
    usage: counts,
  } as never);
});
