/**
 * The commands of the documentation, run as they stand there, in a shell. They fix the port, so no other file may use it.
 */
import { afterAll, beforeAll, expect, test } from 'bun:test';
import { version } from '../../package.json';
import { startDemoEngine } from '../../src/demo/engine.ts';
import { connect } from 'node:net';
import {
  cleanEnvironment,
  runCommand,
  startGateway,
  type Gateway,
} from '../support/gatewayprocess.ts';

const port = 12_000;

/** Whether a server of this machine takes connections on that port. */
function isTaken(): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1');
    socket.on('error', () => resolve(false));
    socket.on('connect', () => (socket.destroy(), resolve(true)));
  });
}

const engine = startDemoEngine();
let gateway: Gateway;

beforeAll(async () => {
  if (await isTaken()) {
    throw new Error(
      `another program listens on port ${port}, which the documented commands name: end it to run these tests`,
    );
  }
  gateway = await startGateway({ LLM_SERVER_URL: engine.url, PORT: String(port) });
});

afterAll(async () => {
  await gateway?.[Symbol.asyncDispose]();
  await engine.stop();
});

/** Runs a command in a shell and parses what it prints. */
async function run(command: string): Promise<unknown> {
  const shell = Bun.spawn(['sh', '-c', command], {
    env: cleanEnvironment(),
    stdout: 'pipe',
    stderr: 'ignore',
  });
  const printed = await shell.stdout.text();
  expect(await shell.exited).toBe(0);
  return JSON.parse(printed);
}

test('the completion of the documentation answers, without a model and with Cyrillic', async () => {
  const answer = await run(
    `curl -X POST "http://localhost:12000/v1/completions" -H "Authorization: Bearer sk-test-key-1" -H "Content-Type: application/json" -d '{"prompt": "Привет! Как дела?", "max_tokens": 100, "temperature": 0.7}'`,
  );
  expect(answer).toMatchObject({
    object: 'text_completion',
    choices: [{ index: 0, text: expect.stringContaining('Привет') }],
    usage: { completion_tokens: expect.any(Number) },
  });
  const received = engine.requests.at(-1);
  expect(received?.path).toBe('/v1/completions');
  expect(Buffer.from(received?.body ?? []).toString()).toBe(
    '{"prompt": "Привет! Как дела?", "max_tokens": 100, "temperature": 0.7}',
  );
});

test('the health check of the documentation answers', async () => {
  expect(await run('curl http://localhost:12000/health')).toMatchObject({ status: 'ok', version });
});

test('the root of the documentation answers', async () => {
  expect(await run('curl http://localhost:12000/')).toMatchObject({ name: 'LLM Gateway', version });
});

test('the demo wants the same port of loopback unless told otherwise', async () => {
  const { stdout, code } = await runCommand(['demo']);
  expect(code).toBe(1);
  expect(stdout).toContain('127.0.0.1:12000');
});
