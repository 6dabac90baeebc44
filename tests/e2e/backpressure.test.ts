/**
 * A client that does not read stops the reading from the engine: what lies in between is bounded, and it gets every byte
 * once it reads on.
 */
import { afterAll, beforeAll, expect, setDefaultTimeout, test } from 'bun:test';
import { startDemoEngine } from '../../src/demo/engine.ts';
import { send } from '../support/rawclient.ts';
import { startGateway, type Gateway } from '../support/gatewayprocess.ts';
import { until } from '../support/wait.ts';

setDefaultTimeout(60_000);

const bodyBytes = 200_000_000;
/** The buffers of the system on both connections and those of the gateway; a fraction of the body. */
const maxBetweenBytes = 40_000_000;
const maxGrowthBytes = 150_000_000;
/** After so many checks in a row without a further byte the engine counts as stopped. */
const quietLooks = 60;

const engine = startDemoEngine();
let gateway: Gateway;

beforeAll(async () => {
  gateway = await startGateway({ LLM_SERVER_URL: engine.url, LLM_SERVER_KIND: 'openai' });
});

afterAll(async () => {
  await gateway[Symbol.asyncDispose]();
  await engine.stop();
});

async function residentBytes(): Promise<number> {
  const status = await Bun.file(`/proc/${gateway.pid}/status`).text();
  return Number(/^VmRSS:\s+(\d+) kB$/m.exec(status)?.[1]) * 1024;
}

function sentBytes(): number {
  return engine.requests.at(-1)?.sentBytes ?? 0;
}

/** Asks for the body, does not read it until the engine has stopped, then reads on. Returns the body. */
async function readLate(stream: boolean): Promise<Buffer> {
  await (await fetch(`${gateway.url}/health`)).bytes();
  const before = await residentBytes();
  const headers = { 'X-Demo-Fault': `huge=${bodyBytes}` };
  const exchange = await send(gateway.url, { headers, body: { prompt: 'x', stream } });
  await exchange.hasBytes();
  exchange.pause();
  let [seen, quiet] = [0, 0];
  await until('the engine has stopped', () => {
    quiet = sentBytes() === seen ? quiet + 1 : 0;
    seen = sentBytes();
    return quiet === quietLooks;
  });
  const readBytes = exchange.length;
  expect(seen - readBytes).toBeLessThan(maxBetweenBytes);
  expect((await residentBytes()) - before).toBeLessThan(maxGrowthBytes);
  expect(exchange.ending).toBe('open');

  exchange.resume();
  await exchange.ended();
  expect(exchange.ending).toBe('whole');
  expect((await residentBytes()) - before).toBeLessThan(maxGrowthBytes);
  return exchange.body;
}

test('a stream that is not read', async () => {
  const body = await readLate(true);
  const frame = body.subarray(0, body.indexOf('\n\n') + 2);
  const count = Math.ceil(bodyBytes / frame.length);
  let alike = 0;
  while (body.subarray(alike * frame.length, (alike + 1) * frame.length).equals(frame)) alike++;
  expect(alike).toBe(count);
  expect(body.subarray(count * frame.length).toString()).toEndWith('data: [DONE]\n\n');
});

test('a plain answer that is not read', async () => {
  const body = await readLate(false);
  expect(body.length).toBe(bodyBytes);
  expect(body.equals(Buffer.from(`"${'x'.repeat(bodyBytes - 2)}"`))).toBe(true);
});
