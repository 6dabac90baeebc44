/**
 * Cold start: from the spawn of the compiled binary to the first answer of /health, compared with the smallest binary
 * that Bun makes. It builds the small one itself; `bun run build` must have built the gateway's.
 */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { cleanEnvironment, key } from '../support/gatewayprocess.ts';
import { freePort } from './proc.ts';
import { Series, type Plan, type Row } from './report.ts';

/** Resolves when a request for /health on `port` is answered with 200; asks again at once while nobody listens. */
async function untilHealthy(port: number): Promise<void> {
  const giveUpAt = performance.now() + 10_000;
  while (performance.now() < giveUpAt) {
    const answer = await new Promise<string>((resolve) => {
      void Bun.connect({
        hostname: '127.0.0.1',
        port,
        socket: {
          open: (socket) => void socket.write('GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n'),
          data(socket, bytes) {
            resolve(bytes.toString('latin1'));
            socket.end();
          },
          close: () => resolve(''),
        },
      }).catch(() => resolve(''));
    });
    if (answer.startsWith('HTTP/1.1 200 ')) return;
    await Bun.sleep(1);
  }
  throw new Error(`no healthy answer on port ${port} within 10 s`);
}

async function startOnceMs(command: string[], port: number): Promise<number> {
  const startedMs = performance.now();
  const child = Bun.spawn(command, {
    cwd: '/tmp',
    env: cleanEnvironment({
      HOST: '127.0.0.1',
      PORT: String(port),
      ALLOWED_API_KEYS: key,
      LLM_SERVER_URL: 'http://127.0.0.1:9',
    }),
    stdin: 'ignore',
    stdout: 'ignore',
    stderr: 'inherit',
  });
  try {
    await untilHealthy(port);
    return performance.now() - startedMs;
  } finally {
    child.kill('SIGKILL');
    await child.exited;
  }
}

/** Milliseconds from spawn to the first answer, the binaries taking turns; the first, uncached start of each is left out. */
export async function measureColdStart(plan: Plan): Promise<Row[]> {
  const gateway = join(import.meta.dir, '../../dist/llm-gateway');
  const bare = join(plan.folder, 'bare');
  const built = Bun.spawnSync(
    ['bun', 'build', '--compile', join(import.meta.dir, 'bare.ts'), '--outfile', bare],
    { cwd: plan.folder, stdout: 'ignore' },
  );
  if (!built.success) throw new Error('the bare binary does not build');
  const hasGateway = existsSync(gateway);
  if (!hasGateway)
    console.error('cold start: skipped for the gateway, get dist/llm-gateway with `bun run build`');
  const series = new Series('cold start of the binary', 'ms');
  for (let round = 0; round <= (plan.quick ? 5 : 15); round += 1) {
    const port = await freePort();
    const bareMs = await startOnceMs([bare, String(port), 'http://127.0.0.1:9'], port);
    const gatewayMs = hasGateway ? await startOnceMs([gateway, 'serve'], port) : undefined;
    if (round === 0) continue;
    series.add('bare', bareMs);
    if (gatewayMs !== undefined) series.add('gateway', gatewayMs);
  }
  return [series.row(60)];
}
