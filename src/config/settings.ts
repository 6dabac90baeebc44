/**
 * The table of settings and all that is said from it: the type of the configuration, its redacted print, the README's
 * table, the JSON Schema. It reads no source (config.ts does) and never shows a secret's value.
 */
import { Type, type Static, type TSchema } from '@sinclair/typebox';
import { maskKey } from '../log/masking.ts';

// A schema's `description` says which values it allows, a setting's description what they are for.
// 2 ** 31 - 1 ms (24.8 days) is the longest delay of a timer: a longer one would fire at once.
const milliseconds = Type.Integer({ minimum: 0, maximum: 2 ** 31 - 1 });
const pemFile = Type.String({ pattern: '^[^\\r\\n]+$', description: 'the path of a PEM file' });
const clientKeys = Type.Array(
  Type.String({
    pattern: '^[!-+\\--~]{8,}$',
    description: 'a key of at least 8 visible ASCII characters without space or comma',
  }),
  { uniqueItems: true },
);

/** One secret that the operator makes up. */
const adminKey = Type.String({
  pattern: '^[!-~]{16,}$',
  description: 'at least 16 visible ASCII characters without space',
});

function oneOf<const T extends readonly string[]>(...values: T) {
  return Type.Unsafe<T[number]>(Type.Union(values.map((value) => Type.Literal(value))));
}

interface Extras {
  /** Its value stands in no message and no print, and `<NAME>_FILE` may name a file that holds it. */
  secret?: boolean;
  /** Turns a given string into what is checked and kept; its Error says why it cannot, without the string. */
  decode?: (text: string) => string;
}

const secret = { secret: true } as const;
const lowerCase = { decode: (text: string) => text.toLowerCase() } as const;

function setting<const Env extends string, S extends TSchema, D extends Static<S> | undefined>(
  env: Env,
  schema: S,
  fallback: D,
  description: string,
  extras: Extras = {},
) {
  const { secret = false, decode = (text: string) => text } = extras;
  return { env, schema, default: fallback, description, secret, decode };
}

const onOff = oneOf('off', 'on');

function timeout<const Env extends string>(env: Env, fallback: number, description: string) {
  return setting(env, milliseconds, fallback, `${description}, in milliseconds; 0 is no limit.`);
}

/**
 * Gives the base of an inference server's URL: without `/v1`, `/v1/completions`, `/v1/chat/completions` and slashes at
 * its end, with its path prefix. Throws an Error that says what is wrong and never quotes the URL.
 */
export function serverBaseUrl(text: string): string {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (url?.protocol !== 'http:' && url?.protocol !== 'https:') {
    throw new Error('it does not start with http:// or https://, or is no URL');
  }
  // Any @: a password with a slash in it leaves the @ in what parses as the path.
  if (/[?#@]/.test(text)) {
    throw new Error('no query, fragment or credentials in it, use LLM_SERVER_API_KEY for a key');
  }
  const path = url.pathname.replace(/\/+$/, '').replace(/\/v1(\/(chat\/)?completions)?$/, '');
  return url.origin + path.replace(/\/+$/, '');
}

/** Gives a time zone that the runtime knows; throws an Error where it does not. */
function knownTimeZone(text: string): string {
  // The default, known without the runtime's tables, which take longer to load than all else that a start does.
  if (text === 'UTC') return text;
  try {
    return new Intl.DateTimeFormat('en', { timeZone: text }).resolvedOptions().timeZone;
  } catch {
    throw new Error('no such time zone is known');
  }
}

/** Every setting, in the order of the documentation. The YAML key is the name in lower case. */
export const settings = [
  setting(
    'HOST',
    Type.String({ pattern: '^\\S+$', description: 'a host name or IP address' }),
    '0.0.0.0',
    'Address to listen on.',
  ),
  setting(
    'PORT',
    Type.Integer({ minimum: 0, maximum: 65_535 }),
    12_000,
    'Port to listen on; 0 takes any free one.',
  ),
  setting(
    'ALLOWED_API_KEYS',
    clientKeys,
    [],
    'Keys of the clients, comma-separated. Without one `bun run start` prints a fresh one and stops.',
    secret,
  ),
  setting(
    'LLM_SERVER_URL',
    Type.Array(
      Type.String({ description: 'an http:// or https:// URL, with or without /v1/completions' }),
      { uniqueItems: true, minItems: 1 },
    ),
    ['http://localhost:8080/v1/completions'],
    'The inference server; several, comma-separated, are used side by side.',
    { decode: serverBaseUrl },
  ),
  setting(
    'LLM_SERVER_API_KEY',
    Type.String({ pattern: '^[!-~]+$', description: 'visible ASCII characters without space' }),
    undefined,
    'Key that the inference server wants from the gateway.',
    secret,
  ),
  setting(
    'LLM_SERVER_KIND',
    oneOf('auto', 'llama.cpp', 'vllm', 'sglang', 'ollama', 'openai'),
    'auto',
    'Kind of the inference server; auto asks it.',
  ),
  setting(
    'UPSTREAM_SLOTS',
    Type.Union(
      [
        Type.Literal('auto'),
        Type.Literal('unbounded'),
        Type.Integer({ minimum: 1, maximum: 65_536 }),
      ],
      { description: 'auto, unbounded, or a whole number from 1 to 65536' },
    ),
    'auto',
    'How many requests an inference server runs at once; auto asks it.',
  ),
  setting(
    'DEFAULT_MODEL',
    Type.String({ pattern: '^[^\\r\\n]{1,200}$', description: 'the name of a model or an alias' }),
    undefined,
    'Model of a request that names none, where several are served.',
  ),
  setting(
    'ANY_MODEL_NAME',
    onOff,
    'on',
    'Whether a single server with a single model takes any model name, as llama-server does.',
  ),
  setting(
    'MAX_SLOTS_PER_CALLER',
    Type.Integer({ minimum: 0, maximum: 65_536 }),
    0,
    'Slots that one caller may hold at once; 0 is no limit.',
  ),
  setting(
    'BATCH_API_KEYS',
    clientKeys,
    [],
    'Those of ALLOWED_API_KEYS whose requests always wait behind interactive ones, comma-separated.',
    secret,
  ),
  setting(
    'MAX_QUEUED_REQUESTS',
    Type.Integer({ minimum: 0, maximum: 1_000_000 }),
    10_000,
    'Requests that may wait for a slot in all.',
  ),
  setting(
    'MAX_QUEUED_PER_CALLER',
    Type.Integer({ minimum: 0, maximum: 1_000_000 }),
    1_000,
    'Requests of one caller that may wait for a slot.',
  ),
  setting(
    'MAX_QUEUED_BYTES',
    Type.Integer({ minimum: 0, maximum: 2 ** 40 }),
    268_435_456,
    'Bodies of waiting requests in all, in bytes.',
  ),
  timeout('QUEUE_TIMEOUT_MS', 300_000, 'Longest wait for a slot'),
  setting(
    'QUEUE_FEEDBACK',
    onOff,
    'off',
    'Whether every stream that waits gets comments with its place; off: only where x-queue-feedback asks.',
  ),
  setting(
    'QUEUE_FEEDBACK_AFTER_MS',
    milliseconds,
    2_000,
    'Wait after which those comments begin, in milliseconds.',
  ),
  setting(
    'RETRY_POLICY',
    oneOf('never', 'unsent', 'resets'),
    'unsent',
    'What is tried again at another server: unsent is what provably did not run, resets also connections that broke before the first byte.',
  ),
  setting(
    'SLOT_RELEASE_TIMEOUT_MS',
    milliseconds,
    5_000,
    'Longest wait until an engine says that the slot of an ended request is idle, in milliseconds.',
  ),
  setting(
    'STALL_TIMEOUT_MS',
    milliseconds,
    30_000,
    'Least time without any progress after which a server gets no new requests, in milliseconds; 0 is never.',
  ),
  setting(
    'CONTEXT_PREFLIGHT',
    onOff,
    'off',
    'Whether prompts are counted by the server and refused before they wait when they cannot fit.',
  ),
  setting(
    'ISOLATE_PROMPT_CACHE',
    onOff,
    'off',
    'Whether llama.cpp must compute every prompt anew (cache_prompt: false), so that no key can use what another left in a cache.',
  ),
  setting(
    'LOG_LEVEL',
    oneOf('DEBUG', 'INFO', 'WARNING', 'ERROR'),
    'INFO',
    'Least severe lines to log.',
  ),
  setting(
    'LOG_FORMAT',
    oneOf('auto', 'json', 'pretty'),
    'auto',
    'Form of the log lines; auto is pretty on a terminal and json elsewhere.',
  ),
  setting(
    'CORS_ALLOWED_ORIGINS',
    Type.Array(
      Type.String({
        pattern: '^(\\*|[a-z][a-z0-9+.-]*://[^\\s/,]+)$',
        description: '* or an origin such as https://chat.example.org, without a path',
      }),
    ),
    ['*'],
    'Web pages whose scripts may call the gateway, comma-separated; a key is needed all the same.',
    lowerCase,
  ),
  setting(
    'MAX_BODY_BYTES',
    Type.Integer({ minimum: 1, maximum: 2 ** 31 - 1 }),
    33_554_432,
    'Largest request body, in bytes.',
  ),
  timeout('CONNECT_TIMEOUT_MS', 5_000, 'Longest wait for a connection to the inference server'),
  timeout('FIRST_BYTE_TIMEOUT_MS', 600_000, 'Longest wait for the first byte of a stream'),
  timeout('IDLE_TIMEOUT_MS', 300_000, 'Longest silence within a stream'),
  timeout('TOTAL_TIMEOUT_MS', 3_600_000, 'Longest time at the inference server'),
  timeout('REQUEST_BODY_TIMEOUT_MS', 60_000, 'Longest wait for the body of a request'),
  setting(
    'SHUTDOWN_GRACE_MS',
    milliseconds,
    30_000,
    'How long requests may go on after SIGTERM, in milliseconds; 0 ends them at once.',
  ),
  setting(
    'TRUSTED_USER_HEADER',
    // A header with a credential must not become a user's name: names are logged.
    Type.String({
      pattern: "^(?!((proxy-)?authorization|x-api-key|cookie)$)[!#$%&'*+.^_`|~0-9A-Za-z-]+$",
      description: 'the name of a header that carries no credential',
    }),
    undefined,
    'Header in which a key of TRUSTED_USER_KEYS names its user, such as x-openwebui-user-id.',
    lowerCase,
  ),
  setting(
    'TRUSTED_USER_KEYS',
    clientKeys,
    [],
    'Those of ALLOWED_API_KEYS that may name their user, comma-separated.',
    secret,
  ),
  setting(
    'DATA_DIR',
    Type.String({ pattern: '^[^\\r\\n]+$', description: 'the path of a folder, or none' }),
    'data',
    'Folder of the database with issued keys and usage; none keeps both in memory alone, of usage the latest 100,000 requests.',
  ),
  setting(
    'ADMIN_API_KEY',
    adminKey,
    undefined,
    'Key of the operator, for /admin and the dashboard; without one there is no /admin.',
    secret,
  ),
  setting(
    'USAGE_RETENTION_DAYS',
    Type.Integer({ minimum: 0, maximum: 36_500 }),
    90,
    'How long the record of a request is kept, in days; 0 is for ever.',
  ),
  setting(
    'BUDGET_TIME_ZONE',
    Type.String({
      pattern: '^[A-Za-z0-9_+/-]{1,60}$',
      description: 'a time zone such as UTC or Europe/Berlin',
    }),
    'UTC',
    'Where the days and months of budgets begin.',
    { decode: knownTimeZone },
  ),
  setting(
    'INJECT_USAGE',
    onOff,
    'on',
    'Whether a stream of an engine that would not count its tokens is asked for them (stream_options.include_usage); clients that did not ask do not see that frame.',
  ),
  setting(
    'METRICS_TOKEN',
    adminKey,
    undefined,
    'Bearer token that may read /metrics, beside ADMIN_API_KEY; without either there is no /metrics.',
    secret,
  ),
  setting(
    'METRICS_PORT',
    Type.Integer({ minimum: 0, maximum: 65_535 }),
    0,
    'Port of 127.0.0.1 that serves /metrics without a token; 0 is none.',
  ),
  setting(
    'OTEL_EXPORTER_OTLP_ENDPOINT',
    Type.String({
      pattern: '^https?://[^\\s@]+$',
      description: 'an http:// or https:// URL without credentials',
    }),
    undefined,
    'OpenTelemetry collector that gets traces over OTLP/HTTP; without one nothing is traced.',
  ),
  setting(
    'OTEL_EXPORTER_OTLP_HEADERS',
    Type.Array(Type.String({ pattern: '^[^=\\s]+=.*$', description: 'name=value' })),
    [],
    'Headers for the collector, comma-separated.',
    secret,
  ),
  setting(
    'OTEL_SERVICE_NAME',
    Type.String({ pattern: '^[^\\r\\n]{1,100}$', description: 'a name' }),
    'llm-gateway',
    'Name of this gateway in traces.',
  ),
  setting(
    'OTEL_TRACES_SAMPLER',
    oneOf(
      'always_on',
      'always_off',
      'traceidratio',
      'parentbased_always_on',
      'parentbased_always_off',
      'parentbased_traceidratio',
    ),
    'parentbased_always_on',
    'Which requests are traced; parentbased does as the traceparent of the client says.',
  ),
  setting(
    'OTEL_TRACES_SAMPLER_ARG',
    Type.Number({ minimum: 0, maximum: 1, description: 'a number from 0 to 1' }),
    1,
    'Which part of the requests the samplers by ratio trace.',
  ),
  setting(
    'RESPONSE_CACHE',
    onOff,
    'off',
    'Whether answers of deterministic requests (temperature 0, a seed, embeddings) are kept and given again.',
  ),
  setting(
    'RESPONSE_CACHE_SHARED',
    onOff,
    'off',
    'Whether one key may get what another has asked for.',
  ),
  setting(
    'RESPONSE_CACHE_TTL_MS',
    milliseconds,
    3_600_000,
    'How long an answer is kept, in milliseconds.',
  ),
  setting(
    'RESPONSE_CACHE_BYTES',
    Type.Integer({ minimum: 0, maximum: 2 ** 40 }),
    67_108_864,
    'Memory of kept answers, in bytes.',
  ),
  setting(
    'TLS_CERT_FILE',
    pemFile,
    undefined,
    'Certificate chain; with TLS_KEY_FILE it serves HTTPS.',
  ),
  setting('TLS_KEY_FILE', pemFile, undefined, 'Private key of the certificate.'),
] as const;

type Setting = (typeof settings)[number];
/** Any row of the table, for code that treats all alike. */
export type Row = ReturnType<typeof setting>;
export const rows: readonly Row[] = settings;

type CamelCase<Name extends string> = Name extends `${infer Head}_${infer Tail}`
  ? `${Lowercase<Head>}${Capitalize<CamelCase<Tail>>}`
  : Lowercase<Name>;

/** The settings under their names in camelCase; `undefined` where an optional one is not set. */
export type Settings = {
  readonly [S in Setting as CamelCase<S['env']>]: undefined extends S['default']
    ? Static<S['schema']> | undefined
    : Static<S['schema']>;
};

/** Gives the property of the configuration that a variable stands for. */
export function propertyOf(env: string): string {
  return env.toLowerCase().replace(/_(.)/g, (_, letter: string) => letter.toUpperCase());
}

/** Gives the value of a variable, where the code has its name but not its type. */
export function valueOf(config: Settings, env: string): unknown {
  return (config as Record<string, unknown>)[propertyOf(env)];
}

export function isList(row: Row): boolean {
  return row.schema['type'] === 'array';
}

/** Gives the schema of one value: of the setting, or of an entry where the setting is a list. */
export function valueSchema(row: Row): TSchema {
  return isList(row) ? row.schema['items'] : row.schema;
}

/** Gives the words that a schema allows; none where it allows more than words. */
export function wordsOf(schema: TSchema): string[] {
  const options: TSchema[] = schema['anyOf'] ?? [];
  return options.map((option) => option['const']).filter((word) => word !== undefined);
}

/** Says whether a schema allows whole numbers. */
export function takesInteger(schema: TSchema): boolean {
  return [schema, ...(schema['anyOf'] ?? [])].some((option) => option['type'] === 'integer');
}

/** Says which values a schema allows. */
export function allowed(schema: TSchema): string {
  if (schema['anyOf'] && !schema.description)
    return `one of ${wordsOf(schema).join(', ')} (in any case)`;
  if (schema['type'] !== 'integer') return schema.description ?? '';
  return `a whole number from ${schema['minimum']} to ${schema['maximum']}`;
}

/** Gives what a message may say of a value: nothing of a hidden one, nor of what may be a URL with credentials. */
export function shown(value: unknown, hidden: boolean): string {
  if (value === null) return 'nothing';
  if (typeof value === 'object') return Array.isArray(value) ? 'a list' : 'a mapping';
  if (typeof value !== 'string') return hidden ? `a ${typeof value} without quotes` : `${value}`;
  if (hidden || value.length > 80 || /[@?#\r\n]/.test(value)) {
    return `${value.length} characters (not shown)`;
  }
  return JSON.stringify(value);
}

/** Gives settings in the form of the YAML file, one line each, all but some; secrets as comments, masked. */
export function describeSettings(config: Settings, left: readonly string[]): string {
  const told = rows.filter(({ env }) => !left.includes(env));
  const lines = told.map(({ env, secret }) => {
    const value = valueOf(config, env);
    const set = [value ?? []].flat();
    if (set.length === 0 && value !== undefined && !secret) return `${env.toLowerCase()}: []`;
    if (set.length === 0) return `${env.toLowerCase()}: # not set`;
    if (!secret) return `${env.toLowerCase()}: ${Bun.YAML.stringify(value)}`;
    const hints = set.map((key) => maskKey(String(key))).join(', ');
    return `${env.toLowerCase()}: # ${set.length} ${set.length === 1 ? 'key' : 'keys'}: ${hints}`;
  });
  return `${lines.join('\n')}\n`;
}

/**
 * Gives the JSON Schema of the YAML file: strings may hold `${NAME}`, lists may be comma-separated.
 * @param more what else it may have
 */
export function settingsJsonSchema(more: Record<string, TSchema>): object {
  const properties: Record<string, TSchema> = {};
  const filledIn = Type.String({ pattern: '\\$\\{' });
  for (const row of rows) {
    const key = row.env.toLowerCase();
    const value = valueSchema(row);
    const lowerCase = wordsOf(value).map((word) => Type.Literal(word.toLowerCase()));
    const one = Type.Union([value, ...lowerCase, filledIn]);
    properties[key] = Type.Union(isList(row) ? [Type.Array(one), Type.String()] : one.anyOf, {
      description: `${row.description} Allowed: ${allowed(value)}.`,
      ...(row.default === undefined || row.secret ? {} : { default: row.default }),
    });
    if (row.secret) {
      properties[`${key}_file`] = Type.String({ description: `A file that holds ${key}.` });
    }
  }
  return {
    $schema: 'https://json-schema.org/draft/2020-12/schema',
    title: 'LLM Gateway',
    type: 'object',
    properties: { ...properties, ...more },
    additionalProperties: false,
  };
}

/** Gives the README's table of settings. */
export function settingsMarkdown(): string {
  const lines = rows.map((row) => {
    const fallback = [row.default ?? []].flat().join(',');
    const names = row.secret ? `\`${row.env}\`, \`${row.env}_FILE\`` : `\`${row.env}\``;
    const use = `${row.description} Allowed: ${allowed(valueSchema(row))}.`;
    return `| ${names} | ${fallback && `\`${fallback}\``} | ${use} |`;
  });
  return ['| Setting | Default | What it is |', '| --- | --- | --- |', ...lines, ''].join('\n');
}
