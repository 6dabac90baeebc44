/**
 * Starts the gateway as a separate process, as a user does, and stops it by its id. With GATEWAY_BINARY set, the
 * compiled binary runs in place of the sources, so that one suite proves both.
 */
import { join } from 'node:path';

export const key = 'sk-test-key-1';

export interface Gateway {
  url: string;
  pid: number;
  /** Every line that the gateway has logged so far, parsed. */
  logs: Record<string, unknown>[];
  /** Everything it printed that is not a JSON line. */
  output: string[];
  /** Resolves with the first log line that `matches`, also one that was logged before. */
  logged(matches: (line: Record<string, unknown>) => boolean): Promise<Record<string, unknown>>;
  /** Resolves with the exit code. */
  exited: Promise<number>;
  kill(signal: NodeJS.Signals): void;
  [Symbol.asyncDispose](): Promise<void>;
}

const root = join(import.meta.dir, '../..');

/** The command that runs the gateway: the binary when GATEWAY_BINARY names one, else the sources. */
export function gatewayCommand(...args: string[]): string[] {
  const binary = process.env['GATEWAY_BINARY'];
  return binary ? [join(root, binary), ...args] : ['bun', join(root, 'src/index.ts'), ...args];
}

/** The command that runs the sources with limits that answer late. */
const lateCommand = ['bun', join(import.meta.dir, 'lategateway.ts')];

/** The environment of a child: without settings of the gateway or of Bun, and with no data kept on disk. */
export function cleanEnvironment(env: Record<string, string> = {}): Record<string, string> {
  const { PATH = '', HOME = '', TMPDIR = '/tmp' } = process.env;
  return { PATH, HOME, TMPDIR, DATA_DIR: 'none', ...env };
}

/** Starts a command of the gateway in its own environment. */
export function spawnCommand(
  args: string[],
  env: Record<string, string> = {},
  cwd = '/tmp',
  command = gatewayCommand(...args),
) {
  return Bun.spawn(command, {
    cwd,
    env: cleanEnvironment(env),
    stdin: 'ignore',
    stdout: 'pipe',
    stderr: 'pipe',
  });
}

/** Runs a command to its end. */
export async function runCommand(args: string[], env: Record<string, string> = {}, cwd = '/tmp') {
  const child = spawnCommand(args, env, cwd);
  const [stdout, stderr, code] = await Promise.all([
    child.stdout.text(),
    child.stderr.text(),
    child.exited,
  ]);
  return { stdout, stderr, code };
}

/** Starts a gateway on a free port of 127.0.0.1 with `key`, settings from `env`, and waits until it listens. */
export async function startGateway(
  env: Record<string, string>,
  args: string[] = [],
): Promise<Gateway> {
  return await listening(spawnCommand(args, { ...ownSettings, ...env }));
}

/** Starts a gateway as `startGateway` does, whose limits answer late. */
export async function startLateGateway(env: Record<string, string>): Promise<Gateway> {
  return await listening(spawnCommand([], { ...ownSettings, ...env }, '/tmp', lateCommand));
}

const ownSettings = { HOST: '127.0.0.1', PORT: '0', ALLOWED_API_KEYS: key };

/** Waits until a gateway that has been started listens. */
async function listening(child: ReturnType<typeof spawnCommand>): Promise<Gateway> {
  const logs: Record<string, unknown>[] = [];
  const output: string[] = [];
  const waiting = new Set<() => void>();

  async function collect(stream: ReadableStream<Uint8Array>): Promise<void> {
    const decoder = new TextDecoder();
    let rest = '';
    for await (const chunk of stream) {
      const lines = (rest + decoder.decode(chunk, { stream: true })).split('\n');
      rest = lines.pop() ?? '';
      for (const line of lines) {
        if (line.startsWith('{')) logs.push(JSON.parse(line));
        else output.push(line);
      }
      for (const wake of waiting) wake();
    }
  }
  const collected = Promise.all([collect(child.stdout), collect(child.stderr)]);

  async function logged(matches: (line: Record<string, unknown>) => boolean) {
    for (;;) {
      const found = logs.find(matches);
      if (found) return found;
      await new Promise<void>((resolve, reject) => {
        const wake = () => (waiting.delete(wake), resolve());
        waiting.add(wake);
        void collected.then(() => {
          if (waiting.delete(wake)) reject(new Error(`the gateway ended: ${output.join('\n')}`));
        });
      });
    }
  }

  const { url } = await logged((line) => line['msg'] === 'listening');
  return {
    url: String(url),
    pid: child.pid,
    logs,
    output,
    logged,
    exited: child.exited,
    kill: (signal) => child.kill(signal),
    async [Symbol.asyncDispose]() {
      child.kill('SIGKILL');
      await child.exited;
    },
  };
}

/** Gateways with limits in the process, and with limits that answer late, as those that several gateways share do. */
export const limitStores = [
  { limits: 'that answer at once', start: startGateway },
  // The binary has only the limits in the process.
  ...(process.env['GATEWAY_BINARY']
    ? []
    : [{ limits: 'that answer late', start: startLateGateway }]),
];
