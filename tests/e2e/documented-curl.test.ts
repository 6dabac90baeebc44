/**
 * The commands of the documentation, run as they stand there, in a shell. They fix the port: whatever else listens on
 * 12000 makes this file fail, so no other file may use that port.
 */
import { afterAll, expect, test } from 'bun:test';
import { version } from '../../package.json';
import { startDemoEngine } from '../../src/demo/engine.ts';
import { cleanEnvironment, runCommand, startGateway } from '../support/gatewayprocess.ts';

const engine = startDemoEngine();
const gateway = await startGateway({ LLM_SERVER_URL: engine.url, PORT: '12000' });

afterAll(async () => {
  await gateway[Symbol.asyncDispose]();
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
