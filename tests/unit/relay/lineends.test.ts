/** What is kept of Ollama's lines: whether the last one ends the stream, what it cost, and a failure that one told. */
import { expect, test } from 'bun:test';
import { LineEnds } from '../../../src/relay/lineends.ts';
import { FrameStage } from '../../../src/wire/sse.ts';

/** Takes the text in pieces of so many bytes. */
function watched(text: string, size = text.length): { ends: LineEnds; stage: FrameStage } {
  const ends = new LineEnds();
  const stage = new FrameStage(ends);
  const bytes = Buffer.from(text);
  for (let at = 0; at < bytes.length; at += size) stage.push(bytes.subarray(at, at + size));
  return { ends, stage };
}

const token = '{"message":{"content":"a\\n\\"error\\""},"done":false}\n';
const last = '{"done":true,"prompt_eval_count":7,"eval_count":2}\n';

test.each([1, 3, 1_000])('a line is a frame, in chunks of %d bytes', (size) => {
  const { ends, stage } = watched(`${token}\r\n\n${token}${last}`, size);
  expect([ends.frames, ends.isComplete, stage.isAtBoundary]).toEqual([3, true, true]);
  expect(ends.tokens()).toEqual({ promptTokens: 7, completionTokens: 2 });
  expect(ends.failure).toBeUndefined();
});

test('a stream without its last line is not complete and has no counts', () => {
  const call = '{"message":{"tool_calls":[{"arguments":{"eval_count":1,"done":true}}]}}\n';
  const { ends } = watched(token + call);
  expect([ends.isComplete, ends.tokens()]).toEqual([false, {}]);
  expect(watched('').ends.isComplete).toBe(false);
});

test('a cut line is at no boundary', () => {
  const { ends, stage } = watched(token + last.slice(0, 9));
  expect([ends.isComplete, stage.isAtBoundary]).toEqual([false, false]);
});

test('a last line without its line end counts at the end', () => {
  const { ends, stage } = watched(token + last.trimEnd());
  stage.end();
  expect([ends.frames, ends.isComplete]).toEqual([2, true]);
});

test('a line with an error is a failure and an end; an argument of that name is neither', () => {
  const { ends } = watched(`${token}{"error":"out of memory"}\n`);
  expect([ends.failure, ends.isComplete]).toEqual([{ isRefusal: false, code: undefined }, true]);
  const call = '{"message":{"tool_calls":[{"arguments":{"error":"x"}}]},"done":false}\n';
  expect(watched(call).ends.failure).toBeUndefined();
});
