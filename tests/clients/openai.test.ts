/**
 * The official `openai` client for JavaScript, unchanged but for its base URL: answers, streams, its own error classes,
 * and an abort that frees the engine's slot.
 */
import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from 'bun:test';
import OpenAI from 'openai';
import { key } from '../support/gatewayprocess.ts';
import { brief, endless, type Backend, backends } from './backends.ts';

setDefaultTimeout(90_000);

const messages = [{ role: 'user' as const, content: 'Say hello.' }];

for (const { name, isThere, hasFaults, start } of backends) {
  describe.skipIf(!isThere)(`openai before ${name}`, () => {
    let backend: Backend;
    let openai: OpenAI;

    function clientOf(url: string, apiKey = key, headers: Record<string, string | null> = {}) {
      return new OpenAI({
        baseURL: `${url}/v1`,
        apiKey,
        maxRetries: 0,
        defaultHeaders: headers,
      });
    }

    beforeAll(async () => {
      backend = await start();
      openai = clientOf(backend.url);
    });

    afterAll(() => backend?.[Symbol.asyncDispose]());

    test('lists the models and looks one up', async () => {
      const { model } = backend;
      const { data } = await openai.models.list();
      expect(data.map(({ id }) => id)).toEqual([model]);
      expect(await openai.models.retrieve(model)).toMatchObject({ id: model, object: 'model' });
    });

    test('completes a prompt', async () => {
      const { model } = backend;
      const answer = await openai.completions.create({ model, prompt: 'Hello', ...brief });
      expect(answer.choices[0]?.text).not.toBe('');
      expect(answer.usage?.completion_tokens).toBe(5);
    });

    test('streams a completion', async () => {
      const { model } = backend;
      const asked = { model, prompt: 'Hello', ...brief, stream: true } as const;
      let text = '';
      let finish: string | null = null;
      for await (const { choices } of await openai.completions.create(asked)) {
        text += choices[0]?.text ?? '';
        finish = choices[0]?.finish_reason ?? finish;
      }
      expect(text).not.toBe('');
      expect(finish).toBe('length');
    });

    test('answers a conversation', async () => {
      const { model } = backend;
      const answer = await openai.chat.completions.create({ model, messages, ...brief });
      expect(answer.choices[0]?.message.content).not.toBe('');
      expect(answer.usage?.completion_tokens).toBe(5);
    });

    test('streams a conversation, with usage when it asks for that', async () => {
      const stream = openai.chat.completions.stream({
        model: backend.model,
        messages,
        ...brief,
        stream_options: { include_usage: true },
      });
      const { choices, usage } = await stream.finalChatCompletion();
      expect(choices[0]?.message.content).not.toBe('');
      expect(usage?.completion_tokens).toBe(5);
    });

    test('creates a response, plain and streamed', async () => {
      const asked = {
        model: backend.model,
        input: 'Say hello.',
        max_output_tokens: 5,
        temperature: 0,
      };
      expect((await openai.responses.create(asked)).output_text).not.toBe('');
      const types: string[] = [];
      for await (const { type } of await openai.responses.create({ ...asked, stream: true })) {
        types.push(type);
      }
      expect(types[0]).toBe('response.created');
      expect(types).toContain('response.output_text.delta');
      expect(types.at(-1)).toBe('response.completed');
    });

    test('embeds texts', async () => {
      const input = ['one', 'two'];
      const { data } = await clientOf(backend.embeddingUrl).embeddings.create({
        model: backend.model,
        input,
      });
      expect(data.map(({ index }) => index)).toEqual([0, 1]);
      expect(data[0]?.embedding.length).toBeGreaterThan(2);
    });

    test('throws AuthenticationError without a key', async () => {
      const client = clientOf(backend.url, key, { Authorization: null });
      const error = await client.models.list().catch((thrown) => thrown);
      expect(error).toBeInstanceOf(OpenAI.AuthenticationError);
      expect(error).toMatchObject({ status: 401, code: 'missing_api_key' });
      expect(error.requestID).toMatch(/^[\w-]{36}$/);
    });

    test('throws PermissionDeniedError with a wrong key', async () => {
      const error = await clientOf(backend.url, 'sk-wrong')
        .chat.completions.create({ model: backend.model, messages })
        .catch((thrown) => thrown);
      expect(error).toBeInstanceOf(OpenAI.PermissionDeniedError);
      expect(error).toMatchObject({ code: 'invalid_api_key', type: 'permission_error' });
    });

    test('throws NotFoundError for a model that is not there', async () => {
      const error = await openai.models.retrieve('no/such-model').catch((thrown) => thrown);
      expect(error).toBeInstanceOf(OpenAI.NotFoundError);
      expect(error).toMatchObject({ code: 'model_not_found', param: 'model' });
    });

    test('throws BadRequestError for a field of the wrong kind', async () => {
      const wrong = { prompt: 'Hello', model: 7 as unknown as string };
      const error = await openai.completions.create(wrong).catch((thrown) => thrown);
      expect(error).toBeInstanceOf(OpenAI.BadRequestError);
      expect(error).toMatchObject({ code: 'invalid_field', param: 'model' });
    });

    test('throws InternalServerError when the engine is not there', async () => {
      const error = await clientOf(backend.lonelyUrl)
        .chat.completions.create({ model: backend.model, messages })
        .catch((thrown) => thrown);
      expect(error).toBeInstanceOf(OpenAI.InternalServerError);
      expect(error).toMatchObject({ status: 502, code: 'upstream_unreachable' });
    });

    test('frees the slot when a stream is aborted', async () => {
      const controller = new AbortController();
      const stream = await openai.chat.completions.create(
        { model: backend.model, messages, ...endless, stream: true },
        { signal: controller.signal },
      );
      for await (const _chunk of stream) {
        await backend.busy();
        controller.abort();
      }
      await backend.freed();
    });

    test('frees the slot when a plain answer is aborted', async () => {
      const controller = new AbortController();
      const answer = openai.chat.completions.create(
        { model: backend.model, messages, ...endless },
        { signal: controller.signal },
      );
      const thrown = answer.catch((error) => error);
      await backend.busy();
      controller.abort();
      expect(await thrown).toBeInstanceOf(OpenAI.APIUserAbortError);
      await backend.freed();
    });

    if (!hasFaults) return;
    test('throws APIError from a stream that the engine cuts, after what has come', async () => {
      const stream = await openai.chat.completions.create(
        { model: backend.model, messages, stream: true },
        { headers: { 'x-demo-fault': 'cut=3' } },
      );
      let chunks = 0;
      async function readAll(): Promise<void> {
        for await (const _chunk of stream) chunks++;
      }
      const error = await readAll().catch((thrown) => thrown);
      expect(error).toBeInstanceOf(OpenAI.APIError);
      expect(error).toMatchObject({ code: 'upstream_reset', type: 'server_error' });
      expect(chunks).toBeGreaterThanOrEqual(3);
    });
  });
}
