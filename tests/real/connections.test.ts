/**
 * Fifty clients who pause longer than llama.cpp keeps an idle connection (5 s; each idle one also holds one of its few
 * HTTP threads): none sees an error, no request reaches the engine twice, and between the requests the gateway holds
 * no connection.
 */
import { existsSync, readFileSync } from 'node:fs';
import { expect, setDefaultTimeout, test } from 'bun:test';
import { startGateway } from '../support/gatewayprocess.ts';
import { until } from '../support/wait.ts';
import { post } from './plainclient.ts';
import { requireRealEngine, startRealEngine } from './realengine.ts';

setDefaultTimeout(300_000);

const clients = 50;
const rounds = 3;
/** After llama.cpp's 5 s; the clients spread from here over 400 ms, so that some meet the very moment of closing. */
const pauseMs = 4_900;
const spreadMs = 8;

const tcpTable = '/proc/net/tcp';
const ESTABLISHED = '01';

/** Counts the connections to a port of this machine, as the kernel lists them: one line for each, with the peer's port. */
function connectionsTo(port: number): number {
  const hexPort = port.toString(16).toUpperCase().padStart(4, '0');
  const lines = readFileSync(tcpTable, 'utf8').split('\n');
  return lines.filter((line) => {
    const [, , remote, state] = line.trim().split(/\s+/);
    return remote?.endsWith(`:${hexPort}`) && state === ESTABLISHED;
  }).length;
}

test.skipIf(!requireRealEngine())(
  'connections never come between clients and the engine',
  async () => {
    await using engine = await startRealEngine({ slots: 4, cachePrompt: false });
    await using gateway = await startGateway({ LLM_SERVER_URL: engine.url });
    await gateway.logged((line) => line['kind'] === 'llama.cpp');
    const port = Number(new URL(engine.url).port);

    /** Returns the status and how many tokens the prompt had. */
    async function askOnce(client: number, round: number): Promise<[number, number]> {
      if (round > 0) await Bun.sleep(pauseMs + client * spreadMs);
      const prompt = `Question ${client} of round ${round}`;
      const answer = await post(`${gateway.url}/v1/completions`, { prompt, max_tokens: 1 });
      const { usage } = (await answer.json()) as { usage: { prompt_tokens: number } };
      return [answer.status, usage.prompt_tokens];
    }

    let promptTokens = 0;
    for (let round = 0; round < rounds; round++) {
      const answers = await Promise.all(
        Array.from({ length: clients }, (_, client) => askOnce(client, round)),
      );
      expect(answers.map(([status]) => status)).toEqual(Array(clients).fill(200));
      for (const [, tokens] of answers) promptTokens += tokens;
      // Sooner than llama.cpp would close them itself.
      if (existsSync(tcpTable)) {
        await until('no connection is open', () => connectionsTo(port) === 0, 4_000);
      }
    }

    const counters = await engine.counters();
    expect(counters['tokens_predicted_total']).toBe(clients * rounds);
    expect(counters['prompt_tokens_total']).toBe(promptTokens);
    const levels = new Set(gateway.logs.map(({ level }) => level));
    expect([...levels]).toEqual(['INFO']);
  },
);
