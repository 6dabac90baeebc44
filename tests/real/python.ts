/**
 * Virtual environments for what only Python has, in the ignored folder `.engine`. Nothing is installed unless `setUp`
 * is called, and nothing outside that folder is touched.
 */
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

const root = join(import.meta.dir, '../..');

export interface Venv {
  /** The path of its Python. */
  python: string;
  isInstalled(): boolean;
  /** Installs what is missing; throws an Error that says what to do when it cannot. */
  setUp(log?: (line: string) => void): Promise<void>;
}

/** Describes a virtual environment in `.engine` with exactly what these arguments of `pip install` bring. */
export function venv(name: string, pipArguments: string[]): Venv {
  const folder = join(root, '.engine', name);
  const marker = join(folder, 'installed');
  const python = join(folder, 'bin/python');
  const wanted = pipArguments.join('\n');

  function isInstalled(): boolean {
    return existsSync(marker) && readFileSync(marker, 'utf8') === wanted;
  }

  async function setUp(log: (line: string) => void = () => {}): Promise<void> {
    if (isInstalled()) return;
    if (Bun.which('python3') === null) throw new Error(`python3 is missing: ${howToGetPython}`);
    const script = join(import.meta.dir, 'install.py');
    const child = Bun.spawn(['python3', script, folder, wanted, ...pipArguments], {
      cwd: root,
      stdin: 'ignore',
      stdout: 'pipe',
      stderr: 'pipe',
    });
    const said: string[] = [];
    const note = (line: string) => void (said.push(line), log(line));
    await Promise.all([child.stdout, child.stderr].map((stream) => eachLine(stream, note)));
    if ((await child.exited) === 0 && isInstalled()) return;
    const reason = said.slice(-5).join('\n');
    throw new Error(`cannot install ${pipArguments.join(' ')}: ${reason}\n${howToGetPython}`);
  }

  return { python, isInstalled, setUp };
}

const howToGetPython =
  'it takes Python 3.10 or newer with venv and pip (Debian: apt-get install python3 python3-venv) and PyPI';

/**
 * Says whether tests that need this environment can run, and says how to get it when not. In CI (`CI=true`) it throws
 * instead: there nothing may be skipped.
 */
export function requireInstalled({ isInstalled }: Venv, what: string): boolean {
  if (isInstalled()) return true;
  const message = `skipped: ${what}, get it with: bun run setup:real`;
  if (process.env['CI'] === 'true') throw new Error(message);
  console.log(message);
  return false;
}

/** Calls `take` with each line of a process's output, until it ends. */
export async function eachLine(
  stream: ReadableStream<Uint8Array>,
  take: (line: string) => void,
): Promise<void> {
  const decoder = new TextDecoder();
  let rest = '';
  for await (const chunk of stream) {
    const lines = (rest + decoder.decode(chunk, { stream: true })).split('\n');
    rest = lines.pop() ?? '';
    for (const line of lines) take(line);
  }
  if (rest !== '') take(rest);
}
