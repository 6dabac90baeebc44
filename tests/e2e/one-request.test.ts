/**
 * One request of a client is one request to the engine: whatever the engine answers, and however it fails, it is never
 * asked again.
 */
import { afterAll, beforeAll, expect, setDefaultTimeout, test } from 'bun:test';
import { faults } from '../../src/demo/faults.ts';
import { startDemoEngine } from '../../src/demo/engine.ts';
import { send } from '../support/rawclient.ts';
import { startGateway, type Gateway } from '../support/gatewayprocess.ts';
import { holdPort } from '../support/heldport.ts';
import { until } from '../support/wait.ts';
import { clientIdOf } from '../support/requestid.ts';

setDefaultTimeout(30_000);

const engine = startDemoEngine();
const gateways: Gateway[] = [];

beforeAll(async () => {
  // Separate connections, and connections that are used again.
  for (const kind of ['llama.cpp', 'openai']) {
    gateways.push(await startGateway({ LLM_SERVER_URL: engine.url, LLM_SERVER_KIND: kind }));
  }
});

afterAll(async () => {
  for (const gateway of gateways) await gateway[Symbol.asyncDispose]();
  await engine.stop();
});

// A model that is being loaded is waited for, and an engine that refuses takes no next request.
const without = ['hang', 'hang-body', 'stall', 'huge', 'status', 'error-503-loading', 'refuse'];
const kindsOfAnswer = [
  ...Object.keys(faults).filter((name) => !without.includes(name)),
  ...[400, 404, 408, 409, 429, 500, 502, 503, 504, 529].map((status) => `status=${status}`),
];

for (const fault of kindsOfAnswer) {
  test(`one request for ${fault}`, async () => {
    for (const [i, gateway] of gateways.entries()) {
      for (const stream of [false, true]) {
        const id = `${fault.replace('=', '-')}-${i}-${stream}`;
        const atEngine = () => engine.requests.filter((one) => clientIdOf(one.headers) === id);
        const asked = { headers: { 'X-Request-Id': id, 'X-Demo-Fault': fault } };
        const exchange = await send(gateway.url, { ...asked, body: { prompt: 'x', stream } });
        await exchange.ended();
        const isOpen = 'request is still open';
        const over = await gateway.logged(
          ({ requestId, msg }) => requestId === id && msg !== isOpen,
        );
        expect(over['msg']).toBe('request ended');
        expect(atEngine().map(({ method }) => method)).toEqual(['POST']);
        // Whatever is repeated would come before the next request on the same way.
        const next = {
          method: 'GET',
          path: '/v1/models',
          headers: { 'X-Request-Id': `${id}-next` },
        };
        expect((await (await send(gateway.url, next)).ended()).status).toBe(200);
        expect(atEngine()).toHaveLength(1);
      }
    }
  });
}

test('no request for an engine that is away, until it is there', async () => {
  using away = holdPort();
  await using gateway = await startGateway({ LLM_SERVER_URL: away.url, LLM_SERVER_KIND: 'openai' });
  const asked = { body: { prompt: 'x' } };
  const refused = await (await send(gateway.url, asked)).ended();
  expect([refused.status, refused.header('x-gateway-error')]).toEqual([
    502,
    'upstream_unreachable',
  ]);
  const back = startDemoEngine({ port: away.port });
  try {
    await until('it is found again', async () => (await fetch(`${gateway.url}/ready`)).ok);
    expect(back.requests.filter(({ method }) => method === 'POST')).toEqual([]);
    expect((await (await send(gateway.url, asked)).ended()).status).toBe(200);
    expect(back.requests.filter(({ method }) => method === 'POST')).toHaveLength(1);
  } finally {
    await back.stop();
  }
});
