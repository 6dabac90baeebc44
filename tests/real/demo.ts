/**
 * `bun run demo:real`: the gateway in front of a real llama.cpp with a small real model, on this machine alone unless
 * HOST says otherwise. It sets the engine up by itself, in the ignored folder `.engine`, and ends it when it ends.
 */
import { readFileSync } from 'node:fs';
import { version } from '../../package.json';
import { loadConfig } from '../../src/config/load.ts';
import { demoSettings, invitation } from '../../src/demo/invitation.ts';
import { serve } from '../../src/serve.ts';
import { setUpRealEngine, startRealEngine } from './realengine.ts';

async function main(): Promise<never> {
  await setUpRealEngine(console.log);
  // Not before: it takes the proxy variables away, which pip may need, and starts this program anew without them.
  require('../../src/runtime.ts');
  const engine = await startRealEngine();
  const config = loadConfig({
    env: { HOST: '127.0.0.1', ...process.env, ...demoSettings(engine.url) },
    readFile: (path) => readFileSync(path, 'utf8'),
  });
  const { url, ended } = await serve(config, version, undefined);
  const messages = [{ role: 'user', content: 'What is a gateway?' }];
  if (url !== undefined) {
    console.log(
      invitation({
        title: `LLM Gateway ${version} in front of llama.cpp with SmolLM2, a model of 135 million parameters: it is quick, not clever.`,
        url,
        key: config.allowedApiKeys[0] ?? '',
        plain: ['/v1/completions', JSON.stringify({ prompt: 'Once upon a time', max_tokens: 20 })],
        streamed: [
          '/v1/chat/completions',
          JSON.stringify({ messages, max_tokens: 60, stream: true }),
        ],
      }),
    );
  }
  process.exit(await ended);
}

try {
  await main();
} catch (error) {
  console.error(error instanceof Error ? error.message : error);
  process.exit(1);
}
