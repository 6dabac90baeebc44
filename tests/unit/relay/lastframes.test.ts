/**
 * What is kept of a stream's frames: the last three and an opening, as copies, and how many carried data.
 */
import { expect, test } from 'bun:test';
import { StreamEnds } from '../../../src/relay/lastframes.ts';
import { bytesOf } from '../../support/transcripts.ts';

const done = 'data: [DONE]\n\n';

function watched(...frames: string[]): StreamEnds {
  const ends = new StreamEnds();
  for (const frame of frames) ends.observe(bytesOf([frame]), 0, Buffer.byteLength(frame));
  return ends;
}
const text = (bytes: Uint8Array | undefined) => bytes && Buffer.from(bytes).toString();

test('keeps the last three frames, in their order', () => {
  const ends = watched('data: 1\n\n', 'data: 2\n\n', 'data: 3\n\n', 'data: 4\n\n', 'data: 5\n\n');
  expect(text(ends.lastFrames())).toBe('data: 3\n\ndata: 4\n\ndata: 5\n\n');
  expect(text(ends.lastFrame)).toBe('data: 5\n\n');
  expect(ends.frames).toBe(5);
  expect(text(watched('data: 1\n\n', 'data: 2\n\n').lastFrames())).toBe('data: 1\n\ndata: 2\n\n');
});

test("keeps Anthropic's opening apart, since it does not say what the answer cost", () => {
  const opening = 'event: message_start\ndata: {"type":"message_start"}\n\n';
  const ends = watched(opening, 'data: 2\n\n');
  expect([text(ends.opening), text(ends.lastFrames())]).toEqual([opening, 'data: 2\n\n']);
  expect(ends.frames).toBe(2);
  expect(watched(opening).lastFrame).toBeUndefined();
});

test("keeps frames apart from the engine's chunk, which can be large", () => {
  const chunk = new TextEncoder().encode('data: 1\n\ndata: 2\n\n');
  const ends = new StreamEnds();
  ends.observe(chunk, 0, 9);
  ends.observe(chunk, 9, 18);
  chunk.fill(0);
  expect(text(ends.lastFrames())).toBe('data: 1\n\ndata: 2\n\n');
  expect(ends.lastFrame?.buffer.byteLength).toBe(9);
});

test('has no last frame before the first', () => {
  expect(watched().lastFrame).toBeUndefined();
  expect(watched().lastFrames().length).toBe(0);
});

test.each([
  ': comment\n\n',
  ':\r\n\r\n',
  '\n',
  '\r\n',
  'id: 7\n\n',
  'retry: 10\n\n',
  'event: x\n\n',
])('does not count %j, which carries no data', (frame) => {
  const ends = watched(done, frame);
  expect(ends.frames).toBe(1);
  expect(text(ends.lastFrame)).toBe(done);
});

test.each([
  ': keep-alive\ndata: [DONE]\n\n',
  'id: 7\ndata: [DONE]\n\n',
  '\uFEFFdata: [DONE]\n\n',
  'event: x\rdata: [DONE]\r\r',
])('counts %j, which carries data', (frame) => {
  const ends = watched(frame);
  expect(ends.frames).toBe(1);
  expect(text(ends.lastFrame)).toBe(frame);
});

test('keeps the first failure that a frame told, however many follow it', () => {
  const failed = 'data: {"error":{"code":503,"message":"m"}}\n\n';
  const more = ['data: {"choices":[]}\n\n', 'data: {"usage":{}}\n\n', ': bye\n\n', done, done];
  expect(watched('data: 1\n\n', failed, ...more).failure).toEqual({
    isRefusal: false,
    code: '503',
  });
  const second = failed.replace('503', '400');
  expect(watched(failed, second, ...more).failure?.code).toBe('503');
  expect(watched('data: {"delta":"no \\"error\\" here"}\n\n', ...more).failure).toBeUndefined();
});

test('knows a failure in a frame that has no end, which is none of its frames', () => {
  const ends = watched('data: 1\n\n');
  ends.leftOver(bytesOf(['data: {"error":{"code":500}}\n']));
  expect([ends.failure?.code, ends.frames, text(ends.lastFrame)]).toEqual([
    '500',
    1,
    'data: 1\n\n',
  ]);
  const cut = watched('data: 1\n\n');
  cut.leftOver(bytesOf(['data: {"error":{"code":500']));
  expect(cut.failure).toBeUndefined();
});

test('knows a failure without that word by the last frames', () => {
  const aborted = 'data: {"choices":[{"finish_reason":"abort"}]}\n\n';
  expect(watched(aborted, done).failure).toEqual({ isRefusal: false, code: undefined });
});
