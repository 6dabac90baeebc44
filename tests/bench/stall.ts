/**
 * `bun run bench:stall`: what one client can do to the others. It sends bodies, forms and headers made to be slow, some at
 * once, and prints the longest time that a concurrent /health and a token of a concurrent stream took meanwhile, as the
 * median of several rounds: what else the machine does shows in some of them, a stall in all. Everything
 * that looks at a body is on: response cache, context check, affinity, edits, and a key that may use one model.
 *
 *   --only NAMES     only the shapes whose names contain one of these (commas between)
 *   --write-readme   put the table between the README's markers (whole runs only)
 *
 * With BENCH_BEFORE, the folder of another checkout, its gateway is measured, too.
 */
import { connect } from 'node:net';
import { cpus, release } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { gatewayCommand, key } from '../support/gatewayprocess.ts';
import { freePort, rssBytes, startServer } from './proc.ts';
import { median, writeReadme } from './report.ts';
import { shapes, type Shape } from './stall-shapes.ts';

const { values: options } = parseArgs({
  options: { only: { type: 'string' }, 'write-readme': { type: 'boolean', default: false } },
});
const names = options.only?.split(',');
const chosen = shapes.filter(({ name }) => names?.some((part) => name.includes(part)) ?? true);

const adminKey = 'sk-admin-of-the-bench';
const roundCount = 5;
/** What a client that was refused early may still have to send. */
const patienceMs = 60_000;

/** Sends the bytes of one request, whatever they are. Resolves with the status of the answer, 0 without one. */
function send(port: number, request: readonly Uint8Array[]): Promise<number> {
  return new Promise((resolve) => {
    let status = 0;
    const socket = connect(port, '127.0.0.1', () => {
      for (const part of request) socket.write(part);
    });
    socket.setTimeout(patienceMs, () => socket.destroy());
    socket.on('data', (bytes: Buffer) => {
      status ||= Number(bytes.toString('latin1').split(' ', 2)[1]);
      socket.end();
    });
    socket.on('error', () => {});
    socket.on('close', () => resolve(status));
  });
}

function requestOf({ path = '/v1/completions', headers = '', body }: Shape, withKey: string) {
  const head = [
    `POST ${path} HTTP/1.1`,
    'Host: bench',
    `Authorization: Bearer ${withKey}`,
    'Connection: close',
    ...(headers.includes('Content-Type:') ? [] : ['Content-Type: application/json']),
    ...(headers.includes('Transfer-Encoding:') ? [] : [`Content-Length: ${body.length}`]),
  ];
  return [Buffer.from(`${head.join('\r\n')}\r\n${headers}\r\n`), body];
}

interface Result {
  statuses: string;
  health: number;
  token: number;
  megabytes: number;
}

async function measure(command: string[], only: readonly Shape[]): Promise<Map<string, Result>> {
  const enginePort = await freePort();
  const engineFile = join(import.meta.dir, 'stall-engine.ts');
  const engine = await startServer(['bun', engineFile, String(enginePort)], enginePort);
  const port = await freePort();
  const url = `http://127.0.0.1:${port}`;
  const gateway = await startServer(command, port, {
    HOST: '127.0.0.1',
    PORT: String(port),
    ALLOWED_API_KEYS: key,
    ADMIN_API_KEY: adminKey,
    LLM_SERVER_URL: `http://127.0.0.1:${enginePort},http://localhost:${enginePort}`,
    LOG_LEVEL: 'ERROR',
    RESPONSE_CACHE: 'on',
    CONTEXT_PREFLIGHT: 'on',
    ISOLATE_PROMPT_CACHE: 'on',
  });
  const made = await fetch(`${url}/admin/keys`, {
    method: 'POST',
    headers: { authorization: `Bearer ${adminKey}`, 'content-type': 'application/json' },
    body: JSON.stringify({ name: 'the client', models: ['m'] }),
  });
  const { key: limited } = (await made.json()) as { key: string };
  const witness = new Worker(join(import.meta.dir, 'stall-witness.ts'));
  const told = () =>
    new Promise<{ health: number; token: number }>((resolve) => {
      witness.onmessage = ({ data }) => resolve(data);
      witness.postMessage('tell');
    });
  witness.postMessage({ url, key });
  const results = new Map<string, Result>();
  try {
    await Bun.sleep(2_000);
    for (const shape of only) {
      const request = requestOf(shape, shape.isUnlimited ? key : limited);
      const rounds: { health: number; token: number }[] = [];
      let mostBytes = 0;
      const statuses = new Set<number>();
      for (let round = 0; round < roundCount; round++) {
        await Bun.sleep(300);
        await told();
        const sampling = setInterval(() => {
          mostBytes = Math.max(mostBytes, rssBytes([gateway.pid]));
        }, 50);
        const sending = Array.from({ length: shape.atOnce ?? 1 }, () => send(port, request));
        for (const status of await Promise.all(sending)) statuses.add(status);
        await Bun.sleep(500);
        clearInterval(sampling);
        rounds.push(await told());
      }
      results.set(shape.name, {
        statuses: [...statuses].sort().join(', '),
        health: median(rounds.map(({ health }) => health)),
        token: median(rounds.map(({ token }) => token)),
        megabytes: mostBytes / 1e6,
      });
      console.error(shape.name, results.get(shape.name));
    }
  } finally {
    witness.terminate();
    await gateway.stop();
    await engine.stop();
  }
  return results;
}

const before = process.env['BENCH_BEFORE'];
const columns: { label: string; results: Map<string, Result> }[] = [];
if (before !== undefined) {
  const command = ['bun', join(before, 'src/index.ts'), 'serve'];
  columns.push({ label: 'before: ', results: await measure(command, chosen) });
}
columns.push({ label: '', results: await measure(gatewayCommand('serve'), chosen) });

const figure = (value: number | undefined) => (value === undefined ? '' : value.toFixed(0));
const heads = columns.flatMap(({ label }) =>
  ['status', '/health, ms', 'token, ms', 'memory, MB'].map((name) => label + name),
);
const lines = chosen.map(({ name }) => {
  const cells = columns.flatMap(({ results }) => {
    const { statuses, health, token, megabytes } = results.get(name) ?? {};
    return [statuses ?? '', figure(health), figure(token), figure(megabytes)];
  });
  return `| ${[name, ...cells].join(' | ')} |`;
});
const machine = `${cpus().length} × ${cpus()[0]?.model}, Linux ${release()}, Bun ${Bun.version}`;
const text = [
  `| one client sends | ${heads.join(' | ')} |`,
  `|---|${'---:|'.repeat(heads.length)}`,
  ...lines,
  '',
  `The longest of a round, as the median of ${roundCount} rounds, on ${machine}; everything on one machine.`,
].join('\n');
console.log(text);
if (options['write-readme'] && names === undefined && before === undefined) {
  writeReadme(text, 'stall');
}
process.exit(0);
