/**
 * Two clients at once, on the two slots of the real engine: each has a slot while the other has one, and each gets its
 * own answer, whole.
 */
import { expect, setDefaultTimeout, test } from 'bun:test';
import { send } from '../support/rawclient.ts';
import { startGateway } from '../support/gatewayprocess.ts';
import { requireRealEngine, startRealEngine } from './realengine.ts';

setDefaultTimeout(300_000);

const maxTokens = 100;

function chat(content: string) {
  return {
    path: '/v1/chat/completions',
    body: {
      messages: [{ role: 'user', content }],
      max_tokens: maxTokens,
      ignore_eos: true,
      stream: true,
      stream_options: { include_usage: true },
    },
  };
}

/** Returns the events of a stream, parsed, without the `[DONE]` that must be its last. */
function eventsOf(text: string): Record<string, unknown>[] {
  const frames = text.split('\n\n');
  expect(frames.splice(-2)).toEqual(['data: [DONE]', '']);
  return frames.map((frame) => JSON.parse(frame.slice('data: '.length)));
}

test.skipIf(!requireRealEngine())('two clients stream at the same time', async () => {
  await using engine = await startRealEngine({ slots: 2 });
  await using gateway = await startGateway({ LLM_SERVER_URL: engine.url });
  const first = await send(gateway.url, chat('Write about the sea.'));
  await first.hasText('"content":"');
  const second = await send(gateway.url, chat('Write about bread.'));
  await second.hasText('"content":"');
  expect((await engine.slots()).map((slot) => slot.is_processing)).toEqual([true, true]);
  expect(first.ending).toBe('open');

  await Promise.all([first.ended(), second.ended()]);
  const answers = [first, second].map(({ text }) => eventsOf(text));
  const ids = answers.map((events) => new Set(events.map(({ id }) => id)));
  expect(ids.map(({ size }) => size)).toEqual([1, 1]);
  expect(ids[0]).not.toEqual(ids[1]);
  for (const events of answers) {
    expect(events.at(-1)).toMatchObject({ usage: { completion_tokens: maxTokens } });
  }
  expect((await engine.counters())['tokens_predicted_total']).toBe(2 * maxTokens);
});
