/**
 * What every client is asked to do, and how that is judged: by what the client prints and by what the gateway and the
 * simulated engine have seen. A client is a file that describes it; what it must do stands here only once.
 */
import { mkdtemp } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { DemoEngine, DemoRequest } from '../../../src/demo/engine.ts';
import { cleanEnvironment, key, type Gateway } from '../../support/gatewayprocess.ts';
import type { Stage } from '../../support/stage.ts';
import { until } from '../../support/wait.ts';
import { type Adapter, type Asked, toolArguments } from './adapter.ts';

/** The gateways that the clients use. */
export interface Stages {
  /** Its engine answers as fast as it can. */
  fast: Stage;
  /** Its engine takes longer for an answer than a test waits. */
  slow: Stage;
  /** It answers 401 to a wrong key. */
  strict: Stage;
}

export interface Behaviour {
  name: string;
  /** Resolves to what the table shows; rejects with an Error that says what was wrong. */
  judge(adapter: Adapter, stages: Stages): Promise<string>;
}

/** No run of a client takes longer. */
const runMs = 90_000;
/** Nothing listens there: whatever asks a server outside fails at once. */
const nowhere = 'http://127.0.0.1:9';

/** Starts a client in an empty folder; disposing of it ends the client and all that it has started. */
async function startClient(adapter: Adapter, asked: Omit<Asked, 'folder' | 'model'>) {
  const folder = await mkdtemp(join(tmpdir(), 'llm-gateway-client-'));
  const { command, env = {} } = await adapter.command({ ...asked, model: 'demo', folder });
  const child = Bun.spawn(command, {
    cwd: folder,
    env: cleanEnvironment({
      ...Object.fromEntries(proxyNames.map((name) => [name, nowhere])),
      NO_PROXY: '127.0.0.1,localhost',
      no_proxy: '127.0.0.1,localhost',
      TERM: 'dumb',
      ...env,
      HOME: folder,
    }),
    stdin: 'ignore',
    stdout: 'pipe',
    stderr: 'pipe',
    detached: true,
  });
  function signal(name: NodeJS.Signals): void {
    try {
      process.kill(-child.pid, name);
    } catch {
      // All of its processes have ended.
    }
  }
  const timer = setTimeout(() => signal('SIGKILL'), runMs);
  const output = Promise.all([child.stdout.text(), child.stderr.text()]).then((texts) =>
    texts.join('\n'),
  );
  async function dispose(): Promise<void> {
    clearTimeout(timer);
    signal('SIGKILL');
    await child.exited;
    await Bun.$`rm -rf ${folder}`.quiet();
  }
  return { child, output, signal, [Symbol.asyncDispose]: dispose };
}

const proxyNames = ['http_proxy', 'https_proxy', 'HTTP_PROXY', 'HTTPS_PROXY', 'ALL_PROXY'];

/** Runs a client to its end and returns what it has printed. */
async function runClient(adapter: Adapter, asked: Omit<Asked, 'folder' | 'model'>) {
  await using client = await startClient(adapter, asked);
  const output = await client.output;
  return { output, exitCode: await client.child.exited };
}

function check(isTrue: boolean, what: string, output: string): void {
  if (!isTrue) throw new Error(`${what}. It printed:\n${output.slice(-2_000)}`);
}

/** Returns the requests of clients for an answer that the engine has got since it had `count`. */
function answersSince({ requests }: DemoEngine, count: number): DemoRequest[] {
  return requests.slice(count).filter(({ method }) => method === 'POST');
}

function bodyOf({ body }: DemoRequest): string {
  return Buffer.from(body).toString();
}

async function streams(adapter: Adapter, { fast }: Stages, suffix: string): Promise<string> {
  const before = fast.engine.requests.length;
  const baseUrl = `${fast.gateway.url}${suffix}`;
  const asked = { task: 'stream', baseUrl, key, prompt: 'Say hello.' } as const;
  const { output, exitCode } = await runClient(adapter, asked);
  check(exitCode === 0, `it ended with ${exitCode}`, output);
  check(output.includes('simulated engine'), 'the answer is missing', output);
  const answers = answersSince(fast.engine, before);
  const isStreamed = answers.some((request) => /"stream":\s*true/.test(bodyOf(request)));
  check(isStreamed, 'it asked for no stream', output);
  return 'ok';
}

async function callsTool(adapter: Adapter, { fast }: Stages): Promise<string> {
  const { toolPrompt: prompt, runsTools, suffix } = adapter;
  if (prompt === undefined) return '–';
  const before = fast.engine.requests.length;
  const baseUrl = `${fast.gateway.url}${suffix}`;
  const { output, exitCode } = await runClient(adapter, { task: 'tools', baseUrl, key, prompt });
  check(exitCode === 0, `it ended with ${exitCode}`, output);
  if (!runsTools) {
    check(output.includes(toolArguments), 'it shows no call of the tool', output);
    return 'ok';
  }
  const result = /"role":\s*"tool"|"type":\s*"(function_call_output|tool_result)"/;
  const answers = answersSince(fast.engine, before);
  const isReturned = answers.some((request) => result.test(bodyOf(request)));
  check(isReturned, 'it sent no result of the tool', output);
  return 'ok';
}

async function leaves(adapter: Adapter, { slow }: Stages): Promise<string> {
  const { engine, gateway } = slow;
  const before = engine.requests.length;
  const baseUrl = `${gateway.url}${adapter.suffix}`;
  const asked = { task: 'abort', baseUrl, key, prompt: 'Say hello.' } as const;
  await using client = await startClient(adapter, asked);
  // A library leaves at its first token: it may be gone when somebody looks.
  await until('the engine has streamed', () =>
    engine.requests.slice(before).some(({ sentBytes }) => sentBytes > 0),
  );
  // Libraries leave by themselves and live on; a command ends as in a terminal.
  const isLibrary = !adapter.runsTools && adapter.toolPrompt !== undefined;
  if (!isLibrary) client.signal('SIGINT');
  await until('the slot is free', () => engine.busySlots() === 0);
  const states = engine.requests.slice(before).map(({ state }) => state);
  const said = `the engine saw ${states.join(', ')}`;
  if (!states.includes('aborted')) throw new Error(said);
  if (isLibrary && client.child.exitCode !== null) throw new Error('the client has ended');
  return 'ok';
}

/** Returns how many requests the gateway has refused with this status since it had logged `count` lines. */
async function refusalsSince(gateway: Gateway, count: number, status: number): Promise<number> {
  // The line of a last request comes after those of all earlier ones.
  const headers = { Authorization: 'Bearer sk-last' };
  const last = await fetch(`${gateway.url}/v1/models`, { headers, keepalive: false });
  const requestId = last.headers.get('x-request-id');
  await gateway.logged((line) => line['requestId'] === requestId);
  return gateway.logs.slice(count).filter((line) => line['status'] === status).length - 1;
}

async function fails(adapter: Adapter, { gateway }: Stage, status: number): Promise<string> {
  const before = gateway.logs.length;
  const baseUrl = `${gateway.url}${adapter.suffix}`;
  const asked = { task: 'error', baseUrl, key: 'sk-wrong', prompt: 'Say hello.' } as const;
  const begun = performance.now();
  const { output } = await runClient(adapter, asked);
  const seconds = ((performance.now() - begun) / 1000).toFixed(1);
  check(/Invalid\s+API\s+key/.test(output), 'it does not show our message', output);
  const attempts = await refusalsSince(gateway, before, status);
  return `ok: ${attempts} in ${seconds} s`;
}

export const behaviours: Behaviour[] = [
  { name: 'stream', judge: (client, stages) => streams(client, stages, client.suffix) },
  { name: 'tools', judge: callsTool },
  { name: 'abort', judge: leaves },
  { name: 'error 403', judge: (client, { fast }) => fails(client, fast, 403) },
  { name: 'error 401', judge: (client, { strict }) => fails(client, strict, 401) },
  { name: 'URL', judge: (client, stages) => streams(client, stages, '') },
  { name: 'URL/v1', judge: (client, stages) => streams(client, stages, '/v1') },
  { name: 'URL/v1/', judge: (client, stages) => streams(client, stages, '/v1/') },
];
