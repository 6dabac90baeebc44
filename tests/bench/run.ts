/**
 * `bun run bench`: the gateway with everything on, nginx, the bare runtime and the engine itself, in one run. It proves
 * each contender correct before it times it, and exits with 0 whatever the figures are, unless a contender is incorrect.
 *
 *   --quick          short windows, for development
 *   --only NAME      one part: plain, latency, many, streams, open, start (commas for several)
 * --with NAMES     only these contenders: direct, nginx, bare, gateway, gateway-llama, and before: the gateway of
 * another
 *                    checkout, whose folder is in BENCH_BEFORE; the table then has the spread between rounds, too
 *   --write-readme   put the table between the README's markers (whole runs only)
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { cpus, release, tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { measureColdStart } from './coldstart.ts';
import { contenderNames, type ContenderName } from './contenders.ts';
import { measureLatency, measureMany, measurePlain } from './plain.ts';
import { renderSpread, renderTable, save, writeReadme, type Plan, type Row } from './report.ts';
import { measureOpen, measureStreams } from './streams.ts';

const parts: Record<string, (plan: Plan, stack: AsyncDisposableStack) => Promise<Row[]>> = {
  plain: measurePlain,
  latency: measureLatency,
  many: measureMany,
  streams: measureStreams,
  open: measureOpen,
  start: measureColdStart,
};

function refuse(message: string): never {
  console.error(message);
  process.exit(2);
}

const { values: options } = parseArgs({
  options: {
    quick: { type: 'boolean', default: false },
    only: { type: 'string' },
    with: { type: 'string' },
    'write-readme': { type: 'boolean', default: false },
  },
});
const chosenParts = options.only?.split(',') ?? Object.keys(parts);
const unknownPart = chosenParts.find((name) => !(name in parts));
if (unknownPart)
  refuse(`--only: no part "${unknownPart}", there are ${Object.keys(parts).join(', ')}`);
const chosen = options.with?.split(',') ?? contenderNames.filter((name) => name !== 'before');
const unknown = chosen.find((name) => !contenderNames.includes(name as ContenderName));
if (unknown) refuse(`--with: no contender "${unknown}", there are ${contenderNames.join(', ')}`);
const isWhole = !options.quick && !options.only && !options.with;
if (options['write-readme'] && !isWhole)
  refuse('--write-readme takes a whole run: no other option');
for (const tool of ['nginx', 'wrk']) {
  if (!Bun.which(tool)) refuse(`${tool} is missing, get it with: apt-get install nginx-light wrk`);
}

// Bun's fetch would send even loopback requests through an ambient proxy.
for (const name of ['HTTP_PROXY', 'HTTPS_PROXY', 'http_proxy', 'https_proxy'])
  delete process.env[name];

const folder = mkdtempSync(join(tmpdir(), 'bench-'));
const plan: Plan = {
  quick: options.quick,
  rounds: options.quick ? 2 : 5,
  // In the order of the list: a ratio needs its base.
  contenders: contenderNames.filter((name) => chosen.includes(name)),
  folder,
  failures: [],
};

let running = new AsyncDisposableStack();
async function cleanUp(): Promise<void> {
  await running.disposeAsync();
  rmSync(folder, { recursive: true, force: true });
}
for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  process.once(signal, () => void cleanUp().finally(() => process.exit(130)));
}

const rows: Row[] = [];
try {
  for (const part of chosenParts) {
    console.error(`measuring: ${part}`);
    running = new AsyncDisposableStack();
    rows.push(...((await parts[part]?.(plan, running)) ?? []));
    await running.disposeAsync();
  }
} catch (error) {
  plan.failures.push(error instanceof Error ? error.message : String(error));
} finally {
  await cleanUp();
}

const nginxVersion = Bun.spawnSync(['nginx', '-v']).stderr.toString().trim().split('/')[1];
const machine = `${cpus().length} × ${cpus()[0]?.model}, Linux ${release()}, Bun ${Bun.version}, nginx ${nginxVersion}`;
const spread = chosen.includes('before') ? `\n\n${renderSpread(rows)}` : '';
const text = `${renderTable(rows)}${spread}\n\nMedians of ${isWhole ? 'several rounds' : 'a short run'} on ${machine}; everything on one machine.`;
console.log(text);
for (const failure of plan.failures) console.error(`FAILED: ${failure}`);
if (plan.failures.length > 0) {
  process.exitCode = 1;
} else {
  const name = isWhole ? 'latest' : 'partial';
  const saved = save(name, text, { date: new Date().toISOString(), machine, options, rows });
  console.error(`saved: ${join(saved, name)}.md and .json`);
  if (options['write-readme']) writeReadme(text);
}
