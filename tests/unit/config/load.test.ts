/**
 * The settings: where each comes from, what each refuses, and that no secret is ever shown.
 */
import { describe, expect, test } from 'bun:test';
import { describeConfig } from '../../../src/config/describe.ts';
import { loadConfig, overrideProblems, type Config } from '../../../src/config/load.ts';
import { InputError } from '../../../src/config/problems.ts';
import { makePem } from '../../support/pem.ts';

type Sources = Parameters<typeof loadConfig>[0];

/** Files by path; others cannot be read. */
function reader(files: Record<string, string>) {
  return (path: string): string => {
    const text = files[path];
    if (text !== undefined) return text;
    throw Object.assign(new Error(`ENOENT: no such file, open '${path}'`), { code: 'ENOENT' });
  };
}

function load(sources: Partial<Sources> = {}, files: Record<string, string> = {}): Config {
  return loadConfig({ env: {}, readFile: reader(files), ...sources });
}

function yaml(text: string): { path: string; text: string } {
  return { path: 'gateway.yaml', text };
}

/** Returns the problems of sources that must be refused. */
function problemsOf(
  sources: Partial<Sources>,
  files: Record<string, string> = {},
): readonly string[] {
  try {
    load(sources, files);
  } catch (error) {
    if (error instanceof InputError) return error.problems;
    throw error;
  }
  throw new Error('the configuration was accepted');
}

describe('sources', () => {
  test('returns the documented defaults without any source', () => {
    expect({ ...load() }).toStrictEqual({
      host: '0.0.0.0',
      port: 12_000,
      allowedApiKeys: [],
      llmServerUrl: ['http://localhost:8080'],
      llmServerApiKey: undefined,
      llmServerKind: 'auto',
      upstreamSlots: 'auto',
      defaultModel: undefined,
      anyModelName: 'on',
      maxSlotsPerCaller: 0,
      batchApiKeys: [],
      maxQueuedRequests: 10_000,
      maxQueuedPerCaller: 1_000,
      maxQueuedBytes: 268_435_456,
      queueTimeoutMs: 300_000,
      queueFeedback: 'off',
      queueFeedbackAfterMs: 2_000,
      queueFeedbackEveryMs: 2_000,
      retryPolicy: 'unsent',
      slotReleaseTimeoutMs: 5_000,
      stallTimeoutMs: 30_000,
      contextPreflight: 'off',
      isolatePromptCache: 'off',
      logLevel: 'INFO',
      logFormat: 'auto',
      invalidKeyStatus: 403,
      corsAllowedOrigins: ['*'],
      maxBodyBytes: 33_554_432,
      maxBodyBytesTotal: undefined,
      connectTimeoutMs: 5_000,
      firstByteTimeoutMs: 600_000,
      idleTimeoutMs: 300_000,
      totalTimeoutMs: 3_600_000,
      requestBodyTimeoutMs: 60_000,
      keepAliveTimeoutMs: 75_000,
      shutdownGraceMs: 30_000,
      trustedUserHeader: undefined,
      trustedUserKeys: [],
      dataDir: 'data',
      adminApiKey: undefined,
      usageRetentionDays: 90,
      budgetTimeZone: 'UTC',
      injectUsage: 'on',
      ollamaLoading: 'off',
      metricsToken: undefined,
      metricsPort: 0,
      otelExporterOtlpEndpoint: undefined,
      otelExporterOtlpHeaders: [],
      otelServiceName: 'llm-gateway',
      otelTracesSampler: 'parentbased_always_on',
      otelTracesSamplerArg: 1,
      responseCache: 'off',
      responseCacheShared: 'off',
      responseCacheTtlMs: 3_600_000,
      responseCacheBytes: 67_108_864,
      tlsCertFile: undefined,
      tlsKeyFile: undefined,
      upstreams: [
        {
          id: 'engine',
          url: 'http://localhost:8080',
          apiKey: undefined,
          kind: 'auto',
          models: undefined,
          aliases: {},
          slots: 'auto',
          weight: 1,
          drain: false,
        },
      ],
    });
  });

  test('types the properties by the schema', () => {
    const config = load();
    const port: number = config.port;
    const level: 'DEBUG' | 'INFO' | 'WARNING' | 'ERROR' = config.logLevel;
    const key: string | undefined = config.llmServerApiKey;
    const keys: string[] = config.allowedApiKeys;
    const slots: 'auto' | 'unbounded' | number = config.upstreamSlots;
    expect([port, level, key, keys, slots]).toEqual([12_000, 'INFO', undefined, [], 'auto']);
    // @ts-expect-error -- an optional setting may be undefined
    const certain: string = config.llmServerApiKey;
    expect(certain).toBeUndefined();
  });

  test('takes the command line before the environment before the file before the default', () => {
    const file = yaml('port: 1\nhost: file\nlog_level: ERROR\nidle_timeout_ms: 7');
    const env = { PORT: '2', HOST: 'environment' };
    const config = load({ file, env, overrides: { PORT: '3' } });
    expect(config.port).toBe(3);
    expect(config.host).toBe('environment');
    expect(config.logLevel).toBe('ERROR');
    expect(config.idleTimeoutMs).toBe(7);
    expect(config.totalTimeoutMs).toBe(3_600_000);
  });

  test('judges the value that counts, not the ones it replaces', () => {
    expect(load({ file: yaml('port: soon'), env: { PORT: '2' } }).port).toBe(2);
  });

  test('takes empty and blank variables as not set', () => {
    const config = load({ env: { PORT: '', LLM_SERVER_API_KEY: '  ', CORS_ALLOWED_ORIGINS: '' } });
    expect(config.port).toBe(12_000);
    expect(config.llmServerApiKey).toBeUndefined();
    expect(config.corsAllowedOrigins).toEqual(['*']);
  });

  test('reads words in any case and returns them in one', () => {
    const env = {
      LOG_LEVEL: 'dEbUg',
      LOG_FORMAT: 'JSON',
      LLM_SERVER_KIND: 'vLLM',
      UPSTREAM_SLOTS: 'Unbounded',
    };
    expect(load({ env })).toMatchObject({
      logLevel: 'DEBUG',
      logFormat: 'json',
      llmServerKind: 'vllm',
      upstreamSlots: 'unbounded',
    });
  });

  test('splits lists at commas and line ends, trims them and drops the blanks', () => {
    for (const text of ['sk-test-key-1, sk-test-key-2,', 'sk-test-key-1\r\n\r\nsk-test-key-2\n']) {
      const { allowedApiKeys } = load({ env: { ALLOWED_API_KEYS: text } });
      expect(allowedApiKeys).toEqual(['sk-test-key-1', 'sk-test-key-2']);
    }
  });

  test('returns a configuration that cannot be changed', () => {
    expect(Object.isFrozen(load())).toBe(true);
  });
});

describe('the YAML file', () => {
  test('takes lists as lists and as strings with commas', () => {
    const wanted = ['https://a.example', 'http://localhost:3000'];
    const list = 'cors_allowed_origins:\n  - https://a.example\n  - http://localhost:3000\n';
    const text = 'cors_allowed_origins: "https://a.example, http://localhost:3000"';
    expect(load({ file: yaml(list) }).corsAllowedOrigins).toEqual(wanted);
    expect(load({ file: yaml(text) }).corsAllowedOrigins).toEqual(wanted);
    expect(load({ file: yaml('cors_allowed_origins: []') }).corsAllowedOrigins).toEqual([]);
  });

  test('takes an empty file and empty values as nothing', () => {
    expect(load({ file: yaml('') })).toEqual(load());
    expect(load({ file: yaml('# nothing yet\n') })).toEqual(load());
    expect(load({ file: yaml('port:\nhost: ""\n') })).toEqual(load());
  });

  test('fills ${NAME} in from the environment, in strings and in lists', () => {
    const file = yaml(
      'port: ${MY_PORT}\nllm_server_url: http://${ENGINE}:${ENGINE_PORT}/v1\nallowed_api_keys: ["${ONE}", sk-test-key-2]',
    );
    const env = { MY_PORT: '4', ENGINE: 'gpu', ENGINE_PORT: '5', ONE: 'sk-test-key-1' };
    expect(load({ file, env })).toMatchObject({
      port: 4,
      llmServerUrl: ['http://gpu:5'],
      allowedApiKeys: ['sk-test-key-1', 'sk-test-key-2'],
    });
  });

  test('fills in once: what a variable holds is not filled in again', () => {
    const file = yaml('default_model: ${A}');
    expect(load({ file, env: { A: '${B}', B: 'no' } }).defaultModel).toBe('${B}');
  });

  test('leaves a plain ${ where it is escaped', () => {
    const file = yaml('default_model: a/$${b}.gguf\notel_service_name: a/$b');
    expect(load({ file })).toMatchObject({ defaultModel: 'a/${b}.gguf', otelServiceName: 'a/$b' });
  });

  test('fails for every variable that is not set or empty, and for a malformed one', () => {
    const file = yaml('llm_server_url: http://${A}:${B}/${toString}\nhost: ${C-x}\nlog_level: ${D');
    expect(problemsOf({ file, env: { B: '' } })).toEqual([
      'gateway.yaml: host: a ${ that is not of the form ${NAME}; write $${ for a plain ${',
      'gateway.yaml: llm_server_url: ${A} is not set in the environment',
      'gateway.yaml: llm_server_url: ${B} is not set in the environment',
      'gateway.yaml: llm_server_url: ${toString} is not set in the environment',
      'gateway.yaml: log_level: a ${ that is not of the form ${NAME}; write $${ for a plain ${',
    ]);
  });

  test('fails for a variable that is not set also where another source wins over the value', () => {
    const file = yaml(
      'port: ${A}\nallowed_api_keys: ["${B}"]\nllm_server_api_key_file: ${C}\nhost: ${D}',
    );
    const env = { PORT: 'x', ALLOWED_API_KEYS: 'sk-test-key-1', LLM_SERVER_API_KEY: 'k', D: 'd' };
    expect(problemsOf({ file, env })).toEqual([
      'gateway.yaml: port: ${A} is not set in the environment',
      'PORT: found "x"; allowed is a whole number from 0 to 65535',
      'gateway.yaml: allowed_api_keys: ${B} is not set in the environment',
      'gateway.yaml: llm_server_api_key_file: ${C} is not set in the environment',
    ]);
  });

  test('refuses a key that stands twice, and judges the values all the same', () => {
    const file = yaml('port: 1\nport: x\nupstreams:\n  - url: http://a\n    url: http://b\n');
    expect(problemsOf({ file })).toEqual([
      'gateway.yaml: line 2, column 1: this key stands there already',
      'gateway.yaml: line 5, column 5: this key stands there already',
      'gateway.yaml: port: found "x"; allowed is a whole number from 0 to 65535',
    ]);
  });

  test('refuses keys it does not know and names a near one', () => {
    const text =
      'prot: 1\nconnectTimeoutMs: 1\nLOG-LEVEL: INFO\nhost_file: x\n__proto__: 1\nPORT=1 a: 2';
    expect(problemsOf({ file: yaml(text) })).toEqual([
      'gateway.yaml: no setting is called "prot"; did you mean port?',
      'gateway.yaml: no setting is called "connectTimeoutMs"; did you mean connect_timeout_ms?',
      'gateway.yaml: no setting is called "LOG-LEVEL"; did you mean log_level?',
      'gateway.yaml: no setting is called "host_file"',
      'gateway.yaml: no setting is called "__proto__"',
      'gateway.yaml: a key of 8 characters (not shown) is no name of a setting',
    ]);
  });

  test.each(['- port: 1', 'port', '5'])('refuses a file that is not one mapping: %j', (text) => {
    expect(problemsOf({ file: yaml(text) })).toEqual([
      expect.stringMatching(/^gateway.yaml: found .*; allowed is a mapping of settings$/),
    ]);
  });

  test('refuses a file that is not YAML and says where, and judges the environment all the same', () => {
    const problems = problemsOf({
      file: yaml('host: a\nport 1\nlog_level: INFO'),
      env: { PORT: 'x' },
    });
    expect(problems).toHaveLength(2);
    expect(problems[0]).toStartWith('gateway.yaml: line 2, column 1: ');
    expect(problems[1]).toStartWith('PORT: found "x"');
  });

  test('that is not YAML may hold what else is not set', () => {
    const env = { TRUSTED_USER_HEADER: 'x-user', TLS_KEY_FILE: '/run/gone' };
    const file = yaml('a: [');
    const problems = problemsOf({ file, env, isForStart: true, countIssuedKeys: () => 0 });
    expect(problems).toEqual([
      expect.stringMatching(/^gateway\.yaml: line 1, column \d+: /),
      'TLS_KEY_FILE: cannot read the file "/run/gone" (ENOENT)',
    ]);
  });

  test('refuses values of the wrong kind', () => {
    const text =
      'host: {a: 1}\nport: 1.5\nlog_level: true\nallowed_api_keys: [12345678, {}, null]\ntls_key_file: [x]';
    const key = 'allowed is a key of at least 8 visible ASCII characters without space or comma';
    expect(problemsOf({ file: yaml(text) })).toEqual([
      'gateway.yaml: host: found a mapping; allowed is a host name or IP address',
      'gateway.yaml: port: found 1.5; allowed is a whole number from 0 to 65535',
      `gateway.yaml: allowed_api_keys: entry 1 of 3, found a number without quotes; ${key}`,
      `gateway.yaml: allowed_api_keys: entry 2 of 3, found a mapping; ${key}`,
      `gateway.yaml: allowed_api_keys: entry 3 of 3, found nothing; ${key}`,
      'gateway.yaml: log_level: found true; allowed is one of DEBUG, INFO, WARNING, ERROR (in any case)',
      'gateway.yaml: tls_key_file: found a list; allowed is the path of a PEM file',
    ]);
  });
});

describe('secrets in files', () => {
  const files = {
    '/run/keys': 'sk-test-key-1\nsk-test-key-2, sk-test-key-3\r\n',
    '/run/engine': 'token-abc\n',
    '/run/trusted': 'sk-test-key-2\n',
    '/run/empty': ' \n',
  };

  test('reads each *_FILE variable, from the environment and from the YAML file', () => {
    const names = {
      ALLOWED_API_KEYS_FILE: '/run/keys',
      LLM_SERVER_API_KEY_FILE: '/run/engine',
      TRUSTED_USER_KEYS_FILE: '/run/trusted',
      TRUSTED_USER_HEADER: 'x-user',
    };
    const wanted = {
      allowedApiKeys: ['sk-test-key-1', 'sk-test-key-2', 'sk-test-key-3'],
      llmServerApiKey: 'token-abc',
      trustedUserKeys: ['sk-test-key-2'],
    };
    expect(load({ env: names }, files)).toMatchObject(wanted);
    const lines = Object.entries(names).map(([name, value]) => `${name.toLowerCase()}: ${value}`);
    expect(load({ file: yaml(lines.join('\n')) }, files)).toMatchObject(wanted);
  });

  test('refuses a secret together with its file, unless a stronger source has either', () => {
    const env = { ALLOWED_API_KEYS: 'sk-test-key-1', ALLOWED_API_KEYS_FILE: '/run/keys' };
    expect(problemsOf({ env }, files)).toEqual([
      'ALLOWED_API_KEYS and ALLOWED_API_KEYS_FILE are both set; keep one of them',
    ]);
    const file = yaml('allowed_api_keys: sk-test-key-9');
    expect(
      load({ file, env: { ALLOWED_API_KEYS_FILE: '/run/keys' } }, files).allowedApiKeys,
    ).toHaveLength(3);
  });

  test('names the variable and the path of a file that is missing or empty', () => {
    const env = { ALLOWED_API_KEYS_FILE: '/run/gone', LLM_SERVER_API_KEY_FILE: '/run/empty' };
    expect(problemsOf({ env }, files)).toEqual([
      'ALLOWED_API_KEYS_FILE: cannot read the file "/run/gone" (ENOENT)',
      'LLM_SERVER_API_KEY_FILE: the file "/run/empty" is empty',
    ]);
    expect(problemsOf({ file: yaml('allowed_api_keys_file: 5') })).toEqual([
      'gateway.yaml: allowed_api_keys_file: found 5; allowed is the path of a file',
    ]);
  });

  test('has no *_FILE variable for what is no secret', () => {
    expect(load({ env: { HOST_FILE: '/run/keys' } }, files).host).toBe('0.0.0.0');
  });
});

describe('the rules', () => {
  test.each([
    ['PORT', ['0', '65535'], ['-1', '65536', '1.5', '1e3', '0x10', 'http']],
    ['MAX_BODY_BYTES', ['1', '2147483647'], ['0', '2147483648', '32MB']],
    ['MAX_BODY_BYTES_TOTAL', ['1', '1099511627776'], ['0', '1099511627777', '1GB']],
    ['CONNECT_TIMEOUT_MS', ['0', '2147483647'], ['-1', '2147483648', '5s']],
    ['FIRST_BYTE_TIMEOUT_MS', ['0'], ['-1']],
    ['IDLE_TIMEOUT_MS', ['0'], ['-1']],
    ['TOTAL_TIMEOUT_MS', ['0'], ['-1']],
    ['REQUEST_BODY_TIMEOUT_MS', ['0'], ['-1']],
    ['QUEUE_FEEDBACK_EVERY_MS', ['100'], ['0', '99']],
    ['KEEP_ALIVE_TIMEOUT_MS', ['1000', '255000'], ['0', '999', '255001']],
    ['SHUTDOWN_GRACE_MS', ['0'], ['-1']],
    ['QUEUE_TIMEOUT_MS', ['0', '2147483647'], ['-1', '2147483648']],
    ['QUEUE_FEEDBACK_AFTER_MS', ['0'], ['-1']],
    ['SLOT_RELEASE_TIMEOUT_MS', ['0'], ['-1']],
    ['STALL_TIMEOUT_MS', ['0'], ['-1']],
    ['MAX_SLOTS_PER_CALLER', ['0', '65536'], ['-1', '65537']],
    ['MAX_QUEUED_REQUESTS', ['0', '1000000'], ['-1', '1000001']],
    ['MAX_QUEUED_PER_CALLER', ['0', '1000000'], ['-1', '1000001']],
    ['MAX_QUEUED_BYTES', ['0', '1099511627776'], ['-1', '1099511627777', '1GB']],
    ['UPSTREAM_SLOTS', ['auto', 'UNBOUNDED', '1', '65536'], ['0', '65537', '1.5', 'many']],
    ['DEFAULT_MODEL', ['qwen3-8b', 'a model, with a comma', 'm'.repeat(200)], ['m'.repeat(201)]],
    ['ANY_MODEL_NAME', ['on', 'Off'], ['yes', '1']],
    ['QUEUE_FEEDBACK', ['on', 'off'], ['always']],
    ['CONTEXT_PREFLIGHT', ['on', 'off'], ['true']],
    ['ISOLATE_PROMPT_CACHE', ['on', 'off'], ['true']],
    ['OTEL_TRACES_SAMPLER_ARG', ['0', '0.25', '1'], ['-1', '1.1', '.5', '1e-1', 'half']],
    ['RETRY_POLICY', ['never', 'unsent', 'Resets'], ['always']],
    [
      'LLM_SERVER_URL',
      ['http://engine', 'http://a:8080/v1, https://b.example/team,'],
      ['engine', 'http://a,ftp://b', 'http://a/v1,http://a'],
    ],
    ['HOST', ['127.0.0.1', '::', 'localhost'], ['two hosts']],
    ['LLM_SERVER_KIND', ['auto', 'llama.cpp', 'vllm', 'sglang', 'ollama', 'openai'], ['tgi']],
    ['LOG_LEVEL', ['debug', 'Info', 'WARNING', 'error'], ['WARN', 'trace']],
    ['LOG_FORMAT', ['auto', 'json', 'pretty'], ['text']],
    ['LLM_SERVER_API_KEY', ['EMPTY', 'a,b'], ['two words', 'ключ']],
    [
      'CORS_ALLOWED_ORIGINS',
      ['*', 'https://Chat.example', 'http://localhost:3000,app://obsidian.md'],
      ['https://a.example/', 'chat.example', 'https://a.example, b'],
    ],
    [
      'ALLOWED_API_KEYS',
      ['sk-test-key-1', '12345678', '!~{}[]\'"'],
      ['1234567', 'sk-test key-1', 'sk-тест-key-1', 'sk-test-key-1,sk-test-key-1'],
    ],
  ] as const)('%s takes %j and refuses %j', (env, good, bad) => {
    for (const value of good) expect(() => load({ env: { [env]: value } })).not.toThrow();
    for (const value of bad) {
      const [problem, ...others] = problemsOf({ env: { [env]: value } });
      expect(problem).toStartWith(`${env}: `);
      expect(others).toEqual([]);
    }
  });

  test('returns origins and the header of users in lower case', () => {
    const env = {
      CORS_ALLOWED_ORIGINS: 'https://Chat.Example',
      TRUSTED_USER_HEADER: 'X-OpenWebUI-User-Id',
      TRUSTED_USER_KEYS: 'sk-test-key-1',
      ALLOWED_API_KEYS: 'sk-test-key-1',
    };
    expect(load({ env })).toMatchObject({
      invalidKeyStatus: 403,
      corsAllowedOrigins: ['https://chat.example'],
      trustedUserHeader: 'x-openwebui-user-id',
      trustedUserKeys: ['sk-test-key-1'],
    });
  });

  test.each(['Authorization', 'Proxy-Authorization', 'x-api-key', 'Cookie', 'x user', 'x:user'])(
    'refuses %j as the header of users',
    (name) => {
      const env = {
        TRUSTED_USER_HEADER: name,
        TRUSTED_USER_KEYS: 'sk-test-key-1',
        ALLOWED_API_KEYS: 'sk-test-key-1',
      };
      expect(problemsOf({ env })).toEqual([
        `TRUSTED_USER_HEADER: found "${name}"; allowed is the name of a header that carries no credential`,
      ]);
    },
  );

  test('wants the header of users and the trusted keys together', () => {
    const keys = { ALLOWED_API_KEYS: 'sk-test-key-1' };
    const rule = 'allowed is both of TRUSTED_USER_HEADER and TRUSTED_USER_KEYS or neither';
    expect(problemsOf({ env: { ...keys, TRUSTED_USER_HEADER: 'x-user' } })).toEqual([
      `TRUSTED_USER_KEYS: not set; ${rule}`,
    ]);
    expect(problemsOf({ env: { ...keys, TRUSTED_USER_KEYS: 'sk-test-key-1' } })).toEqual([
      `TRUSTED_USER_HEADER: not set; ${rule}`,
    ]);
  });

  test('wants every trusted key among the allowed ones', () => {
    const env = {
      ALLOWED_API_KEYS: 'sk-test-key-1',
      TRUSTED_USER_KEYS: 'sk-test-key-1,sk-test-key-2',
      TRUSTED_USER_HEADER: 'x-user',
    };
    expect(problemsOf({ env })).toEqual([
      'TRUSTED_USER_KEYS: entry 2 of 2 is not in ALLOWED_API_KEYS',
    ]);
  });

  test('wants every key of the class batch among the allowed ones', () => {
    const allowed = { ALLOWED_API_KEYS: 'sk-test-key-1,sk-test-key-2' };
    const batchOf = (keys: string) => ({ env: { ...allowed, BATCH_API_KEYS: keys } });
    expect(load(batchOf('sk-test-key-2')).batchApiKeys).toEqual(['sk-test-key-2']);
    expect(problemsOf(batchOf('sk-test-key-2,sk-test-key-3'))).toEqual([
      'BATCH_API_KEYS: entry 2 of 2 is not in ALLOWED_API_KEYS',
    ]);
    expect(problemsOf({ env: { BATCH_API_KEYS: 'sk-test-key-1' } })).toEqual([
      'BATCH_API_KEYS: entry 1 of 1 is not in ALLOWED_API_KEYS',
    ]);
  });

  test('wants the certificate and its key together', () => {
    const rule = 'allowed is both of TLS_CERT_FILE and TLS_KEY_FILE or neither';
    expect(problemsOf({ env: { TLS_CERT_FILE: 'a' } })).toEqual([`TLS_KEY_FILE: not set; ${rule}`]);
    expect(problemsOf({ env: { TLS_KEY_FILE: 'a' } })).toEqual([`TLS_CERT_FILE: not set; ${rule}`]);
    const both = { TLS_CERT_FILE: 'a', TLS_KEY_FILE: 'b' };
    expect(load({ env: both })).toMatchObject({ tlsCertFile: 'a', tlsKeyFile: 'b' });
  });

  test('wants for a start a certificate and a key that can be read and used, and reports problems of both', () => {
    const env = { TLS_CERT_FILE: '/nope', TLS_KEY_FILE: '/nope2' };
    const start = { env, isForStart: true } as const;
    const { cert, key } = makePem();
    expect(() => load(start, { '/nope': cert, '/nope2': key })).not.toThrow();
    expect(problemsOf(start)).toEqual([
      'TLS_CERT_FILE: cannot read the file "/nope" (ENOENT)',
      'TLS_KEY_FILE: cannot read the file "/nope2" (ENOENT)',
    ]);
    expect(problemsOf(start, { '/nope': 'x', '/nope2': 'y' })).toEqual([
      'TLS_CERT_FILE, the file "/nope": found no usable certificate; allowed is a chain in PEM form',
      'TLS_KEY_FILE, the file "/nope2": found no usable private key; allowed is a private key in PEM form without a passphrase',
    ]);
    const file = yaml('tls_cert_file: ${A}\ntls_key_file: /nope2');
    expect(problemsOf({ ...start, file, env: { A: '/nope' } })).toEqual([
      'gateway.yaml: tls_cert_file: cannot read the file (ENOENT)',
      'gateway.yaml: tls_key_file: cannot read the file "/nope2" (ENOENT)',
    ]);
  });

  test('wants another port for metrics if both would be on 127.0.0.1', () => {
    const env = { PORT: '9000', METRICS_PORT: '9000' };
    const problem = 'METRICS_PORT: is that of PORT as well; choose another one';
    for (const HOST of ['', '::', 'localhost', '127.0.0.1']) {
      expect(problemsOf({ env: { ...env, HOST } })).toEqual([problem]);
    }
    expect(load({ env: { ...env, HOST: '192.0.2.1' } }).metricsPort).toBe(9000);
    expect(load({ env: { PORT: '0', METRICS_PORT: '0' } }).metricsPort).toBe(0);
  });

  test('reports every problem at once, each with its place', () => {
    const problems = problemsOf({
      env: {
        PORT: '70000',
        LOG_LEVEL: 'loud',
        ALLOWED_API_KEYS: 'short,sk-test-key-1,sk-test-key-1',
        LLM_SERVER_URL: 'ftp://engine',
        LLM_SERVER_API_KEY_FILE: '/run/gone',
        TRUSTED_USER_HEADER: 'x-user',
        TLS_CERT_FILE: '/run/gone.pem',
      },
      file: yaml('colour: red\nidle_timeout_ms: soon\nmax_body_bytes: ${GONE}'),
      overrides: { HOST: 'two hosts' },
      isForStart: true,
    });
    expect(problems).toEqual([
      'gateway.yaml: no setting is called "colour"',
      '--host: found "two hosts"; allowed is a host name or IP address',
      'PORT: found "70000"; allowed is a whole number from 0 to 65535',
      'ALLOWED_API_KEYS: entry 1 of 3, found 5 characters (not shown); allowed is a key of at least 8 visible ASCII characters without space or comma',
      'ALLOWED_API_KEYS: entry 3 repeats entry 2',
      'LLM_SERVER_URL: entry 1 of 1, found "ftp://engine" (it does not start with http:// or https://, or is no URL); allowed is an http:// or https:// URL, with or without /v1/completions',
      'LLM_SERVER_API_KEY_FILE: cannot read the file "/run/gone" (ENOENT)',
      'LOG_LEVEL: found "loud"; allowed is one of DEBUG, INFO, WARNING, ERROR (in any case)',
      'gateway.yaml: max_body_bytes: ${GONE} is not set in the environment',
      'gateway.yaml: idle_timeout_ms: found "soon"; allowed is a whole number from 0 to 2147483647',
      'TRUSTED_USER_KEYS: not set; allowed is both of TRUSTED_USER_HEADER and TRUSTED_USER_KEYS or neither',
      'TLS_KEY_FILE: not set; allowed is both of TLS_CERT_FILE and TLS_KEY_FILE or neither',
      'TLS_CERT_FILE: cannot read the file "/run/gone.pem" (ENOENT)',
    ]);
  });

  test('puts every problem into the message of the error', () => {
    expect(() => load({ env: { HOST: 'two hosts', PORT: 'x' } })).toThrow(
      'The configuration is wrong:\n' +
        '- HOST: found "two hosts"; allowed is a host name or IP address\n' +
        '- PORT: found "x"; allowed is a whole number from 0 to 65535',
    );
  });
});

describe('a key', () => {
  const noKey = expect.stringMatching(/^ALLOWED_API_KEYS: no API key is configured/);
  const issued = (count: number) => ({ countIssuedKeys: () => count });

  test('is wanted where issued ones are counted: configured, issued, or the operator’s', () => {
    expect(load({}).allowedApiKeys).toEqual([]);
    expect(problemsOf(issued(0))).toEqual([noKey]);
    expect(load(issued(1)).allowedApiKeys).toEqual([]);
    expect(() => load({ ...issued(0), env: { ALLOWED_API_KEYS: 'sk-test-key-1' } })).not.toThrow();
    expect(() => load({ ...issued(0), env: { ADMIN_API_KEY: 'k'.repeat(16) } })).not.toThrow();
  });

  test('that is missing is reported together with all other problems, unless a wrong one is set', () => {
    expect(problemsOf({ ...issued(0), env: { PORT: 'x' } })).toEqual([
      'PORT: found "x"; allowed is a whole number from 0 to 65535',
      noKey,
    ]);
    expect(problemsOf({ ...issued(0), env: { ALLOWED_API_KEYS: 'short' } })).toEqual([
      expect.stringMatching(/^ALLOWED_API_KEYS: entry 1 of 1, /),
    ]);
  });

  test('is counted in DATA_DIR, and a problem of that folder is reported', () => {
    const countIssuedKeys = (dir: string): number => {
      throw new Error(`${dir} is a file, not a folder`);
    };
    const env = { DATA_DIR: '/etc/hosts', ALLOWED_API_KEYS: 'sk-test-key-1' };
    expect(problemsOf({ env, countIssuedKeys })).toEqual([
      'DATA_DIR: /etc/hosts is a file, not a folder',
    ]);
  });
});

describe('the command line', () => {
  test('is judged by itself', () => {
    expect(overrideProblems({ HOST: 'a', PORT: '0' })).toEqual([]);
    expect(overrideProblems({ HOST: 'two hosts', PORT: '70000' })).toEqual([
      '--host: found "two hosts"; allowed is a host name or IP address',
      '--port: found "70000"; allowed is a whole number from 0 to 65535',
    ]);
  });
});

describe('upstreams', () => {
  const list = 'upstreams:\n  - url: http://a:8080\n  - url: http://b:8080\n    id: spare\n';

  test('are those that LLM_SERVER_URL names, with one key, kind and number of slots', () => {
    const env = {
      LLM_SERVER_URL: 'http://a:8080/v1/completions, http://b:8080',
      LLM_SERVER_API_KEY: 'token-abc',
      LLM_SERVER_KIND: 'vllm',
      UPSTREAM_SLOTS: '4',
    };
    const config = load({ env });
    expect(config.llmServerUrl).toEqual(['http://a:8080', 'http://b:8080']);
    const shared = { apiKey: 'token-abc', kind: 'vllm', slots: 4, weight: 1, drain: false };
    expect(config.upstreams).toEqual([
      expect.objectContaining({ id: 'engine-1', url: 'http://a:8080', ...shared }),
      expect.objectContaining({ id: 'engine-2', url: 'http://b:8080', ...shared }),
    ]);
  });

  test('are those of the file, where it lists them; UPSTREAM_SLOTS applies to one that names none', () => {
    const file = yaml(`${list}    slots: 2\n`);
    expect(load({ file, env: { UPSTREAM_SLOTS: '8' } }).upstreams).toEqual([
      expect.objectContaining({ id: 'engine-1', url: 'http://a:8080', slots: 8 }),
      expect.objectContaining({ id: 'spare', url: 'http://b:8080', slots: 2 }),
    ]);
  });

  test('are not named twice: in the list and in LLM_SERVER_URL, wherever that is set', () => {
    const problem = 'gateway.yaml: upstreams and LLM_SERVER_URL are both set; keep one of them';
    const url = { LLM_SERVER_URL: 'http://a:8080' };
    expect(problemsOf({ file: yaml(list), env: url })).toEqual([problem]);
    expect(problemsOf({ file: yaml(list), overrides: url })).toEqual([problem]);
    expect(problemsOf({ file: yaml(`${list}llm_server_url: http://a:8080`) })).toEqual([problem]);
    expect(load({ file: yaml(list), env: { LLM_SERVER_URL: ' ' } }).upstreams).toHaveLength(2);
  });

  test('fill ${NAME} in from the environment, and read their keys from files', () => {
    const file = yaml(`
upstreams:
  - url: http://\${ENGINE}:8080
    api_key_file: /run/engine
`);
    expect(load({ file, env: { ENGINE: 'gpu' } }, { '/run/engine': 'token-abc\n' })).toMatchObject({
      upstreams: [{ url: 'http://gpu:8080', apiKey: 'token-abc' }],
    });
    expect(problemsOf({ file })).toEqual([
      'gateway.yaml: upstreams[1].url: ${ENGINE} is not set in the environment',
      'gateway.yaml: upstreams[1].api_key_file: cannot read the file "/run/engine" (ENOENT)',
    ]);
  });

  test('report their problems together with those of the settings', () => {
    const file = yaml(
      'idle_timeout_ms: soon\nupstreams:\n  - id: a b\n    url: http://a:8080\n  - 5\n',
    );
    expect(problemsOf({ file, env: { LOG_LEVEL: 'loud' } })).toEqual([
      'LOG_LEVEL: found "loud"; allowed is one of DEBUG, INFO, WARNING, ERROR (in any case)',
      'gateway.yaml: idle_timeout_ms: found "soon"; allowed is a whole number from 0 to 2147483647',
      'gateway.yaml: upstreams[1].id: found "a b"; allowed is 1 to 64 of the characters A-Z, a-z, 0-9, dot, _ and -',
      'gateway.yaml: upstreams[2]: found a number without quotes; allowed is a mapping with a url',
    ]);
  });

  test.each(['[]', '5', 'http://a:8080', '{url: "http://a:8080"}'])(
    'refuses what is no list with an upstream: %s',
    (text) => {
      expect(problemsOf({ file: yaml(`upstreams: ${text}`) })).toEqual([
        expect.stringMatching(
          /^gateway\.yaml: upstreams: found .*; allowed is a list of upstreams$/,
        ),
      ]);
    },
  );

  test('have a key of the file that is told from a near one', () => {
    expect(problemsOf({ file: yaml('Upstreams: []') })).toEqual([
      'gateway.yaml: no setting is called "Upstreams"; did you mean upstreams?',
    ]);
  });

  test('have no variable', () => {
    expect(load({ env: { UPSTREAMS: 'http://a:8080' } })).toEqual(load());
  });
});

describe('secrets', () => {
  /** Returns a generator of numbers from 0 to 1, the same ones in every run (mulberry32). */
  function seeded(seed: number): () => number {
    let state = seed;
    return () => {
      state = (state + 0x6d2b79f5) | 0;
      let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
      mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
      return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
    };
  }

  test('appear in no message and in no print, in whatever source they are and whatever is wrong', () => {
    const random = seeded(20_261_124);
    const pick = <T>(...options: T[]): T => options[Math.floor(random() * options.length)] as T;
    const alphabet = 'abcdefghijkmnopqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ23456789-_+/=#$@?:{}';
    const secretOf = (length: number) =>
      Array.from({ length }, () => alphabet[Math.floor(random() * alphabet.length)]).join('');
    let printed = 0;
    let refused = 0;
    for (let round = 0; round < 2_000; round++) {
      const secrets = Array.from({ length: 4 }, () => secretOf(12 + Math.floor(random() * 30)));
      const [one, two, three, four] = secrets as [string, string, string, string];
      const wrong = pick(`${one},${one}`, `${one} ${two}`, `${one},é${two}`);
      const keys = pick(one, `${one},${two}`, `${two}\n${one}\n`, wrong);
      const quoted = JSON.stringify(keys).replaceAll('${', '$${');
      const goodFile = pick(
        undefined,
        `allowed_api_keys: ${quoted}`,
        `allowed_api_keys: [${quoted}]`,
        `upstreams:\n  - url: http://a:8080\n    api_key: ${JSON.stringify(two).replaceAll('${', '$${')}`,
      );
      const badFile = pick(
        `allowed_api_keys: [${quoted}, 5]`,
        `allowed_api_keys: {a: ${quoted}}`,
        `allowed_api_keys: [${quoted}`,
        quoted,
        `[${quoted}]`,
        `allowed_api_keys: *${one}`,
        `allowed_api_keys: !${one} ${two}`,
        `allowed_api_keys: "${one}`,
        `allowed_api_keys: ${one}: ${two}`,
        `allowed_api_keys: \n${one}\n- ${two}`,
        `tls_cert_file: \${THEIR_KEY}\ntls_key_file: \${THEIR_KEY}`,
        `${JSON.stringify(`ALLOWED_API_KEYS=${keys}`)}: 5`,
        'allowed_api_keys: ${THEIR_KEY}\nport: ${THEIR_KEY}\nhost: ${THEIR_KEY} ${THEIR_KEY}',
        'llm_server_url: ${THEIR_KEY}\ncors_allowed_origins: ["${THEIR_KEY}"]',
        'allowed_api_keys_file: /run/${THEIR_KEY}',
        'upstreams: ["${THEIR_KEY}"]',
        'upstreams: ${THEIR_KEY}',
        'upstreams:\n  - url: http://${THEIR_KEY}@engine\n    kind: ${THEIR_KEY}',
        `upstreams:\n  - url: http://engine?${quoted}\n    api_key: [${quoted}]`,
      );
      const file = pick(goodFile, goodFile, badFile);
      const env = {
        THEIR_KEY: four,
        ...pick<Record<string, string>>(
          {},
          { ALLOWED_API_KEYS: keys },
          { ALLOWED_API_KEYS_FILE: '/run/keys' },
          { ALLOWED_API_KEYS: keys, ALLOWED_API_KEYS_FILE: '/run/keys' },
        ),
        ...pick<Record<string, string>>(
          { LLM_SERVER_API_KEY: three },
          { LLM_SERVER_API_KEY: three, LLM_SERVER_URL: 'http://a:8080,http://b:8080' },
          { LLM_SERVER_API_KEY_FILE: '/run/engine' },
          { LLM_SERVER_API_KEY: `${three} ${three}` },
          { LLM_SERVER_URL: `http://user:${three}@engine` },
          { LLM_SERVER_URL: `http://engine/v1?key=${three}` },
        ),
        ...pick<Record<string, string>>(
          {},
          { TRUSTED_USER_KEYS: one, TRUSTED_USER_HEADER: 'x-user' },
          { TRUSTED_USER_KEYS: `${one},${three}` },
          { BATCH_API_KEYS: one },
          { BATCH_API_KEYS: `${one},${three}` },
        ),
      };
      const overrides = pick<Record<string, string>>({}, {}, { ALLOWED_API_KEYS: keys });
      let output: string;
      try {
        output = describeConfig(
          load(
            {
              env,
              overrides,
              isForStart: true,
              ...(file === undefined ? {} : { file: yaml(file) }),
            },
            { '/run/keys': `${keys}\n`, '/run/engine': pick(three, `${three}\n${four}\n`) },
          ),
        );
        printed++;
      } catch (error) {
        if (!(error instanceof InputError)) throw error;
        output = `${error.message}\n${error.stack}\n${Bun.inspect(error)}`;
        refused++;
      }
      // A part of a secret must not appear either; a hint has at most 4 of its characters in one piece.
      for (const secret of secrets) {
        expect(output).not.toContain(secret.slice(0, 6));
        expect(output).not.toContain(secret.slice(-6));
      }
    }
    expect(printed).toBeGreaterThan(100);
    expect(refused).toBeGreaterThan(100);
  }, 60_000);
});
