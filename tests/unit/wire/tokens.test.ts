/**
 * Reading token counts in each engine's format; a count that an engine does not report stays absent.
 */
import { describe, expect, test } from 'bun:test';
import { FrameStage } from '../../../src/wire/sse.ts';
import { StreamEnds } from '../../../src/relay/lastframes.ts';
import { Edges, readTokens } from '../../../src/wire/tokens.ts';
import { bytesOf, transcript } from '../../support/transcripts.ts';

function read(text: string | object) {
  return readTokens(bytesOf([typeof text === 'string' ? text : JSON.stringify(text)]));
}

/** The counts of a stream that has ended. */
function readStream(name: string) {
  const ends = new StreamEnds();
  new FrameStage(ends).push(bytesOf(transcript(name).frames));
  return readTokens(ends.lastFrames(), ends.opening);
}

describe('a figure', () => {
  test.each([
    '-1',
    '1.5',
    '1000000001',
    '18446744073709551615',
    '1e400',
    '"7"',
    'null',
    '[7]',
    '{}',
  ])('that is %s is no count', (figure) => {
    expect(read(`{"usage":{"prompt_tokens":${figure},"completion_tokens":${figure}}}`)).toEqual({});
    const details = `"prompt_tokens_details":{"cached_tokens":${figure}}`;
    expect(read(`{"usage":{"prompt_tokens":7,${details}}}`)).toEqual({ promptTokens: 7 });
    expect(read(`{"timings":{"prompt_n":${figure},"predicted_n":3}}`)).toEqual({
      completionTokens: 3,
    });
  });

  test('may be anything from 0 to 10^9', () => {
    const usage = { prompt_tokens: 1e9, completion_tokens: 0 };
    expect(read({ usage })).toEqual({ promptTokens: 1e9, completionTokens: 0 });
  });

  test('is no count where a sum of them is too large', () => {
    const usage = { input_tokens: 1e9, cache_read_input_tokens: 1, output_tokens: 1 };
    expect(read({ usage })).toEqual({ cachedTokens: 1, completionTokens: 1 });
    expect(read({ timings: { prompt_n: 1e9, cache_n: 1 } })).toEqual({ cachedTokens: 1 });
    const answer = { usage: { prompt_tokens: 1, completion_tokens: 6e8 } };
    expect(read([answer, answer])).toEqual({ promptTokens: 2 });
  });

  test('of what was cached is no more than the prompt', () => {
    const details = { prompt_tokens_details: { cached_tokens: 8 } };
    expect(read({ usage: { prompt_tokens: 7, ...details } })).toEqual({ promptTokens: 7 });
  });
});

describe('of a plain answer', () => {
  test('OpenAI', () => {
    const usage = { prompt_tokens: 19, completion_tokens: 6, total_tokens: 25 };
    expect(read({ choices: [], usage })).toEqual({ promptTokens: 19, completionTokens: 6 });
    const cached = { ...usage, prompt_tokens_details: { cached_tokens: 16 } };
    expect(read({ usage: cached })).toEqual({
      promptTokens: 19,
      cachedTokens: 16,
      completionTokens: 6,
    });
  });

  test('embeddings and ranking, which have no completion tokens', () => {
    expect(read({ usage: { prompt_tokens: 4, total_tokens: 4 } })).toEqual({ promptTokens: 4 });
  });

  test('Responses', () => {
    const usage = {
      input_tokens: 12,
      input_tokens_details: { cached_tokens: 4 },
      output_tokens: 2,
    };
    expect(read({ usage, user: null })).toEqual({
      promptTokens: 12,
      cachedTokens: 4,
      completionTokens: 2,
    });
  });

  test('Anthropic, which does not include cached tokens in the prompt', () => {
    const usage = { input_tokens: 25, output_tokens: 15 };
    expect(read({ usage })).toEqual({ promptTokens: 25, completionTokens: 15 });
    expect(read({ usage: { ...usage, cache_read_input_tokens: 100 } })).toEqual({
      promptTokens: 125,
      cachedTokens: 100,
      completionTokens: 15,
    });
  });

  test('Anthropic, which does not include tokens written to a cache either', () => {
    const usage = {
      input_tokens: 5,
      cache_creation_input_tokens: 40,
      cache_read_input_tokens: 100,
      output_tokens: 15,
    };
    expect(read({ usage })).toEqual({ promptTokens: 145, cachedTokens: 100, completionTokens: 15 });
  });

  test('llama.cpp in its native format', () => {
    const timings = { cache_n: 3, prompt_n: 1, prompt_ms: 9.413, predicted_n: 2 };
    expect(read({ content: '', timings })).toEqual({
      promptTokens: 4,
      cachedTokens: 3,
      completionTokens: 2,
    });
    expect(read({ timings: { prompt_n: 1, predicted_n: 2 } })).toEqual({
      promptTokens: 1,
      completionTokens: 2,
    });
  });

  test('usage wins over timings', () => {
    const usage = { prompt_tokens: 19, completion_tokens: 6 };
    expect(read({ usage, timings: { prompt_n: 1, predicted_n: 1 } })).toMatchObject({
      promptTokens: 19,
    });
  });

  test('usage wins over timings also where it has no prompt', () => {
    const usage = { completion_tokens: 6 };
    expect(read({ usage, timings: { prompt_n: 1, predicted_n: 9 } })).toEqual({
      completionTokens: 6,
    });
  });

  test('timings count where usage is null', () => {
    expect(read({ usage: null, timings: { predicted_n: 2 } })).toEqual({ completionTokens: 2 });
  });
});

describe('of a stream', () => {
  test.each([
    [
      'OpenAI chat with comments and ids',
      { promptTokens: 19, cachedTokens: 16, completionTokens: 6 },
    ],
    ['OpenAI chat in CR LF', { promptTokens: 19, cachedTokens: 16, completionTokens: 6 }],
    ['OpenAI chat in CR alone', { promptTokens: 19, cachedTokens: 16, completionTokens: 6 }],
    ['OpenAI completions in CR LF with pings', { promptTokens: 7, completionTokens: 3 }],
    ['Responses', { promptTokens: 12, cachedTokens: 4, completionTokens: 2 }],
    ['llama.cpp native', { promptTokens: 4, cachedTokens: 3, completionTokens: 2 }],
    ['Anthropic messages', { promptTokens: 125, cachedTokens: 100, completionTokens: 15 }],
  ])('%s', (name, tokens) => {
    expect(readStream(name)).toEqual(tokens);
  });

  test.each([1, 2, 3, 4])(
    'that was cut after %d frames has only the prompt counts of its beginning',
    (count) => {
      const ends = new StreamEnds();
      const { frames } = transcript('Anthropic messages');
      new FrameStage(ends).push(bytesOf(frames.slice(0, count)));
      expect(readTokens(ends.lastFrames(), ends.opening)).toEqual({
        promptTokens: 125,
        cachedTokens: 100,
      });
    },
  );
});

test('what the end of a stream says of the prompt wins over its opening', () => {
  const said = (tokens: number) => bytesOf([JSON.stringify({ usage: { input_tokens: tokens } })]);
  expect(readTokens(said(7), said(5))).toEqual({ promptTokens: 7 });
});

describe('stay absent', () => {
  test.each([
    ['in an answer without them', '{"data":[]}'],
    ['in usage that is no object', '{"usage":"high"}'],
    ['in counts that are no numbers', '{"usage":{"prompt_tokens":"19","completion_tokens":null}}'],
    ['in usage that was cut', '{"usage":{"prompt_tokens":19'],
    ['in nothing', ''],
    ['in a text that quotes them', JSON.stringify({ content: '"usage":{"prompt_tokens":19}' })],
    ['in bytes that are no text', '\u0000\uFFFD"usage"'],
  ])('%s', (_, text) => {
    expect(read(text)).toEqual({});
  });

  test('if they come from a prototype', () => {
    expect(read('{"usage":{"__proto__":{"prompt_tokens":19}}}')).toEqual({});
  });
});

test('of a list of answers are summed if every answer has them', () => {
  const timed = (prompt_n: number, cache_n: number, predicted_n: number) =>
    `{"content":"]","timings":{"prompt_n":${prompt_n},"cache_n":${cache_n},"predicted_n":${predicted_n}}}`;
  expect(read(`[${timed(1, 2, 3)}, ${timed(10, 20, 30)}]`)).toEqual({
    promptTokens: 33,
    cachedTokens: 22,
    completionTokens: 33,
  });
  expect(read(`[${timed(1, 2, 3)},{"content":""}]`)).toEqual({});
  expect(read('[]')).toEqual({});
});

describe('of an answer that is too long to keep are read', () => {
  const usage = '"usage":{"prompt_tokens":19,"completion_tokens":3}';
  const filler = `"data":"${'x'.repeat(50_000)}"`;

  test.each([
    ['at its end', `{${filler},${usage}}`],
    ['at its beginning', `{${usage},${filler}}`],
  ])('%s, however it is cut', (_, text) => {
    for (const size of [text.length, 20_000, 1_000]) {
      const edges = new Edges();
      for (let at = 0; at < text.length; at += size) {
        edges.add(Buffer.from(text.slice(at, at + size)));
      }
      expect(edges.tokens()).toEqual({ promptTokens: 19, completionTokens: 3 });
    }
  });

  test('the whole, as long as that is short', () => {
    const edges = new Edges();
    expect(edges.whole).toEqual(new Uint8Array());
    edges.add(Buffer.from('{"er'));
    edges.add(Buffer.from('ror":1}'));
    expect(Buffer.from(edges.whole ?? []).toString()).toBe('{"error":1}');
    edges.add(Buffer.from(filler));
    expect(edges.whole).toBeUndefined();
  });

  test('nowhere else', () => {
    const edges = new Edges();
    edges.add(Buffer.from(`{${filler},${usage},${filler}}`));
    expect(edges.tokens()).toEqual({});
  });

  test('nowhere else, in small pieces', () => {
    const edges = new Edges();
    const text = `{${filler},${usage},${filler}}`;
    for (let at = 0; at < text.length; at += 1_000) {
      edges.add(Buffer.from(text.slice(at, at + 1_000)));
    }
    expect(edges.tokens()).toEqual({});
  });
});
