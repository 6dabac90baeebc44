/**
 * What scheduling reads from a body: slots, and the chain by which prompts that begin alike are known.
 */
import { describe, expect, test } from 'bun:test';
import { promptFactsOf, unitsOf } from '../../src/prompt.ts';
import { routes, type Route } from '../../src/routes.ts';

function route(path: string): Route {
  const found = routes.find((each) => each.path === path);
  if (found === undefined) throw new Error(`no route ${path}`);
  return found;
}

describe('unitsOf', () => {
  const table: [string, Record<string, unknown>, number][] = [
    ['/v1/completions', {}, 1],
    ['/v1/completions', { prompt: 'x' }, 1],
    ['/v1/completions', { prompt: ['a', 'b'] }, 2],
    ['/v1/completions', { prompt: [1, 2, 3] }, 1],
    ['/v1/completions', { prompt: [[1], [2]], n: 3 }, 6],
    ['/v1/completions', { prompt: [] }, 1],
    ['/v1/completions', { prompt: 'x', n: 2, best_of: 4 }, 4],
    ['/v1/chat/completions', { n: 3 }, 3],
    ['/v1/chat/completions', { n: 0 }, 1],
    ['/v1/chat/completions', { n: -1 }, 1],
    ['/v1/chat/completions', { n: 1.5 }, 1],
    ['/v1/chat/completions', { n: '3' }, 1],
    ['/v1/chat/completions', { n: 1e9 }, 4_096],
    ['/v1/chat/completions', { prompt: ['a', 'b'] }, 1],
    ['/v1/embeddings', { input: ['a', 'b', 'c'] }, 3],
    ['/embedding', { content: ['a', 'b'] }, 2],
    ['/v1/rerank', { documents: ['a', 'b'] }, 2],
    ['/v1/messages', {}, 1],
    ['/tokenize', { content: 'x' }, 0],
    ['/v1/messages/count_tokens', {}, 0],
  ];
  test.each(table)('%s %j', (path, fields, units) => {
    expect(unitsOf(route(path), fields)).toBe(units);
  });
});

const facts = (body: object) => promptFactsOf(Buffer.from(JSON.stringify(body)));
const text = (seed: string, length = 700) => seed.repeat(length).slice(0, length);
const turn = (role: string, content: string) => ({ role, content });

describe('promptFactsOf', () => {
  test('a conversation that goes on begins with the same blocks', () => {
    const messages = [turn('system', text('a')), turn('user', text('b'))];
    const before = facts({ messages });
    const after = facts({ stream: true, messages: [...messages, turn('assistant', text('c'))] });
    expect(before.chain.length).toBeGreaterThan(4);
    expect(after.chain.length).toBeGreaterThan(before.chain.length);
    expect([...after.chain.subarray(0, before.chain.length)]).toEqual([...before.chain]);
  });

  test('prompts that differ have the same blocks up to there, and none behind', () => {
    const [one, two] = ['x', 'y'].map((end) => facts({ prompt: text('a', 1_000) + text(end) }));
    expect([...(one?.chain.subarray(0, 3) ?? [])]).toEqual([...(two?.chain.subarray(0, 3) ?? [])]);
    expect(one?.chain.at(-1)).not.toBe(two?.chain.at(-1) as number);
  });

  test('what stands in front of the conversation counts', () => {
    const messages = [turn('user', text('b'))];
    for (const name of ['system', 'tools', 'instructions']) {
      const [one, two] = ['x', 'y'].map((value) => facts({ messages, [name]: value }));
      expect(one?.chain[0]).not.toBe(two?.chain[0] as number);
    }
  });

  test('is empty without a prompt, and for one that is short', () => {
    expect(facts({}).chain.length).toBe(0);
    expect(facts({ prompt: 'short' }).chain.length).toBe(0);
  });

  test('is bounded', () => {
    expect(facts({ prompt: text('a', 1_000_000) }).chain.length).toBe(1_024);
  });
});
