/**
 * After a gateway has been used in every way, no secret is found in anything that it has written or shows: its log, its
 * pages, its answers, what its commands print, and the bytes of its database.
 */
import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from 'bun:test';
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { dashboard } from '../../src/pages/dashboard.ts';
import { startDemoEngine } from '../../src/demo/engine.ts';
import { ask, send, type Asked } from '../support/rawclient.ts';
import { runCommand, startGateway, type Gateway } from '../support/gatewayprocess.ts';
import { bearer } from '../support/operator.ts';
import { untilUpstream } from '../support/gatewayhealth.ts';
import { until } from '../support/wait.ts';

setDefaultTimeout(60_000);

const engineKey = 'engine/key+of=no.form';
const envKey = 'sk-env-key-0a1b2c3d4e5f';
/** A key without the usual form: only the configuration shows that it is one. */
const plainKey = 'plain/key+of=no.form';
const adminKey = 'operator/key+of=no.form';
const metricsToken = 'metrics/token+of=no.form';
const tracingToken = 'tracing/token+of=no.form';
const strangersKey = 'sk-of-a-stranger-9z8y7x6w';

const parent = mkdtempSync(join(tmpdir(), 'llm-gateway-test-'));
/** This folder does not exist yet; the gateway makes it. */
const folder = join(parent, 'data');
const engine = startDemoEngine({ apiKey: engineKey });
let gateway: Gateway;
/** Every key that the store has had, replaced secrets included. */
const issued: string[] = [];
/** Everything that commands have printed, without the keys that they are meant to show. */
const printed: string[] = [];

const env = {
  LLM_SERVER_URL: engine.url,
  LLM_SERVER_API_KEY: engineKey,
  ALLOWED_API_KEYS: `${envKey},${plainKey}`,
  TRUSTED_USER_KEYS: plainKey,
  TRUSTED_USER_HEADER: 'x-user',
  ADMIN_API_KEY: adminKey,
  METRICS_TOKEN: metricsToken,
  // Nothing listens there: the texts of failed exports must not show secrets either.
  OTEL_EXPORTER_OTLP_ENDPOINT: 'http://127.0.0.1:1',
  OTEL_EXPORTER_OTLP_HEADERS: `authorization=${tracingToken}`,
  RESPONSE_CACHE: 'on',
  LOG_LEVEL: 'DEBUG',
  DATA_DIR: folder,
};

async function command(...args: string[]): Promise<string> {
  const { stdout, stderr } = await runCommand(args, env);
  printed.push(stderr);
  return stdout.trim();
}

/** Runs a command that prints a key. */
async function makeByCommand(...args: string[]): Promise<string> {
  const key = await command(...args);
  expect(key).toStartWith('sk-gw-');
  issued.push(key);
  return key;
}

async function makeOverHttp(path: string, body: object): Promise<{ id: string; key: string }> {
  const made = await ask(gateway.url, { path, headers: bearer(adminKey), body });
  const view = JSON.parse(made.text) as { id: string; key: string };
  issued.push(view.key);
  return view;
}

/** Everything that must not be seen: keys whole, the secret part of those of the store, and its bytes. */
function secrets(): Buffer[] {
  const parts = issued.map((key) => key.slice('sk-gw-0123456789-'.length));
  const texts = [engineKey, envKey, plainKey, adminKey, metricsToken, tracingToken, strangersKey];
  return [
    ...[...texts, ...issued, ...parts].map((text) => Buffer.from(text)),
    // Encoded as in a URL.
    ...texts.map((text) => Buffer.from(encodeURIComponent(text))),
    ...parts.map((text) => Buffer.from(text, 'base64url')),
  ];
}

function expectNone(where: string, shown: string | Buffer): void {
  const bytes = Buffer.from(shown);
  const found = secrets().filter((secret) => bytes.includes(secret));
  expect({ where, found: found.map(String) }).toEqual({ where, found: [] });
}

const messages = [{ role: 'user', content: 'x' }];
const body = { model: 'demo', prompt: 'x', input: 'x', messages, max_tokens: 3 };

/** Uses a key in every way that succeeds and in some that do not. */
async function use(key: string): Promise<void> {
  const inQuery = `?a=1&key=${encodeURIComponent(key)}`;
  const asked: Asked[] = [
    { path: `/v1/completions${inQuery}`, body },
    { path: `/v1/completions${inQuery}`, body: { ...body, temperature: 0, stream: true } },
    { path: `/v1/models/demo${inQuery}` },
    { path: `/usage${inQuery}` },
    { path: `/admin/usage${inQuery}` },
    { path: `/no/such/route${inQuery}` },
    { body, headers: { 'X-Request-Id': key } },
    { body },
    { body: { ...body, temperature: 0 } },
    { body: { ...body, stream: true } },
    { path: '/v1/messages', body },
    { path: '/v1/embeddings', body },
    { path: '/v1/completions', body: '{' },
    { path: '/v1/models' },
    { path: '/v1/models/nobody' },
    { path: '/usage' },
    { path: '/usage?by=nothing' },
    { path: '/admin/keys' },
    { path: '/metrics' },
    { path: '/no/such/route' },
    { body, headers: { 'X-User': 'alice' } },
    ...['error-500', 'error-401', 'reset', 'not-http', 'cut=1'].map((fault) => {
      return { body: { ...body, stream: true }, headers: { 'X-Demo-Fault': fault } };
    }),
  ];
  for (const each of asked) {
    const inHeader = (name: string) => ({ Authorization: undefined, [name]: key });
    const places = ['X-Api-Key', 'Api-Key', 'X-Goog-Api-Key'].map(inHeader);
    for (const headers of [bearer(key), ...places]) {
      const answer = await ask(gateway.url, { ...each, headers: { ...each.headers, ...headers } });
      expectNone(`the answer of ${each.path ?? '/v1/completions'}`, `${answer.head}${answer.text}`);
    }
  }
}

beforeAll(async () => {
  gateway = await startGateway(env);
  await untilUpstream(gateway, 'engine', { state: 'up' });
  const byCommand = await makeByCommand('keys', 'add', '--name', 'by command', '--rpm', '1000');
  const { id, key } = await makeOverHttp('/admin/keys', {
    name: 'over HTTP',
    userHeader: 'x-user',
  });
  await until('both are accepted', async () => {
    const answer = await ask(gateway.url, { path: '/v1/models', headers: bearer(byCommand) });
    return answer.status === 200;
  });
  for (const each of [envKey, plainKey, byCommand, key, adminKey, metricsToken, strangersKey]) {
    await use(each);
  }
  const rotated = await makeOverHttp(`/admin/keys/${id}/rotate`, { grace: '1h' });
  await use(key);
  await use(rotated.key);
  await makeByCommand('keys', 'rotate', 'by command', '--grace', '1h');
  const headers = bearer(adminKey);
  await ask(gateway.url, {
    method: 'PATCH',
    path: `/admin/keys/${id}`,
    headers,
    body: { weight: 2 },
  });
  await ask(gateway.url, { method: 'DELETE', path: `/admin/keys/${id}`, headers });
  await use(rotated.key);
  for (const args of [
    ['keys', 'list'],
    ['keys', 'show', 'by command', '--json'],
    ['usage', '--by', 'key,principal', '--json'],
    ['check-config'],
  ]) {
    printed.push(await command(...args));
  }
});

afterAll(async () => {
  await gateway?.[Symbol.asyncDispose]();
  await engine.stop();
  rmSync(parent, { recursive: true });
});

/** Reads every file of the store. */
function filesOf(): { name: string; bytes: Buffer; mode: number }[] {
  return readdirSync(folder).map((name) => {
    const path = join(folder, name);
    return { name, bytes: readFileSync(path), mode: statSync(path).mode & 0o777 };
  });
}

function expectNoneAtRest(): void {
  const files = filesOf();
  expect(files.map(({ name }) => name)).toContain('gateway.sqlite');
  for (const { name, bytes } of files) expectNone(name, bytes);
}

describe('no secret is found', () => {
  test('in the log', () => {
    expect(gateway.logs.length).toBeGreaterThan(100);
    expectNone('the log', JSON.stringify(gateway.logs));
    expectNone('what else was printed', gateway.output.join('\n'));
  });

  test('in what commands print, except the key that they are meant to show', () => {
    expectNone('the commands', printed.join('\n'));
  });

  test('in the error of a command that gets a whole key instead of an id', async () => {
    const key = issued[0] ?? '';
    const said = [await command('keys', 'show', key), printed.pop()];
    expectNone('keys show', said.join('\n'));
  });

  test('in any page, nor in what it loads', async () => {
    const dashboardPaths = dashboard().routes.map(({ path }) => path);
    const paths = ['/', '/docs', '/redoc', '/openapi.json', '/health', '/ready', ...dashboardPaths];
    const assets = new Set<string>();
    for (const path of paths) {
      const answer = await fetch(gateway.url + path);
      const text = await answer.text();
      expect(answer.status).toBe(200);
      expectNone(path, text + JSON.stringify([...answer.headers]));
      for (const [, asset = ''] of text.matchAll(/(?:src|href)="(\/[^"]+)"/g)) assets.add(asset);
    }
    expect(assets.size).toBeGreaterThan(dashboardPaths.length / 2);
    for (const path of assets) expectNone(path, await (await fetch(gateway.url + path)).text());
  });

  test('in what the operator is shown', async () => {
    const { id } = (await makeOverHttp('/admin/keys', { name: 'shown' })) as { id: string };
    const columns = ['key', 'principal', 'model', 'upstream', 'route', 'code', 'day'].join();
    for (const path of [
      '/admin/keys',
      `/admin/keys/${id}`,
      '/admin/audit?limit=1000',
      `/admin/usage?by=${columns}`,
      '/admin/keys/nobody',
      '/metrics',
    ]) {
      const answer = await ask(gateway.url, { path, headers: bearer(adminKey) });
      expect([path, answer.status]).toEqual([path, path.endsWith('nobody') ? 404 : 200]);
      expectNone(path, answer.head + answer.text);
    }
    const headers = { ...bearer(envKey), 'X-Demo-Fault': 'stall=1' };
    const running = await send(gateway.url, { body: { ...body, stream: true }, headers });
    await running.hasBytes();
    const live = await send(gateway.url, { path: '/admin/live', headers: bearer(adminKey) });
    await live.hasText('"phase":"decode"');
    expectNone('/admin/live', live.head + live.text);
    for (const exchange of [running, live]) exchange.leaveByReset();
  });

  test('in what the engine gets, except its own key', () => {
    expect(engine.requests.length).toBeGreaterThan(50);
    const sent = engine.requests.map(({ path, headers }) => JSON.stringify([path, headers]));
    expectNone('the engine', sent.join('\n').replaceAll(`Bearer ${engineKey}`, ''));
  });

  test('in the files of the store, which only their owner may read', async () => {
    await until('rows are written', () =>
      filesOf().some(({ bytes }) => bytes.includes('over HTTP')),
    );
    expectNoneAtRest();
    expect(statSync(folder).mode & 0o777).toBe(0o700);
    expect(new Set(filesOf().map(({ mode }) => mode))).toEqual(new Set([0o600]));
  });

  test('after a client has put its key in a wrong place', async () => {
    const { key } = await makeOverHttp('/admin/keys', { name: 'lost', userHeader: 'x-user' });
    for (const secret of [key, envKey]) {
      const headers = bearer(secret);
      const misplaced: Asked[] = [
        { body: { ...body, model: secret } },
        { body, headers: { 'X-Request-Id': secret } },
        { body, headers: { 'X-User': secret } },
        { path: `/v1/models/${secret}` },
        { path: `/v1/completions?api_key=${secret}`, body },
        { path: `/admin/keys/${secret}` },
        { path: `/${secret}` },
      ];
      for (const asked of misplaced) {
        await ask(gateway.url, { ...asked, headers: { ...headers, ...asked.headers } });
      }
      const operator = { headers: bearer(adminKey), method: 'DELETE' };
      await ask(gateway.url, { ...operator, path: `/admin/requests/${secret}` });
      await ask(gateway.url, { ...operator, path: `/admin/keys/${secret}` });
    }
    gateway.kill('SIGTERM');
    expect(await gateway.exited).toBe(0);
    expectNone('the log', JSON.stringify(gateway.logs));
    expectNoneAtRest();
  });
});
