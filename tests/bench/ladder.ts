/**
 * `bun run bench:ladder`: where the time of a plain request goes. From the bare runtime to the whole gateway one layer is
 * added at a time, and each rung is measured beside nginx and the others in rounds: CPU of all threads, and bytes of objects
 * that a request allocates. It judges nothing.
 *
 *   --quick       short windows, for development
 *   --only NAMES  only these rungs (commas)
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { cpus, release, tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { key } from '../support/gatewayprocess.ts';
import type { Contender } from './contenders.ts';
import { rungs } from './ladder-rungs.ts';
import { startPlainEngine, startProxy } from './nginx.ts';
import { runWrk } from './plain.ts';
import { freePort, startServer, withChildren } from './proc.ts';
import { median, save } from './report.ts';

const { values: options } = parseArgs({
  options: { quick: { type: 'boolean', default: false }, only: { type: 'string' } },
});
const names = options.only?.split(',') ?? rungs.map(({ name }) => name);
const unknown = names.find((name) => !rungs.some((rung) => rung.name === name));
if (unknown !== undefined) {
  console.error(
    `--only: no rung "${unknown}", there are ${rungs.map(({ name }) => name).join(', ')}`,
  );
  process.exit(2);
}
const chosen = rungs.filter(({ name }) => names.includes(name));
const rounds = options.quick ? 2 : 7;
const seconds = options.quick ? 1 : 3;

interface Measured {
  name: string;
  adds: string;
  /** CPU a request in microseconds, one value a round; and relative to nginx in the same round. */
  cpuUs: number[];
  ratios: number[];
  /** Bytes of objects a request. */
  allocated: number;
}

const folder = mkdtempSync(join(tmpdir(), 'ladder-'));
await using running = new AsyncDisposableStack();
running.defer(() => rmSync(folder, { recursive: true, force: true }));
const engine = await startPlainEngine(folder);
running.defer(engine.stop);

/** Starts the server of one rung. */
async function startRung(name: string, more: Record<string, string> = {}): Promise<Contender> {
  const port = await freePort();
  const server = join(import.meta.dir, 'ladder-server.ts');
  const command = ['bun', server, name, String(port), `http://127.0.0.1:${engine.port}`];
  const { pid, stop } = await startServer(command, port, {
    DATA_DIR: join(folder, `${name}-${port}`),
    BUN_CONFIG_MAX_HTTP_REQUESTS: '65535',
    NODE_ENV: 'production',
    ...more,
  });
  return { name: 'gateway', port, pids: [pid], checksKeys: false, stop };
}

async function allocatedIn({ port }: Contender): Promise<number> {
  return Number(await (await fetch(`http://127.0.0.1:${port}/allocated`)).text());
}

/** Returns how many bytes of objects a request allocates, counted while the collector is off. */
async function allocatedBy(name: string): Promise<number> {
  const rung = await startRung(name, { BUN_JSC_useGC: '0' });
  try {
    await runWrk(rung, 32, 1);
    const before = await allocatedIn(rung);
    const { requests } = await runWrk(rung, 32, 1);
    return ((await allocatedIn(rung)) - before) / requests;
  } finally {
    await rung.stop();
  }
}

const proxyPort = await freePort();
const proxy = await startProxy(folder, proxyPort, engine.port, key);
running.defer(proxy.stop);
const nginx: Contender = {
  name: 'nginx',
  port: proxyPort,
  pids: withChildren(proxy.pid),
  checksKeys: true,
  stop: proxy.stop,
};

const ladder: { rung: Contender; measured: Measured }[] = [];
for (const { name, adds } of chosen) {
  console.error(`starting: ${name}`);
  const allocated = await allocatedBy(name);
  const rung = await startRung(name);
  running.defer(rung.stop);
  await runWrk(rung, 32, options.quick ? 1 : 3);
  ladder.push({ rung, measured: { name, adds, cpuUs: [], ratios: [], allocated } });
}
const ofNginx: number[] = [];
for (let round = 1; round <= rounds; round++) {
  console.error(`round ${round} of ${rounds}`);
  const { cpuPerRequestUs: base } = await runWrk(nginx, 32, seconds);
  ofNginx.push(base);
  for (const { rung, measured } of ladder) {
    const { cpuPerRequestUs } = await runWrk(rung, 32, seconds);
    measured.cpuUs.push(cpuPerRequestUs);
    measured.ratios.push(cpuPerRequestUs / base);
  }
}

/** What a rung takes more than the one before, within each round. */
function added(at: number): string {
  const [before, here] = [ladder[at - 1]?.measured, ladder[at]?.measured];
  if (before === undefined || here === undefined) return '';
  return median(here.cpuUs.map((value, round) => value - (before.cpuUs[round] ?? NaN))).toFixed(1);
}

const lines = ladder.map(({ measured: { adds, cpuUs, ratios, allocated } }, at) => {
  const spread = `${Math.min(...cpuUs).toFixed(1)} – ${Math.max(...cpuUs).toFixed(1)}`;
  const more =
    at === 0 ? '' : ((allocated - (ladder[at - 1]?.measured.allocated ?? 0)) / 1024).toFixed(1);
  return `| ${[
    adds,
    median(cpuUs).toFixed(1),
    added(at),
    spread,
    `${median(ratios).toFixed(2)}×`,
    (allocated / 1024).toFixed(1),
    more,
  ].join(' | ')} |`;
});
const text = `| with this layer, too | CPU a request, µs | + | lowest – highest | of nginx | objects a request, KB | + |
|---|---:|---:|---:|---:|---:|---:|
${lines.join('\n')}

nginx: ${median(ofNginx).toFixed(1)} µs. Medians of ${rounds} rounds, all in turns, on ${cpus().length} × ${cpus()[0]?.model}, Linux ${release()}, Bun ${Bun.version}.`;
console.log(text);
const saved = save(options.quick || options.only ? 'ladder-partial' : 'ladder', text, {
  date: new Date().toISOString(),
  options,
  nginx: ofNginx,
  ladder: ladder.map(({ measured }) => measured),
});
console.error(`saved: ${saved}`);
