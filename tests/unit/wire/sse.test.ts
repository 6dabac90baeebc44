/**
 * Splitting an event stream into frames: where frames end, what is passed on and when, what is held and how much. The
 * fuzz test covers random cuts.
 */
import { describe, expect, test } from 'bun:test';
import { FrameStage, isLastFrame, type FrameObserver } from '../../../src/wire/sse.ts';
import { bytesOf, transcripts } from '../../support/transcripts.ts';

const megabyte = 1024 * 1024;

/** An observer that records frames as text and, with `unwanted`, drops the frames that contain it. */
function watching(unwanted?: string): FrameObserver & { seen: string[] } {
  const seen: string[] = [];
  const text = (bytes: Uint8Array, start: number, end: number) =>
    Buffer.from(bytes.subarray(start, end)).toString();
  const observe = (bytes: Uint8Array, start: number, end: number) => {
    seen.push(text(bytes, start, end));
  };
  if (unwanted === undefined) return { seen, observe };
  return {
    seen,
    observe,
    drop: (bytes, start, end) => text(bytes, start, end).includes(unwanted),
  };
}

/** Pushes chunks; returns what each push passed on. */
function push(stage: FrameStage, ...chunks: string[]): (string | undefined)[] {
  return chunks.map((chunk) => {
    const passed = stage.push(Buffer.from(chunk));
    return passed && Buffer.from(passed).toString();
  });
}

describe('without drop', () => {
  test('passes each chunk on at once, as the same object', () => {
    const stage = new FrameStage(watching());
    const half = Buffer.from('data: hal');
    expect(stage.push(half)).toBe(half);
    const rest = Buffer.from('f\n\ndata: more');
    expect(stage.push(rest)).toBe(rest);
    expect(stage.end()).toBeUndefined();
  });

  test('observes each complete frame, with its line ends, when it has ended', () => {
    const watcher = watching();
    const stage = new FrameStage(watcher);
    push(stage, 'data: 1\n');
    expect(watcher.seen).toEqual([]);
    push(stage, '\n');
    expect(watcher.seen).toEqual(['data: 1\n\n']);
    push(stage, 'id: 2\ndata: 2\n\ndata: 3\n\ndata: 4');
    expect(watcher.seen).toEqual(['data: 1\n\n', 'id: 2\ndata: 2\n\n', 'data: 3\n\n']);
  });

  test('does not take one CR LF for a blank line', () => {
    const watcher = watching();
    push(new FrameStage(watcher), 'a\r\nb\r\n', 'c\r\n', '\r\n');
    expect(watcher.seen.length).toBe(1);
  });
});

describe('a CR LF that is cut between a chunk and the next', () => {
  test('ends one frame, and the LF is not part of the next one', () => {
    const watcher = watching();
    push(new FrameStage(watcher), 'data: 1\r\n\r', '\ndata: 2\r\n\r', '\n');
    expect(watcher.seen.map((frame) => frame.trimEnd())).toEqual(['data: 1', 'data: 2']);
    expect(watcher.seen[1]).toStartWith('data: 2');
  });

  test('leaves the stream at a boundary on both sides of the cut', () => {
    const stage = new FrameStage(watching());
    push(stage, 'data: [DONE]\r\n\r');
    expect(stage.isAtBoundary).toBe(true);
    push(stage, '\n');
    expect(stage.isAtBoundary).toBe(true);
  });

  test('is dropped completely with its frame', () => {
    const stage = new FrameStage(watching('unwanted'));
    const passed = push(stage, 'data: unwanted\r\n\r', '\n', 'data: 2\r\n\r', '\n');
    expect(passed.join('')).toBe('data: 2\r\n\r\n');
  });

  test('is passed on completely with its frame', () => {
    const stage = new FrameStage(watching('unwanted'));
    const passed = push(stage, 'data: 1\r\n\r', '\ndata: unwanted\r\n\r\n');
    expect(passed.join('')).toBe('data: 1\r\n\r\n');
  });
});

test('what has no blank line at the end is told as a rest, and is no frame', () => {
  const watcher = watching();
  const rests: string[] = [];
  const observer = {
    observe: watcher.observe.bind(watcher),
    leftOver: (bytes: Uint8Array) => rests.push(Buffer.from(bytes).toString()),
  };
  const stage = new FrameStage(observer);
  push(stage, 'data: 1\n\nda', 'ta: 2\n');
  expect(stage.end()).toBeUndefined();
  expect([rests, watcher.seen]).toEqual([['data: 2\n'], ['data: 1\n\n']]);
});

describe('with drop', () => {
  test('returns a chunk of complete, wanted frames without a copy', () => {
    const stage = new FrameStage({ observe() {}, drop: () => false });
    for (const text of ['data: 1\n\n', 'data: 2\r\n\r\ndata: 3\n\n', ': c\n\n']) {
      const chunk = Buffer.from(text);
      expect(stage.push(chunk)).toBe(chunk);
    }
  });

  test('leaves out the rejected frames and nothing else', () => {
    const watcher = watching('usage');
    const stage = new FrameStage(watcher);
    const passed = push(stage, 'data: 1\n\ndata: usage\n\n: note\n\n', 'data: [DONE]\n\n');
    expect(passed).toEqual(['data: 1\n\n: note\n\n', 'data: [DONE]\n\n']);
    expect(watcher.seen.length).toBe(4);
  });

  test('holds the beginning of a frame until its end has arrived', () => {
    const stage = new FrameStage(watching('usage'));
    expect(push(stage, 'data: 1\n\ndata: us', 'age', '\n', '\n')).toEqual([
      'data: 1\n\n',
      undefined,
      undefined,
      undefined,
    ]);
    expect(push(stage, 'data: u', 's\n\n')).toEqual([undefined, 'data: us\n\n']);
  });

  test('returns the held bytes when the stream ends inside a frame', () => {
    const stage = new FrameStage(watching('usage'));
    push(stage, 'data: 1\n\nda', 'ta: 2', '3', '4');
    expect(Buffer.from(stage.end() ?? []).toString()).toBe('data: 234');
  });

  test('returns nothing at the end of a stream that ends with a complete frame', () => {
    const stage = new FrameStage(watching('usage'));
    push(stage, 'data: 1\n\n');
    expect(stage.end()).toBeUndefined();
  });
});

test('a frame that came in pieces is shown from its first byte to its last', () => {
  const places: [start: number, end: number, length: number][] = [];
  const stage = new FrameStage({
    observe: (bytes, start, end) => void places.push([start, end, bytes.length]),
  });
  push(stage, 'data: 1\n\nda', 'ta: 2\n\n');
  expect(places).toEqual([
    [0, 9, 11],
    [0, 9, 9],
  ]);
});

test('an empty line at the beginning is a frame of its own', () => {
  const watcher = watching();
  push(new FrameStage(watcher), '\ndata: 1\n\n');
  expect(watcher.seen).toEqual(['\n', 'data: 1\n\n']);
});

describe('isAtBoundary', () => {
  test.each([
    ['', true],
    ['data: 1', false],
    ['data: 1\n', false],
    ['data: 1\n\n', true],
    ['data: 1\r\r', true],
    ['data: 1\r\n\r\n', true],
    ['data: 1\n\nd', false],
    [': keep-alive\n\n', true],
    ['\n', true],
  ])('after %j it is %p', (text, expected) => {
    const stage = new FrameStage(watching());
    push(stage, text);
    expect(stage.isAtBoundary).toBe(expected);
  });
});

describe('a frame that does not end', () => {
  const unwanted = `data: unwanted ${'x'.repeat(5 * megabyte)}`;

  test('is passed on unobserved once it is longer than 4 MB; later frames are observed again', () => {
    const watcher = watching('unwanted');
    const stage = new FrameStage(watcher);
    const passed = push(stage, 'data: 1\n\n', unwanted, 'y', '\n\ndata: unwanted\n\ndata: 3\n\n');
    expect(passed.join('') === `data: 1\n\n${unwanted}y\n\ndata: 3\n\n`).toBe(true);
    expect(watcher.seen).toEqual(['data: 1\n\n', 'data: unwanted\n\n', 'data: 3\n\n']);
  });

  test('of just 4 MB is still held, and one byte more is not', () => {
    const stage = new FrameStage(watching('unwanted'));
    const longest = 'x'.repeat(4 * megabyte);
    expect(push(stage, longest)).toEqual([undefined]);
    expect(push(stage, 'y')[0] === `${longest}y`).toBe(true);
  });

  test('is not a boundary', () => {
    const stage = new FrameStage(watching());
    push(stage, unwanted);
    expect(stage.isAtBoundary).toBe(false);
    push(stage, '\n');
    expect(stage.isAtBoundary).toBe(false);
    push(stage, '\n');
    expect(stage.isAtBoundary).toBe(true);
  });

  test('is limited by bytes, not by chunks: many small chunks need no more memory', () => {
    const stage = new FrameStage(watching('unwanted'));
    const before = heldBytes();
    const drop = new Uint8Array(1).fill(0x78);
    for (let i = 0; i < megabyte; i++) stage.push(drop);
    expect(heldBytes() - before).toBeLessThan(16 * megabyte);
    expect(stage.end()?.length).toBe(megabyte);
  });
});

function heldBytes(): number {
  Bun.gc(true);
  return process.memoryUsage().heapUsed;
}

describe('isLastFrame', () => {
  test.each([...transcripts])('$name: the last frame with data, and no other', ({ frames }) => {
    const isLast = frames.map((frame) => isLastFrame(bytesOf([frame])));
    const last = frames.findLastIndex((frame) => frame.includes('data:'));
    const expected = frames.map((_, i) => i === last);
    // The transcript with mixed line ends comes from no engine, but ends like one.
    expect(isLast).toEqual(expected);
  });

  test.each([
    'data: [DONE]\n\n',
    'data:[DONE]\r\n\r\n',
    'id: 4\rdata: [DONE]\r\r',
    ': keep-alive\ndata: [DONE]\n\n',
    'event: message_stop\ndata: {"type":"message_stop"}\n\n',
    'event:message_stop\r\ndata:{"type":"message_stop"}\r\n\r\n',
    'data: {"type":"message_stop"}\nevent: message_stop\n\n',
    'event: error\ndata: {"type":"error","error":{"type":"overloaded_error","message":"x"}}\n\n',
    'event: response.failed\ndata: {"type":"response.failed"}\n\n',
    'event: response.incomplete\ndata: {"type":"response.incomplete"}\n\n',
    'data: {"content":"","stop": true,"tokens":[]}\n\n',
    'data: {"content":"","stop":true}\n\n',
    'data:{"content":"","stop":true}\n\n',
    'data: {"type":"speech.audio.done"}\n\n',
    'data:{"type":"speech.audio.done"}\n\n',
    'data:{"error":{"code":500}}\n\n',
    'data: {"type": "transcript.text.done","text":"x"}\n\n',
    'data: {"error":{"code":500,"message":"slot failed","type":"server_error"}}\n\n',
  ])('%j is a last frame', (frame) => {
    expect(isLastFrame(bytesOf([frame]))).toBe(true);
  });

  test.each([
    '\n',
    ': [DONE]\n\n',
    ': event: error\n\n',
    ': data: {"error":{}}\n\n',
    ': data: {"type":"speech.audio.done"}\n\n',
    'data: [DON\n\n',
    'data: {"delta":{"content":"data: [DONE]"}}\n\n',
    'data: {"delta":{"content":"\\ndata: [DONE]\\n"}}\n\n',
    'data: {"delta":{"content":"event: error\\n\\"stop\\":true,"}}\n\n',
    'event: message_delta\ndata: {"usage":{"output_tokens":1}}\n\n',
    'event: message_stopped\ndata: {}\n\n',
    'event: response.completed.part\ndata: {}\n\n',
    'data: {"content":"x","stop":false}\n\n',
    'data: {"delta":{"content":"{\\"error\\":{}}"}}\n\n',
    'data: {"error":null,"choices":[]}\n\n',
  ])('%j is not a last frame', (frame) => {
    expect(isLastFrame(bytesOf([frame]))).toBe(false);
  });

  test('reads only the frame, not the buffer around it', () => {
    const bytes = Buffer.from('data: {"a":1}\n\ndata: [DONE]\n\n');
    expect(isLastFrame(bytes.subarray(0, 15))).toBe(false);
    expect(isLastFrame(bytes.subarray(15))).toBe(true);
  });

  test('is decided for a frame of 4 MB', () => {
    expect(isLastFrame(Buffer.alloc(4 * megabyte, 'data: {"stop": '))).toBe(false);
    expect(isLastFrame(Buffer.alloc(4 * megabyte, 'data: {"stop": \n'))).toBe(false);
  });
});
