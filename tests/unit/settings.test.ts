/**
 * The table of settings: the base URL, the hint of a key, and that the print, the documentation and the schema agree.
 */
import { describe, expect, test } from 'bun:test';
import { Value } from '@sinclair/typebox/value';
import type { TSchema } from '@sinclair/typebox';
import { join } from 'node:path';
import { loadConfig } from '../../src/config.ts';
import {
  configJsonSchema,
  describeConfig,
  maskKey,
  serverBaseUrl,
  settings,
  settingsMarkdown,
} from '../../src/settings.ts';
import type { Config } from '../../src/settings.ts';

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
    ['http://a:8080,http://b:8080', 'several servers are not supported yet'],
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
    const lines = describeConfig(load(env)).trimEnd().split('\n');
    expect(lines).toHaveLength(settings.length);
    expect(lines).toContain('allowed_api_keys: # 2 keys: …-1, sk-…cdef');
    expect(lines).toContain('llm_server_api_key: # 1 key: …');
    expect(lines).toContain('trusted_user_keys: # not set');
    expect(lines).toContain('port: 8000');
    expect(lines).toContain('llm_server_url: http://localhost:8080');
  });

  test('prints what loads again as the same configuration, but for the secrets', () => {
    const env = {
      HOST: '::',
      ALLOWED_API_KEYS: 'sk-test-key-1',
      CORS_ALLOWED_ORIGINS: '*,https://b.example',
      LOG_FORMAT: 'json',
      TLS_CERT_FILE: 'a: b',
      TLS_KEY_FILE: '12',
    };
    const config = load(env);
    const again = loadConfig({
      env: {},
      file: { path: 'f', text: describeConfig(config) },
      readFile,
    });
    expect(again).toEqual({ ...config, allowedApiKeys: [] });
  });

  test('documents every setting, with its default, in .env.example', async () => {
    const text = await Bun.file(join(import.meta.dir, '../../.env.example')).text();
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
    expect(withUnits).toHaveLength(12);
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
    expect(Object.keys(schema.properties)).toEqual(keys.map((key) => key.toLowerCase()));
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
  });

  test('refuses what the file may not hold', () => {
    expect(accepts('port', 70_000)).toBe(false);
    expect(accepts('log_level', 'loud')).toBe(false);
    expect(accepts('allowed_api_keys', ['short'])).toBe(false);
    expect(accepts('host', 5)).toBe(false);
  });
});
