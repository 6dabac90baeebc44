/**
 * Processes: starts them, reads their CPU time and memory from /proc, ends them by their id. Linux only; it judges nothing.
 */
import { readFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { cleanEnvironment } from '../support/gatewayprocess.ts';

export interface Child {
  pid: number;
  stop(): Promise<void>;
}

/** Microseconds of one clock tick of /proc/PID/stat (USER_HZ is 100 on every Linux that user space sees). */
const tickUs = 10_000;

/** CPU time that the processes have used so far, user and system, all threads, in microseconds. */
export function cpuUs(pids: number[]): number {
  return pids.reduce((sum, pid) => {
    const fields = readFileSync(`/proc/${pid}/stat`, 'latin1').split(') ')[1]?.split(' ') ?? [];
    return sum + (Number(fields[11]) + Number(fields[12])) * tickUs;
  }, 0);
}

/** Resident memory of the processes together, in bytes. */
export function rssBytes(pids: number[]): number {
  return pids.reduce((sum, pid) => {
    const kilobytes = /^VmRSS:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, 'latin1'))?.[1];
    return sum + Number(kilobytes ?? 0) * 1024;
  }, 0);
}

/** The process and its children, as nginx has them. */
export function withChildren(pid: number): number[] {
  const children = readFileSync(`/proc/${pid}/task/${pid}/children`, 'latin1').trim();
  return [pid, ...(children ? children.split(' ').map(Number) : [])];
}

/** The most descriptors that a process here may open. */
export function descriptorLimit(): number {
  const line = /^Max open files\s+\S+\s+(\S+)/m.exec(readFileSync('/proc/self/limits', 'latin1'));
  return line?.[1] === 'unlimited' ? Infinity : Number(line?.[1] ?? 0);
}

/** A port of 127.0.0.1 that nobody listens on at this moment. */
export async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  await new Promise((resolve) => server.close(resolve));
  return typeof address === 'object' && address ? address.port : 0;
}

/**
 * Starts `command` with every descriptor that the hard limit grants, its standard output in /dev/null, and waits until
 * `http://127.0.0.1:port/health` answers anything. Throws when the process ends first or 10 s have passed.
 */
export async function startServer(
  command: string[],
  port: number,
  env: Record<string, string> = {},
): Promise<Child> {
  const child = Bun.spawn(
    ['bash', '-c', 'ulimit -n "$(ulimit -Hn)"; exec "$@"', 'bench', ...command],
    {
      cwd: '/tmp',
      env: cleanEnvironment(env),
      stdin: 'ignore',
      stdout: 'ignore',
      stderr: 'inherit',
    },
  );
  async function stop(): Promise<void> {
    child.kill('SIGTERM');
    const late = setTimeout(() => child.kill('SIGKILL'), 5_000);
    await child.exited;
    clearTimeout(late);
  }
  const giveUpAt = performance.now() + 10_000;
  for (;;) {
    if (child.exitCode !== null) throw new Error(`${command.join(' ')} ended: ${child.exitCode}`);
    const answered = await fetch(`http://127.0.0.1:${port}/health`).then(
      (response) => response.bytes().then(() => true),
      () => false,
    );
    if (answered) return { pid: child.pid, stop };
    if (performance.now() > giveUpAt) {
      await stop();
      throw new Error(`${command.join(' ')} does not answer on port ${port}`);
    }
    await Bun.sleep(10);
  }
}
