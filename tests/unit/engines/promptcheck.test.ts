/**
 * What is asked of an engine's tokenizer, what is refused by its count, and that nothing is refused without one.
 */
import { describe, expect, test } from 'bun:test';
import { JsonBody } from '../../../src/wire/jsonbody.ts';
import { GatewayError } from '../../../src/wire/errors.ts';
import { PromptCheck } from '../../../src/engines/promptcheck.ts';
import { routes, type Route } from '../../../src/wire/routes.ts';
import type { EngineKind } from '../../../src/wire/kinds.ts';

function routeOf(path: string): Route {
  const route = routes.find((each) => each.path === path);
  if (route === undefined) throw new Error(`no route ${path}`);
  return route;
}

interface Asked {
  path: string;
  body: string;
}

/** A tokenizer that answers as a test says. */
function tokenizer(answer: (asked: Asked) => unknown, maxEntries?: number) {
  const asked: Asked[] = [];
  const checking = new PromptCheck({
    async post(path, parts) {
      const question = { path, body: Buffer.concat(parts).toString() };
      asked.push(question);
      return await answer(question);
    },
    ...(maxEntries !== undefined && { maxEntries }),
  });
  return { checking, asked };
}

interface Question {
  path?: string;
  kind?: EngineKind;
  contextTokens?: number | undefined;
  promptBytes?: number;
  model?: string;
  signal?: AbortSignal;
}

const messages = [{ role: 'user', content: 'Hello' }];

/** Asks with a body, as an object or as its text; gives what it was refused with. */
async function check(
  checking: PromptCheck,
  body: Record<string, unknown> | string,
  question: Question = {},
): Promise<unknown> {
  const text = typeof body === 'string' ? body : JSON.stringify(body);
  const { path = '/v1/chat/completions', kind = 'llama.cpp', promptBytes = 1_000 } = question;
  try {
    await checking.check({
      route: routeOf(path),
      json: JsonBody.parse(Buffer.from(text)),
      kind,
      model: question.model,
      contextTokens: 'contextTokens' in question ? question.contextTokens : 100,
      promptBytes,
      signal: question.signal ?? new AbortController().signal,
    });
    return undefined;
  } catch (error) {
    return error;
  }
}

describe('the count', () => {
  test.each([
    [99, undefined],
    [100, 'context_length_exceeded'],
    [101, 'context_length_exceeded'],
  ])('%i of 100 tokens: %p', async (input_tokens, code) => {
    const { checking } = tokenizer(() => ({ input_tokens }));
    const error = await check(checking, { messages });
    expect(error instanceof GatewayError ? error.code : error).toBe(code);
  });

  test('is in the message, and so is what fits', async () => {
    const { checking } = tokenizer(() => ({ input_tokens: 123 }));
    const error = (await check(checking, { messages })) as GatewayError;
    expect(error.status).toBe(400);
    // Clients look for these words.
    expect(error.message).toContain('prompt is too long: 123 tokens');
    expect(error.message).toContain('maximum context length is 100 tokens');
    expect(error.message).not.toContain('Hello');
  });

  test.each([
    ['/v1/chat/completions', 'messages'],
    ['/chat/completions', 'messages'],
    ['/v1/messages', 'messages'],
    ['/v1/responses', 'input'],
    ['/v1/completions', 'prompt'],
    ['/completion', 'prompt'],
  ])('of %s is held against "%s"', async (path, param) => {
    const { checking } = tokenizer(() => ({
      input_tokens: 100,
      tokens: Array.from({ length: 100 }, () => 1),
    }));
    const body = { messages, prompt: 'x', input: 'x' };
    const error = await check(checking, body, { path });
    expect(error).toMatchObject({ code: 'context_length_exceeded', param });
  });
});

describe('nobody is asked', () => {
  test('where the prompt has so few bytes that it fits with any template', async () => {
    const { checking, asked } = tokenizer(() => ({ input_tokens: 1_000 }));
    expect(await check(checking, { messages }, { promptBytes: 75 })).toBeUndefined();
    expect(asked).toEqual([]);
    expect(await check(checking, { messages }, { promptBytes: 76 })).toBeInstanceOf(GatewayError);
  });

  test('where the context is not known', async () => {
    const { checking, asked } = tokenizer(() => ({ input_tokens: 1_000 }));
    expect(await check(checking, { messages }, { contextTokens: undefined })).toBeUndefined();
    expect(asked).toEqual([]);
  });

  test.each(['sglang', 'ollama', 'openai', 'unknown'] as const)(
    'of an engine that has no such route (%s)',
    async (kind) => {
      const { checking, asked } = tokenizer(() => ({ input_tokens: 1_000, count: 1_000 }));
      const bodies = [
        { messages },
        { prompt: 'x' },
        { prompt: Array.from({ length: 200 }, () => 1) },
      ];
      for (const body of bodies) {
        const path = 'prompt' in body ? '/v1/completions' : '/v1/chat/completions';
        expect(await check(checking, body, { kind, path })).toBeUndefined();
      }
      expect(asked).toEqual([]);
    },
  );

  test('on routes that take no prompt of this kind', async () => {
    const { checking, asked } = tokenizer(() => ({ input_tokens: 1_000, count: 1_000 }));
    const body = { input: 'x', prompt: 'x', input_prefix: 'x' };
    for (const path of ['/v1/embeddings', '/v1/rerank', '/infill', '/v1/audio/speech']) {
      for (const kind of ['llama.cpp', 'vllm'] as const) {
        expect(await check(checking, body, { path, kind })).toBeUndefined();
      }
    }
    expect(asked).toEqual([]);
  });

  test('for a prompt that is tokens already: they are counted here', async () => {
    const { checking, asked } = tokenizer(() => undefined);
    const promptOf = (length: number) => ({ prompt: Array.from({ length }, () => 7) });
    for (const kind of ['llama.cpp', 'vllm'] as const) {
      const question = { path: '/v1/completions', kind };
      expect(await check(checking, promptOf(99), question)).toBeUndefined();
      expect(await check(checking, promptOf(100), question)).toBeInstanceOf(GatewayError);
    }
    expect(asked).toEqual([]);
  });

  test('for a list of prompts: each may fit', async () => {
    const { checking, asked } = tokenizer(() => ({ tokens: Array(200), count: 200 }));
    for (const prompt of [['a', 'b'], ['a', 1], [[1], [2]], { prompt_string: 'x' }]) {
      for (const kind of ['llama.cpp', 'vllm'] as const) {
        const question = { path: '/v1/completions', kind };
        expect(await check(checking, { prompt }, question)).toBeUndefined();
      }
    }
    expect(asked).toEqual([]);
  });
});

describe('llama.cpp', () => {
  test.each([
    ['/v1/chat/completions', '/v1/chat/completions/input_tokens'],
    ['/chat/completions', '/chat/completions/input_tokens'],
    ['/v1/responses', '/v1/responses/input_tokens'],
    ['/responses', '/responses/input_tokens'],
    ['/v1/messages', '/v1/messages/count_tokens'],
  ])('counts %s at %s, by the same bytes', async (path, countPath) => {
    const { checking, asked } = tokenizer(() => ({ input_tokens: 5 }));
    const body = '{"messages": [], "input": "x", "temperature": 1.0, "stream": true}';
    expect(await check(checking, body, { path })).toBeUndefined();
    expect(asked).toEqual([{ path: countPath, body }]);
  });

  test.each(['/v1/completions', '/completion', '/completions'])(
    'counts the text of %s by its tokens',
    async (path) => {
      const { checking, asked } = tokenizer(() => ({ tokens: Array.from({ length: 100 }) }));
      const error = await check(checking, { prompt: 'a "b"', n_predict: 1 }, { path });
      expect(error).toBeInstanceOf(GatewayError);
      expect(asked).toEqual([
        { path: '/tokenize', body: '{"content":"a \\"b\\"","add_special":true}' },
      ]);
    },
  );
});

describe('vLLM', () => {
  test('counts a text with the members that bear on it, as they were written', async () => {
    const { checking, asked } = tokenizer(() => ({ count: 100 }));
    const body = '{"stream":true, "model" : "m", "prompt": "\\u00e9x", "max_tokens": 1}';
    const error = await check(checking, body, { path: '/v1/completions', kind: 'vllm' });
    expect(error).toBeInstanceOf(GatewayError);
    expect(asked).toEqual([{ path: '/tokenize', body: '{"model":"m","prompt":"\\u00e9x"}' }]);
  });

  test('counts for the model that the engine is to get, whatever the body names', async () => {
    const { checking, asked } = tokenizer(() => ({ count: 99 }));
    const body = '{"model":"one","prompt":"x","model":"two"}';
    await check(checking, body, { path: '/v1/completions', kind: 'vllm', model: 'three' });
    expect(asked[0]?.body).toBe('{"model":"three","prompt":"x","model":"three"}');
  });

  test('counts a conversation with its tools and what its template takes', async () => {
    const { checking, asked } = tokenizer(() => ({ count: 99 }));
    const known = { model: 'm', messages, tools: [{ type: 'function' }] };
    const kwargs = { chat_template_kwargs: { enable_thinking: false } };
    const body = { stream: true, ...known, temperature: 1, ...kwargs, max_tokens: 4 };
    expect(await check(checking, body, { kind: 'vllm' })).toBeUndefined();
    expect(asked).toEqual([{ path: '/tokenize', body: JSON.stringify({ ...known, ...kwargs }) }]);
  });

  test('is not asked where it is to cut the prompt itself', async () => {
    const { checking, asked } = tokenizer(() => ({ count: 200 }));
    for (const body of [{ messages }, { prompt: 'x' }, { prompt: Array(200).fill(1) }]) {
      const path = 'prompt' in body ? '/v1/completions' : '/v1/chat/completions';
      const cut = { ...body, truncate_prompt_tokens: 50 };
      expect(await check(checking, cut, { kind: 'vllm', path })).toBeUndefined();
    }
    expect(asked).toEqual([]);
  });

  test('is not asked in a form that its tokenizer does not take', async () => {
    const { checking, asked } = tokenizer(() => ({ count: 200 }));
    const body = { messages, input: 'x' };
    for (const path of ['/v1/responses', '/v1/messages']) {
      expect(await check(checking, body, { kind: 'vllm', path })).toBeUndefined();
    }
    expect(asked).toEqual([]);
  });
});

describe('without a count nothing is refused', () => {
  test.each([undefined, null, 'text', {}, { input_tokens: '200' }, { input_tokens: 2.5e300 }, []])(
    'when the tokenizer says %p',
    async (answer) => {
      const { checking } = tokenizer(() => answer);
      expect(await check(checking, { messages })).toBeUndefined();
      expect(await check(checking, { prompt: 'x' }, { path: '/completion' })).toBeUndefined();
    },
  );

  test('when it fails, and it is asked again the next time', async () => {
    const answers = [() => Promise.reject(new Error('away')), () => ({})];
    const { checking, asked } = tokenizer(() => answers.shift()?.() ?? { input_tokens: 100 });
    expect(await check(checking, { messages })).toBeUndefined();
    expect(await check(checking, { messages })).toBeUndefined();
    expect(await check(checking, { messages })).toBeInstanceOf(GatewayError);
    expect(asked.length).toBe(3);
  });
});

describe('what has been counted', () => {
  test('is not counted again, however the answer is to be made', async () => {
    const { checking, asked } = tokenizer(() => ({ input_tokens: 100 }));
    const bodies = [
      { messages },
      { messages, max_tokens: 5 },
      { stream: true, messages, temperature: 0.5, seed: 7 },
    ];
    for (const body of bodies) expect(await check(checking, body)).toBeInstanceOf(GatewayError);
    expect(asked.length).toBe(1);
  });

  test('counts for this prompt, template and route alone', async () => {
    const { checking, asked } = tokenizer(() => ({ input_tokens: 5 }));
    const bodies = [
      { messages },
      { messages: [{ role: 'user', content: 'Hello!' }] },
      { messages, model: 'b' },
      { messages, tools: [] },
      { messages, of_some_later_version: 1 },
      { prompt: messages },
    ];
    for (const body of bodies) await check(checking, body);
    await check(checking, { messages }, { path: '/v1/messages' });
    expect(asked.length).toBe(bodies.length + 1);
  });

  test('is held against the context of each request', async () => {
    const { checking, asked } = tokenizer(() => ({ input_tokens: 150 }));
    expect(await check(checking, { messages }, { contextTokens: 200 })).toBeUndefined();
    expect(await check(checking, { messages })).toBeInstanceOf(GatewayError);
    expect(asked.length).toBe(1);
  });

  test('is shared while it is on its way', async () => {
    const answer = Promise.withResolvers<unknown>();
    const { checking, asked } = tokenizer(() => answer.promise);
    const checks = [1, 2, 3].map(() => check(checking, { messages }));
    answer.resolve({ input_tokens: 100 });
    for (const error of await Promise.all(checks)) expect(error).toBeInstanceOf(GatewayError);
    expect(asked.length).toBe(1);
  });

  test('is forgotten when there is too much of it: what was asked for longest ago goes', async () => {
    const { checking, asked } = tokenizer(() => ({ input_tokens: 5 }), 2);
    const ask = (content: string) => check(checking, { messages: [{ role: 'user', content }] });
    for (const content of ['a', 'b', 'a', 'c', 'a']) await ask(content);
    expect(asked.length).toBe(3);
    await ask('b');
    expect(asked.length).toBe(4);
  });
});

describe('a request that is ended', () => {
  test('does not wait for the count, which goes on for others', async () => {
    const answer = Promise.withResolvers<unknown>();
    const { checking, asked } = tokenizer(() => answer.promise);
    const exchange = new AbortController();
    const left = check(checking, { messages }, { signal: exchange.signal });
    const stays = check(checking, { messages });
    const reason = new GatewayError('client_closed_request');
    exchange.abort(reason);
    expect(await left).toBe(reason);
    answer.resolve({ input_tokens: 100 });
    expect(await stays).toMatchObject({ code: 'context_length_exceeded' });
    expect(asked.length).toBe(1);
  });

  test('before it is checked asks nothing', async () => {
    const { checking, asked } = tokenizer(() => ({ input_tokens: 5 }));
    const reason = new GatewayError('shutting_down');
    expect(await check(checking, { messages }, { signal: AbortSignal.abort(reason) })).toBe(reason);
    expect(asked).toEqual([]);
  });
});
