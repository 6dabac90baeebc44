/**
 * What scheduling is worth, as `bun run bench:scheduling`: (a) how long a light caller waits for its first token while
 * another floods, (b) how much of the prompts of conversations is found in a cache, (c) how much engine time goes to
 * clients that have left. With the demo engine, and with `--real` with two real llama.cpp servers as well. It writes the
 * figures and a picture, says whether a target is met, and never fails for it.
 */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { startDemoEngine, type DemoEngine } from '../../src/demo.ts';
import { send } from '../exchange.ts';
import { startGateway, type Gateway } from '../gateway.ts';
import { requireRealEngine, startRealEngine } from '../real/engine.ts';
import { untilUpstream } from '../stage.ts';
import { randomFrom } from '../unit/random.ts';
import { bars, type Chart } from './picture.ts';

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

/** Sends a streamed request; gives the milliseconds to its first token, and its end. */
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

/** Keeps so many requests of one key open until it is stopped; gives how long each took at its end. */
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
        continue; // Longer than the patience of the helper: the flood goes on.
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

async function lightFirstTokens(url: string, count: number, maxTokens: number): Promise<number[]> {
  const waits: number[] = [];
  for (let i = 0; i < count; i++) {
    const { exchange, firstTokenMs } = await ask({ url, key: light, body: chat('Hi', maxTokens) });
    waits.push(firstTokenMs);
    await exchange.ended();
    await Bun.sleep(50);
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

/** (a) A light caller beside a flood, with the engine's own first come first served and with fair shares. */
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
    results.push({ label: 'alone', waits: await lightFirstTokens(gateway.url, plan.asks, 4) });
    const begun = performance.now();
    const one = await ask({ url: gateway.url, key: flooder, body: chat('Write.', plan.tokens) });
    await one.exchange.ended();
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
    results.push({ label, waits: await lightFirstTokens(gateway.url, asks, 4) });
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
    `\nOne service time is ${serviceMs.toFixed(0)} ms. Target: p95 with fair shares ≤ alone + one service time = ${bound.toFixed(0)} ms: ${verdict((fair ?? Infinity) <= bound)}.`,
  );
  charts.push({
    title: `First token of a light caller, p95, ms (${name})`,
    bars: results.map(({ label, waits }) => ({ label, value: quantile(waits, 0.95) })),
  });
}

interface World {
  name: string;
  chats: number;
  turns: number;
  cacheTokens: number;
  /** Words of a prompt that all chats have in common. */
  systemWords: number;
  /** Whether some chats have many more turns than others. */
  isSkewed: boolean;
  restartsMidway?: boolean;
}

const engines = 4;
const slotsEach = 2;

function startEngine(cacheTokens: number, slots: number, port = 0): DemoEngine {
  return startDemoEngine({
    slots,
    cacheTokens,
    contextTokens: 65_536,
    firstTokenMs: 2,
    prefillTokensPerSecond: 20_000,
    tokensPerSecond: 1_000,
    port,
  });
}

/** Runs the conversations; `target` says where the next turn of one goes. */
async function converse(
  world: World,
  target: (chatIndex: number) => { url: string; done: () => void },
  midway: () => Promise<void>,
): Promise<number[]> {
  const random = randomFrom(11);
  const word = () => `w${random.below(100_000)}`;
  const system = Array.from({ length: world.systemWords }, word).join(' ');
  const waits: number[] = [];
  let finished = 0;
  const chats = Array.from({ length: world.chats }, (_, index) => index);
  const planned = chats.map((index) => {
    return world.isSkewed && index % 4 !== 0 ? Math.ceil(world.turns / 3) : world.turns;
  });
  const total = planned.reduce((sum, turns) => sum + turns, 0);
  let isMidwayOver = false;
  await Promise.all(
    chats.map(async (index) => {
      const messages = [{ role: 'system', content: system }];
      for (let turn = 0; turn < (planned[index] ?? 0); turn++) {
        messages.push({ role: 'user', content: Array.from({ length: 60 }, word).join(' ') });
        const { url, done } = target(index);
        const { exchange, firstTokenMs } = await ask({
          url,
          key: light,
          body: { messages, max_tokens: 24 },
        });
        await exchange.ended();
        done();
        waits.push(firstTokenMs);
        const pieces = exchange.text.matchAll(/"content":"((?:[^"\\]|\\.)*)"/g);
        const answer = [...pieces].map(([, piece]) => JSON.parse(`"${piece}"`)).join('');
        messages.push({ role: 'assistant', content: answer });
        if (++finished > total / 2 && !isMidwayOver) {
          isMidwayOver = true;
          await midway();
        }
        // A twentieth of what people take to read and write, as the engine is twenty times as fast as a real one.
        await Bun.sleep(100 + random.below(400));
      }
    }),
  );
  return waits;
}

interface Outcome {
  label: string;
  share: number;
  waits: number[];
}

async function withEngines(
  world: World,
  label: string,
  choose: (
    engines: DemoEngine[],
    open: number[],
    gateway: Gateway | undefined,
  ) => (chat: number) => number,
): Promise<Outcome> {
  // An engine that is restarted loses its own part of the cache, and no more: then the best is to stay where one is.
  const isBest = label === 'best possible';
  const isOne = isBest && !world.restartsMidway;
  const count = isOne ? 1 : engines;
  const cache = isBest ? world.cacheTokens * engines : world.cacheTokens;
  const slots = isOne ? slotsEach * engines : slotsEach;
  const running = Array.from({ length: count }, () => startEngine(cache, slots));
  const past = { cached: 0, prompt: 0 };
  const open = running.map(() => 0);
  const isGateway = label === 'affinity';
  const gateway = isGateway
    ? await gatewayFor(
        running.map(({ url }) => url),
        slots,
      )
    : undefined;
  const pick = choose(running, open, gateway);
  const waits = await converse(
    world,
    (index) => {
      const at = pick(index);
      open[at] = (open[at] ?? 0) + 1;
      const done = () => {
        open[at] = (open[at] ?? 0) - 1;
      };
      return { url: gateway?.url ?? running[at]?.url ?? '', done };
    },
    async () => {
      const [first] = running;
      if (!world.restartsMidway || first === undefined || isOne) return;
      // What it did counts; what it holds is lost. It goes when nothing runs in it.
      while (first.busySlots() > 0) await Bun.sleep(1);
      past.cached += first.figures.cachedTokens;
      past.prompt += first.figures.promptTokens;
      await first.stop();
      running[0] = startEngine(cache, slots, first.port);
    },
  );
  const cached = running.reduce((sum, { figures }) => sum + figures.cachedTokens, past.cached);
  const prompt = running.reduce((sum, { figures }) => sum + figures.promptTokens, past.prompt);
  await gateway?.[Symbol.asyncDispose]();
  await Promise.all(running.map((engine) => engine.stop()));
  return { label, share: cached / prompt, waits };
}

/** (b) Conversations over four engines. */
async function conversations(): Promise<void> {
  const base = { turns: 8, cacheTokens: 40_000, systemWords: 0, isSkewed: false };
  const worlds: World[] = [
    { ...base, name: '12 chats', chats: 12 },
    { ...base, name: 'skewed chats', chats: 24, isSkewed: true },
    { ...base, name: 'a common system prompt', chats: 24, systemWords: 800 },
    { ...base, name: 'more chats than cache', chats: 48, cacheTokens: 12_000 },
    { ...base, name: 'an engine restarted midway', chats: 24, restartsMidway: true },
  ];
  say(`\n### Conversations over ${engines} engines with ${slotsEach} slots each\n`);
  say(
    '| | round robin | least loaded | affinity | best possible | affinity / best | first token p50, ms: round robin, least loaded, affinity, best | target ≥ 98 % |',
  );
  say('| --- | ---: | ---: | ---: | ---: | ---: | ---: | --- |');
  for (const world of worlds) {
    let turn = 0;
    const results = [
      await withEngines(world, 'round robin', () => () => turn++ % engines),
      await withEngines(world, 'least loaded', (_, open) => () => open.indexOf(Math.min(...open))),
      await withEngines(world, 'affinity', () => () => 0),
      await withEngines(world, 'best possible', (running) => (index) => index % running.length),
    ];
    const shares = results.map(({ share }) => share);
    const ratio = (shares[2] ?? 0) / (shares[3] ?? 1);
    const percent = shares.map((share) => `${(share * 100).toFixed(1)} %`);
    const waits = results.map((result) => quantile(result.waits, 0.5).toFixed(0));
    say(
      `| ${world.name} | ${percent.join(' | ')} | ${(ratio * 100).toFixed(1)} % | ${waits.join(', ')} | ${verdict(ratio >= 0.98)} |`,
    );
    charts.push({
      title: `Cached share of prompts, %: ${world.name}`,
      bars: results.map(({ label, share }) => ({ label, value: share * 100 })),
    });
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

const engine = startDemoEngine({ slots: 2, tokensPerSecond: 100, firstTokenMs: 30 });
await flooded('demo engine', engine.url, { open: 64, tokens: 50, asks: 40 });
await engine.stop();
await conversations();
await leaving();
if (options.real && requireRealEngine()) {
  await using real = await startRealEngine({ slots: 2 });
  await flooded('llama.cpp', real.url, { open: 16, tokens: 60, asks: 16 });
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
