/**
 * `bun run test:clients [NAME…]`: what official clients do before the gateway, as a table of client and behaviour.
 * NAMEs choose clients by a part of their names. It installs the clients first; while they run they reach only this
 * machine: in a network namespace of their own where Linux allows that, else by proxies that lead nowhere.
 */
import { startDemoEngine } from '../../../src/demo/engine.ts';
import { startStageFor } from '../../support/stage.ts';
import type { Adapter } from './adapter.ts';
import { aider } from './aider.ts';
import { type Stages, behaviours } from './behaviours.ts';
import { claude } from './claude.ts';
import { codex } from './codex.ts';
import { libraries } from './libraries.ts';
import { llm } from './llm.ts';
import { setUpClients } from './setup.ts';

const clients: Adapter[] = [codex, claude, llm, aider, ...libraries];
const inside = '--in-namespace';
const inNamespace = ['unshare', '--map-root-user', '--net', 'sh', '-c'];
const withLoopback = 'ip link set lo up && exec "$@"';

/** Runs this program again without a network; returns its exit code, or `undefined` where that is not possible. */
async function runInNamespace(names: string[]): Promise<number | undefined> {
  if (Bun.which('unshare') === null || Bun.which('ip') === null) return undefined;
  const trial = Bun.spawnSync([...inNamespace, withLoopback, 'sh', 'true']);
  if (trial.exitCode !== 0) return undefined;
  const again = [process.execPath, import.meta.path, inside, ...names];
  const child = Bun.spawn([...inNamespace, withLoopback, 'sh', ...again], {
    stdio: ['ignore', 'inherit', 'inherit'],
  });
  return await child.exited;
}

/** Runs the clients one after the other, prints the table, and returns the number of failures. */
async function printTable(chosen: Adapter[], stages: Stages): Promise<number> {
  const problems: string[] = [];
  const row = (cells: string[]) => console.log(`| ${cells.join(' | ')} |`);
  row(['client', ...behaviours.map(({ name }) => name)]);
  row(['---', ...behaviours.map(() => '---')]);
  for (const client of chosen) {
    const cells: string[] = [];
    for (const { name, judge } of behaviours) {
      try {
        cells.push(await judge(client, stages));
      } catch (error) {
        cells.push('FAILS');
        problems.push(`${client.name}, ${name}: ${String(error)}`);
      }
    }
    row([client.name, ...cells]);
  }
  for (const problem of problems) console.log(`\n${problem}`);
  return problems.length;
}

async function run(names: string[]): Promise<number> {
  const chosen = clients.filter(({ name }) => {
    return names.length === 0 || names.some((part) => name.toLowerCase().includes(part));
  });
  // Agents send prompts of tens of thousands of tokens.
  const contextTokens = 200_000;
  await using stack = new AsyncDisposableStack();
  async function stage(tokensPerSecond: number, env: Record<string, string> = {}) {
    const engine = startDemoEngine({ contextTokens, tokensPerSecond });
    return stack.use(await startStageFor(engine, env));
  }
  const stages = {
    fast: await stage(0),
    slow: await stage(0.5),
    strict: await stage(0, { INVALID_KEY_STATUS: '401' }),
  };
  return await printTable(chosen, stages);
}

const names = process.argv.slice(2);
if (names[0] === inside) {
  const failures = await run(names.slice(1));
  process.exit(failures === 0 ? 0 : 1);
}
await setUpClients();
const code = await runInNamespace(names);
if (code !== undefined) process.exit(code);
console.log('no network namespace: the clients are held back by proxies that lead nowhere');
process.exit((await run(names)) === 0 ? 0 : 1);
