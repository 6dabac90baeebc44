/**
 * `bun run soak [--minutes N] [--seed N] [--clients N] [--leak BYTES]`: a gateway before three engines that fail and restart,
 * with random clients, for 20 minutes by default. Afterwards its memory must be flat, and nothing may be left: no descriptor,
 * timer, slot, request or reservation. It ends with "N passed, N failed".
 *
 * The load comes in 20 rounds. After each, memory is measured while nothing runs (memory.ts says why and how). The first
 * quarter does not count: until then caches and pools fill, and code is compiled. Over the others neither RSS, nor the part
 * of it that the process wrote, nor the heap of the runtime may grow by more than a tenth. `--leak BYTES` keeps so many
 * bytes of each request for good: with 1000 it must fail.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { healthOf } from '../support/gatewayhealth.ts';
import { key, startGateway, type Gateway } from '../support/gatewayprocess.ts';
import { RawClient, requestBytes } from '../support/rawclient.ts';
import { randomFrom } from '../support/random.ts';
import { until } from '../support/wait.ts';
import { FailingEngines } from './failingengines.ts';
import {
  describeFootprint,
  descriptorsOf,
  growthBetween,
  leaksBetween,
  settledFootprint,
} from './footprint.ts';
import { growthOf, residentOf, settledMemory, type Memory } from './memory.ts';
import { visit, type Keys } from './visitors.ts';

const operatorKey = 'sk-admin-of-these-tests';
const concurrentRequests = 3;
/** Before the first measure of what is held: everything has been loaded and compiled by then. */
const warmUpMs = 60_000;
const rounds = 20;
/** So many rounds at the start do not count. */
const fillingRounds = 5;
/** The share by which memory may grow over the rounds that count. */
const mayGrow = 0.1;

/** Longer than the longest time for which an engine is set aside. */
const upWithinMs = 120_000;

/** What is judged of the memory. */
const memoryKinds = { RSS: 'rss', 'memory that it wrote': 'written', 'the heap': 'heap' } as const;

const settings = {
  ADMIN_API_KEY: operatorKey,
  BUN_OPTIONS: `--preload ${join(import.meta.dir, 'heapreport.ts')}`,
  QUEUE_TIMEOUT_MS: '5000',
  REQUEST_BODY_TIMEOUT_MS: '2000',
  FIRST_BYTE_TIMEOUT_MS: '3000',
  IDLE_TIMEOUT_MS: '2000',
  TOTAL_TIMEOUT_MS: '8000',
  STALL_TIMEOUT_MS: '3000',
  MAX_QUEUED_REQUESTS: '200',
  RESPONSE_CACHE: 'on',
  // So small that it is full after the warm-up.
  RESPONSE_CACHE_BYTES: '100000',
};

/** Returns the answer of a request that takes a third of a second at an engine that is well. */
async function complete(url: string, bearer: string): Promise<Response> {
  return await fetch(`${url}/v1/completions`, {
    method: 'POST',
    headers: { authorization: `Bearer ${bearer}` },
    body: JSON.stringify({ model: 'demo', prompt: 'Hi', max_tokens: 100 }),
  });
}

async function issueKey(url: string, policy: object): Promise<string> {
  const answer = await fetch(`${url}/admin/keys`, {
    method: 'POST',
    headers: { authorization: `Bearer ${operatorKey}` },
    body: JSON.stringify(policy),
  });
  if (answer.status !== 201) throw new Error(`no key: ${answer.status} ${await answer.text()}`);
  return ((await answer.json()) as { key: string }).key;
}

/**
 * Waits until every engine is up. It asks for something meanwhile: an engine that was set aside because it only failed
 * is tried by a request of a client and by nothing else.
 */
async function untilUp(gateway: Gateway): Promise<void> {
  let states = '';
  async function areUp(): Promise<boolean> {
    const { upstreams } = await healthOf(gateway);
    states = upstreams.map(({ id, state }) => `${id} is ${state}`).join(', ');
    if (upstreams.every(({ state }) => state === 'up')) return true;
    await (await complete(gateway.url, key)).text();
    return false;
  }
  await until('the engines are up', areUp, upWithinMs).catch((error: unknown) => {
    throw new Error(`${String(error)}: ${states}`);
  });
}

interface Load {
  url: string;
  keys: Keys;
  engines: FailingEngines;
  seed: number;
  clients: number;
  ms: number;
  /** Counts of what happened, and what was wrong. */
  counts: Map<string, number>;
  wrong: Map<string, number>;
}

function add(counts: Map<string, number>, name: string): void {
  counts.set(name, (counts.get(name) ?? 0) + 1);
}

/** Lets the clients come and go, and the engines fail, for some time; resolves when the last visit is over. */
async function runLoad({ url, keys, engines, seed, clients, ms, counts, wrong }: Load) {
  const endsAt = performance.now() + ms;
  const isOn = () => performance.now() < endsAt;

  async function comeAndGo(number: number): Promise<void> {
    const random = randomFrom(seed + number);
    while (isOn()) {
      try {
        const { kind, status } = await visit(url, keys, random);
        add(counts, kind);
        if (status === 500) add(counts, `${kind}: 500`);
      } catch (error) {
        // The text after the colon has ids and numbers.
        add(wrong, String(error).split(': ').slice(0, 3).join(': ').slice(0, 300));
      }
      await Bun.sleep(random.below(50));
    }
  }

  async function disturb(): Promise<void> {
    const random = randomFrom(seed - 1);
    while (isOn()) {
      await Bun.sleep(1_000 + random.below(4_000));
      await engines.disturb(random);
    }
  }
  await Promise.all([disturb(), ...Array.from({ length: clients }, (_, i) => comeAndGo(i))]);
}

/** Returns the values of a family of /metrics, by their labels. */
async function metricsOf(url: string, family: string): Promise<Map<string, number>> {
  const answer = await fetch(`${url}/metrics`, {
    headers: { authorization: `Bearer ${operatorKey}` },
  });
  const lines = (await answer.text()).split('\n');
  const found = lines.filter((line) => line.includes(family) && !line.startsWith('#'));
  return new Map(
    found.map((line) => {
      const at = line.lastIndexOf(' ');
      return [line.slice(0, at), Number(line.slice(at + 1))] as const;
    }),
  );
}

/** Returns the first event of the operator's feed. */
async function firstOfFeed(url: string): Promise<string> {
  using client = await RawClient.open(url);
  const headers = { Authorization: `Bearer ${operatorKey}` };
  void client.write(requestBytes({ path: '/admin/live', headers }));
  await client.hasText('\n\n');
  return client.text;
}

/** Returns what the gateway shows that it still holds. */
async function leftIn(gateway: Gateway): Promise<string[]> {
  const left: string[] = [];
  const { inFlight, queued, upstreams } = await healthOf(gateway);
  if (inFlight !== 0 || queued !== 0) left.push(`${inFlight} in flight, ${queued} queued`);
  for (const { id, usedSlots } of upstreams) {
    if (usedSlots !== 0) left.push(`${usedSlots} slots of ${id}`);
  }
  for (const family of ['requests_in_flight', 'queue_length', 'upstream_slots_used']) {
    const values = await metricsOf(gateway.url, family);
    if (values.size === 0) left.push(`no ${family} in /metrics`);
    for (const [name, value] of values) if (value !== 0) left.push(`${name} ${value}`);
  }
  const live = await firstOfFeed(gateway.url);
  if (!live.includes('"requests":[]')) left.push(`live: ${live}`);
  return left;
}

/** Returns how a key is refused that has as many requests open as its limit allows, if a reservation of it is left. */
async function refusalsOf(url: string, limited: string): Promise<string[]> {
  async function ask(): Promise<string[]> {
    const answer = await complete(url, limited);
    const text = await answer.text();
    return answer.status === 200 ? [] : [`${answer.status} ${text}`];
  }
  return (await Promise.all(Array.from({ length: concurrentRequests }, ask))).flat();
}

async function main(): Promise<number> {
  const { values } = parseArgs({
    options: {
      minutes: { type: 'string', default: '20' },
      seed: { type: 'string' },
      clients: { type: 'string', default: '24' },
      leak: { type: 'string', default: '0' },
    },
  });
  const minutes = Number(values.minutes);
  const seed = Number(values.seed ?? Math.floor(Math.random() * 1e9));
  const clients = Number(values.clients);
  if (
    !(minutes > 0) ||
    !Number.isSafeInteger(seed) ||
    !(clients > 0) ||
    !(Number(values.leak) >= 0)
  ) {
    throw new Error('--minutes, --seed, --clients and --leak take numbers');
  }
  console.log(`seed ${seed}, ${minutes} minutes, ${clients} clients`);

  await using stack = new AsyncDisposableStack();
  const folder = mkdtempSync(join(tmpdir(), 'llm-gateway-soak-'));
  stack.defer(() => rmSync(folder, { recursive: true, force: true }));
  const engines = new FailingEngines();
  stack.defer(() => engines.stop());
  const gateway = stack.use(
    await startGateway({
      ...settings,
      LLM_SERVER_URL: engines.urls,
      DATA_DIR: folder,
      SOAK_LEAK_BYTES: values.leak,
    }),
  );
  const { url, pid } = gateway;
  let exitCode: number | undefined;
  void gateway.exited.then((code) => (exitCode = code));
  await untilUp(gateway);
  const limits = { concurrentRequests, requestsPerMinute: 100_000 };
  const keys: Keys = {
    free: key,
    limited: await issueKey(url, { name: 'limited', limits }),
    operator: operatorKey,
  };

  const faulty: string[] = [];
  /** Reads the log and forgets it, which would be long. */
  function readLog(): void {
    for (const line of gateway.logs.splice(0)) {
      if (line['code'] === 'internal_error') faulty.push(JSON.stringify(line));
    }
  }

  const counts = new Map<string, number>();
  const wrong = new Map<string, number>();
  const load = { url, keys, engines, seed, clients, counts, wrong };
  await runLoad({ ...load, ms: warmUpMs });
  await untilUp(gateway);
  const before = await settledFootprint(gateway);
  console.log(`before: ${describeFootprint(before)}`);

  let mostDescriptors = 0;
  const sampler = setInterval(() => {
    readLog();
    if (exitCode !== undefined) return;
    mostDescriptors = Math.max(mostDescriptors, descriptorsOf(pid).descriptors);
  }, 1_000);
  const settled: Memory[] = [];
  for (let round = 1; round <= rounds; round++) {
    const ms = (minutes / rounds) * 60_000;
    await runLoad({ ...load, seed: seed + round * 1_000_000, ms });
    const { rss: busyRss } = residentOf(pid);
    const memory = await settledMemory(gateway);
    settled.push(memory);
    const [busy, rss, written, heap] = [busyRss, memory.rss, memory.written, memory.heap].map(
      (bytes) => (bytes / 1e6).toFixed(1),
    );
    const minute = ((minutes / rounds) * round).toFixed(1);
    console.log(
      `${minute} min: RSS ${busy} MB at the end of the load, ${rss} MB settled (${written} MB written, heap ${heap} MB)`,
    );
  }
  clearInterval(sampler);
  await untilUp(gateway);
  const after = await settledFootprint(gateway, before);
  console.log(`after:  ${describeFootprint(after)}`);
  console.log(`grown:  ${growthBetween(before, after)}`);
  const visits = [...counts].toSorted(([, a], [, b]) => b - a);
  console.log(visits.map(([kind, count]) => `${kind} ${count}`).join(', '));
  console.log(`${engines.restarts} restarts of engines, at most ${mostDescriptors} descriptors`);

  let [passed, failed] = [0, 0];
  function judge(what: string, reasons: readonly string[]): void {
    if (reasons.length === 0) passed++;
    else failed++;
    console.log(reasons.length === 0 ? `ok: ${what}` : `NOT OK: ${what}: ${reasons.join('; ')}`);
  }
  const counted = settled.slice(fillingRounds);
  for (const [what, kind] of Object.entries(memoryKinds)) {
    const growth = growthOf(counted.map((memory) => memory[kind]));
    const percent = `${(100 * growth).toFixed(1)} %`;
    judge(`${what} is flat (${percent})`, growth <= mayGrow ? [] : [`it grew by ${percent}`]);
  }
  judge('nothing more is held than before', leaksBetween(before, after));
  judge('no request, slot or lease is left', await leftIn(gateway));
  judge('no reservation is left', await refusalsOf(url, keys.limited));
  judge(
    'every visit came to an end',
    [...wrong].map(([what, count]) => `${count} times ${what}`),
  );
  readLog();
  judge('it did not fail by its own fault', [
    ...faulty,
    ...gateway.output,
    ...(exitCode === undefined ? [] : [`it ended with code ${exitCode}`]),
  ]);
  gateway.kill('SIGTERM');
  judge('it ends on SIGTERM with code 0', (await gateway.exited) === 0 ? [] : [`code ${exitCode}`]);
  console.log(`${passed} passed, ${failed} failed`);
  return failed === 0 ? 0 : 1;
}

process.exit(await main());
