/**
 * A gateway that stood still, as one on a suspended machine: what its engine answered meanwhile is answered, and nobody is
 * given up.
 */
import { expect, test } from 'bun:test';
import { key, startGateway } from '../support/gatewayprocess.ts';
import { plain, startUpstream, type Wire } from '../support/rawengine.ts';
import { until } from '../support/wait.ts';

/** Longer than every deadline. */
const pauseMs = 1_200;

test('a pause longer than the deadlines ends no request, and sets no engine aside', async () => {
  const wires: Wire[] = [];
  await using engine = await startUpstream((_, wire) => wires.push(wire));
  await using gateway = await startGateway({
    LLM_SERVER_URL: engine.url,
    LLM_SERVER_KIND: 'openai',
    CONNECT_TIMEOUT_MS: '800',
    FIRST_BYTE_TIMEOUT_MS: '800',
    TOTAL_TIMEOUT_MS: '1100',
  });
  const asked = Array.from({ length: 8 }, (_, i) =>
    fetch(`${gateway.url}/v1/completions`, {
      method: 'POST',
      headers: { authorization: `Bearer ${key}`, 'content-type': 'application/json' },
      body: JSON.stringify({ prompt: 'x', stream: i % 2 === 0 }),
    }),
  );
  await until('the engine has all', () => wires.length === asked.length);
  gateway.kill('SIGSTOP');
  for (const wire of wires) wire.write(plain('{}'));
  await Bun.sleep(pauseMs); // What is tested, not what is waited for.
  gateway.kill('SIGCONT');
  const statuses = await Promise.all(asked.map(async (answer) => (await answer).status));
  expect(statuses).toEqual(asked.map(() => 200));
  expect(gateway.logs.filter(({ msg }) => /reached|aside|progress/.test(String(msg)))).toEqual([]);
});
