/**
 * The tokens of a request: exact if the engine has counted all of them, else estimated, never fewer than were seen.
 */
import { describe, expect, test } from 'bun:test';
import { costOf, type Evidence } from '../../../src/request/cost.ts';

const plain: Evidence = {
  said: { promptTokens: 7, cachedTokens: 2, completionTokens: 3 },
  answers: 1,
  mostTokens: Infinity,
  outcome: 'done',
  tellsFailure: false,
  isRefused: false,
  stream: false,
  frames: 0,
  promptEstimate: 10,
  answerEstimate: 50,
};
const stream: Evidence = { ...plain, stream: true, frames: 5, answerEstimate: 0 };

const of = (evidence: Evidence, more: Partial<Evidence> = {}) => costOf({ ...evidence, ...more });

describe('is exact', () => {
  test.each([plain, stream])('where the engine counted what has ended', (evidence) => {
    expect(of(evidence)).toEqual({ ...plain.said, tokensAre: 'exact' });
  });

  test('where only the prompt counts, as of an embedding', () => {
    expect(of(plain, { said: { promptTokens: 4 } })).toEqual({
      promptTokens: 4,
      tokensAre: 'exact',
    });
  });

  test('where only the answer counts', () => {
    expect(of(plain, { said: { completionTokens: 3 } })).toEqual({
      completionTokens: 3,
      tokensAre: 'exact',
    });
  });

  test('of a failure that the engine has counted', () => {
    expect(of(plain, { isRefused: true }).tokensAre).toBe('exact');
  });
});

describe('is estimated', () => {
  test('of a stream whose client left, by its frames, whatever its opening counted', () => {
    const left = { outcome: 'aborted', said: { promptTokens: 81, cachedTokens: 80 } } as const;
    expect(of(stream, left)).toEqual({
      promptTokens: 81,
      cachedTokens: 80,
      completionTokens: 5,
      tokensAre: 'estimated',
    });
    expect(of(stream, { ...left, said: {} })).toEqual({
      promptTokens: 10,
      completionTokens: 5,
      tokensAre: 'estimated',
    });
  });

  test('of a stream that was cut while it counted along', () => {
    const cut = of(stream, { outcome: 'failed', said: { completionTokens: 9 } });
    expect(cut).toMatchObject({ completionTokens: 9, tokensAre: 'estimated' });
  });

  test('of a client that left before the first byte: its prompt', () => {
    expect(of(plain, { outcome: 'aborted', said: {} })).toEqual({
      promptTokens: 10,
      completionTokens: 0,
      tokensAre: 'estimated',
    });
  });

  test('of an answer without counts, by its bytes', () => {
    expect(of(plain, { said: {} })).toEqual({
      promptTokens: 10,
      completionTokens: 50,
      tokensAre: 'estimated',
    });
    expect(of(plain, { said: {}, answerEstimate: 0 })).toEqual({
      promptTokens: 10,
      completionTokens: 0,
      tokensAre: 'estimated',
    });
  });

  test('of several answers of which one was counted', () => {
    expect(of(plain, { answers: 4 })).toMatchObject({
      promptTokens: 10,
      completionTokens: 12,
      tokensAre: 'estimated',
    });
    expect(of(stream, { answers: 4 })).toMatchObject({
      completionTokens: 5,
      tokensAre: 'estimated',
    });
  });

  test('as no more than was asked for, unless the engine has said more', () => {
    expect(of(plain, { answers: 4, mostTokens: 8 }).completionTokens).toBe(8);
    expect(of(plain, { said: {}, mostTokens: 20 }).completionTokens).toBe(20);
    expect(of(stream, { said: {}, mostTokens: 4 }).completionTokens).toBe(4);
    expect(of(plain, { answers: 4, mostTokens: 2 }).completionTokens).toBe(3);
  });
});

describe('is estimated without a prompt that was located', () => {
  const noPrompt = { promptEstimate: 0, said: {} };

  test('of a stream that failed, by its frames', () => {
    expect(of(stream, { ...noPrompt, outcome: 'failed' })).toEqual({
      completionTokens: 5,
      tokensAre: 'estimated',
    });
  });

  test('of a stream whose client left, by the count of its opening, with frames and without', () => {
    for (const frames of [0, 5]) {
      const said = { promptTokens: 4 };
      expect(of(stream, { ...noPrompt, said, frames, outcome: 'aborted' })).toEqual({
        promptTokens: 4,
        completionTokens: frames,
        tokensAre: 'estimated',
      });
    }
  });
});

test('of several prompts the count of the engine is used if it exceeds the estimate', () => {
  const said = { promptTokens: 20, completionTokens: 3 };
  expect(of(plain, { answers: 4, said })).toMatchObject({ promptTokens: 20 });
});

test('of a failure told in an answer is what the engine has stated, and no more', () => {
  const failed = { outcome: 'failed', tellsFailure: true } as const;
  expect(of(stream, failed)).toEqual({ ...plain.said, tokensAre: 'exact' });
  expect(of(stream, { ...failed, said: { promptTokens: 4 }, answers: 2 })).toEqual({
    promptTokens: 4,
    tokensAre: 'exact',
  });
  expect(of(stream, { ...failed, said: {} })).toEqual({ tokensAre: undefined });
});

describe('is not known', () => {
  test.each([
    ['of a refusal without counts', { isRefused: true, said: {} }],
    ['of an engine that broke before its first byte', { outcome: 'failed', said: {} }],
    ['of an answer without counts and without a prompt', { said: {}, promptEstimate: 0 }],
  ] as const)('%s', (_, more) => {
    expect(of(plain, more)).toEqual({ tokensAre: undefined });
  });
});
