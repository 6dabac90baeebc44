/**
 * How much of the prompts of conversations demo engines find in their caches: dealt in turn, to the least loaded, through
 * the gateway, and with one engine that has the slots and the cache of all. It judges nothing.
 */
import { startDemoEngine, type DemoEngine } from '../../src/demo/engine.ts';
import { send, type RawClient } from '../support/rawclient.ts';
import { startGateway, type Gateway } from '../support/gatewayprocess.ts';
import { untilUpstream } from '../support/gatewayhealth.ts';
import { turnsOf, type Scenario } from '../support/affinity-scenarios.ts';
import { randomFrom, type Random } from '../support/random.ts';

export const chatPolicies = ['round robin', 'least loaded', 'affinity', 'best possible'] as const;
export type ChatPolicy = (typeof chatPolicies)[number];

export interface ChatFigures {
  promptTokens: number;
  cachedTokens: number;
  /** Of all turns. */
  firstTokenMs: number[];
}

const key = 'sk-bench-chats-key';
/** Tokens of the template around a message and its answer, and of a word, as the demo engine counts them. */
const [templateTokens, wordTokens] = [20, 2];

function textOf(tokens: number, random: Random): string {
  const words = Array.from({ length: tokens / wordTokens }, () => `w${random.below(100_000)}`);
  return words.join(' ');
}

/** The URL of a person's next turn, and what follows its answer. */
type Target = (person: number) => { url: string; answered: () => Promise<void> };

/** Runs the conversations, each in its own pace; returns the time to the first token of each turn. */
async function converse(scenario: Scenario, target: Target): Promise<number[]> {
  const firstTokenMs: number[] = [];
  const { seed, systemTokens, people } = scenario;
  const system = { role: 'system', content: textOf(systemTokens, randomFrom(seed)) };
  async function chat(person: number): Promise<void> {
    const random = randomFrom(seed * 1_000 + people + person);
    const messages = [system];
    for (const { afterMs, messageTokens, answerTokens } of turnsOf(scenario, person)) {
      await Bun.sleep(afterMs);
      const content = textOf(messageTokens - templateTokens, random);
      messages.push({ role: 'user', content });
      const { url, answered } = target(person);
      const begun = performance.now();
      const body = { messages, max_tokens: answerTokens, stream: true, ignore_eos: true };
      const exchange = await begin(url, body);
      firstTokenMs.push(performance.now() - begun);
      await exchange.ended();
      messages.push({ role: 'assistant', content: answerIn(exchange.text) });
      await answered();
    }
  }
  await Promise.all(Array.from({ length: people }, (_, person) => chat(person)));
  return firstTokenMs;
}

/** Resolves with the first token; sends the request once more if the engine was just being restarted. */
async function begin(url: string, body: object): Promise<RawClient> {
  const headers = { Authorization: `Bearer ${key}` };
  const hasToken = (exchange: RawClient) => exchange.text.includes('"content":"');
  for (let tries = 0; ; tries++) {
    const exchange = await send(url, { path: '/v1/chat/completions', headers, body });
    const isOver = () => hasToken(exchange) || exchange.ending !== 'open';
    await exchange.until('its first token is here', isOver);
    if (hasToken(exchange)) return exchange;
    if (tries > 0) throw new Error(`${url} answers without a token: ${exchange.text}`);
  }
}

function answerIn(events: string): string {
  const pieces = events.matchAll(/"content":"((?:[^"\\]|\\.)*)"/g);
  return [...pieces].map(([, piece]) => JSON.parse(`"${piece}"`) as string).join('');
}

async function gatewayFor(engines: readonly DemoEngine[], slots: number): Promise<Gateway> {
  const gateway = await startGateway({
    LLM_SERVER_URL: engines.map(({ url }) => url).join(','),
    ALLOWED_API_KEYS: key,
  });
  for (let number = 1; number <= engines.length; number++) {
    await untilUpstream(gateway, `engine-${number}`, { state: 'up', kind: 'llama.cpp', slots });
  }
  return gateway;
}

/** The parts of one run. */
function planOf(policy: ChatPolicy, scenario: Scenario) {
  const { engines, slots, cacheTokens } = scenario;
  if (policy !== 'best possible') return { engines, slots, cacheTokens };
  // An engine that is restarted loses its own cache alone, so the best placement keeps each conversation where it is.
  if (scenario.restartsAfter > 0) return { engines, slots, cacheTokens: cacheTokens * engines };
  return { engines: 1, slots: slots * engines, cacheTokens: cacheTokens * engines };
}

/** Runs a scenario on its own engines. */
export async function runChats(policy: ChatPolicy, scenario: Scenario): Promise<ChatFigures> {
  const { firstTokenMs, prefillPerMs, decodeMs, restartsAfter, people } = scenario;
  const { engines, slots, cacheTokens } = planOf(policy, scenario);
  const start = (port: number) =>
    startDemoEngine({
      slots,
      cacheTokens,
      contextTokens: 65_536,
      firstTokenMs,
      prefillTokensPerSecond: prefillPerMs * 1_000,
      tokensPerSecond: 1_000 / decodeMs,
      port,
    });
  const running = Array.from({ length: engines }, () => start(0));
  const gateway = policy === 'affinity' ? await gatewayFor(running, slots) : undefined;
  const open = running.map(() => 0);
  const counted = { promptTokens: 0, cachedTokens: 0 };
  function count({ figures }: DemoEngine): void {
    counted.promptTokens += figures.promptTokens;
    counted.cachedTokens += figures.cachedTokens;
  }
  const turns = Array.from(
    { length: people },
    (_, person) => [...turnsOf(scenario, person)].length,
  );
  const total = turns.reduce((sum, each) => sum + each, 0);
  let [asked, answers] = [0, 0];

  /** Replaces the first engine once nothing runs in it: its counts are kept, its cache is lost. */
  async function restart(): Promise<void> {
    const [first] = running as [DemoEngine];
    while (first.busySlots() > 0) await Bun.sleep(1);
    count(first);
    await first.stop();
    running[0] = start(first.port);
  }

  function pick(person: number): number {
    if (policy === 'round robin') return asked++ % engines;
    return policy === 'least loaded' ? open.indexOf(Math.min(...open)) : person % engines;
  }

  const waits = await converse(scenario, (person) => {
    const at = pick(person);
    open[at] = (open[at] ?? 0) + 1;
    const answered = async () => {
      open[at] = (open[at] ?? 0) - 1;
      if (++answers === Math.round(total * restartsAfter)) await restart();
    };
    return { url: gateway?.url ?? running[at]?.url ?? '', answered };
  });
  for (const engine of running) count(engine);
  await gateway?.[Symbol.asyncDispose]();
  await Promise.all(running.map((engine) => engine.stop()));
  return { ...counted, firstTokenMs: waits };
}
