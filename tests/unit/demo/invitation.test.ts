/** What a demo is started with, and what it tells its user. */
import { expect, test } from 'bun:test';
import { loadConfig } from '../../../src/config/load.ts';
import { demoSettings, invitation } from '../../../src/demo/invitation.ts';

test('a demo takes no key, engine or folder of the real gateway', () => {
  const real = {
    ALLOWED_API_KEYS: 'sk-of-the-real-one',
    LLM_SERVER_URL: 'http://real.example.org',
    LLM_SERVER_API_KEY: 'secret',
    DATA_DIR: '/var/lib/llm-gateway',
    ADMIN_API_KEY: 'sk-admin-of-the-real-one',
  };
  const env = { ...real, ...demoSettings('http://127.0.0.1:1234') };
  const config = loadConfig({ env, readFile: () => '' });
  expect(config.allowedApiKeys).toEqual(['sk-test-key-1']);
  expect(config.upstreams).toMatchObject([{ url: 'http://127.0.0.1:1234', apiKey: undefined }]);
  expect([config.dataDir, config.adminApiKey]).toEqual(['none', 'sk-admin-test-key-1']);
});

test('the invitation names the address, the keys, and two commands to copy', () => {
  const text = invitation({
    title: 'A demo.',
    url: 'http://127.0.0.1:12000',
    key: 'sk-test-key-1',
    plain: ['/v1/completions', '{"prompt":"a"}'],
    streamed: ['/v1/chat/completions', '{"stream":true}'],
  });
  expect(text).toStartWith('\nA demo.\n');
  expect(text).toContain('http://127.0.0.1:12000/dashboard');
  expect(text).toContain(demoSettings('')['ADMIN_API_KEY'] as string);
  const commands = text.split('\n').filter((line) => line.startsWith('curl '));
  expect(commands).toEqual([
    `curl http://127.0.0.1:12000/v1/completions -H "Authorization: Bearer sk-test-key-1" -H "Content-Type: application/json" -d '{"prompt":"a"}'`,
    `curl -N http://127.0.0.1:12000/v1/chat/completions -H "Authorization: Bearer sk-test-key-1" -H "Content-Type: application/json" -d '{"stream":true}'`,
  ]);
});
