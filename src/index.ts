#!/usr/bin/env bun
/**
 * The command line: reads arguments and environment, wires the parts, listens, ends cleanly. Only this file reads
 * `process.env` for settings, and only this file exits.
 */
import './runtime.ts';
import { readFileSync } from 'node:fs';
import { isIP } from 'node:net';
import { parseArgs } from 'node:util';
import { version } from '../package.json';
import { accessLog } from './accesslog.ts';
import { createApp } from './app.ts';
import {
  configJsonSchema,
  ConfigError,
  describeConfig,
  loadConfig,
  maskKey,
  type Config,
} from './config.ts';
import { corsHeaders } from './cors.ts';
import { KeyRing } from './keys.ts';
import { LiveRequests } from './live.ts';
import { createLog, LineSink, secretMasker } from './log.ts';
import { Pool } from './pool.ts';

const usage = `LLM Gateway ${version}: one door in front of your inference server

Usage: llm-gateway [command] [options]

Commands
  serve            run the gateway (the default); settings come from the environment, .env and --config
  demo             run it in front of a built-in simulated engine: no model, no network, no settings
  check-config     print the effective configuration with secrets masked, or every problem in it
                   --schema  print a JSON Schema of the configuration file instead

Options
  --config FILE    a YAML file with settings; the environment wins over it
  --host HOST      the address to listen on (HOST)
  --port PORT      the port to listen on (PORT)
  --help           this text
  --version        the version
`;

/** Ends with what the user did wrong; 2 stands for bad usage, 1 for everything else. */
function quit(code: 1 | 2, message: string): never {
  process.stderr.write(`llm-gateway: ${message}\n`);
  process.exit(code);
}

function readCommandLine() {
  try {
    return parseArgs({
      allowPositionals: true,
      options: {
        config: { type: 'string' },
        host: { type: 'string' },
        port: { type: 'string' },
        schema: { type: 'boolean' },
        help: { type: 'boolean', short: 'h' },
        version: { type: 'boolean', short: 'v' },
      },
    });
  } catch (error) {
    return quit(2, `${error instanceof Error ? error.message : error}\nTry: llm-gateway --help`);
  }
}

function readConfigFile(path: string): { path: string; text: string } {
  try {
    return { path, text: readFileSync(path, 'utf8') };
  } catch (error) {
    return quit(1, `cannot read ${path}: ${error instanceof Error ? error.message : error}`);
  }
}

function freshKey(): string {
  return `sk-${Buffer.from(crypto.getRandomValues(new Uint8Array(24))).toString('base64url')}`;
}

const documentedKeys = /^sk-test-key-/;

function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '::1' || (isIP(host) === 4 && host.startsWith('127.'));
}

/** Runs the gateway until a signal ends it; resolves when it listens. */
async function serve(config: Config): Promise<{ url: string }> {
  const { allowedApiKeys, trustedUserKeys, llmServerApiKey } = config;
  if (allowedApiKeys.length === 0) {
    quit(
      1,
      'no API key is configured, and this gateway never runs open.\n' +
        `Put this line into .env (the key is fresh and random) and start again:\n\n  ALLOWED_API_KEYS=${freshKey()}\n`,
    );
  }
  const secrets = [...allowedApiKeys, ...(llmServerApiKey === undefined ? [] : [llmServerApiKey])];
  const sink = new LineSink(process.stdout.fd, secretMasker(secrets));
  const isPretty =
    config.logFormat === 'pretty' || (config.logFormat === 'auto' && process.stdout.isTTY === true);
  const log = await createLog({ level: config.logLevel, isPretty, sink });

  async function exit(code: 0 | 1): Promise<never> {
    await sink.close(1_000);
    process.exit(code);
  }

  const startedAt = performance.now();
  const now = () => performance.now();
  const live = new LiveRequests();
  const pool = new Pool({
    url: config.llmServerUrl,
    apiKey: llmServerApiKey,
    kind: config.llmServerKind,
    log,
    now,
  });
  let isDraining = false;
  const app = createApp({
    version,
    log,
    live,
    pool,
    keys: new KeyRing(allowedApiKeys, trustedUserKeys, maskKey),
    trustedUserHeader: config.trustedUserHeader,
    deadlines: config,
    maxBodyBytes: config.maxBodyBytes,
    allowedOrigins: config.corsAllowedOrigins,
    corsHeaders: corsHeaders(config.corsAllowedOrigins),
    observer: accessLog(log),
    isDraining: () => isDraining,
    uptimeSeconds: () => (performance.now() - startedAt) / 1000,
    now,
  });

  const { host: hostname, port, tlsCertFile, tlsKeyFile } = config;
  const tls =
    tlsCertFile === undefined || tlsKeyFile === undefined
      ? {}
      : { tls: { cert: Bun.file(tlsCertFile), key: Bun.file(tlsKeyFile) } };
  try {
    app.listen({
      hostname,
      port,
      reusePort: false,
      // Above the gateway's own bound, which answers with an envelope.
      maxRequestBodySize: config.maxBodyBytes * 2 + 1024 * 1024,
      ...tls,
    });
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? error.code : undefined;
    const isBusy = code === 'EADDRINUSE';
    const reason = isBusy ? 'another program listens there' : String(error);
    log.error({ hostname, port, code }, `cannot listen on ${hostname}:${port}: ${reason}`);
    return await exit(1);
  }
  const url = String(app.server?.url ?? '').replace(/\/$/, '');
  log.info({ url, version, upstream: config.llmServerUrl }, 'listening');
  if (!isLoopback(hostname) && allowedApiKeys.some((key) => documentedKeys.test(key))) {
    log.warn('a key from the documentation is in use and other machines can reach this gateway');
  }
  void pool.sight();

  async function drain(signal: NodeJS.Signals): Promise<void> {
    if (isDraining) {
      log.warn({ signal }, 'ending at once');
      return await exit(1);
    }
    isDraining = true;
    log.info({ signal, inFlight: live.size }, 'draining');
    await Promise.race([live.empty(), Bun.sleep(config.shutdownGraceMs)]);
    if (live.size > 0) log.warn({ inFlight: live.size }, 'ending what is still open');
    live.abortAll('shutting_down');
    // Lets the last frames out; what does not read them is reset.
    await Promise.race([app.server?.stop(), Bun.sleep(500)]);
    await app.server?.stop(true);
    pool.close();
    log.info('stopped');
    return await exit(0);
  }
  for (const signal of ['SIGTERM', 'SIGINT'] as const) process.on(signal, () => void drain(signal));
  return { url };
}

const { values, positionals } = readCommandLine();
if (values.help) {
  process.stdout.write(usage);
  process.exit(0);
}
if (values.version) {
  process.stdout.write(`${version}\n`);
  process.exit(0);
}
const [command = 'serve', ...surplus] = positionals;
if (!['serve', 'demo', 'check-config'].includes(command) || surplus.length > 0) {
  quit(2, `unknown command "${positionals.join(' ')}"\nTry: llm-gateway --help`);
}
if (values.schema && command !== 'check-config') quit(2, '--schema belongs to check-config');
if (values.schema) {
  process.stdout.write(`${JSON.stringify(configJsonSchema(), null, 2)}\n`);
  process.exit(0);
}

function load(env: Record<string, string | undefined>): Config {
  const overrides: Record<string, string> = {};
  if (values.host !== undefined) overrides['HOST'] = values.host;
  if (values.port !== undefined) overrides['PORT'] = values.port;
  try {
    return loadConfig({
      env,
      ...(values.config === undefined ? {} : { file: readConfigFile(values.config) }),
      overrides,
      readFile: (path) => readFileSync(path, 'utf8'),
    });
  } catch (error) {
    if (error instanceof ConfigError) return quit(1, error.message);
    throw error;
  }
}

if (command === 'check-config') {
  process.stdout.write(`${describeConfig(load(process.env))}\n`);
  process.exit(0);
}
if (command === 'demo') await demo();
else await serve(load(process.env));

/** Runs the gateway in front of the built-in engine, on loopback unless told otherwise, and says how to try it. */
async function demo(): Promise<void> {
  const { startDemoEngine } = await import('./demo.ts');
  const engine = startDemoEngine({ firstTokenMs: 200, tokensPerSecond: 30 });
  const config = load({
    HOST: '127.0.0.1',
    ALLOWED_API_KEYS: 'sk-test-key-1',
    ...process.env,
    LLM_SERVER_URL: engine.url,
    LLM_SERVER_KIND: 'auto',
  });
  const { url } = await serve(config);
  const key = config.allowedApiKeys[0] ?? '';
  const curl = (more: string) =>
    `  curl${more} ${url}/v1/completions -H "Authorization: Bearer ${key}" \\\n` +
    `    -H "Content-Type: application/json" -d `;
  process.stdout.write(
    `\nLLM Gateway ${version} in front of its built-in demo engine (it simulates; there is no model behind it)\n` +
      `  address  ${url}    pages  ${url}/docs    key  ${key}\n\n` +
      `Try it:\n${curl('')}'{"prompt": "Hello!", "max_tokens": 20}'\n` +
      `streamed:\n${curl(' -N')}'{"prompt": "Hello!", "max_tokens": 20, "stream": true}'\n\n` +
      'Ctrl-C ends it.\n\n',
  );
}
