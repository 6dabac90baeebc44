/**
 * The official `openai` client for Python, as python_client.py uses it.
 */
import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from 'bun:test';
import { join } from 'node:path';
import { key } from '../support/gatewayprocess.ts';
import { eachLine, requireInstalled } from '../real/python.ts';
import { pythonClient } from './python-client.ts';
import { endless, type Backend, backends } from './backends.ts';

setDefaultTimeout(90_000);

const isInstalled = requireInstalled(pythonClient, 'tests of the Python client');

const checks = [
  ['lists the models and looks one up', 'models'],
  ['completes a prompt', 'completion'],
  ['answers a conversation', 'chat'],
  ['streams a conversation with its usage', 'streamed_chat'],
  ['creates a response, plain and streamed', 'response'],
  ['embeds texts', 'embeddings'],
  ['raises its own error classes', 'errors'],
  ['closes a stream in its middle', 'abort'],
] as const;

for (const { name, isThere, start } of backends) {
  describe.skipIf(!isThere || !isInstalled)(`openai for Python before ${name}`, () => {
    let backend: Backend;
    let child: Bun.Subprocess<'pipe', 'pipe', 'inherit'>;
    const failures = new Map<string, string | null>();

    beforeAll(async () => {
      backend = await start();
      const { url, embeddingUrl, lonelyUrl, model } = backend;
      const told = JSON.stringify({ url, embeddingUrl, lonelyUrl, model, key, endless });
      const script = join(import.meta.dir, 'python_client.py');
      child = Bun.spawn([pythonClient.python, script, told], { stdin: 'pipe', stdout: 'pipe' });
      await new Promise<void>((resolve) => {
        const take = (line: string) => {
          const { check, failure } = JSON.parse(line) as { check: string; failure: string | null };
          failures.set(check, failure);
          if (failures.size === checks.length) resolve();
        };
        void eachLine(child.stdout, take).then(resolve);
      });
    });

    afterAll(async () => {
      child?.kill('SIGKILL');
      await backend?.[Symbol.asyncDispose]();
    });

    test.each(checks)('%s', (_what, check) => {
      expect(failures.get(check)).toBeNull();
    });

    test('frees the slot when a stream is closed', async () => {
      await backend.freed();
      expect(child.exitCode).toBeNull();
    });
  });
}
