/**
 * HTTPS from the gateway itself, with a certificate made here; and a certificate that cannot be used, which is an error
 * that says so.
 */
import { afterAll, beforeAll, describe, expect, test } from 'bun:test';
import { copyFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { startDemoEngine } from '../../src/demo/engine.ts';
import { key, runCommand, startGateway, type Gateway } from '../support/gatewayprocess.ts';
import { until } from '../support/wait.ts';

const folder = mkdtempSync(join(tmpdir(), 'tls-'));
const engine = startDemoEngine();
let gateway: Gateway;

/** Makes a certificate for localhost; returns the two paths. */
function makeCertificate(name: string): { cert: string; key: string } {
  const files = { cert: join(folder, `${name}.pem`), key: join(folder, `${name}.key`) };
  const options =
    'req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=localhost ' +
    '-addext subjectAltName=DNS:localhost,IP:127.0.0.1';
  const made = Bun.spawnSync([
    'openssl',
    ...options.split(' '),
    '-keyout',
    files.key,
    '-out',
    files.cert,
  ]);
  expect(made.exitCode).toBe(0);
  return files;
}

const own = makeCertificate('own');
const other = makeCertificate('other');
const ca = readFileSync(own.cert, 'utf8');

beforeAll(async () => {
  gateway = await startGateway({
    LLM_SERVER_URL: engine.url,
    TLS_CERT_FILE: own.cert,
    TLS_KEY_FILE: own.key,
  });
});

afterAll(async () => {
  await gateway[Symbol.asyncDispose]();
  await engine.stop();
  rmSync(folder, { recursive: true });
});

function ask(path: string, body?: string): Promise<Response> {
  return fetch(gateway.url + path, {
    method: body === undefined ? 'GET' : 'POST',
    headers: { authorization: `Bearer ${key}` },
    ...(body === undefined ? {} : { body }),
    tls: { ca },
  });
}

describe('with a certificate', () => {
  test('the address is https', () => {
    expect(gateway.url).toStartWith('https://');
  });

  test('answers', async () => {
    expect((await ask('/health')).status).toBe(200);
    const answer = await ask('/v1/completions', '{"prompt":"a","max_tokens":3}');
    expect(await answer.json()).toMatchObject({ object: 'text_completion' });
  });

  test('streams', async () => {
    const text = await (await ask('/v1/completions', '{"prompt":"a","stream":true}')).text();
    expect(text).toEndWith('data: [DONE]\n\n');
  });

  test('looks a model up', async () => {
    const answer = await ask('/v1/models/demo');
    expect(answer.status).toBe(200);
    expect(await answer.json()).toMatchObject({ id: 'demo' });
  });

  test('refuses in the right envelope, with the right status', async () => {
    const bad = await ask('/v1/messages', '{');
    expect(bad.status).toBe(400);
    expect(await bad.json()).toMatchObject({ type: 'error' });
    const unknown = await ask('/v1/messages/unknown');
    expect(unknown.status).toBe(404);
    expect(await unknown.json()).toMatchObject({ error: { type: 'not_found_error' } });
    const wrong = await ask('/v1/completions');
    expect(wrong.status).toBe(405);
    expect(wrong.headers.get('allow')).toBe('POST');
  });

  test('answers a preflight', async () => {
    const url = `${gateway.url}/v1/completions`;
    const answer = await fetch(url, { method: 'OPTIONS', tls: { ca } });
    expect(answer.status).toBe(204);
  });

  test('takes a body of 5 MB', async () => {
    const body = `{"prompt":"a","max_tokens":1,"image":"${'A'.repeat(5_000_000)}"}`;
    expect((await ask('/v1/completions', body)).status).toBe(200);
    expect(engine.requests.at(-1)?.body.length).toBe(body.length);
  });

  test('uses the certificate of the file, which other clients do not trust', async () => {
    const stranger = fetch(`${gateway.url}/health`, {
      tls: { ca: readFileSync(other.cert, 'utf8') },
    });
    await expect(stranger).rejects.toThrow(/certificate/i);
  });

  test('speaks no plain HTTP', async () => {
    const plain = fetch(gateway.url.replace('https:', 'http:'));
    await expect(plain).rejects.toThrow();
  });
});

describe('a renewed certificate', () => {
  const next = makeCertificate('next');
  const inUse = { cert: join(folder, 'in-use.pem'), key: join(folder, 'in-use.key') };
  const put = (files: { cert: string; key: string }) => {
    copyFileSync(files.cert, inUse.cert);
    copyFileSync(files.key, inUse.key);
  };
  const renewed = (count: number) => (): boolean =>
    renewing.logs.filter(({ msg }) => msg === 'the certificate was renewed').length === count;
  const askWith = (files: { cert: string }, init: RequestInit = {}) =>
    fetch(`${renewing.url}/v1/completions`, {
      ...init,
      headers: { authorization: `Bearer ${key}` },
      keepalive: false,
      tls: { ca: readFileSync(files.cert, 'utf8') },
    });
  const slow = startDemoEngine({ tokensPerSecond: 20 });
  let renewing: Gateway;

  beforeAll(async () => {
    put(own);
    renewing = await startGateway({
      LLM_SERVER_URL: slow.url,
      TLS_CERT_FILE: inUse.cert,
      TLS_KEY_FILE: inUse.key,
    });
  });
  afterAll(async () => {
    await renewing[Symbol.asyncDispose]();
    await slow.stop();
  });

  test('is used when its file changes, and open requests go on to their end', async () => {
    const body = '{"prompt":"a","stream":true,"max_tokens":60,"ignore_eos":true}';
    const open = await askWith(own, { method: 'POST', body });
    put(next);
    await until('it is taken', renewed(1));
    expect((await askWith(next)).status).toBe(405);
    await expect(askWith(own)).rejects.toThrow(/certificate/i);
    expect(slow.requests.find(({ method }) => method === 'POST')?.state).toBe('running');
    expect(await open.text()).toEndWith('data: [DONE]\n\n');
  });

  test('is used on SIGHUP; without a change nothing is done', async () => {
    renewing.kill('SIGHUP');
    await renewing.logged(({ msg }) => msg === 'configuration reloaded');
    put(other);
    renewing.kill('SIGHUP');
    await until('it is taken', renewed(2));
    expect((await askWith(other)).status).toBe(405);
  });

  test('that does not fit its key is refused, and the old one stays', async () => {
    copyFileSync(own.cert, inUse.cert);
    const line = await renewing.logged(({ msg }) => String(msg).includes('the old one stays'));
    expect(String(line['problems'])).toContain('does not belong to the certificate');
    expect((await askWith(other)).status).toBe(405);
    expect(renewed(2)()).toBe(true);
  });

  test('does not keep the gateway from ending', async () => {
    renewing.kill('SIGTERM');
    expect(await renewing.exited).toBe(0);
  });
});

describe('a certificate that cannot be used', () => {
  const cases: Record<string, { cert: string; key: string }> = {
    'is not there': { cert: join(folder, 'missing.pem'), key: own.key },
    'has no key there': { cert: own.cert, key: join(folder, 'missing.key') },
    'is a folder': { cert: folder, key: own.key },
    'is no PEM': { cert: join(folder, 'text'), key: own.key },
    'is empty': { cert: join(folder, 'empty'), key: own.key },
    'has a key that is no PEM': { cert: own.cert, key: join(folder, 'text') },
    'has the key of another': { cert: own.cert, key: other.key },
  };
  writeFileSync(join(folder, 'text'), 'no certificate\n');
  writeFileSync(join(folder, 'empty'), '');

  test.each(Object.entries(cases))('and %s ends with 1 and says so', async (_what, files) => {
    const env = {
      HOST: '127.0.0.1',
      PORT: '0',
      ALLOWED_API_KEYS: key,
      TLS_CERT_FILE: files.cert,
      TLS_KEY_FILE: files.key,
    };
    const { stdout, stderr, code } = await runCommand([], env, folder);
    expect(code).toBe(1);
    expect(stdout + stderr).toMatch(/TLS_CERT_FILE|TLS_KEY_FILE|certificate|key|\.pem|PEM/);
    expect(stdout).not.toContain('"listening"');
    expect(stderr).not.toMatch(/^\s+at /m);
    expect(stdout + stderr).not.toContain('PRIVATE KEY');
  });
});
