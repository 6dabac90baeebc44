/**
 * Which engines are asked for the usage of a stream, and that the added frame alone does not reach the client.
 */
import { describe, expect, test } from 'bun:test';
import { endsOf, usageEdit } from '../../../src/relay/usageinjection.ts';
import { FrameStage } from '../../../src/wire/sse.ts';
import { routes, type Route } from '../../../src/wire/routes.ts';

/** Returns the part of a chunk that goes to the client. */
function passed(chunk: string, ends = endsOf(true)): string {
  return Buffer.from(new FrameStage(ends).push(Buffer.from(chunk)) ?? []).toString();
}

describe('usageEdit', () => {
  const [completions, chat] = routes;
  const streamed = { stream: true };
  const asked = { stream_options: { include_usage: true } };

  test('asks an engine that counts streams on demand', () => {
    for (const kind of ['vllm', 'sglang', 'ollama', 'openai'] as const) {
      expect(usageEdit(chat as Route, streamed, kind)).toEqual(asked);
      expect(usageEdit(completions as Route, streamed, kind)).toEqual(asked);
    }
  });

  test('asks it on a path without /v1, too, which it gets with it', () => {
    for (const path of ['/completions', '/chat/completions']) {
      const route = routes.find((each) => each.path === path) as Route;
      expect(usageEdit(route, streamed, 'vllm')).toEqual(asked);
      expect(usageEdit(route, streamed, 'llama.cpp')).toBeUndefined();
    }
  });

  test('keeps the other options', () => {
    const fields = { ...streamed, stream_options: { include_usage: null, x: 1.5 } };
    expect(usageEdit(chat as Route, fields, 'vllm')).toEqual({
      stream_options: { include_usage: true, x: 1.5 },
    });
    expect(usageEdit(chat as Route, { ...streamed, stream_options: null }, 'vllm')).toEqual(asked);
  });

  test.each([
    ['llama.cpp, which counts by itself', chat, streamed, 'llama.cpp'],
    ['an engine of which nothing is known', chat, streamed, 'unknown'],
    ['a request without a stream', chat, {}, 'vllm'],
    ['a stream that is no boolean', chat, { stream: 'true' }, 'vllm'],
    ['a client that asked', chat, { ...streamed, ...asked }, 'vllm'],
    ['options that are none', chat, { ...streamed, stream_options: ['x'] }, 'vllm'],
    ['another route', routes.find(({ path }) => path === '/v1/messages'), streamed, 'vllm'],
  ] as const)('asks nothing of %s', (_, route, fields, kind) => {
    expect(usageEdit(route as Route, fields, kind)).toBeUndefined();
  });
});

test.each([
  ['{"choices":[],"usage":{"prompt_tokens":1}}', true],
  ['{"usage":{"prompt_tokens":1},"choices": [ ] }', true],
  ['{"choices":[],"usage":null}', false],
  ['{"choices":[]}', false],
  ['{"choices":[{"delta":{"content":"a"}}],"usage":{"prompt_tokens":1}}', false],
  ['{"choices":[{"delta":{"content":"\\"usage\\":{},\\"choices\\":[]"}}]}', false],
  ['{"usage":{"prompt_tokens":1}}', false],
  ['[DONE]', false],
])('of %s it is %p that it came for the usage alone', (data, isUsage) => {
  expect(passed(`data: ${data}\n\n`)).toBe(isUsage ? '' : `data: ${data}\n\n`);
});

describe('a stream', () => {
  const text = 'data: {"choices":[{"text":"a"}],"usage":{"prompt_tokens":1}}\n\n';
  const usage = 'data: {"choices":[],"usage":{"prompt_tokens":1}}\n\n';
  const done = 'data: [DONE]\n\n';

  test.each([
    ['loses the frame that only the gateway has asked for', true, text + done],
    ['keeps it where its client has asked', false, text + usage + done],
  ])('%s', (_, hidesUsage, expected) => {
    const ends = endsOf(hidesUsage);
    expect(passed(text + usage + done, ends)).toBe(expected);
    // The frame is counted and read nevertheless.
    expect(ends.frames).toBe(3);
    expect(Buffer.from(ends.lastFrames()).toString()).toBe(text + usage + done);
  });
});
