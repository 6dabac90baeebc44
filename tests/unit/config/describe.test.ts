/** What is written from the tables: the print and the JSON Schema. */
import { describe, expect, test } from 'bun:test';
import type { TSchema } from '@sinclair/typebox';
import { Value } from '@sinclair/typebox/value';
import { configJsonSchema, describeConfig } from '../../../src/config/describe.ts';
import { loadConfig, type Config } from '../../../src/config/load.ts';
import { settings } from '../../../src/config/settings.ts';
import { readUpstreams, type UpstreamSettings } from '../../../src/config/upstreams.ts';

const readFile = () => '';

function load(env: Record<string, string>): Config {
  return loadConfig({ env, readFile });
}

/** Returns the configuration that is loaded from the print of another. */
function printedAndLoaded(config: Config): Config {
  return loadConfig({ env: {}, file: { path: 'f', text: describeConfig(config) }, readFile });
}

describe('the print of the settings', () => {
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
    // The list of upstreams has the URLs of the servers.
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
    for (const upstream of [first, second]) expect(upstream).toContain('\n    slots: 4\n');
    expect(others).toEqual([]);
    expect(text).not.toContain('llm_server_url');
  });

  test('loads again as the same configuration, except for the secrets', () => {
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
});

function accepted(list: unknown): UpstreamSettings[] {
  const { upstreams, problems } = readUpstreams(list, 'f', { env: {}, readFile, slots: 'auto' });
  expect(problems).toEqual([]);
  return upstreams;
}

describe('the print of upstreams', () => {
  const list = accepted([
    {
      url: 'http://a',
      api_key: 'sk-secret-of-entry',
      aliases: { 'say "x": y': 'x' },
      slots: { x: 2 },
    },
    { url: 'http://b', models: ['x', '#y', 'no'], weight: 0.5, drain: true },
  ]);

  test('is a list that reads as the same one, but for the keys', () => {
    const text = describeConfig({ ...load({}), upstreams: list });
    const { upstreams } = Bun.YAML.parse(text) as { upstreams: unknown };
    expect(accepted(upstreams)).toEqual(
      list.map((upstream) => ({ ...upstream, apiKey: undefined })),
    );
  });

  test('has keys as masked comments', () => {
    const text = describeConfig({ ...load({}), upstreams: list });
    expect(text).not.toContain('secret');
    expect(text).toContain('    api_key: # sk-…ntry\n');
    expect(text).toContain('    api_key: # not set\n');
  });
});

const schema = configJsonSchema() as {
  additionalProperties: boolean;
  properties: Record<string, TSchema>;
};
const accepts = (key: string, value: unknown) =>
  Value.Check(schema.properties[key] as TSchema, value);

describe('the JSON Schema', () => {
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

  test('has a default where there is one, but none of a secret', () => {
    const defaultOf = (key: string): unknown => schema.properties[key]?.['default'];
    expect(defaultOf('llm_server_url')).toEqual(['http://localhost:8080/v1/completions']);
    for (const key of ['allowed_api_keys', 'default_model']) {
      expect(schema.properties[key]).not.toHaveProperty('default');
    }
  });

  test('has each word once, and in lower case as well', () => {
    const wordsOf = (key: string) =>
      schema.properties[key]?.['anyOf'].flatMap((option: TSchema) => option['const'] ?? []);
    expect(wordsOf('log_format')).toEqual(['auto', 'json', 'pretty']);
    const levels = ['DEBUG', 'INFO', 'WARNING', 'ERROR'];
    expect(wordsOf('log_level')).toEqual([...levels, ...levels.map((word) => word.toLowerCase())]);
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

  test('takes of an upstream what is read, and refuses what is not', () => {
    const { items } = JSON.parse(JSON.stringify(schema.properties['upstreams']));
    expect(items.required).toEqual(['url']);
    expect(Object.keys(items.properties)).toEqual([
      'url',
      'id',
      'api_key',
      'api_key_file',
      'kind',
      'models',
      'aliases',
      'slots',
      'weight',
      'drain',
    ]);
    for (const property of Object.values<{ description: string }>(items.properties)) {
      expect(property.description).toEndWith('.');
    }
    const check = (upstream: object) => accepts('upstreams', [{ url: 'http://a', ...upstream }]);
    const good = [
      {},
      { slots: 4 },
      { slots: '${N}' },
      { slots: { x: '${N}' } },
      { drain: '${YES}' },
      { models: ['x'] },
      { aliases: { a: 'x' } },
      { kind: 'vllm' },
      { api_key_file: 'x' },
      { weight: 0.5 },
    ];
    for (const upstream of good) expect([upstream, check(upstream)]).toEqual([upstream, true]);
    const bad = [
      { slots: 0 },
      { slots: { x: 0 } },
      { drain: 'yes' },
      { models: [] },
      { models: 'x' },
      { aliases: { a: 1 } },
      { aliases: '${N}' },
      { kind: 'tgi' },
      { weight: 0 },
      { name: 'x' },
      { url: undefined },
    ];
    for (const upstream of bad) expect([upstream, check(upstream)]).toEqual([upstream, false]);
  });
});
