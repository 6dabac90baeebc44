/**
 * What an engine streams is what the client gets, however the network cuts it: thousands of random cuts of real-looking
 * transcripts through the frame stage and through the relay. It judges bytes alone, never their meaning.
 */
import { describe, expect, test } from 'bun:test';
import { StreamEnds } from '../../../src/relay/lastframes.ts';
import { GatewayError } from '../../../src/wire/errors.ts';
import { relay } from '../../../src/relay/stream.ts';
import { FrameStage } from '../../../src/wire/sse.ts';
import { forSeeds, type Random } from '../../support/random.ts';
import { bytesOf, transcripts } from '../../support/transcripts.ts';
import type { Outcome } from '../../../src/request/settlement.ts';

/** Cases of a test with a transcript: fewer with one of long frames. */
function casesOf(frames: readonly string[]): number {
  return bytesOf(frames).length > 50_000 ? 40 : 250;
}

function same(actual: Uint8Array, expected: Uint8Array): void {
  if (Buffer.compare(actual, expected) === 0) return;
  let at = 0;
  while (actual[at] === expected[at]) at++;
  const shown = (bytes: Uint8Array) =>
    JSON.stringify(Buffer.from(bytes.subarray(Math.max(0, at - 12), at + 12)).toString('latin1'));
  throw new Error(
    `${actual.length} bytes in place of ${expected.length}, the first difference at ${at}: ` +
      `${shown(actual)} in place of ${shown(expected)}`,
  );
}

/** Cuts bytes at random places: single bytes, a few large pieces, or around line ends, where splitters go wrong. */
function cut(bytes: Uint8Array, random: Random): Uint8Array[] {
  const places = new Set<number>();
  const way = random.below(4);
  if (way === 0 && bytes.length < 5_000) for (let i = 1; i < bytes.length; i++) places.add(i);
  else if (way === 1) {
    for (let i = 1; i < bytes.length; i++) {
      const isLineEnd = bytes[i - 1] === 10 || bytes[i - 1] === 13;
      if (isLineEnd && random.oneIn(2)) places.add(i);
    }
  } else {
    const count = random.below(way === 2 ? 5 : 60);
    for (let i = 0; i < count; i++) places.add(1 + random.below(bytes.length - 1));
  }
  let from = 0;
  return [...places, bytes.length]
    .sort((a, b) => a - b)
    .map((to) => bytes.slice(from, (from = to)));
}

/** Leaves the last frame unfinished, now and then. */
function perhapsTorn(
  frames: readonly string[],
  random: Random,
): { whole: readonly string[]; bytes: Uint8Array } {
  const bytes = bytesOf(frames);
  const last = bytesOf(frames.slice(-1));
  if (last.length < 4 || !random.oneIn(4)) return { whole: frames, bytes };
  const missing = 3 + random.below(last.length - 3);
  return { whole: frames.slice(0, -1), bytes: bytes.subarray(0, bytes.length - missing) };
}

/** A frame without the LF of a CR LF at its very end: a stage cannot wait for that LF to call the frame whole. */
function trimmed(frame: string): string {
  return frame.endsWith('\r\n') ? frame.slice(0, -1) : frame;
}

function latin1(frame: string): string {
  return Buffer.from(frame).toString('latin1');
}

function textOf(bytes: Uint8Array, start: number, end: number): string {
  return Buffer.from(bytes.subarray(start, end)).toString('latin1');
}

/** Drops about one frame in three, by what stands in it. */
function isUnwanted(frame: string, salt: number): boolean {
  return (trimmed(frame).length + salt) % 3 === 0;
}

class Watcher extends StreamEnds {
  readonly seen: string[] = [];

  override observe(bytes: Uint8Array, start: number, end: number): void {
    super.observe(bytes, start, end);
    this.seen.push(textOf(bytes, start, end));
  }
}

class Dropper extends Watcher {
  constructor(private readonly salt: number) {
    super();
  }

  drop(bytes: Uint8Array, start: number, end: number): boolean {
    return isUnwanted(textOf(bytes, start, end), this.salt);
  }
}

/** What an observer sees of the bytes in one piece. */
function seenWhole(bytes: Uint8Array): string[] {
  const watcher = new Watcher();
  new FrameStage(watcher).push(bytes);
  return watcher.seen;
}

describe.each([...transcripts])('$name', ({ frames, family, dataFrames }) => {
  test('passes the stage unchanged, and the same frames are seen whatever the cuts', async () => {
    await forSeeds(casesOf(frames), (random) => {
      const { whole, bytes } = perhapsTorn(frames, random);
      const watcher = new Watcher();
      const stage = new FrameStage(watcher);
      const passed = cut(bytes, random).map((chunk) => stage.push(chunk) ?? new Uint8Array());
      expect(stage.end()).toBeUndefined();
      same(Buffer.concat(passed), bytes);
      expect(watcher.seen.map(trimmed)).toEqual(whole.map(latin1).map(trimmed));
      expect(watcher.seen).toEqual(seenWhole(bytes));
    });
  });

  test('is at a boundary exactly where a frame has ended, whatever the cuts', async () => {
    const boundaries = new Set([0]);
    let offset = 0;
    for (const frame of frames) {
      offset += Buffer.byteLength(frame);
      boundaries.add(offset);
      if (frame.endsWith('\r\n')) boundaries.add(offset - 1);
    }
    await forSeeds(casesOf(frames), (random) => {
      const stage = new FrameStage(new StreamEnds());
      let at = 0;
      for (const chunk of cut(bytesOf(frames), random)) {
        stage.push(chunk);
        at += chunk.length;
        if (stage.isAtBoundary !== boundaries.has(at)) {
          throw new Error(`after ${at} bytes isAtBoundary is ${stage.isAtBoundary}`);
        }
      }
    });
  });

  test('passes the stage without exactly the dropped frames, each other one as soon as it ends', async () => {
    await forSeeds(casesOf(frames), (random) => {
      const { whole, bytes } = perhapsTorn(frames, random);
      const salt = random.below(3);
      const kept = whole.filter((frame) => !isUnwanted(latin1(frame), salt));
      const dropper = new Dropper(salt);
      const stage = new FrameStage(dropper);
      const passed: Uint8Array[] = [];
      let [length, at, ended, end, due] = [0, 0, 0, 0, 0];
      for (const chunk of cut(bytes, random)) {
        const piece = stage.push(chunk);
        if (piece !== undefined) passed.push(piece);
        at += chunk.length;
        length += piece?.length ?? 0;
        for (; ended < whole.length; ended++) {
          const frame = bytesOf(whole.slice(ended, ended + 1));
          if (end + frame.length > at) break;
          end += frame.length;
          if (!isUnwanted(textOf(frame, 0, frame.length), salt)) due += frame.length;
        }
        if (length < due) throw new Error(`after ${at} bytes ${due - length} are held back`);
      }
      const torn = bytes.subarray(bytesOf(whole).length);
      same(
        Buffer.concat([...passed, stage.end() ?? new Uint8Array()]),
        Buffer.concat([bytesOf(kept), torn]),
      );
      expect(dropper.seen).toEqual(seenWhole(bytes));
    });
  });

  test('passes the relay unchanged, or without exactly the dropped frames, and ends once', async () => {
    await forSeeds(casesOf(frames), async (random) => {
      const { whole, bytes } = perhapsTorn(frames, random);
      const salt = random.below(3);
      const isDropping = random.oneIn(2);
      const ends = isDropping ? new Dropper(salt) : new Watcher();
      const chunks = cut(bytes, random);
      const endings: Outcome[] = [];
      let taken = 0;
      const read = async () => {
        const value = chunks.shift();
        return value === undefined ? { done: true } : { done: false, value };
      };
      const body = relay({ read }, chunks.shift() ?? new Uint8Array(), {
        family,
        ends,
        isCloseDelimited: false,
        signal: new AbortController().signal,
        received: (count) => (taken += count),
        passed() {},
        explain: (cause) => new GatewayError('internal_error', { cause }),
        left: () => endings.push('aborted'),
        finished: (outcome) => endings.push(outcome),
      });
      const got = await new Response(body).bytes();
      const kept = whole.filter((frame) => !isDropping || !isUnwanted(latin1(frame), salt));
      const torn = bytes.subarray(bytesOf(whole).length);
      same(got, Buffer.concat([bytesOf(kept), torn]));
      expect(ends.seen).toEqual(seenWhole(bytes));
      expect(taken).toBe(bytes.length);
      expect(endings).toEqual(['done']);
    });
  });

  test('counts its frames with data whatever the cuts', async () => {
    await forSeeds(casesOf(frames), (random) => {
      const ends = new StreamEnds();
      const stage = new FrameStage(ends);
      for (const chunk of cut(bytesOf(frames), random)) stage.push(chunk);
      expect(ends.frames).toBe(dataFrames);
    });
  });
});

test('random bytes full of line ends pass unchanged and end where the standard ends them', async () => {
  await forSeeds(2_000, (random) => {
    const letters = Array.from({ length: 1 + random.below(60) }, () =>
      random.pick('\n\r:ad'.split('')),
    );
    const bytes = Buffer.from(letters.join(''));
    const watcher = new Watcher();
    const stage = new FrameStage(watcher);
    same(Buffer.concat(cut(bytes, random).map((chunk) => stage.push(chunk) ?? Buffer.of())), bytes);
    // Lines and their ends as the standard has them: a blank line ends a frame.
    const lines = letters.join('').split(/\r\n|\n|\r/);
    const blank = lines.slice(0, -1).filter((line) => line === '').length;
    expect(watcher.seen.length).toBe(blank);
    expect(watcher.seen).toEqual(seenWhole(bytes));
  });
});
