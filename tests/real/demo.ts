/**
 * `bun run demo:real`: the gateway in front of a real llama.cpp with a small real model, on this machine alone unless
 * HOST says otherwise. It sets the engine up by itself, in the ignored folder `.engine`, and ends it when it ends.
 */
import { readFileSync } from 'node:fs';
import { version } from '../../package.json';
import { loadConfig } from '../../src/config.ts';
import { serve } from '../../src/serve.ts';
import { setUpRealEngine, startRealEngine } from './engine.ts';

function invitation(url: string, key: string): string {
  const curl = (options: string, path: string, body: object) =>
    `curl ${options}${url}${path} -H "Authorization: Bearer ${key}" ` +
    `-H "Content-Type: application/json" -d '${JSON.stringify(body)}'`;
  const messages = [{ role: 'user', content: 'What is a gateway?' }];
  return `
LLM Gateway ${version} in front of llama.cpp with SmolLM2, a model of 135 million parameters: it is quick, not clever.

  address   ${url}      pages   ${url}/docs
  key       ${key}

Ask it:
${curl('', '/v1/completions', { prompt: 'Once upon a time', max_tokens: 20 })}

Streamed:
${curl('-N ', '/v1/chat/completions', { messages, max_tokens: 60, stream: true })}

Ctrl-C ends it.
`;
}

async function main(): Promise<never> {
  await setUpRealEngine(console.log);
  // Not before: it takes the proxy variables away, which pip may need, and starts this program anew without them.
  require('../../src/runtime.ts');
  const engine = await startRealEngine();
  const config = loadConfig({
    env: {
      HOST: '127.0.0.1',
      ALLOWED_API_KEYS: 'sk-test-key-1',
      ...process.env,
      LLM_SERVER_URL: engine.url,
      LLM_SERVER_API_KEY: '',
      LLM_SERVER_KIND: 'auto',
    },
    readFile: (path) => readFileSync(path, 'utf8'),
  });
  const { url, ended } = await serve(config, version, undefined);
  if (url !== undefined) console.log(invitation(url, config.allowedApiKeys[0] ?? ''));
  process.exit(await ended);
}

try {
  await main();
} catch (error) {
  console.error(error instanceof Error ? error.message : error);
  process.exit(1);
}
