/**
 * Plain requests, by wrk: throughput and CPU at 32 connections, latency without a queue, CPU at 512 connections. The
 * contenders take turns in short windows, and ratios are taken within a turn, because the machine is not quiet.
 */
import { join } from 'node:path';
import { cleanEnvironment, key } from '../support/gatewayprocess.ts';
import { provePlain, startContender, type Contender, type ContenderName } from './contenders.ts';
import { plainRequest } from './frames.ts';
import { startPlainEngine } from './nginx.ts';
import { cpuUs } from './proc.ts';
import { Series, type Plan, type Row } from './report.ts';

interface PlainRun {
  requests: number;
  durationUs: number;
  p50Us: number;
  p99Us: number;
  failed: number;
  notOk: number;
  /** CPU of the contender a request, in microseconds. */
  cpuPerRequestUs: number;
}

/** One window of wrk; throws when an answer was not 200 or a connection failed. */
export async function runWrk(
  contender: Contender,
  connections: number,
  seconds: number,
  delayMs = 0,
): Promise<PlainRun> {
  const url = `http://127.0.0.1:${contender.port}/v1/completions`;
  const script = join(import.meta.dir, 'wrk.lua');
  const command = ['wrk', '-t1', `-c${connections}`, `-d${seconds}s`, '-s', script, url];
  const cpuBefore = cpuUs(contender.pids);
  const child = Bun.spawn(command, {
    env: cleanEnvironment({
      BENCH_BODY: plainRequest,
      BENCH_KEY: key,
      BENCH_DELAY_MS: String(delayMs),
    }),
    stdout: 'pipe',
  });
  const output = await new Response(child.stdout).text();
  const used = cpuUs(contender.pids) - cpuBefore;
  const line = output.split('\n').find((text) => text.startsWith('{'));
  if (!line) throw new Error(`wrk gave no figures: ${output}`);
  const run = JSON.parse(line) as Omit<PlainRun, 'cpuPerRequestUs'>;
  if (run.failed + run.notOk > 0) {
    throw new Error(
      `${contender.name}: ${run.failed} failed, ${run.notOk} not 200, of ${run.requests}`,
    );
  }
  return { ...run, cpuPerRequestUs: used / run.requests };
}

/** Starts the contenders before a stand-in for plain requests, proves and warms each. */
async function prepare(
  plan: Plan,
  stack: AsyncDisposableStack,
  names: readonly ContenderName[],
): Promise<Contender[]> {
  const engine = await startPlainEngine(plan.folder);
  stack.defer(engine.stop);
  const contenders: Contender[] = [];
  for (const name of names) {
    const contender = await startContender(name, engine.port, plan.folder);
    stack.defer(contender.stop);
    await provePlain(contender);
    await runWrk(contender, 32, plan.quick ? 1 : 3);
    contenders.push(contender);
  }
  return contenders;
}

/** Requests a second and CPU a request at 32 connections. */
export async function measurePlain(plan: Plan, stack: AsyncDisposableStack): Promise<Row[]> {
  const contenders = await prepare(plan, stack, plan.contenders);
  const rate = new Series('requests/s, 32 connections');
  const cpu = new Series('CPU per request, 32 connections', 'µs');
  for (let round = 0; round < plan.rounds; round += 1) {
    for (const contender of contenders) {
      const run = await runWrk(contender, 32, plan.quick ? 2 : 4);
      rate.add(contender.name, run.requests / (run.durationUs / 1e6));
      if (contender.pids.length > 0) cpu.add(contender.name, run.cpuPerRequestUs);
    }
  }
  return [rate.row(), cpu.row(), cpu.ratioTo('nginx', '… relative to nginx', 3)];
}

/** Latency at about 1,600 requests a second from 32 connections that pause: what the contender adds without a queue. */
export async function measureLatency(plan: Plan, stack: AsyncDisposableStack): Promise<Row[]> {
  const contenders = await prepare(plan, stack, [
    'direct',
    ...plan.contenders.filter((name) => name !== 'direct'),
  ]);
  const p50 = new Series('latency p50, about 1,600 requests/s', 'µs');
  const p99 = new Series('latency p99, about 1,600 requests/s', 'µs');
  for (let round = 0; round < plan.rounds; round += 1) {
    for (const contender of contenders) {
      const run = await runWrk(contender, 32, plan.quick ? 2 : 4, 20);
      p50.add(contender.name, run.p50Us);
      p99.add(contender.name, run.p99Us);
    }
  }
  return [
    p50.addedTo('direct', 'added latency p50, 1,600 requests/s'),
    p99.addedTo('direct', 'added latency p99, 1,600 requests/s'),
  ];
}

/** CPU a request at 512 connections, and its ratio to the CPU at 32. */
export async function measureMany(plan: Plan, stack: AsyncDisposableStack): Promise<Row[]> {
  const contenders = await prepare(
    plan,
    stack,
    plan.contenders.filter((name) => name !== 'direct'),
  );
  const cpu = new Series('CPU per request, 512 connections', 'µs');
  const growth = new Series('… relative to 32 connections', '×');
  for (let round = 0; round < plan.rounds; round += 1) {
    for (const contender of contenders) {
      const few = await runWrk(contender, 32, plan.quick ? 2 : 3);
      const many = await runWrk(contender, 512, plan.quick ? 2 : 3);
      cpu.add(contender.name, many.cpuPerRequestUs);
      growth.add(contender.name, many.cpuPerRequestUs / few.cpuPerRequestUs);
    }
  }
  return [cpu.row(), growth.row(2)];
}
