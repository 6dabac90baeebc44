/**
 * Streams: CPU per token and the delay of the first token with 200 streams, memory of 8,000 streams held open. A stream that
 * is not byte for byte what the engine sent is an error, and the run then fails.
 */
import { join } from 'node:path';
import { cleanEnvironment, key } from '../support/gatewayprocess.ts';
import { proveStream, startContender, type Contender, type ContenderName } from './contenders.ts';
import type { Engine } from './nginx.ts';
import { descriptorLimit, freePort, rssBytes, startServer } from './proc.ts';
import { Series, type Plan, type Row } from './report.ts';
import type { StreamLoad, StreamResult } from './stream-load.ts';

/** The stand-in for streams: a token every `intervalMs`, to all streams at once or in `phases` groups. */
async function startStreamEngine(intervalMs: number, phases: number): Promise<Engine> {
  const port = await freePort();
  const file = join(import.meta.dir, 'stream-engine.ts');
  const command = ['bun', file, String(port), String(intervalMs), String(phases)];
  return { port, ...(await startServer(command, port)) };
}

/** One run of the load generator; a stream that did not arrive whole goes to the plan's failures. */
async function runStreams(
  plan: Plan,
  contender: Contender,
  engine: Engine,
  load: Pick<StreamLoad, 'streams' | 'openPerSecond' | 'settleMs' | 'windowMs'>,
): Promise<StreamResult> {
  const whole: StreamLoad = {
    ...load,
    port: contender.port,
    enginePort: engine.port,
    key,
    pids: contender.pids,
  };
  const file = join(import.meta.dir, 'stream-load.ts');
  const child = Bun.spawn(['bun', file, JSON.stringify(whole)], {
    cwd: '/tmp',
    env: cleanEnvironment(),
    stdout: 'pipe',
  });
  const output = await new Response(child.stdout).text();
  if (!output) throw new Error(`${contender.name}: the load generator ended, or the contender did`);
  const result = JSON.parse(output) as StreamResult;
  if (result.complete !== load.streams) {
    const reasons = JSON.stringify(result.errors);
    plan.failures.push(
      `${contender.name}: ${result.complete} of ${load.streams} streams came whole: ${reasons}`,
    );
  }
  return result;
}

async function startProved(
  name: ContenderName,
  engine: Engine,
  plan: Plan,
  stack: AsyncDisposableStack,
  tokens: number,
): Promise<Contender> {
  const contender = await startContender(name, engine.port, plan.folder);
  stack.defer(contender.stop);
  await proveStream(contender, engine.port, tokens);
  return contender;
}

/** CPU per token and first-token delay: 200 streams with 50 tokens a second each. */
export async function measureStreams(plan: Plan, stack: AsyncDisposableStack): Promise<Row[]> {
  const rows: Row[] = [];
  for (const phases of plan.quick ? [10] : [1, 10]) {
    const how = phases === 1 ? 'in step' : 'spread';
    const engine = await startStreamEngine(20, phases);
    stack.defer(engine.stop);
    const contenders: Contender[] = [];
    for (const name of plan.contenders) {
      contenders.push(await startProved(name, engine, plan, stack, 20));
    }
    const cpu = new Series(`CPU per token, 200 streams × 50 tokens/s, ${how}`, 'µs');
    const p50 = new Series('', 'µs');
    const p99 = new Series('', 'µs');
    for (let round = 0; round < (plan.quick ? 2 : 3); round += 1) {
      for (const contender of contenders) {
        const result = await runStreams(plan, contender, engine, {
          streams: 200,
          openPerSecond: 200,
          settleMs: round === 0 ? 2_000 : 500,
          windowMs: plan.quick ? 3_000 : 8_000,
        });
        if (contender.pids.length > 0) cpu.add(contender.name, result.cpuUs / result.tokens);
        p50.add(contender.name, result.firstTokenP50Us);
        p99.add(contender.name, result.firstTokenP99Us);
      }
    }
    rows.push(cpu.row(), cpu.ratioTo('nginx', '… relative to nginx', 2.1));
    if (phases > 1) {
      rows.push(p50.addedTo('direct', 'added first-token delay p50'));
      rows.push(p99.addedTo('direct', 'added first-token delay p99'));
    }
  }
  return rows;
}

/** Memory of many streams: 8,000, or as many as the descriptor limit lets a proxy have, with a token every 2 s each. */
export async function measureOpen(plan: Plan, stack: AsyncDisposableStack): Promise<Row[]> {
  const wanted = plan.quick ? 2_000 : 8_000;
  const limit = descriptorLimit();
  const streams = Math.min(wanted, Math.floor((limit - 300) / 2));
  if (streams < wanted) {
    console.error(`${streams} open streams instead of ${wanted}: the descriptor limit is ${limit}`);
  }
  const engine = await startStreamEngine(2_000, 100);
  stack.defer(engine.stop);
  const held = new Series('open streams held without an error');
  const memory = new Series(`memory per stream, ${streams} open`, 'KB');
  for (const name of plan.contenders) {
    if (name === 'direct') continue;
    const contender = await startProved(name, engine, plan, stack, 2);
    const before = rssBytes(contender.pids);
    const result = await runStreams(plan, contender, engine, {
      streams,
      openPerSecond: 1_000,
      settleMs: 3_000,
      windowMs: plan.quick ? 5_000 : 15_000,
    });
    held.add(name, result.complete);
    memory.add(name, (result.rssBytes - before) / streams / 1024);
    await contender.stop();
  }
  return [held.row(), memory.row(25)];
}
