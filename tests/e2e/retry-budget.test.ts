/**
 * Retries do not multiply an outage: however many requests fail, there are ten retries and one for every ten requests.
 */
import { expect, setDefaultTimeout, test } from 'bun:test';
import { startDemoEngine } from '../../src/demo/engine.ts';
import { startGateway } from '../support/gatewayprocess.ts';
import { untilUpstream } from '../support/gatewayhealth.ts';
import { ask } from '../support/rawclient.ts';

setDefaultTimeout(60_000);

const body = { prompt: 'x', max_tokens: 2 };
const headers = { 'x-demo-fault': 'reset' };

test('requests that break their connections are sent again within the budget of all', async () => {
  const engines = [startDemoEngine({ slots: 2 }), startDemoEngine({ slots: 2 })];
  const env = { RETRY_POLICY: 'resets', LLM_SERVER_URL: engines.map(({ url }) => url).join(',') };
  await using gateway = await startGateway(env);
  for (const id of ['engine-1', 'engine-2']) await untilUpstream(gateway, id, { state: 'up' });
  const sent = () => {
    const all = engines.flatMap(({ requests }) => requests);
    return all.filter(({ method }) => method === 'POST').length;
  };
  const breakOne = async () => {
    const answer = await ask(gateway.url, { body, headers });
    expect([answer.status, answer.header('x-gateway-error')]).toEqual([502, 'upstream_reset']);
  };
  await breakOne();
  expect(sent()).toBe(1 + 10);
  for (let i = 0; i < 20; i++) await breakOne();
  expect(sent()).toBe(21 + 10 + 2);
  await Promise.all(engines.map((engine) => engine.stop()));
});
