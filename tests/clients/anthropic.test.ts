/**
 * The official `@anthropic-ai/sdk`, unchanged but for its base URL: messages, streams, token counts, its own error
 * classes, and an abort that frees the engine's slot.
 */
import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from 'bun:test';
import Anthropic from '@anthropic-ai/sdk';
import { key } from '../support/gatewayprocess.ts';
import { brief, endless, type Backend, backends } from './backends.ts';

setDefaultTimeout(90_000);

const messages = [{ role: 'user' as const, content: 'Say hello.' }];

for (const { name, isThere, hasFaults, start } of backends) {
  describe.skipIf(!isThere)(`@anthropic-ai/sdk before ${name}`, () => {
    let backend: Backend;
    let anthropic: Anthropic;

    function clientOf(baseURL: string, apiKey = key, headers: Record<string, string | null> = {}) {
      return new Anthropic({ baseURL, apiKey, maxRetries: 0, defaultHeaders: headers });
    }

    function create(client: Anthropic) {
      return client.messages.create({ model: backend.model, messages, ...brief });
    }

    beforeAll(async () => {
      backend = await start();
      anthropic = clientOf(backend.url);
    });

    afterAll(() => backend?.[Symbol.asyncDispose]());

    test('creates a message', async () => {
      const message = await create(anthropic);
      expect(message).toMatchObject({ type: 'message', role: 'assistant' });
      expect(message.content[0]).toMatchObject({ type: 'text', text: expect.stringMatching(/./) });
      expect(message.usage.output_tokens).toBe(5);
    });

    test('takes the key as x-api-key too', async () => {
      const client = clientOf(backend.url, key, { Authorization: null, 'x-api-key': key });
      expect(await create(client)).toMatchObject({ type: 'message' });
    });

    test('streams a message', async () => {
      const asked = { model: backend.model, messages, ...brief };
      const stream = anthropic.messages.stream(asked);
      let text = '';
      stream.on('text', (delta) => (text += delta));
      const message = await stream.finalMessage();
      expect(text).not.toBe('');
      expect(message).toMatchObject({ content: [{ type: 'text', text }] });
      expect(message.usage.output_tokens).toBe(5);
    });

    test('counts tokens', async () => {
      const { model } = backend;
      const { input_tokens } = await anthropic.messages.countTokens({ model, messages });
      expect(input_tokens).toBeGreaterThan(0);
    });

    test('throws AuthenticationError without a key', async () => {
      const headers = { Authorization: null, 'x-api-key': null };
      const error = await create(clientOf(backend.url, key, headers)).catch((thrown) => thrown);
      expect(error).toBeInstanceOf(Anthropic.AuthenticationError);
      expect(error).toMatchObject({ status: 401, type: 'authentication_error' });
      expect(error.requestID).toMatch(/^[\w-]{36}$/);
    });

    test('throws PermissionDeniedError with a wrong key', async () => {
      const error = await create(clientOf(backend.url, 'sk-wrong')).catch((thrown) => thrown);
      expect(error).toBeInstanceOf(Anthropic.PermissionDeniedError);
      expect(error).toMatchObject({ status: 403, type: 'permission_error' });
    });

    test('throws NotFoundError for a route that is not there', async () => {
      const error = await anthropic.get('/v1/messages/batches').catch((thrown) => thrown);
      expect(error).toBeInstanceOf(Anthropic.NotFoundError);
      expect(error).toMatchObject({ status: 404, type: 'not_found_error' });
    });

    test('throws InternalServerError when the engine is not there', async () => {
      const error = await create(clientOf(backend.lonelyUrl)).catch((thrown) => thrown);
      expect(error).toBeInstanceOf(Anthropic.InternalServerError);
      expect(error).toMatchObject({ status: 502, type: 'api_error' });
      expect(error.headers.get('x-gateway-error')).toBe('upstream_unreachable');
    });

    test('frees the slot when a stream is aborted', async () => {
      const asked = { model: backend.model, messages, ...endless };
      const stream = anthropic.messages.stream(asked);
      const ended = stream.done().catch((thrown) => thrown);
      stream.once('text', () => stream.abort());
      expect(await ended).toBeInstanceOf(Anthropic.APIUserAbortError);
      await backend.freed();
    });

    if (!hasFaults) return;
    test('throws APIError from a stream that the engine cuts, after what has come', async () => {
      const stream = anthropic.messages.stream(
        { model: backend.model, messages, max_tokens: 9 },
        { headers: { 'x-demo-fault': 'cut=3' } },
      );
      let deltas = 0;
      stream.on('text', () => deltas++);
      const error = await stream.done().catch((thrown) => thrown);
      expect(error).toBeInstanceOf(Anthropic.APIError);
      expect(error).toMatchObject({ type: 'api_error' });
      expect(deltas).toBe(3);
    });
  });
}
