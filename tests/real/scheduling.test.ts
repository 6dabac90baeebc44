/**
 * Two real llama.cpp servers behind one gateway: a flood does not keep a light caller waiting, and an engine that is
 * killed, stopped or started again costs only what ran on it.
 */
import { expect, setDefaultTimeout, test } from 'bun:test';
import { ask, send, type RawClient } from '../support/rawclient.ts';
import { startGateway } from '../support/gatewayprocess.ts';
import { holdPort } from '../support/heldport.ts';
import { healthOf, untilUpstream } from '../support/gatewayhealth.ts';
import { until } from '../support/wait.ts';
import { requireRealEngine, startRealEngine } from './realengine.ts';

setDefaultTimeout(300_000);

const [flooder, light] = ['sk-test-flooder-1', 'sk-test-light-one'];

function chat(key: string, content: string, maxTokens: number) {
  return {
    path: '/v1/chat/completions',
    headers: { Authorization: `Bearer ${key}` },
    body: {
      messages: [{ role: 'user', content }],
      max_tokens: maxTokens,
      ignore_eos: true,
      stream: true,
    },
  };
}

const canRun = requireRealEngine();

test.skipIf(!canRun)(
  'a light caller goes first while another keeps sixteen requests open',
  async () => {
    await using engine = await startRealEngine({ slots: 2 });
    const keys = { ALLOWED_API_KEYS: `${flooder},${light}` };
    await using gateway = await startGateway({ LLM_SERVER_URL: engine.url, ...keys });
    await untilUpstream(gateway, 'engine', { state: 'up', slots: 2 });
    const ended: string[] = [];
    const flood: RawClient[] = [];
    for (let i = 0; i < 16; i++) {
      const exchange = await send(gateway.url, chat(flooder, `Count from ${i}.`, 40));
      void exchange
        .ended()
        .then(() => ended.push('flood'))
        .catch(() => {}); // Some are left open.
      flood.push(exchange);
    }
    await until('the flood waits', async () => (await healthOf(gateway)).queued === 14);
    const before = ended.length;
    const answer = await ask(gateway.url, chat(light, 'Hello', 2));
    expect(answer.text).toEndWith('data: [DONE]\n\n');
    // It waited for one of the two slots, and for no other request of the flood.
    expect(ended.length - before).toBeLessThanOrEqual(3);
    for (const each of flood) each.leaveByReset();
    await until('all slots are free', async () => {
      const { upstreams } = await healthOf(gateway);
      return upstreams[0]?.usedSlots === 0;
    });
    await engine.idle();
  },
);

test.skipIf(!canRun)('an engine that is killed or stopped costs only what ran on it', async () => {
  using held = holdPort();
  const { port } = held;
  const first = await startRealEngine({ slots: 1, port });
  await using second = await startRealEngine({ slots: 1 });
  await using gateway = await startGateway({
    LLM_SERVER_URL: `${first.url},${second.url}`,
    ALLOWED_API_KEYS: light,
    STALL_TIMEOUT_MS: '1500',
  });
  for (const id of ['engine-1', 'engine-2'])
    await untilUpstream(gateway, id, { state: 'up', slots: 1 });
  const open = [
    await send(gateway.url, chat(light, 'Write about the sea.', 1_500)),
    await send(gateway.url, chat(light, 'Write about bread.', 1_500)),
  ];
  for (const each of open) await each.hasBytes(4_000);

  second.kill('SIGSTOP');
  await untilUpstream(gateway, 'engine-2', { state: 'stalled' });
  expect(open.every(({ ending }) => ending === 'open')).toBe(true);
  second.kill('SIGCONT');
  await untilUpstream(gateway, 'engine-2', { state: 'up' });

  first.kill('SIGKILL');
  await until('one stream ends', () => open.some(({ ending }) => ending !== 'open'));
  const cut = open.filter(({ ending }) => ending !== 'open');
  expect(cut).toHaveLength(1);
  expect(cut[0]?.text).toContain('"code":"upstream_reset"');
  for (const each of open) each.leaveByReset();
  expect((await ask(gateway.url, chat(light, 'Hello', 2))).text).toEndWith('data: [DONE]\n\n');

  await using _again = await startRealEngine({ slots: 1, port });
  await untilUpstream(gateway, 'engine-1', { state: 'up', slots: 1 });
});
