/** The table of settings: the base URL, what .env.example and the names say of each, and which need a restart. */
import { describe, expect, test } from 'bun:test';
import { join } from 'node:path';
import { loadConfig, type Config } from '../../../src/config/load.ts';
import { needRestart, serverBaseUrl, settings } from '../../../src/config/settings.ts';

const readFile = () => '';

function load(env: Record<string, string>): Config {
  return loadConfig({ env, readFile });
}

describe('the URL of the inference server', () => {
  test.each([
    ['http://localhost:8080/v1/completions', 'http://localhost:8080'],
    ['http://localhost:8080/v1/chat/completions/', 'http://localhost:8080'],
    ['http://localhost:8080/v1', 'http://localhost:8080'],
    ['http://localhost:8080/v1//', 'http://localhost:8080'],
    ['http://localhost:8080', 'http://localhost:8080'],
    ['http://localhost:8080/', 'http://localhost:8080'],
    ['https://Engines.Example/team/a/v1/completions', 'https://engines.example/team/a'],
    ['https://engines.example/team//', 'https://engines.example/team'],
    ['https://engines.example/v1/v2', 'https://engines.example/v1/v2'],
    ['https://engines.example/av1', 'https://engines.example/av1'],
    ['http://[::1]:8080/v1', 'http://[::1]:8080'],
  ])('%s has the base %s', (text, base) => {
    expect(serverBaseUrl(text)).toBe(base);
  });

  test.each([
    ['localhost:8080', 'does not start with http'],
    ['ftp://engine/', 'does not start with http'],
    ['engine', 'does not start with http'],
    ['http://', 'is no URL'],
    ['http://user:password@engine', 'use LLM_SERVER_API_KEY'],
    ['http://token@engine', 'use LLM_SERVER_API_KEY'],
    ['http://user/password@engine', 'use LLM_SERVER_API_KEY'],
    ['http://engine/v1?api_key=token', 'use LLM_SERVER_API_KEY'],
    ['http://engine/v1?', 'use LLM_SERVER_API_KEY'],
    ['http://engine/v1#token', 'use LLM_SERVER_API_KEY'],
  ])('%s is refused: %s', (text, reason) => {
    expect(() => serverBaseUrl(text)).toThrow(reason);
    // The message of a failed start has the reason, and no secret of the URL.
    const start = () => load({ LLM_SERVER_URL: text });
    expect(start).toThrow(reason);
    expect(start).not.toThrow(/password|token/);
  });
});

describe('the table', () => {
  test('documents every setting, with its default, in .env.example', async () => {
    const text = await Bun.file(join(import.meta.dir, '../../../.env.example')).text();
    const lines = text.split('\n');
    const found = lines.flatMap((line, index) => {
      const match = /^(#?)([A-Z][A-Z_]*)=(.*)$/.exec(line);
      return match ? [{ comment: lines[index - 1], active: match[1] === '', line: match[0] }] : [];
    });
    expect(found).toEqual(
      settings.map(({ env, default: fallback, description }) => {
        const text = [fallback ?? []].flat().join(',');
        const active = env === 'LLM_SERVER_URL';
        return {
          comment: `# ${description} Default: ${text || 'none'}.`,
          active,
          line: `${active ? '' : '#'}${env}=${text}`,
        };
      }),
    );
    for (const { env, secret } of settings) {
      expect(lines.some((line) => line.includes(`${env}_FILE`))).toBe(secret);
    }
  });

  test('says the unit of every duration and size in its name and in its line', () => {
    const withUnits = settings.filter(({ env }) => /_(MS|BYTES)$/.test(env));
    expect(withUnits).toHaveLength(16);
    for (const { env, description } of withUnits) {
      expect(description).toContain(env.endsWith('_MS') ? 'in milliseconds' : 'in bytes');
    }
  });

  test('says which changes take effect while the gateway runs', () => {
    const before = load({});
    const now = load({
      LLM_SERVER_URL: 'http://other:8080',
      ALLOWED_API_KEYS: 'sk-test-key-1',
      MAX_QUEUED_REQUESTS: '5',
      STALL_TIMEOUT_MS: '1',
    });
    expect(needRestart(before, now)).toEqual([]);
    const later = load({ PORT: '1', DATA_DIR: 'other', CORS_ALLOWED_ORIGINS: 'https://a.example' });
    expect(needRestart(before, later)).toEqual(['port', 'corsAllowedOrigins', 'dataDir']);
    expect(needRestart(later, load({}))).toEqual(['port', 'corsAllowedOrigins', 'dataDir']);
    expect(needRestart(later, later)).toEqual([]);
  });
});
