/**
 * What scheduling is worth, as `bun run bench:scheduling`: (a) how long a light caller waits for its first token while
 * another floods, (b) how much of the prompts of conversations is found in a cache, (c) how much engine time goes to
 * clients that have left. With the demo engine, and with `--real` with two real llama.cpp servers as well. It writes the
 * figures and a picture, says whether a target is met, and never fails for it.
 */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { startDemoEngine } from '../../src/demo/engine.ts';
import { send } from '../support/rawclient.ts';
import { startGateway } from '../support/gatewayprocess.ts';
import { requireRealEngine, startRealEngine } from '../real/realengine.ts';
import { untilUpstream } from '../support/gatewayhealth.ts';
import { quickScenarios, type Scenario } from '../support/affinity-scenarios.ts';
import { randomFrom } from '../support/random.ts';
import { chatPolicies, runChats, type ChatFigures, type ChatPolicy } from './chats.ts';
import { runMixed } from './mixed.ts';
import { bars, type Chart } from './picture.ts';
import { realChats, type RealChats } from './realchats.ts';
import { throughputOf } from './throughput.ts';

const { values: options } = parseArgs({
  options: { real: { type: 'boolean' }, 'write-readme': { type: 'boolean' } },
});
const [flooder, light] = ['sk-bench-flooder', 'sk-bench-light-one'];
const resultsFolder = join(import.meta.dir, 'results');
const lines: string[] = [];
const charts: Chart[] = [];

function say(line: string): void {
  lines.push(line);
  process.stdout.write(`${line}\n`);
}

function quantile(values: readonly number[], share: number): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? Number.NaN;
}

function verdict(isMet: boolean): string {
  return isMet ? 'met' : '**not met**';
}

interface Request {
  url: string;
  key: string;
  body: Record<string, unknown>;
  headers?: Record<string, string>;
}

/** Sends a streamed request; returns the milliseconds to its first token, and its end. */
async function ask({ url, key, body, headers }: Request) {
  const begun = performance.now();
  const exchange = await send(url, {
    path: '/v1/chat/completions',
    headers: { Authorization: `Bearer ${key}`, ...headers },
    body: { stream: true, ignore_eos: true, ...body },
  });
  await exchange.hasText('"content":"');
  return { exchange, firstTokenMs: performance.now() - begun };
}

/** Keeps so many requests of one key open until it is stopped; returns how long each took at its end. */
function flood(url: string, count: number, body: Record<string, unknown>) {
  let isOver = false;
  const durations: number[] = [];
  async function client(): Promise<void> {
    while (!isOver) {
      const begun = performance.now();
      try {
        const { exchange } = await ask({ url, key: flooder, body });
        await exchange.ended();
      } catch {
        continue; // The helper gave up waiting; the flood goes on.
      }
      durations.push(performance.now() - begun);
    }
  }
  const clients = Promise.all(Array.from({ length: count }, client));
  return {
    durations,
    async stop(): Promise<void> {
      isOver = true;
      await clients;
    },
  };
}

const chat = (content: string, maxTokens: number) => ({
  messages: [{ role: 'user', content }],
  max_tokens: maxTokens,
});

/** Sends requests at times that do not depend on when the flood's requests end. */
async function lightFirstTokens(
  url: string,
  count: number,
  maxTokens: number,
  longestPauseMs: number,
): Promise<number[]> {
  const random = randomFrom(5);
  const waits: number[] = [];
  for (let i = 0; i < count; i++) {
    const { exchange, firstTokenMs } = await ask({ url, key: light, body: chat('Hi', maxTokens) });
    waits.push(firstTokenMs);
    await exchange.ended();
    await Bun.sleep(50 + random.below(Math.ceil(longestPauseMs)));
  }
  return waits;
}

async function gatewayFor(urls: string[], slots: number, env: Record<string, string> = {}) {
  const gateway = await startGateway({
    LLM_SERVER_URL: urls.join(','),
    ALLOWED_API_KEYS: `${flooder},${light}`,
    ...env,
  });
  const ids = urls.length === 1 ? ['engine'] : urls.map((_, index) => `engine-${index + 1}`);
  for (const id of ids) {
    const expected = env['UPSTREAM_SLOTS'] === undefined ? { slots } : {};
    await untilUpstream(gateway, id, { state: 'up', kind: 'llama.cpp', ...expected });
  }
  return gateway;
}

/** (a) A light caller during another's flood, with the engine's own first come first served and with fair shares. */
async function flooded(
  name: string,
  url: string,
  plan: { open: number; tokens: number; asks: number },
) {
  const slots = 2;
  const results: { label: string; waits: number[] }[] = [];
  let serviceMs = 0;
  {
    await using gateway = await gatewayFor([url], slots);
    results.push({ label: 'alone', waits: await lightFirstTokens(gateway.url, plan.asks, 4, 50) });
    // As long as it takes when every slot is in use: a real engine shares its cores between them.
    const begun = performance.now();
    const body = chat('Write.', plan.tokens);
    const all = Array.from({ length: slots }, () => ask({ url: gateway.url, key: flooder, body }));
    for (const { exchange } of await Promise.all(all)) await exchange.ended();
    serviceMs = performance.now() - begun;
  }
  for (const [label, env] of [
    ['first come, first served', { UPSTREAM_SLOTS: 'unbounded' }],
    ['fair shares', {}],
  ] as const) {
    await using gateway = await gatewayFor([url], slots, env);
    const flooding = flood(gateway.url, plan.open, chat('Write.', plan.tokens));
    await Bun.sleep(2 * serviceMs);
    const asks = label === 'fair shares' ? plan.asks : Math.max(2, Math.floor(plan.asks / 8));
    results.push({ label, waits: await lightFirstTokens(gateway.url, asks, 4, 2 * serviceMs) });
    void flooding.stop();
  }
  say(`\n### Light caller beside ${plan.open} open requests of another, ${name}, ${slots} slots\n`);
  say('| | first token p50, ms | p95, ms |');
  say('| --- | ---: | ---: |');
  for (const { label, waits } of results) {
    say(`| ${label} | ${quantile(waits, 0.5).toFixed(0)} | ${quantile(waits, 0.95).toFixed(0)} |`);
  }
  const [alone, , fair] = results.map(({ waits }) => quantile(waits, 0.95));
  const bound = (alone ?? 0) + serviceMs;
  say(
    `\nOne service time, with both slots in use, is ${serviceMs.toFixed(0)} ms. Target: p95 with fair shares ≤ alone + one service time = ${bound.toFixed(0)} ms: ${verdict((fair ?? Infinity) <= bound)}.`,
  );
  charts.push({
    title: `First token of a light caller, p95, ms (${name})`,
    bars: results.map(({ label, waits }) => ({ label, value: quantile(waits, 0.95) })),
  });
}

const chatSeeds = [1, 2, 3];

/** Runs a scenario with every seed, and puts together what came of it. */
async function chatsOf(policy: ChatPolicy, scenario: Scenario) {
  const runs: ChatFigures[] = [];
  for (const seed of chatSeeds) runs.push(await runChats(policy, { ...scenario, seed }));
  const shares = runs.map(({ cachedTokens, promptTokens }) => cachedTokens / promptTokens);
  const share = shares.reduce((sum, each) => sum + each, 0) / shares.length;
  return { label: policy, share, waits: runs.flatMap(({ firstTokenMs }) => firstTokenMs) };
}

/** (b) Conversations over four engines. */
async function conversations(): Promise<void> {
  say('\n### Conversations over 4 engines with 2 slots each\n');
  say(
    '| cached share of prompts | round robin | least loaded | affinity | best possible | affinity / best | first token p50, ms: round robin, least loaded, affinity, best | target ≥ 98 % |',
  );
  say('| --- | ---: | ---: | ---: | ---: | ---: | ---: | --- |');
  for (const [name, scenario] of Object.entries(quickScenarios)) {
    const results: Awaited<ReturnType<typeof chatsOf>>[] = [];
    for (const policy of chatPolicies) results.push(await chatsOf(policy, scenario));
    const shares = results.map(({ share }) => share);
    const ratio = (shares[2] ?? 0) / (shares[3] ?? 1);
    const percent = shares.map((share) => `${(share * 100).toFixed(1)} %`);
    const waits = results.map((result) => quantile(result.waits, 0.5).toFixed(0));
    say(
      `| ${name} | ${percent.join(' | ')} | ${(ratio * 100).toFixed(1)} % | ${waits.join(', ')} | ${verdict(ratio >= 0.98)} |`,
    );
    charts.push({
      title: `Cached share of prompts, %: ${name}`,
      bars: results.map(({ label, share }) => ({ label, value: share * 100 })),
    });
  }
  say(
    `\nMeans of ${chatSeeds.length} runs. Best possible: one engine with the slots and the cache of all four, which drops what was used longest ago as each of them does; where one is restarted, four with four times the cache and a fixed place for each conversation.`,
  );
}

/** How long the clients of a flood are told that they will wait, against how long they wait. */
async function estimates(): Promise<void> {
  const engine = startDemoEngine({ slots: 2, tokensPerSecond: 100, firstTokenMs: 30 });
  await using gateway = await gatewayFor([engine.url], 2, { QUEUE_FEEDBACK_AFTER_MS: '200' });
  const off: number[] = [];
  async function client(rounds: number): Promise<void> {
    const random = randomFrom(rounds);
    for (let round = 0; round < rounds; round++) {
      const body = { stream: true, ignore_eos: true, ...chat('Write.', 10 + random.below(80)) };
      const { told, firstTokenAt } = await follow(gateway.url, body);
      for (const { at, seconds } of told) {
        const trueSeconds = (firstTokenAt - at) / 1_000;
        if (trueSeconds >= 1) off.push(Math.abs(seconds - trueSeconds) / trueSeconds);
      }
    }
  }
  await Promise.all(Array.from({ length: 64 }, (_, i) => client(2 + (i % 2))));
  await engine.stop();
  const [p50, p90] = [quantile(off, 0.5), quantile(off, 0.9)];
  say('\n### Waits that clients were told of, in a flood of 64\n');
  say(
    `${off.length} estimates of a second or more were off by ${(p50 * 100).toFixed(0)} % at p50 and ${(p90 * 100).toFixed(0)} % at p90. Target ≤ 30 % at p50: ${verdict(p50 <= 0.3)}.`,
  );
}

/** Sends a stream with feedback; returns when its client was told of how many seconds, and when the first token came. */
async function follow(url: string, body: object) {
  const answer = await fetch(`${url}/v1/chat/completions`, {
    method: 'POST',
    headers: {
      authorization: `Bearer ${flooder}`,
      'content-type': 'application/json',
      'x-queue-feedback': 'true',
    },
    body: JSON.stringify(body),
    keepalive: false,
  });
  const told: { at: number; seconds: number }[] = [];
  let firstTokenAt = Number.NaN;
  const decoder = new TextDecoder();
  for await (const chunk of answer.body ?? []) {
    const at = performance.now();
    const text = decoder.decode(chunk, { stream: true });
    if (Number.isNaN(firstTokenAt) && text.includes('"content":"')) firstTokenAt = at;
    for (const [, seconds] of text.matchAll(/^: queued, place \d+, about (\d+) s/gm)) {
      told.push({ at, seconds: Number(seconds) });
    }
  }
  return { told, firstTokenAt };
}

/** Callers of several kinds on two engines that share no model. */
async function mixed(): Promise<void> {
  say('\n### Four kinds of callers on two engines with no model in common, for 42 s\n');
  say('| on the fast engine | finished | waited p50 / p95, s | engine time, s |');
  say('| --- | ---: | ---: | ---: |');
  for (const { label, finished, waits, engineSeconds } of await runMixed(42)) {
    const [p50, p95] = [0.5, 0.95].map((share) => (quantile(waits, share) / 1_000).toFixed(1));
    say(`| ${label} | ${finished} | ${p50} / ${p95} | ${engineSeconds.toFixed(0)} |`);
  }
}

/** (c) Engine time for clients that have left, of all engine time. */
async function leaving(): Promise<void> {
  const engine = startDemoEngine({ slots: 4, tokensPerSecond: 100, firstTokenMs: 20 });
  await using gateway = await gatewayFor([engine.url], 4);
  const random = randomFrom(3);
  async function client(): Promise<void> {
    const exchange = await send(gateway.url, {
      headers: { Authorization: `Bearer ${random.pick([flooder, light])}` },
      body: { prompt: 'x', max_tokens: 100, ignore_eos: true, stream: !random.oneIn(3) },
    });
    if (random.oneIn(3)) await exchange.ended();
    else await Bun.sleep(random.below(1_500));
    exchange.leaveByReset();
  }
  for (let round = 0; round < 8; round++) await Promise.all(Array.from({ length: 16 }, client));
  while (engine.busySlots() > 0) await Bun.sleep(5);
  const { busyMs, goneMs } = engine.figures;
  const share = goneMs / busyMs;
  say('\n### Engine time for clients that have left\n');
  say(
    `128 clients, two thirds of which leave at a random time: ${(share * 100).toFixed(2)} % of ${(busyMs / 1000).toFixed(0)} s. Target ≤ 1 %: ${verdict(share <= 0.01)}.`,
  );
  await engine.stop();
}

/** What scheduling costs the flood itself. */
async function floodsOwn(name: string, url: string, open: number, tokens: number): Promise<void> {
  await using gateway = await gatewayFor([url], 2);
  const requests = Math.max(16, open / 2);
  const plan = { engineUrl: url, gatewayUrl: gateway.url, key: flooder, open, requests, tokens };
  const { alone, gateway: through } = await throughputOf({ ...plan, turns: 5 });
  const share = through / alone;
  say(
    `\nThe flood's own throughput, ${name}: ${alone.toFixed(1)} tokens/s at the engine alone, ${through.toFixed(1)} through the gateway (${(share * 100).toFixed(1)} %). Target ≥ 97 %: ${verdict(share >= 0.97)}.`,
  );
}

/** (b) with two real servers: smaller, since one core computes for each. */
async function realConversations(): Promise<void> {
  await using first = await startRealEngine({ slots: 2 });
  await using second = await startRealEngine({ slots: 2 });
  const engineUrls = [first.url, second.url];
  await using gateway = await gatewayFor(engineUrls, 2);
  const plan = { engineUrls, gatewayUrl: gateway.url, key: light };
  const runs: RealChats[][] = [];
  for (const seed of [7, 8, 9]) {
    runs.push(await realChats({ ...plan, chats: 4, turns: 4, tokens: 12, seed }));
  }
  const results = (runs[0] ?? []).map(({ label }, i) => {
    const each = runs.flatMap((run) => run[i] ?? []);
    const share = each.reduce((sum, run) => sum + run.share, 0) / each.length;
    return { label, share, promptMs: each.flatMap(({ promptMs }) => promptMs) };
  });
  say('\n### Four conversations over two llama.cpp servers with 2 slots each\n');
  say('| | cached share of prompts | time for a prompt p50, ms |');
  say('| --- | ---: | ---: |');
  for (const { label, share, promptMs } of results) {
    say(`| ${label} | ${(share * 100).toFixed(1)} % | ${quantile(promptMs, 0.5).toFixed(0)} |`);
  }
  const [, affinity, best] = results.map(({ share }) => share);
  const ratio = (affinity ?? 0) / (best ?? 1);
  say(
    `\nMeans of ${runs.length} runs. Affinity reaches ${(ratio * 100).toFixed(1)} % of the best possible. Target ≥ 98 %: ${verdict(ratio >= 0.98)}.`,
  );
}

const engine = startDemoEngine({ slots: 2, tokensPerSecond: 100, firstTokenMs: 30 });
await flooded('demo engine', engine.url, { open: 64, tokens: 50, asks: 40 });
await engine.stop();
// A fresh engine, without clients of an earlier run.
const fresh = startDemoEngine({ slots: 2, tokensPerSecond: 100, firstTokenMs: 30 });
await floodsOwn('demo engine', fresh.url, 64, 50);
await fresh.stop();
await estimates();
await mixed();
await conversations();
await leaving();
if (options.real && requireRealEngine()) {
  await using real = await startRealEngine({ slots: 2 });
  await flooded('llama.cpp', real.url, { open: 16, tokens: 60, asks: 16 });
  await real.idle();
  await floodsOwn('llama.cpp', real.url, 16, 60);
  await real.stop();
  await realConversations();
}
mkdirSync(resultsFolder, { recursive: true });
writeFileSync(join(resultsFolder, 'scheduling.md'), `${lines.join('\n').trim()}\n`);
writeFileSync(join(resultsFolder, 'scheduling.svg'), bars(charts));
if (options['write-readme']) {
  const readme = join(import.meta.dir, '../../README.md');
  const section = /(<!-- scheduling:start -->)[^]*(<!-- scheduling:end -->)/;
  const written = readFileSync(readme, 'utf8').replace(
    section,
    (_, start: string, end: string) => `${start}\n\n${lines.join('\n').trim()}\n\n${end}`,
  );
  writeFileSync(readme, written);
}
process.exit(0);
