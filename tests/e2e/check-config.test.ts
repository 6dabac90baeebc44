/**
 * `llm-gateway check-config`: the effective configuration with secrets masked, every problem in it at once, its schema.
 */
import { afterAll, describe, expect, test } from 'bun:test';
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { key, runCommand } from '../support/gatewayprocess.ts';

const folder = mkdtempSync(join(tmpdir(), 'check-config-'));
afterAll(() => rmSync(folder, { recursive: true }));

function write(name: string, text: string): string {
  const path = join(folder, name);
  writeFileSync(path, text);
  return path;
}

const run = (args: string[], env: Record<string, string> = {}) => runCommand(args, env, folder);

describe('check-config', () => {
  const env = {
    ALLOWED_API_KEYS: `${key},sk-another-key-1234567890`,
    LLM_SERVER_URL: 'http://localhost:9/v1/completions',
    LLM_SERVER_API_KEY: 'engine-secret-key-1',
    LOG_LEVEL: 'debug',
  };

  test('prints the effective configuration with secrets masked', async () => {
    const { stdout, stderr, code } = await run(['check-config', '--port', '7'], env);
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    expect(stdout).toContain('log_level: DEBUG');
    expect(stdout).toContain('port: 7\n');
    expect(stdout).toContain('http://localhost:9');
    expect(stdout).toContain('max_body_bytes: 33554432');
    expect(stdout).not.toMatch(/sk-test-key-1|sk-another-key-1234567890|engine-secret-key-1/);
  });

  test('accepts what it has printed as a file', async () => {
    const { stdout } = await run(['check-config'], env);
    const path = write('effective.yaml', stdout);
    const { ALLOWED_API_KEYS } = env;
    const again = await run(['check-config', '--config', path], { ALLOWED_API_KEYS });
    expect(again.code).toBe(0);
    // Secrets are comments in the print, so only they are missing.
    const withoutSecrets = (text: string) => text.replace(/^.*_keys?:.*$/gm, '');
    expect(withoutSecrets(again.stdout)).toBe(withoutSecrets(stdout));
  });

  test('lists every problem at once and ends with 1', async () => {
    const path = write('wrong.yaml', 'idle_timeout_ms: soon\nno_such_setting: 1\n');
    const { stdout, stderr, code } = await run(['check-config', '--config', path], {
      ...env,
      PORT: 'abc',
      LOG_LEVEL: 'LOUD',
      LLM_SERVER_URL: 'ftp://x',
      MAX_BODY_BYTES: '-1',
      TLS_CERT_FILE: '/cert.pem',
      LLM_SERVER_API_KEY: 'has a space',
    });
    expect({ code, stdout }).toEqual({ code: 1, stdout: '' });
    for (const name of [
      'PORT',
      'LOG_LEVEL',
      'LLM_SERVER_URL',
      'MAX_BODY_BYTES',
      'TLS_KEY_FILE',
      'LLM_SERVER_API_KEY',
      'idle_timeout_ms',
      'no_such_setting',
    ]) {
      expect(stderr).toContain(name);
    }
    expect(stderr).not.toContain('has a space');
    expect(stderr).not.toMatch(/^\s+at /m);
  });

  test('reports problems of both files of HTTPS, and files that no server could use', async () => {
    const files = { TLS_CERT_FILE: '/nope', TLS_KEY_FILE: '/nope2' };
    const away = await run(['check-config'], { ...env, ...files, PORT: 'abc' });
    expect(away.code).toBe(1);
    for (const part of ['PORT: ', '"/nope"', '"/nope2"']) expect(away.stderr).toContain(part);
    const [TLS_CERT_FILE, TLS_KEY_FILE] = [write('cert', 'garbage'), write('key', 'rubbish')];
    const garbage = await run(['check-config'], { ...env, TLS_CERT_FILE, TLS_KEY_FILE });
    expect(garbage.code).toBe(1);
    expect(garbage.stderr).toMatch(/TLS_CERT_FILE, .* found no usable certificate/);
    expect(garbage.stderr).toMatch(/TLS_KEY_FILE, .* found no usable private key/);
  });

  test('reports a key that stands twice in the file, and the line in which a file is no YAML', async () => {
    const twice = write('twice.yaml', 'port: 1\nport: 2\n');
    const refused = await run(['check-config', '--config', twice], env);
    expect(refused.code).toBe(1);
    expect(refused.stderr).toContain('twice.yaml: line 2, column 1: ');
    const broken = write('broken.yaml', 'port: 1\nhost x\nlog_level: INFO\n');
    expect((await run(['check-config', '--config', broken], env)).stderr).toContain(
      'broken.yaml: line 2, column 1: ',
    );
  });

  test('reports that there is no key, makes none, and leaves nothing behind', async () => {
    const home = mkdtempSync(join(folder, 'home-'));
    const none = await runCommand(['check-config'], { DATA_DIR: 'data', PORT: 'abc' }, home);
    expect({ code: none.code, stdout: none.stdout }).toEqual({ code: 1, stdout: '' });
    expect(none.stderr).toContain('ALLOWED_API_KEYS: no API key is configured');
    expect(none.stderr).toContain('PORT: ');
    expect(none.stderr).not.toContain('sk-');
    expect(readdirSync(home)).toEqual([]);
    const add = ['keys', 'add', '--name', 'alice'];
    expect((await runCommand(add, { DATA_DIR: 'data' }, home)).code).toBe(0);
    expect((await runCommand(['check-config'], { DATA_DIR: 'data' }, home)).code).toBe(0);
  });

  test('reports that DATA_DIR cannot be a folder', async () => {
    const { stderr, code } = await run(['check-config'], { ...env, DATA_DIR: write('file', '') });
    expect(code).toBe(1);
    expect(stderr).toMatch(/DATA_DIR: .* is a file, not a folder/);
  });

  test('serve and demo refuse the same, with the same words', async () => {
    const wrong = { ...env, PORT: 'abc', LOG_LEVEL: 'LOUD' };
    const checked = await run(['check-config'], wrong);
    for (const args of [[], ['serve'], ['demo']]) {
      expect(await run(args, wrong)).toEqual({ stdout: '', stderr: checked.stderr, code: 1 });
    }
  });

  test('warns of variables and refuses keys that resemble a setting, and quotes no value', async () => {
    const near = { LLM_SERVER_URLS: 'http://user:pass@x', DATADIR: '/secret', METRICS_PROT: '1' };
    const { stderr, code } = await run(['check-config'], { ...env, ...near });
    expect(code).toBe(0);
    expect(stderr.trim().split('\n').toSorted()).toEqual([
      'llm-gateway: warning: DATADIR: no setting has this name; did you mean DATA_DIR?',
      'llm-gateway: warning: LLM_SERVER_URLS: no setting has this name; did you mean LLM_SERVER_URL?',
      'llm-gateway: warning: METRICS_PROT: no setting has this name; did you mean METRICS_PORT?',
    ]);
    const path = write('near.yaml', 'idle_timout_ms: 1\n');
    expect((await run(['check-config', '--config', path], env)).stderr).toContain(
      'did you mean idle_timeout_ms?',
    );
  });

  test('--schema prints a JSON Schema that names every setting', async () => {
    const { stdout, code } = await run(['check-config', '--schema']);
    expect(code).toBe(0);
    const schema = JSON.parse(stdout) as { $schema: string; properties: object };
    expect(schema.$schema).toContain('json-schema.org');
    const printed = (await run(['check-config'], env)).stdout;
    const names = printed.split('\n').flatMap((line) => /^(\w+):/.exec(line)?.[1] ?? []);
    expect(names.length).toBeGreaterThan(10);
    expect(schema.properties).toContainAllKeys([
      ...names,
      'llm_server_url', // Printed as upstreams.
      ...names.filter((name) => /_(keys?|token|headers)$/.test(name)).map((name) => `${name}_file`),
    ]);
  });
});
