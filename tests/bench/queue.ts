/**
 * `bun run bench:queue`: what a decision of the admission queue costs, by how many wait: a request enters, a slot comes
 * back, the next is granted and charged for. Of one caller and of as many callers as waiters, so that both heaps are seen to
 * be O(log n). And what it costs a gateway that 10,000 streams of as many users wait and are told their places; that needs
 * 20,000 descriptors (ulimit -n).
 */
import { startDemoEngine } from '../../src/demo/engine.ts';
import { SlotSet } from '../../src/engines/slots.ts';
import { Waiter } from '../../src/scheduling/waiter.ts';
import { healthOf, untilUpstream } from '../support/gatewayhealth.ts';
import { startGateway } from '../support/gatewayprocess.ts';
import { cpuUs, descriptorLimit } from './proc.ts';
import { randomFrom } from '../support/random.ts';
import { partsOf, principalOf, queueOf } from '../support/schedulingworld.ts';

const sizes = [10, 100, 1_000, 10_000];
const decisions = 40_000;
const capacity = 8;
const rounds = 5;

/** Returns the microseconds a decision took, the queue being kept at that many waiters. */
function decide(waiters: number, callers: number): number {
  const random = randomFrom(1);
  const slots = new SlotSet('engine', capacity, true);
  const group = { slotSets: [slots] };
  const queue = queueOf();
  const running: Waiter[] = [];
  const asked = Array.from({ length: callers }, (_, i) => {
    return partsOf(`caller-${i}`, group, { bytes: 1_000 });
  });
  let entered = 0;
  function enter(): void {
    const parts = asked[entered++ % callers] as (typeof asked)[number]; // One for each caller.
    queue.enter(new Waiter(...parts));
  }
  function start(): void {
    running.push(...queue.dispatch(0).map((grant) => grant.waiter));
  }
  for (let i = 0; i < waiters + capacity; i++) enter();
  start();
  const startedAt = Bun.nanoseconds();
  for (let i = 0; i < decisions; i++) {
    enter();
    const ended = running.shift() as Waiter; // All slots are in use.
    queue.charge(slots, principalOf(ended), 'interactive', random.below(1_000));
    queue.release(slots, principalOf(ended), 1);
    start();
  }
  const us = (Bun.nanoseconds() - startedAt) / 1_000 / decisions;
  if (queue.size !== waiters || slots.used !== capacity) throw new Error('The queue lost count.');
  return us;
}

function median(values: number[]): number {
  return values.sort((a, b) => a - b)[values.length >> 1] as number;
}

const columns = sizes.map((waiters) => ({ waiters, one: [] as number[], many: [] as number[] }));
decide(1_000, 1_000); // Compiled before it is measured.
for (let round = 0; round < rounds; round++) {
  for (const { waiters, one, many } of columns) {
    one.push(decide(waiters, 1));
    many.push(decide(waiters, waiters));
  }
}
console.log('| waiters | of one caller, µs a decision | of as many callers, µs a decision |');
console.log('|---|---|---|');
for (const { waiters, one, many } of columns) {
  console.log(`| ${waiters} | ${median(one).toFixed(2)} | ${median(many).toFixed(2)} |`);
}

const waitingStreams = 10_000;
const watchedMs = 10_000;

/** Lets so many users wait with feedback; says what the gateway's process uses meanwhile, and how long /ready takes. */
async function wait(): Promise<void> {
  const engine = startDemoEngine({ slots: 1, tokensPerSecond: 1 });
  await using gateway = await startGateway({
    LLM_SERVER_URL: engine.url,
    ALLOWED_API_KEYS: 'sk-bench-waiting',
    TRUSTED_USER_KEYS: 'sk-bench-waiting',
    TRUSTED_USER_HEADER: 'x-user',
    MAX_QUEUED_REQUESTS: String(2 * waitingStreams),
  });
  await untilUpstream(gateway, 'engine', { state: 'up' });
  const { hostname, port } = new URL(gateway.url);
  const body = JSON.stringify({ prompt: 'x', max_tokens: 4_000, ignore_eos: true, stream: true });
  let comments = 0;
  const socket = {
    data(_: unknown, bytes: Buffer) {
      if (bytes.includes(': queued')) comments++;
    },
  };
  const head = [
    'POST /v1/completions HTTP/1.1',
    'Host: gateway',
    'Authorization: Bearer sk-bench-waiting',
    'X-Queue-Feedback: true',
    'Content-Type: application/json',
    `Content-Length: ${body.length}`,
  ].join('\r\n');
  for (let user = 0; user <= waitingStreams; user++) {
    const connection = await Bun.connect({ hostname, port: Number(port), socket });
    connection.write(`${head}\r\nX-User: user-${user}\r\n\r\n${body}`);
  }
  while ((await healthOf(gateway)).queued < waitingStreams) await Bun.sleep(50);
  await Bun.sleep(3_000);
  const [cpuBefore, commentsBefore] = [cpuUs([gateway.pid]), comments];
  const ready: number[] = [];
  const until = performance.now() + watchedMs;
  while (performance.now() < until) {
    const begun = performance.now();
    await (await fetch(`${gateway.url}/ready`)).text();
    ready.push(performance.now() - begun);
    await Bun.sleep(50);
  }
  const cores = (cpuUs([gateway.pid]) - cpuBefore) / 1_000 / watchedMs;
  const told = (comments - commentsBefore) / (watchedMs / 1_000);
  const longest = Math.max(...ready).toFixed(0);
  console.log(
    `\n${waitingStreams} streams of as many users wait and are told their places ${told.toFixed(0)} times a second: ${(cores * 100).toFixed(1)} % of a core; /ready takes ${median(ready).toFixed(1)} ms, at most ${longest} ms.`,
  );
}

if (descriptorLimit() >= 2 * waitingStreams) await wait();
else console.log('\nNot measured, needs 20,000 descriptors: 10,000 streams that wait.');
process.exit(0);
