/**
 * The table of settings, and the type of the configuration derived from it. values.ts reads it; describe.ts writes the
 * print and the JSON Schema from it.
 */
import { Type, type Static, type TSchema } from '@sinclair/typebox';
import { oneOf, propertyOf, row, type Extras, type Values } from './row.ts';
import { engineKinds } from '../wire/kinds.ts';

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

const secret = { secret: true } as const;
/** A change takes effect while the gateway runs. */
const reloadable = { isReloadable: true } as const;
const lowerCase = { decode: (text: string) => text.toLowerCase() } as const;

/** Makes a row of a setting, whose key in the YAML file is the name of its variable in lower case. */
function setting<const Env extends string, S extends TSchema, D extends Static<S> | undefined>(
  env: Env,
  schema: S,
  fallback: D,
  description: string,
  extras: Extras = {},
) {
  const key = env.toLowerCase() as Lowercase<Env>;
  // A variable can only hold a text, so a list is one as well.
  const isSplit = schema['type'] === 'array';
  return { ...row(key, schema, fallback, description, { isSplit, ...extras }), env };
}

const onOff = oneOf('off', 'on');

function timeout<const Env extends string>(env: Env, fallback: number, description: string) {
  return setting(env, milliseconds, fallback, `${description}, in milliseconds; 0 is no limit.`);
}

/**
 * Returns the base of an inference server's URL: without `/v1`, `/v1/completions`, `/v1/chat/completions` and slashes at
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

/** Returns a time zone that the runtime knows; throws an Error if it knows none of this name. */
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
    { ...secret, ...reloadable },
  ),
  setting(
    'LLM_SERVER_URL',
    Type.Array(
      Type.String({ description: 'an http:// or https:// URL, with or without /v1/completions' }),
      { uniqueItems: true, minItems: 1 },
    ),
    ['http://localhost:8080/v1/completions'],
    'The inference server; several, comma-separated, are used side by side.',
    { decode: serverBaseUrl, ...reloadable },
  ),
  setting(
    'LLM_SERVER_API_KEY',
    Type.String({ pattern: '^[!-~]+$', description: 'visible ASCII characters without space' }),
    undefined,
    'Key that the inference server wants from the gateway.',
    { ...secret, ...reloadable },
  ),
  setting(
    'LLM_SERVER_KIND',
    oneOf('auto', ...engineKinds),
    'auto',
    'Kind of the inference server; auto asks it.',
    reloadable,
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
    reloadable,
  ),
  setting(
    'DEFAULT_MODEL',
    Type.String({ pattern: '^[^\\r\\n]{1,200}$', description: 'the name of a model or an alias' }),
    undefined,
    'Model of a request that names none, if several models are served.',
    reloadable,
  ),
  setting(
    'ANY_MODEL_NAME',
    onOff,
    'on',
    'Whether any model name is accepted while one model is all that there is, on one server or several, as llama-server does.',
    reloadable,
  ),
  setting(
    'MAX_SLOTS_PER_CALLER',
    Type.Integer({ minimum: 0, maximum: 65_536 }),
    0,
    'Most slots that one caller can hold at once; 0 is no limit.',
    reloadable,
  ),
  setting(
    'BATCH_API_KEYS',
    clientKeys,
    [],
    'Keys of ALLOWED_API_KEYS whose requests always wait behind interactive ones, comma-separated.',
    { ...secret, ...reloadable },
  ),
  setting(
    'MAX_QUEUED_REQUESTS',
    Type.Integer({ minimum: 0, maximum: 1_000_000 }),
    10_000,
    'Most requests that can wait for a slot, of all callers.',
    reloadable,
  ),
  setting(
    'MAX_QUEUED_PER_CALLER',
    Type.Integer({ minimum: 0, maximum: 1_000_000 }),
    1_000,
    'Most requests of one caller that can wait for a slot.',
    reloadable,
  ),
  setting(
    'MAX_QUEUED_BYTES',
    Type.Integer({ minimum: 0, maximum: 2 ** 40 }),
    268_435_456,
    'Most memory for the bodies of waiting requests, in bytes.',
    reloadable,
  ),
  timeout('QUEUE_TIMEOUT_MS', 300_000, 'Longest wait for a slot'),
  setting(
    'QUEUE_FEEDBACK',
    onOff,
    'off',
    'Whether every waiting stream gets comments with its place in the queue; off: only if its request has x-queue-feedback.',
  ),
  setting(
    'QUEUE_FEEDBACK_AFTER_MS',
    milliseconds,
    2_000,
    'How long a stream waits before these comments begin, in milliseconds.',
  ),
  setting(
    'QUEUE_FEEDBACK_EVERY_MS',
    Type.Integer({ minimum: 100, maximum: 2 ** 31 - 1 }),
    2_000,
    'How long such a stream is silent before its next comment, also between two tokens, in milliseconds; in a long queue up to five times that.',
  ),
  setting(
    'RETRY_POLICY',
    oneOf('never', 'unsent', 'resets'),
    'unsent',
    'Which requests are tried again at another server: unsent are those that provably did not run, resets are also those whose connection broke before the first byte.',
    reloadable,
  ),
  setting(
    'SLOT_RELEASE_TIMEOUT_MS',
    milliseconds,
    5_000,
    'Longest wait for an engine to report the slot of an ended request as idle, in milliseconds.',
    reloadable,
  ),
  setting(
    'STALL_TIMEOUT_MS',
    milliseconds,
    30_000,
    'Shortest time without any progress after which a server gets no new requests, in milliseconds; 0 is never.',
    reloadable,
  ),
  setting(
    'CONTEXT_PREFLIGHT',
    onOff,
    'off',
    'Whether the server counts the tokens of each prompt first, so that one that cannot fit is refused before it waits.',
    reloadable,
  ),
  setting(
    'ISOLATE_PROMPT_CACHE',
    onOff,
    'off',
    'Whether llama.cpp must compute every prompt anew (cache_prompt: false), so that no key can use what another key left in the cache.',
    reloadable,
  ),
  setting(
    'LOG_LEVEL',
    oneOf('DEBUG', 'INFO', 'WARNING', 'ERROR'),
    'INFO',
    'Least severe level that is logged.',
  ),
  setting(
    'LOG_FORMAT',
    oneOf('auto', 'json', 'pretty'),
    'auto',
    'Form of the log lines; auto is pretty on a terminal and json elsewhere.',
  ),
  setting(
    'INVALID_KEY_STATUS',
    Type.Union(
      [Type.Integer({ minimum: 403, maximum: 403 }), Type.Integer({ minimum: 401, maximum: 401 })],
      { description: '403 or 401' },
    ),
    403,
    'Status of the answer to a key that is not accepted; 401 for clients that try again after a 403.',
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
    'Origins of web pages whose scripts may call the gateway, comma-separated; these need a key as well. * leaves /admin out, which takes listed origins alone.',
    lowerCase,
  ),
  setting(
    'MAX_BODY_BYTES',
    Type.Integer({ minimum: 1, maximum: 2 ** 31 - 1 }),
    33_554_432,
    'Largest request body, in bytes.',
  ),
  setting(
    'MAX_BODY_BYTES_TOTAL',
    Type.Integer({ minimum: 1, maximum: 2 ** 40 }),
    undefined,
    'Most memory for the request bodies of all clients, in bytes; one key gets a quarter of it. Without it a sixteenth of the memory. A body of MAX_BODY_BYTES always fits.',
  ),
  timeout('CONNECT_TIMEOUT_MS', 5_000, 'Longest wait for a connection to the inference server'),
  timeout('FIRST_BYTE_TIMEOUT_MS', 600_000, 'Longest wait for the first byte of a stream'),
  timeout('IDLE_TIMEOUT_MS', 300_000, 'Longest silence within a stream'),
  timeout('TOTAL_TIMEOUT_MS', 3_600_000, 'Longest time of a request at the inference server'),
  timeout('REQUEST_BODY_TIMEOUT_MS', 60_000, 'Longest wait for the body of a request'),
  setting(
    'KEEP_ALIVE_TIMEOUT_MS',
    // More is not taken by the runtime, which counts whole seconds.
    Type.Integer({ minimum: 1_000, maximum: 255_000 }),
    75_000,
    "How long a client's connection may be idle, in milliseconds, rounded up to seconds. Must be longer than the idle time of a proxy in front.",
  ),
  setting(
    'SHUTDOWN_GRACE_MS',
    milliseconds,
    30_000,
    'How long running requests may continue after SIGTERM, in milliseconds; 0 ends them at once.',
  ),
  setting(
    'TRUSTED_USER_HEADER',
    // A header with a credential must not become a user's name: names are logged.
    Type.String({
      pattern:
        "^(?!((proxy-)?authorization|x-api-key|api-key|x-goog-api-key|cookie)$)[!#$%&'*+.^_`|~0-9A-Za-z-]+$",
      description: 'the name of a header that carries no credential',
    }),
    undefined,
    'Header in which a key of TRUSTED_USER_KEYS names its user, such as x-openwebui-user-id.',
    { ...lowerCase, ...reloadable },
  ),
  setting(
    'TRUSTED_USER_KEYS',
    clientKeys,
    [],
    'Keys of ALLOWED_API_KEYS that may name their user, comma-separated.',
    { ...secret, ...reloadable },
  ),
  setting(
    'DATA_DIR',
    Type.String({ pattern: '^[^\\r\\n]+$', description: 'the path of a folder, or none' }),
    'data',
    'Folder of the database with issued keys and usage; none keeps both in memory, and usage only of the latest 100,000 requests.',
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
    'How long the usage record of a request is kept, in days; 0 is for ever.',
  ),
  setting(
    'BUDGET_TIME_ZONE',
    Type.String({
      pattern: '^[A-Za-z0-9_+/-]{1,60}$',
      description: 'a time zone such as UTC or Europe/Berlin',
    }),
    'UTC',
    'Time zone in which the days and months of budgets begin.',
    { decode: knownTimeZone },
  ),
  setting(
    'INJECT_USAGE',
    onOff,
    'on',
    'Whether the gateway asks for the token counts of a stream (stream_options.include_usage) if the engine would not send them otherwise; a client that did not ask does not see that frame.',
  ),
  setting(
    'OLLAMA_LOADING',
    onOff,
    'off',
    "Whether clients of Ollama's own routes may load, pin and unload models; else keep_alive and the options that load a model anew, such as num_ctx, are taken out of their requests.",
  ),
  setting(
    'METRICS_TOKEN',
    adminKey,
    undefined,
    'Bearer token that may read /metrics, as ADMIN_API_KEY may; without either there is no /metrics.',
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
    'OpenTelemetry collector that receives traces over OTLP/HTTP; without one nothing is traced.',
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
    'Which requests are traced; the parentbased samplers follow the traceparent of the client.',
  ),
  setting(
    'OTEL_TRACES_SAMPLER_ARG',
    Type.Number({ minimum: 0, maximum: 1, description: 'a number from 0 to 1' }),
    1,
    'Share of the requests that the samplers by ratio trace.',
  ),
  setting(
    'RESPONSE_CACHE',
    onOff,
    'off',
    'Whether answers to deterministic requests (temperature 0, a seed, embeddings) are kept and sent again.',
  ),
  setting(
    'RESPONSE_CACHE_SHARED',
    onOff,
    'off',
    'Whether a key can get an answer that was made for another key.',
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
    'Most memory for kept answers, in bytes.',
  ),
  setting(
    'TLS_CERT_FILE',
    pemFile,
    undefined,
    'Certificate chain; with TLS_KEY_FILE the gateway serves HTTPS. Both files are read again when they change and on SIGHUP.',
  ),
  setting('TLS_KEY_FILE', pemFile, undefined, 'Private key of the certificate.'),
] as const;

/** The settings under their names in camelCase; `undefined` if an optional one is not set. */
export type Settings = Values<(typeof settings)[number]>;

/** Returns the value of a variable, for code that has its name but not its type. */
export function valueOf(config: Settings, env: string): unknown {
  return (config as Record<string, unknown>)[propertyOf(env)];
}

/** Returns the names of the settings that differ and take effect only after a restart, in camelCase. */
export function needRestart(before: Settings, after: Settings): string[] {
  const changed = settings.filter(({ env, isReloadable }) => {
    return !isReloadable && !Bun.deepEquals(valueOf(before, env), valueOf(after, env));
  });
  return changed.map(({ key }) => propertyOf(key));
}
