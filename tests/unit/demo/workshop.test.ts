/**
 * The slots of the simulated engine over time: prefill, a slot whose client has left, a freeze, and what is counted.
 */
import { afterEach, describe, expect, test } from 'bun:test';
import type { DemoEngine, DemoOptions } from '../../../src/demo/engine.ts';
import { startDemoEngine } from '../../../src/demo/engine.ts';
import { RawClient, requestBytes } from '../../support/rawclient.ts';

const engines: DemoEngine[] = [];

function start(options: DemoOptions = {}): DemoEngine {
  const engine = startDemoEngine(options);
  engines.push(engine);
  return engine;
}

afterEach(async () => {
  await Promise.all(engines.splice(0).map((engine) => engine.stop()));
});

async function until(engine: DemoEngine, holds: () => boolean): Promise<void> {
  while (!holds()) await engine.changed();
}

function complete(engine: DemoEngine, body: object): Promise<Response> {
  const init = { method: 'POST', body: JSON.stringify(body) };
  return fetch(`${engine.url}/v1/completions`, init);
}

async function begin(engine: DemoEngine, body: object): Promise<RawClient> {
  const client = await RawClient.open(engine.url);
  client.write(requestBytes({ body }));
  return client;
}

/** The slot as `/slots` reports it. */
interface SlotView {
  is_processing: boolean;
  n_prompt_tokens: number;
  n_prompt_tokens_processed: number;
  n_prompt_tokens_cache: number;
  next_token: [{ n_decoded: number }];
}

async function slotOf(engine: DemoEngine): Promise<SlotView> {
  const slots = (await (await fetch(`${engine.url}/slots`)).json()) as [SlotView];
  return slots[0];
}

async function textOf(engine: DemoEngine, path: string): Promise<string> {
  return (await fetch(engine.url + path)).text();
}

/** Sends the engine a few other requests, so that it has had every opportunity to continue. */
async function letItGoOn(engine: DemoEngine): Promise<void> {
  for (let i = 0; i < 10; i++) await textOf(engine, '/health');
}

const words = (count: number) => 'word '.repeat(count);

describe('the counters of a slot', () => {
  test('change during prefill, before the first token', async () => {
    const engine = start({ slots: 1, prefillTokensPerSecond: 100 });
    await begin(engine, { prompt: words(200), stream: true });
    await until(engine, () => engine.busySlots() === 1);
    let slot = await slotOf(engine);
    while (slot.n_prompt_tokens_processed === 0) slot = await slotOf(engine);
    expect(slot.n_prompt_tokens).toBe(slot.n_prompt_tokens_processed);
    expect(slot.n_prompt_tokens_processed).toBeLessThan(200);
    expect(slot.next_token).toEqual([{ has_next_token: true, n_decoded: 0 }] as never);
  });

  test('report cached and computed tokens separately', async () => {
    const engine = start({ slots: 1, tokensPerSecond: 0.01 });
    const body = { prompt: 'one two three', stream: true };
    const first = await begin(engine, body);
    await first.receives((text) => text.includes('data: '));
    const { n_prompt_tokens_processed: promptTokens } = await slotOf(engine);
    first.leave();
    const second = await begin(engine, body);
    await second.receives((text) => text.includes('data: '));
    expect(await slotOf(engine)).toMatchObject({
      n_prompt_tokens_cache: promptTokens - 1,
      n_prompt_tokens_processed: 1,
      n_prompt_tokens: promptTokens + 1,
    });
  });
});

describe('a slot whose client has left', () => {
  test('stays taken for the lag, although the request is over', async () => {
    const engine = start({ slots: 1, tokensPerSecond: 0.01, abortLagMs: 600_000 });
    const client = await begin(engine, { prompt: 'one' });
    await until(engine, () => engine.busySlots() === 1);
    client.leave();
    await until(engine, () => engine.requests[0]?.state === 'aborted');
    const next = await begin(engine, { prompt: 'two' });
    await until(engine, () => engine.waiting() === 1);
    expect(engine.busySlots()).toBe(1);
    expect((await slotOf(engine)).is_processing).toBe(true);
    await engine.stop();
    await next.closed;
    expect([engine.busySlots(), engine.waiting()]).toEqual([0, 0]);
  });

  test('is free after the lag, for the next request in the queue', async () => {
    const engine = start({ slots: 1, firstTokenMs: 60_000, abortLagMs: 5 });
    const client = await begin(engine, { prompt: 'one' });
    await until(engine, () => engine.busySlots() === 1);
    const next = await begin(engine, { prompt: 'two' });
    await until(engine, () => engine.waiting() === 1);
    client.leave();
    await until(engine, () => engine.requests[1]?.state === 'running');
    next.leave();
    await until(engine, () => engine.busySlots() === 0);
    expect(engine.figures.goneMs).toBeGreaterThan(0);
    expect(engine.figures.goneMs).toBeLessThan(engine.figures.busyMs);
  });

  test('does not lag if the client stayed to the end', async () => {
    const engine = start({ slots: 1, abortLagMs: 600_000 });
    await (await complete(engine, { prompt: 'one' })).json();
    expect(engine.busySlots()).toBe(0);
  });
});

describe('while it is frozen', () => {
  test('streams stall, and continue afterwards to their end', async () => {
    const engine = start({ slots: 1, tokensPerSecond: 200 });
    const client = await begin(engine, { prompt: 'one', stream: true, max_tokens: 40 });
    await client.receives((text) => text.includes('data: '));
    engine.setFrozen(true);
    await letItGoOn(engine);
    const before = { text: client.received, slot: await slotOf(engine) };
    await letItGoOn(engine);
    expect({ text: client.received, slot: await slotOf(engine) }).toEqual(before);
    expect(before.slot.is_processing).toBe(true);
    engine.setFrozen(false);
    await client.receives((text) => text.includes('[DONE]'));
  });

  test('it answers routes that take no slot, and starts no run', async () => {
    const engine = start({ slots: 1 });
    engine.setFrozen(true);
    const answer = complete(engine, { prompt: 'one', max_tokens: 1 });
    await until(engine, () => engine.requests.length === 1);
    expect(await textOf(engine, '/health')).toBe('{"status":"ok"}');
    expect((await fetch(`${engine.url}/v1/models`)).status).toBe(200);
    expect((await slotOf(engine)).is_processing).toBe(false);
    expect(engine.requests[0]?.state).toBe('waiting');
    engine.setFrozen(false);
    expect((await answer).status).toBe(200);
  });

  test('prefill stands still too, and the slot of a client that leaves stays taken', async () => {
    const engine = start({ slots: 1, firstTokenMs: 60_000 });
    const client = await begin(engine, { prompt: words(50) });
    await until(engine, () => engine.busySlots() === 1);
    engine.setFrozen(true);
    client.leave();
    await until(engine, () => engine.requests[0]?.state === 'aborted');
    await letItGoOn(engine);
    expect(engine.busySlots()).toBe(1);
    engine.setFrozen(false);
    await until(engine, () => engine.busySlots() === 0);
  });

  test('it can be stopped', async () => {
    const engine = start({ slots: 1, firstTokenMs: 60_000 });
    const running = await begin(engine, { prompt: 'one' });
    await until(engine, () => engine.busySlots() === 1);
    engine.setFrozen(true);
    await begin(engine, { prompt: 'two' });
    await until(engine, () => engine.requests.length === 2);
    await engine.stop();
    await running.closed;
    expect(engine.busySlots()).toBe(0);
  });
});

describe('the figures', () => {
  test('count prompt tokens, cached tokens, generated tokens, and the time of slots', async () => {
    const engine = start({ firstTokenMs: 5 });
    const body = { prompt: 'one two three', max_tokens: 4 };
    await (await complete(engine, body)).json();
    const { promptTokens } = engine.figures;
    await (await complete(engine, body)).json();
    expect(engine.figures).toMatchObject({
      promptTokens: 2 * promptTokens,
      cachedTokens: promptTokens - 1,
      predictedTokens: 8,
      goneMs: 0,
    });
    expect(engine.figures.busyMs).toBeGreaterThan(0);
    const metrics = await textOf(engine, '/metrics');
    expect(metrics).toContain(`llamacpp:prompt_tokens_total ${promptTokens + 1}\n`);
    expect(metrics).toContain('llamacpp:tokens_predicted_total 8\n');
    expect(metrics).toContain('llamacpp:requests_processing 0\n');
  });

  test('count the tokens decoded for a client that left, but no prompt that was not computed', async () => {
    const engine = start({ slots: 1, tokensPerSecond: 0.01 });
    const client = await begin(engine, { prompt: 'one', stream: true });
    await client.receives((text) => text.includes('data: '));
    client.leave();
    await until(engine, () => engine.busySlots() === 0);
    expect(engine.figures).toMatchObject({ promptTokens: 1, predictedTokens: 1 });
    const slow = start({ firstTokenMs: 60_000 });
    const early = await begin(slow, { prompt: 'one' });
    await until(slow, () => slow.busySlots() === 1);
    early.leave();
    await until(slow, () => slow.busySlots() === 0);
    expect(slow.figures).toMatchObject({ promptTokens: 0, predictedTokens: 0 });
  });
});
