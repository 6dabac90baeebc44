/**
 * What scheduling reads from a body: slots, prompt length, and the chain of hashes that grows with a conversation.
 */
import { describe, expect, test } from 'bun:test';
import { JsonBody } from '../../../src/wire/jsonbody.ts';
import { blockBytes, maxAnswerTokens, promptFactsOf, unitsOf } from '../../../src/wire/prompt.ts';
import { routes, type Route } from '../../../src/wire/routes.ts';
import { forSeeds, type Random } from '../../support/random.ts';

function route(path: string): Route {
  return routes.find((each) => each.path === path) as Route;
}

const bytes = (value: unknown) => Buffer.from(JSON.stringify(value));
const json = (value: unknown) => JsonBody.parse(bytes(value));
const chainOf = (value: unknown) => promptFactsOf(json(value)).chain;

/** Returns how many leading hashes two bodies share. */
function common(one: unknown, other: unknown): number {
  const [a, b] = [chainOf(one), chainOf(other)];
  let count = 0;
  while (count < a.length && a[count] === b[count]) count++;
  return count;
}

const message = (content: string) => ({ role: 'user', content });
const long = (letter: string, length = 1_000) => letter.repeat(length);

describe('unitsOf', () => {
  test('is 0 for a route that generates nothing, whatever the body contains', () => {
    const units = routes
      .filter(({ generates }) => !generates)
      .map((each) => unitsOf(each, { n: 4, content: ['a', 'b'] }));
    expect(units.every((count) => count === 0)).toBe(true);
    expect(units.length).toBeGreaterThan(5);
  });

  test('is 1 for a plain request of every other route', () => {
    for (const each of routes.filter(({ generates }) => generates)) {
      expect(unitsOf(each, {})).toBe(1);
      expect(unitsOf(each, { prompt: 'a', input: 'b', documents: 'c', messages: [] })).toBe(1);
    }
  });

  test('counts the choices: n, n_cmpl and best_of', () => {
    expect(unitsOf(route('/v1/chat/completions'), { n: 3 })).toBe(3);
    expect(unitsOf(route('/completion'), { prompt: 'a', n_cmpl: 2 })).toBe(2);
    expect(unitsOf(route('/v1/completions'), { prompt: 'a', n: 2, best_of: 5 })).toBe(5);
  });

  test('counts the prompts of a list, as text or tokens, and their choices', () => {
    const completions = route('/v1/completions');
    expect(unitsOf(completions, { prompt: ['a', 'b', 'c'] })).toBe(3);
    expect(unitsOf(completions, { prompt: [[1, 2], [3]], n: 2 })).toBe(4);
    expect(unitsOf(completions, { prompt: [1, 2, 3] })).toBe(1);
    expect(unitsOf(completions, { prompt: [1, 'mixed', 3] })).toBe(1);
    expect(unitsOf(completions, { prompt: [] })).toBe(1);
  });

  test('counts the texts to embed and the documents to rank', () => {
    expect(unitsOf(route('/v1/embeddings'), { input: ['a', 'b'], n: 9 })).toBe(2);
    expect(unitsOf(route('/v1/embeddings'), { input: [[1], [2], [3]] })).toBe(3);
    expect(unitsOf(route('/embedding'), { content: ['a', 'b'] })).toBe(2);
    expect(unitsOf(route('/v1/rerank'), { query: 'q', documents: ['a', 'b', 'c'] })).toBe(3);
  });

  test('counts the messages of a conversation as one', () => {
    const fields = { messages: [message('a'), message('b')], input: [message('a'), message('b')] };
    expect(unitsOf(route('/v1/chat/completions'), fields)).toBe(1);
    expect(unitsOf(route('/v1/responses'), fields)).toBe(1);
    expect(unitsOf(route('/v1/messages'), fields)).toBe(1);
  });

  test('is a whole number from 1 to 4,096, whatever is sent', () => {
    const completions = route('/v1/completions');
    const wrong = [0, -3, 1.5, '7', null, true, {}, [], Number.NaN, Number.POSITIVE_INFINITY];
    for (const n of wrong) expect(unitsOf(completions, { prompt: 'a', n })).toBe(1);
    expect(unitsOf(completions, { prompt: 'a', n: 1e12 })).toBe(4_096);
    expect(unitsOf(completions, { prompt: Array(9_000).fill('a'), n: 2 })).toBe(4_096);
  });
});

describe('the chain', () => {
  test('of a continued conversation begins with the chain of the earlier one', () => {
    const first = { messages: [message(long('a')), message(long('b'))] };
    const next = { messages: [...first.messages, message(long('c'))] };
    expect(chainOf(first).length).toBe(8);
    expect(common(first, next)).toBe(8);
    expect(chainOf(next).length).toBe(12);
  });

  test('of a continued prompt begins with the chain of the earlier one, as text or as a list', () => {
    expect(common({ prompt: long('a') }, { prompt: long('a') + long('b') })).toBe(3);
    expect(common({ input: [message(long('a'))] }, { input: [message(long('a')), 'b'] })).toBe(4);
  });

  test('is the same for any position of the prompt in the body, and for any other fields', () => {
    const messages = [message(long('a'))];
    const one = { model: 'm', messages, temperature: 0.5 };
    const other = { stream: true, seed: 7, messages };
    expect(chainOf(one)).toEqual(chainOf(other));
    expect(chainOf(one).length).toBeGreaterThan(0);
  });

  test('differs from the first block in which the prompt differs', () => {
    const text = long('a', 10 * blockBytes);
    for (const [at, shared] of [
      [0, 0],
      [5 * blockBytes, 5],
      [9 * blockBytes - 10, 8],
    ] as const) {
      const changed = `${text.slice(0, at)}b${text.slice(at + 1)}`;
      expect(common({ prompt: text }, { prompt: changed })).toBe(shared);
    }
  });

  test('differs from its start when tools, system, instructions or the surrounding files differ', () => {
    const messages = [message(long('a'))];
    for (const name of ['tools', 'system', 'instructions', 'input_extra']) {
      expect(common({ messages }, { messages, [name]: 'x' })).toBe(0);
      expect(common({ messages, [name]: 'y' }, { messages, [name]: 'x' })).toBe(0);
      expect(common({ messages, [name]: 'x' }, { [name]: 'x', messages })).toBe(4);
    }
  });

  test('has only whole blocks, without the closing bracket, and at most 1,024', () => {
    // With its opening quote a prompt of 255 letters fills a block; the closing one does not count.
    const lengths = [0, 1, 254, 255, 510, 511, 512].map(
      (n) => chainOf({ prompt: long('a', n) }).length,
    );
    expect(lengths).toEqual([0, 0, 0, 1, 1, 2, 2]);
    expect(chainOf({ prompt: long('a', 2 ** 20) }).length).toBe(1_024);
  });

  test('is made from the prefix when the middle is to be filled in', () => {
    const one = { input_prefix: long('a'), input_suffix: 'b', prompt: 'c' };
    const other = { input_prefix: long('a') + long('b'), input_suffix: 'd', prompt: 'e' };
    expect(common(one, other)).toBe(3);
  });

  test('uses the last of two members with the same name, as engines do', () => {
    const twice = Buffer.from(`{"prompt":"${long('b')}","prompt":"${long('a')}"}`);
    expect(promptFactsOf(JsonBody.parse(twice)).chain).toEqual(chainOf({ prompt: long('a') }));
  });

  test('is empty if there is no prompt', () => {
    expect(chainOf({}).length).toBe(0);
    expect(chainOf({ model: 'm', prompt: null }).length).toBe(0);
    expect(chainOf({ query: 'q', documents: [long('a')] }).length).toBe(0);
  });

  test('keeps every block of a conversation when a message is added', async () => {
    await forSeeds(300, (random) => {
      const messages = Array.from({ length: 1 + random.below(8) }, () => message(anyText(random)));
      const before = { model: 'm', messages };
      const after = { temperature: 1, messages: [...messages, message(anyText(random))] };
      expect(common(before, after)).toBe(chainOf(before).length);
    });
  });
});

function anyText(random: Random): string {
  const pieces = ['"', '\\', '{', ']', '🙂', 'é', ' word', '\n', ',"role":'];
  return Array.from({ length: random.below(300) }, () => random.pick(pieces)).join('');
}

describe('the length of a prompt', () => {
  test('is the number of its bytes as sent, including the preambles', () => {
    const messages = [message('é🙂')];
    const system = 'Be brief.';
    const body = json({ model: 'm', system, messages });
    const length = bytes(messages).length + bytes(system).length;
    expect(promptFactsOf(body).bytes).toBe(length);
  });

  test('is 0 if there is no prompt', () => {
    expect(promptFactsOf(json({})).bytes).toBe(0);
    expect(promptFactsOf(json({ model: 'm' })).bytes).toBe(0);
  });

  test('is 0 for bytes that are not a JSON object', () => {
    for (const text of ['', '[', '{"prompt', '{"prompt":', 'null', '{"prompt":"a']) {
      expect(promptFactsOf(new JsonBody(Buffer.from(text), {})).chain.length).toBe(0);
    }
  });
});

test("of Ollama's routes only several texts to embed take several slots", () => {
  expect(unitsOf(route('/api/embed'), { input: ['a', 'b'] })).toBe(2);
  expect(unitsOf(route('/api/chat'), { n: 3, input: ['a', 'b'] })).toBe(1);
});

test.each([
  [{ options: { num_predict: 5 }, max_tokens: 1 }, 5],
  [{ options: { num_predict: -1 } }, undefined],
  [{ options: { num_predict: 0 } }, undefined],
  [{ options: 'x', max_tokens: 1 }, undefined],
  [{}, undefined],
])("Ollama's maximum in %j is %p", (fields, most) => {
  expect(maxAnswerTokens(route('/api/chat'), fields)).toBe(most);
});
