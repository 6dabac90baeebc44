/**
 * The Vercel AI SDK with its provider for OpenAI-compatible servers, unchanged but for its base URL.
 */
import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from 'bun:test';
import { createOpenAICompatible } from '@ai-sdk/openai-compatible';
import { APICallError, embedMany, generateText, streamText } from 'ai';
import { key } from '../support/gatewayprocess.ts';
import { endless, type Backend, backends } from './backends.ts';

setDefaultTimeout(90_000);
// The completion model warns of a setting that it was not given.
globalThis.AI_SDK_LOG_WARNINGS = false;

const question = { prompt: 'Say hello.', temperature: 0, maxOutputTokens: 5, maxRetries: 0 };

for (const { name, isThere, start } of backends) {
  describe.skipIf(!isThere)(`ai before ${name}`, () => {
    let backend: Backend;

    function provider(url: string, apiKey = key) {
      return createOpenAICompatible({
        name: 'gateway',
        baseURL: `${url}/v1`,
        apiKey,
        includeUsage: true,
      });
    }

    /** Returns the error that a request throws. */
    async function failureOf(url: string, apiKey?: string): Promise<unknown> {
      const model = provider(url, apiKey)(backend.model);
      return generateText({ model, ...question }).catch((thrown: unknown) => thrown);
    }

    beforeAll(async () => {
      backend = await start();
    });

    afterAll(() => backend?.[Symbol.asyncDispose]());

    test('generates text from a conversation', async () => {
      const model = provider(backend.url)(backend.model);
      const { text, finishReason, usage } = await generateText({ model, ...question });
      expect(text).not.toBe('');
      expect(finishReason).toBe('length');
      expect(usage.outputTokens).toBe(5);
    });

    test('generates text from a prompt', async () => {
      const model = provider(backend.url).completionModel(backend.model);
      expect((await generateText({ model, ...question })).text).not.toBe('');
    });

    test('streams text with its usage', async () => {
      const model = provider(backend.url)(backend.model);
      const result = streamText({ model, ...question });
      let text = '';
      for await (const delta of result.textStream) text += delta;
      expect(text).not.toBe('');
      expect(await result.finishReason).toBe('length');
      expect((await result.usage).outputTokens).toBe(5);
    });

    test('embeds texts', async () => {
      const model = provider(backend.embeddingUrl).embeddingModel(backend.model);
      const { embeddings } = await embedMany({ model, values: ['one', 'two'] });
      expect(embeddings.length).toBe(2);
      expect(embeddings[0]?.length).toBeGreaterThan(2);
    });

    test('throws APICallError with the status and our message', async () => {
      const wrongKey = await failureOf(backend.url, 'sk-wrong');
      expect(APICallError.isInstance(wrongKey)).toBe(true);
      expect(wrongKey).toMatchObject({ statusCode: 403, isRetryable: false });
      expect(wrongKey).toMatchObject({ message: expect.stringContaining('API key') });

      const away = await failureOf(backend.lonelyUrl);
      expect(APICallError.isInstance(away)).toBe(true);
      expect(away).toMatchObject({ statusCode: 502, isRetryable: true });
      expect(away).toMatchObject({ data: { error: { code: 'upstream_unreachable' } } });
    });

    test('frees the slot when a stream is aborted', async () => {
      const controller = new AbortController();
      const { max_tokens: maxOutputTokens, ignore_eos } = endless;
      const { textStream } = streamText({
        model: provider(backend.url)(backend.model),
        ...question,
        maxOutputTokens,
        providerOptions: { gateway: { ignore_eos } },
        abortSignal: controller.signal,
      });
      let deltas = 0;
      for await (const _delta of textStream) {
        if (deltas++ === 0) {
          await backend.busy();
          controller.abort();
        }
      }
      expect(deltas).toBeGreaterThan(0);
      await backend.freed();
    });
  });
}
