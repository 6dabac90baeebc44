/**
 * The real engine dies in the middle of its answers and comes back: every client gets an error, and nobody has to
 * restart the gateway.
 */
import { describe, expect, setDefaultTimeout, test } from 'bun:test';
import { type RawClient, send } from '../support/rawclient.ts';
import { startGateway } from '../support/gatewayprocess.ts';
import { holdPort } from '../support/heldport.ts';
import { until } from '../support/wait.ts';
import { get, post } from './plainclient.ts';
import { requireRealEngine, startRealEngine } from './realengine.ts';

setDefaultTimeout(300_000);

/** Tokens enough that every stream still runs when the last one has begun. */
const endless = { max_tokens: 8_000, ignore_eos: true };
const messages = [{ role: 'user', content: 'Count' }];
const code = 'upstream_reset';

/** The request of each family, and the last event of its stream. */
const streams = [
  ['/v1/completions', { prompt: 'Once', ...endless }, { error: { type: 'server_error', code } }],
  ['/v1/chat/completions', { messages, ...endless }, { error: { type: 'server_error', code } }],
  ['/v1/messages', { messages, ...endless }, { type: 'error', error: { type: 'api_error' } }],
  ['/v1/responses', { input: 'Count', ...endless }, { type: 'error', code }],
] as const;

function lastFrameOf({ text }: RawClient): string {
  expect(text).toEndWith('\n\n');
  return text.split('\n\n').at(-2) ?? '';
}

describe.skipIf(!requireRealEngine())('an engine that dies mid-stream', () => {
  test('ends each stream with an error, is away, and is back after its restart', async () => {
    using held = holdPort();
    const { port } = held;
    const engine = await startRealEngine({ slots: 5, contextTokens: 45_000, port });
    await using gateway = await startGateway({ LLM_SERVER_URL: engine.url });
    const completion = `${gateway.url}/v1/completions`;
    const short = { prompt: 'Once', max_tokens: 2 };

    const open = await Promise.all(
      streams.map(([path, body]) => send(gateway.url, { path, body: { ...body, stream: true } })),
    );
    const plain = await send(gateway.url, { body: { prompt: 'Twice', ...endless } });
    await Promise.all(open.map((client) => client.hasText('data: {')));
    await until('all slots are taken', async () =>
      (await engine.slots()).every((slot) => slot.is_processing),
    );
    engine.kill('SIGKILL');
    await Promise.all([plain, ...open].map((client) => client.ended()));

    for (const [i, [, , lastEvent]] of streams.entries()) {
      const client = open[i] as RawClient;
      expect(client.ending).toBe('whole');
      expect(client.text).not.toContain('[DONE]');
      const frame = lastFrameOf(client);
      expect(JSON.parse(frame.slice(frame.indexOf('{')))).toMatchObject(lastEvent);
    }
    expect(plain.status).toBe(502);
    expect(JSON.parse(plain.text)).toMatchObject({ error: { code } });
    expect(plain.header('x-gateway-error')).toBe(code);

    const refused = await post(completion, short);
    expect(refused.status).toBe(502);
    expect(await refused.json()).toMatchObject({ error: { code: 'upstream_unreachable' } });
    expect((await get(`${gateway.url}/ready`)).status).toBe(503);
    expect((await get(`${gateway.url}/health`)).status).toBe(200);

    await using _again = await startRealEngine({ port });
    await until('it is ready', async () => (await get(`${gateway.url}/ready`)).status === 200);
    const answer = await post(completion, short);
    expect(answer.status).toBe(200);
    expect(await answer.json()).toMatchObject({ usage: { completion_tokens: 2 } });
  });
});
