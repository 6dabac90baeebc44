/**
 * Identical requests that come together while RESPONSE_CACHE=on: one of them runs, and the others get its bytes, or the
 * engine's own where it fails or leaves.
 */
import { describe, expect, setDefaultTimeout, test } from 'bun:test';
import { completion, marks, startCaching, untilInFlight } from '../support/cachingstage.ts';
import { ask, send } from '../support/rawclient.ts';
import { until } from '../support/wait.ts';

setDefaultTimeout(60_000);

describe('identical requests that come together', () => {
  for (const isStream of [false, true]) {
    test(`run once (${isStream ? 'streams' : 'plain'})`, async () => {
      await using own = await startCaching();
      const { engine, gateway } = own;
      engine.setFrozen(true);
      const asked = completion({ stream: isStream });
      const sent = await Promise.all(Array.from({ length: 20 }, () => send(gateway.url, asked)));
      await untilInFlight(gateway, 20);
      engine.setFrozen(false);
      await Promise.all(sent.map((exchange) => exchange.ended()));
      expect(own.runs()).toBe(1);
      expect(marks(sent).sort()).toEqual([...Array(19).fill('hit'), 'miss']);
      for (const exchange of sent) {
        expect([exchange.status, exchange.ending]).toEqual([200, 'whole']);
        expect(exchange.body.equals(sent[0]?.body as Buffer)).toBe(true);
      }
    });
  }

  test('are answered when the first client leaves', async () => {
    await using own = await startCaching();
    const { engine, gateway } = own;
    engine.setFrozen(true);
    const asked = completion({ stream: true });
    const first = await send(gateway.url, asked);
    await until('the engine has it', () => own.runs() === 1);
    const others = await Promise.all([1, 2, 3].map(() => send(gateway.url, asked)));
    await untilInFlight(gateway, 4);
    first.leaveByReset();
    await untilInFlight(gateway, 3);
    engine.setFrozen(false);
    await Promise.all(others.map((exchange) => exchange.ended()));
    expect(others.map(({ ending }) => ending)).toEqual(['whole', 'whole', 'whole']);
    expect(marks(others).sort()).toEqual(['hit', 'hit', 'miss']);
    expect(own.runs()).toBe(2);
  });

  test('go on when one that waits has left', async () => {
    await using own = await startCaching();
    const { engine, gateway } = own;
    engine.setFrozen(true);
    const asked = completion();
    const first = await send(gateway.url, asked);
    await until('the engine has it', () => own.runs() === 1);
    const leaving = await send(gateway.url, asked);
    const staying = await send(gateway.url, asked);
    await untilInFlight(gateway, 3);
    leaving.leaveByReset();
    await untilInFlight(gateway, 2);
    engine.setFrozen(false);
    await Promise.all([first.ended(), staying.ended()]);
    expect(marks([first, staying])).toEqual(['miss', 'hit']);
    expect(own.runs()).toBe(1);
  });

  test('each get the answer of the engine when the first has failed', async () => {
    await using own = await startCaching();
    const { engine, gateway } = own;
    engine.setFrozen(true);
    const asked = completion({ stream: true });
    const first = await send(gateway.url, { ...asked, headers: { 'x-demo-fault': 'cut=1' } });
    await until('the engine has it', () => own.runs() === 1);
    const others = await Promise.all([1, 2].map(() => send(gateway.url, asked)));
    await untilInFlight(gateway, 3);
    engine.setFrozen(false);
    await Promise.all([first, ...others].map((exchange) => exchange.ended()));
    expect(first.text).not.toContain('[DONE]');
    for (const other of others) {
      expect([other.status, other.ending]).toEqual([200, 'whole']);
      expect(other.text).toEndWith('data: [DONE]\n\n');
    }
    expect(own.runs()).toBe(3);
  });

  test('wait no longer than QUEUE_TIMEOUT_MS', async () => {
    await using own = await startCaching({ QUEUE_TIMEOUT_MS: '500' });
    own.engine.setFrozen(true);
    const asked = completion();
    const first = await send(own.gateway.url, asked);
    await until('the engine has it', () => own.runs() === 1);
    const second = await ask(own.gateway.url, asked);
    expect([second.status, second.header('x-gateway-error')]).toEqual([503, 'queue_timeout']);
    own.engine.setFrozen(false);
    expect((await first.ended()).status).toBe(200);
    expect(own.runs()).toBe(1);
  });

  test('get queue feedback while they wait, if they ask for it', async () => {
    await using own = await startCaching({ QUEUE_FEEDBACK: 'on', QUEUE_FEEDBACK_AFTER_MS: '50' });
    own.engine.setFrozen(true);
    const asked = completion({ stream: true });
    const both = [await send(own.gateway.url, asked), await send(own.gateway.url, asked)];
    await Promise.all(both.map((exchange) => exchange.hasText(': ')));
    own.engine.setFrozen(false);
    await Promise.all(both.map((exchange) => exchange.ended()));
    const [first, second] = both.map(({ text }) => text.replace(/^: .*\n\n/gm, ''));
    expect(first).toEndWith('data: [DONE]\n\n');
    expect(second).toBe(first as string);
    expect(own.runs()).toBe(1);
    // The comments are no part of the kept answer.
    const third = await ask(own.gateway.url, asked);
    expect(third.text).toBe(first as string);
  });
});
