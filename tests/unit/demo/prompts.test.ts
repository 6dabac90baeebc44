/** What the simulated engine reads from a body: prompts, their tokens, and the runs that they become. */
import { describe, expect, test } from 'bun:test';
import { detokenize, tokenize } from '../../../src/demo/model.ts';
import {
  anthropicMessages,
  parseBody,
  parseForm,
  promptFromChat,
  promptsFrom,
  promptsFromCompletion,
  promptsFromInfill,
  renderChat,
  responsesMessages,
  runOf,
  runsOf,
} from '../../../src/demo/prompts.ts';
import { EngineError } from '../../../src/demo/wire.ts';

const engine = { model: 'demo', contextTokens: 100 };
const textsOf = (prompts: ReturnType<typeof promptsFrom>) =>
  prompts.map(({ tokens }) => detokenize(tokens));

describe('a body', () => {
  test('is a JSON object, with or without a byte order mark', () => {
    expect(parseBody(Buffer.from('{"a":1}'))).toEqual({ a: 1 });
    expect(parseBody(Buffer.from('\uFEFF{"a":1}'))).toEqual({ a: 1 });
  });

  test.each(['', '{', '[]', 'null', '"x"'])('is refused where it is %j', (text) => {
    expect(() => parseBody(Buffer.from(text))).toThrow(EngineError);
  });

  test('of a form has its fields, and its file as a description', async () => {
    const form = new FormData();
    form.append('model', 'demo');
    form.append('file', new File(['12345'], 'a.wav'));
    const sent = new Response(form);
    const type = sent.headers.get('content-type') ?? '';
    const bytes = await sent.bytes();
    expect(await parseForm(bytes, type)).toEqual({ model: 'demo', audio: 'a.wav, 5 bytes' });
    await expect(parseForm(bytes, 'text/plain')).rejects.toThrow('multipart/form-data');
    const empty = new Response(new FormData());
    const emptyType = empty.headers.get('content-type') ?? '';
    await expect(parseForm(await empty.bytes(), emptyType)).rejects.toThrow("'file' is required");
  });
});

describe('prompts', () => {
  test('are one text, one of tokens, or one for each element of a list', () => {
    expect(textsOf(promptsFrom('a b'))).toEqual(['a b']);
    expect(textsOf(promptsFrom(tokenize('a b')))).toEqual(['a b']);
    expect(textsOf(promptsFrom(['a', 'b']))).toEqual(['a', 'b']);
    expect(textsOf(promptsFrom([tokenize('a'), 'b']))).toEqual(['a', 'b']);
    expect(textsOf(promptsFrom([...tokenize('a'), ' b']))).toEqual(['a b']);
    expect(textsOf(promptsFrom(undefined))).toEqual(['']);
  });

  test('of a completion must be there', () => {
    expect(textsOf(promptsFromCompletion({ prompt: 'a' }))).toEqual(['a']);
    expect(textsOf(promptsFromCompletion({ prompt_embeds: 'x' }))).toEqual(['']);
    expect(() => promptsFromCompletion({})).toThrow("key 'prompt' not found");
  });

  test('of an infill are what stands before and after', () => {
    const body = { input_prefix: 'a', prompt: 'b', input_suffix: 'c' };
    expect(textsOf(promptsFromInfill(body))).toEqual(['abc']);
    expect(textsOf(promptsFromInfill({ input_prefix: 'a' }))).toEqual(['a']);
  });
});

describe('a conversation', () => {
  const messages = [
    { role: 'user', content: 'one' },
    { role: 'assistant', content: 'two' },
    { role: 'user', content: [{ type: 'text', text: 'three' }, { type: 'image_url' }, 4] },
  ];

  test('is rendered in the template, parts by their texts', () => {
    expect(renderChat(messages)).toBe(
      '<|im_start|>user\none<|im_end|>\n<|im_start|>assistant\ntwo<|im_end|>\n' +
        '<|im_start|>user\nthree<|im_end|>\n<|im_start|>assistant\n',
    );
    expect(() => renderChat('x')).toThrow("'messages' is required");
  });

  test('is answered by its last message', () => {
    expect(promptFromChat(messages).subject).toBe('three');
    expect(promptFromChat([]).subject).toBe('');
  });

  test('is answered by the last message that is not of the system', () => {
    const said = { role: 'user', content: 'Hello' };
    const more = { role: 'system', content: 'Be brief.' };
    expect(promptFromChat([said, more]).subject).toBe('Hello');
    expect(promptFromChat([more]).subject).toBe('Be brief.');
  });

  test('begins with the system text of Anthropic and the instructions of Responses', () => {
    const system = { role: 'system', content: 'be brief' };
    const user = { role: 'user', content: 'hi' };
    expect(anthropicMessages({ system: 'be brief', messages: [user] })).toEqual([system, user]);
    expect(anthropicMessages({ messages: [user] })).toEqual([user]);
    expect(responsesMessages({ instructions: 'be brief', input: 'hi' })).toEqual([system, user]);
    expect(responsesMessages({ input: [user] })).toEqual([user]);
    expect(responsesMessages({ instructions: 'be brief', input: 7 })).toBe(7);
  });
});

describe('a run', () => {
  const [prompt] = promptsFrom('Hello') as [ReturnType<typeof promptsFrom>[number]];

  test.each(['max_completion_tokens', 'max_tokens', 'max_output_tokens', 'n_predict'])(
    'has as many tokens as %s says',
    (name) => {
      const run = runOf(prompt, { [name]: 3.9 }, engine);
      expect([run.output.length, run.finish]).toEqual([3, 'length']);
    },
  );

  test('without a limit ends by itself, unless there is no room', () => {
    expect(runOf(prompt, { max_tokens: -1 }, engine)).toMatchObject({ finish: 'stop' });
    expect(runOf(prompt, {}, engine).output).toHaveLength(64);
    const small = runOf(prompt, {}, { ...engine, contextTokens: prompt.tokens.length + 5 });
    expect([small.output.length, small.finish]).toEqual([5, 'length']);
  });

  test('of a request with tools ends by itself when its limit allows that', () => {
    const tools = [{ name: 'look' }];
    const long = runOf(prompt, { tools, max_tokens: 32_000 }, engine);
    expect([long.output.length, long.finish]).toEqual([64, 'stop']);
    const short = runOf(prompt, { tools, max_tokens: 5 }, engine);
    expect([short.output.length, short.finish]).toEqual([5, 'length']);
  });

  test.each([
    ['OpenAI', { type: 'function', function: { name: 'look' } }],
    ['Anthropic', { name: 'look', input_schema: {} }],
  ])('calls a tool that the last message names, in the form of %s', (_form, tool) => {
    const [asking] = promptsFrom('Please call look {"at":"it"}') as [typeof prompt];
    const run = runOf(asking, { tools: [tool], max_tokens: 1 }, engine);
    expect(run).toMatchObject({ tool: 'look', finish: 'stop' });
    expect(detokenize(run.output)).toBe('{"at":"it"}');
    expect(runOf(asking, { tools: [{ name: 'other' }] }, engine).tool).toBeUndefined();
    expect(runOf(asking, {}, engine).tool).toBeUndefined();
    expect(runOf(prompt, { tools: [tool] }, engine).tool).toBeUndefined();
    const [broken] = promptsFrom('Please call look {"at"}') as [typeof prompt];
    expect(runOf(broken, { tools: [tool] }, engine).tool).toBeUndefined();
  });

  test('has the model that is asked for, else the one of the engine', () => {
    expect(runOf(prompt, { model: 'other' }, engine).model).toBe('other');
    expect(runOf(prompt, {}, engine).model).toBe('demo');
  });

  test('of a prompt that does not fit is the error of llama.cpp', () => {
    const tokens = prompt.tokens.length;
    const error = (() => {
      try {
        return runOf(prompt, {}, { ...engine, contextTokens: tokens });
      } catch (thrown) {
        return thrown;
      }
    })();
    expect(error).toMatchObject({
      status: 400,
      type: 'exceed_context_size_error',
      more: { n_prompt_tokens: tokens, n_ctx: tokens },
    });
  });

  test('is made for each choice of each prompt, all under one id', () => {
    const runs = runsOf(promptsFrom(['a', 'b']), { n: 2 }, engine);
    expect(runs.map(({ index }) => index)).toEqual([0, 1, 2, 3]);
    expect(new Set(runs.map(({ id }) => id)).size).toBe(1);
    expect(textsOf(runs.map((run) => run.prompt))).toEqual(['a', 'a', 'b', 'b']);
    expect(runsOf(promptsFrom('a'), { n: 0 }, engine)).toHaveLength(1);
  });

  test('is refused where there would be none, or too many', () => {
    expect(() => runsOf([], {}, engine)).toThrow('0 answers requested');
    expect(runsOf(promptsFrom('a'), { n: 128 }, engine)).toHaveLength(128);
    expect(() => runsOf(promptsFrom('a'), { n: 129 }, engine)).toThrow('129 answers requested');
  });
});
