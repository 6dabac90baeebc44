/**
 * The table of settings: the base URL, the hint of a key, and that the print, the documentation and the schema agree.
 */
import { describe, expect, test } from 'bun:test';
import { Value } from '@sinclair/typebox/value';
import type { TSchema } from '@sinclair/typebox';
import { join } from 'node:path';
import { configJsonSchema, describeConfig, loadConfig } from '../../../src/config/load.ts';
import type { Config } from '../../../src/config/load.ts';
import { serverBaseUrl, settings, settingsMarkdown } from '../../../src/config/settings.ts';
import { maskKey } from '../../../src/log/masking.ts';

const readFile = () => '';

function load(env: Record<string, string>): Config {
  return loadConfig({ env, readFile });
}

/** Gives the configuration that the print of one gives when it is the file. */
function printedAndLoaded(config: Config): Config {
  return loadConfig({ env: {}, file: { path: 'f', text: describeConfig(config) }, readFile });
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
    // The message of a start that fails carries the reason, and of the URL nothing secret.
    const start = () => load({ LLM_SERVER_URL: text });
    expect(start).toThrow(reason);
    expect(start).not.toThrow(/password|token/);
  });
});

describe('the hint of a key', () => {
  test.each([
    ['sk-0123456789abcdef', 'sk-…cdef'],
    ['sk-0123456789abc', 'sk-…9abc'],
    ['sk-test-key-1', '…-1'],
    ['12345678', '…78'],
    ['EMPTY', '…'],
    ['', '…'],
  ])('%j is shown as %j', (key, mask) => {
    expect(maskKey(key)).toBe(mask);
  });
});

describe('what is said of the settings', () => {
  test('prints the effective configuration, one line a setting, with secrets masked', () => {
    const env = {
      ALLOWED_API_KEYS: 'sk-test-key-1,sk-0123456789abcdef',
      LLM_SERVER_API_KEY: 'EMPTY',
      PORT: '8000',
      CORS_ALLOWED_ORIGINS: 'https://a.example,https://b.example',
    };
    const [text = '', upstreams] = describeConfig(load(env)).split(/^upstreams:\n/m);
    const lines = text.trimEnd().split('\n');
    const keys = settings.map(({ env: name }) => name.toLowerCase());
    // The list of upstreams says where the servers are.
    expect(lines.map((line) => line.split(':', 1)[0] as string)).toEqual(
      keys.filter((key) => key !== 'llm_server_url'),
    );
    expect(lines).toContain('allowed_api_keys: # 2 keys: …-1, sk-…cdef');
    expect(lines).toContain('llm_server_api_key: # 1 key: …');
    expect(lines).toContain('trusted_user_keys: # not set');
    expect(lines).toContain('batch_api_keys: # not set');
    expect(lines).toContain('port: 8000');
    expect(upstreams).toStartWith('  - url: http://localhost:8080\n    id: engine\n');
    expect(upstreams).toContain('\n    api_key: # …\n');
  });

  test('prints every upstream with its own settings, in place of the URLs', () => {
    const env = {
      LLM_SERVER_URL: 'http://a:8080/v1,http://b:8080',
      LLM_SERVER_API_KEY: 'sk-0123456789abcdef',
      UPSTREAM_SLOTS: '4',
    };
    const text = describeConfig(load(env));
    const [, first, second, ...others] = text.split('  - url: ');
    expect(first).toStartWith('http://a:8080\n    id: engine-1\n    api_key: # sk-…cdef\n');
    expect(second).toStartWith('http://b:8080\n    id: engine-2\n    api_key: # sk-…cdef\n');
    for (const entry of [first, second]) expect(entry).toContain('\n    slots: 4\n');
    expect(others).toEqual([]);
    expect(text).not.toContain('llm_server_url');
  });

  test('prints what loads again as the same configuration, but for the secrets', () => {
    const env = {
      HOST: '::',
      ALLOWED_API_KEYS: 'sk-test-key-1',
      CORS_ALLOWED_ORIGINS: '*,https://b.example',
      LOG_FORMAT: 'json',
      DEFAULT_MODEL: 'a: b',
      DATA_DIR: '12',
    };
    const config = load(env);
    expect(printedAndLoaded(config)).toEqual({ ...config, allowedApiKeys: [] });
  });

  test('prints upstreams of URLs as a list that loads again', () => {
    const env = {
      LLM_SERVER_URL: 'http://a:8080,https://b.example/team/v1',
      LLM_SERVER_KIND: 'vLLM',
      UPSTREAM_SLOTS: 'unbounded',
    };
    const config = load(env);
    expect(config.upstreams).toHaveLength(2);
    expect(printedAndLoaded(config)).toEqual({
      ...config,
      llmServerUrl: load({}).llmServerUrl,
    });
  });

  test('prints a list of upstreams as one that loads again, but for the keys', () => {
    const config = loadConfig({
      env: { THEIR_KEY: 'sk-0123456789abcdef' },
      file: {
        path: 'f',
        text: `
upstreams:
  - url: http://a:8080/v1
    api_key: \${THEIR_KEY}
    kind: vLLM
    models: ['m: 1', '12', 'true']
    aliases: {gpt-4: 'm: 1', '#x': '12'}
    slots: {'m: 1': 4, '12': 2}
    weight: 0.5
  - url: http://b:8080
    id: spare
    slots: unbounded
    drain: true
`,
      },
      readFile,
    });
    const text = describeConfig(config);
    expect(text).toContain('    api_key: # sk-…cdef\n');
    expect(text).toContain('    api_key: # not set\n');
    const [first, second] = config.upstreams;
    expect(first?.apiKey).toBe('sk-0123456789abcdef');
    expect(printedAndLoaded(config)).toEqual({
      ...config,
      upstreams: [{ ...first, apiKey: undefined }, second],
    } as Config);
  });

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
    expect(withUnits).toHaveLength(14);
    for (const { env, description } of withUnits) {
      expect(description).toContain(env.endsWith('_MS') ? 'in milliseconds' : 'in bytes');
    }
  });

  test('gives a table of all settings for the README', () => {
    const lines = settingsMarkdown().trimEnd().split('\n');
    expect(lines).toHaveLength(settings.length + 2);
    expect(lines.every((line) => line.split('|').length === 5)).toBe(true);
    for (const [index, { env, description }] of settings.entries()) {
      expect(lines[index + 2]).toStartWith(`| \`${env}\``);
      expect(lines[index + 2]).toContain(description);
    }
    expect(lines).toContain(
      '| `UPSTREAM_SLOTS` | `auto` | How many requests an inference server runs at once; auto asks it. Allowed: auto, unbounded, or a whole number from 1 to 65536. |',
    );
    expect(lines).toContain(
      '| `PORT` | `12000` | Port to listen on; 0 takes any free one. Allowed: a whole number from 0 to 65535. |',
    );
  });
});

describe('the JSON Schema', () => {
  const schema = configJsonSchema() as {
    additionalProperties: boolean;
    properties: Record<string, TSchema>;
  };
  const accepts = (key: string, value: unknown) =>
    Value.Check(schema.properties[key] as TSchema, value);

  test('knows the keys of the file and no others', () => {
    const keys = settings.flatMap(({ env, secret }) => (secret ? [env, `${env}_FILE`] : [env]));
    expect(Object.keys(schema.properties)).toEqual([
      ...keys.map((key) => key.toLowerCase()),
      'upstreams',
    ]);
    expect(schema.additionalProperties).toBe(false);
  });

  test('is plain JSON', () => {
    const plain: unknown = JSON.parse(JSON.stringify(schema));
    expect(plain).toMatchObject({
      $schema: 'https://json-schema.org/draft/2020-12/schema',
      type: 'object',
      properties: { port: { default: 12_000, anyOf: [{ type: 'integer', maximum: 65_535 }, {}] } },
    });
  });

  test('accepts the defaults, variables, lists in both forms and words in lower case', () => {
    for (const { env, default: fallback } of settings) {
      if (fallback !== undefined) expect(accepts(env.toLowerCase(), fallback)).toBe(true);
      expect(accepts(env.toLowerCase(), '${NAME}')).toBe(true);
    }
    expect(accepts('log_level', 'debug')).toBe(true);
    expect(accepts('allowed_api_keys', ['${KEY}', 'sk-test-key-1'])).toBe(true);
    expect(accepts('allowed_api_keys', 'sk-test-key-1,sk-test-key-2')).toBe(true);
    expect(accepts('upstream_slots', 4)).toBe(true);
    expect(accepts('llm_server_url', ['http://a:8080', 'http://${ENGINE}:8080'])).toBe(true);
    expect(accepts('llm_server_url', 'http://a:8080,http://b:8080')).toBe(true);
    const upstream = { url: 'http://${ENGINE}:8080', models: ['m'], slots: { m: 4 }, weight: 0.5 };
    expect(accepts('upstreams', [upstream, { url: 'http://b', slots: 'auto' }])).toBe(true);
  });

  test('refuses what the file may not hold', () => {
    expect(accepts('port', 70_000)).toBe(false);
    expect(accepts('log_level', 'loud')).toBe(false);
    expect(accepts('allowed_api_keys', ['short'])).toBe(false);
    expect(accepts('host', 5)).toBe(false);
    expect(accepts('upstream_slots', 0)).toBe(false);
    expect(accepts('upstreams', [])).toBe(false);
    expect(accepts('upstreams', [{ id: 'a' }])).toBe(false);
    expect(accepts('upstreams', [{ url: 'http://a', colour: 'red' }])).toBe(false);
    expect(accepts('upstreams', 'http://a')).toBe(false);
  });
});
