/**
 * The command line, as a user types it: what it prints, how it ends, what it refuses. Each command is a process of its
 * own in an empty folder, so that no other .env is read. check-config and demo have their own test files.
 */
import { afterAll, describe, expect, test } from 'bun:test';
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { version } from '../../package.json';
import { startDemoEngine } from '../../src/demo/engine.ts';
import { key, runCommand, startGateway } from '../support/gatewayprocess.ts';

const folder = mkdtempSync(join(tmpdir(), 'command-line-'));
const engine = startDemoEngine({ apiKey: 'engine-key-1' });

afterAll(async () => {
  rmSync(folder, { recursive: true });
  await engine.stop();
});

function write(name: string, text: string): string {
  const path = join(folder, name);
  writeFileSync(path, text);
  return path;
}

const run = (args: string[], env: Record<string, string> = {}, cwd = folder) =>
  runCommand(args, env, cwd);

describe('llm-gateway', () => {
  test.each(['--help', '-h', 'serve --help'])(
    '%s prints every command and option',
    async (line) => {
      const { stdout, stderr, code } = await run(line.split(' '));
      expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
      for (const word of [
        'serve',
        'demo',
        'check-config',
        '--schema',
        '--config',
        '--host',
        '--port',
        '--help',
        '--version',
      ]) {
        expect(stdout).toContain(word);
      }
    },
  );

  test.each(['--version', '-v'])('%s prints the version and nothing else', async (flag) => {
    expect(await run([flag])).toEqual({ stdout: `${version}\n`, stderr: '', code: 0 });
  });

  const bad: Record<string, string[]> = {
    'a command that there is not': ['start'],
    'an option that there is not': ['--verbose'],
    'a word too many': ['serve', 'now'],
    'an option without its value': ['--port'],
    'a value for an option that has none': ['--help=yes'],
    'an option of another command': ['serve', '--schema'],
    'a port that is no number': ['--port', 'abc'],
    'a port beyond the last': ['demo', '--port', '70000'],
    'a host that is none': ['check-config', '--host', 'two hosts'],
  };
  test.each(Object.entries(bad))('%s is bad usage: 2', async (_what, args) => {
    const { stdout, stderr, code } = await run(args, { ALLOWED_API_KEYS: key });
    expect({ code, stdout }).toEqual({ code: 2, stdout: '' });
    expect(stderr).toMatch(/^llm-gateway: \S/);
    expect(stderr).not.toMatch(/^\s+at /m);
  });
});

describe('help and near misses', () => {
  test.each([
    ['help keys', 'keys --help', 'keys COMMAND'],
    ['help keys add', 'keys add --help', 'keys add NAME'],
    ['help usage', 'usage --help', '--since WHEN'],
    ['help serve', '--help', 'healthcheck'],
  ])('"%s" prints what "%s" does', async (line, same, word) => {
    const help = await run(line.split(' '));
    expect(help).toEqual(await run(same.split(' ')));
    expect(help).toMatchObject({ code: 0, stderr: '' });
    expect(help.stdout).toContain(word);
  });

  test.each([
    ['chek-config', 'did you mean check-config?'],
    ['help usgae', 'did you mean usage?'],
    ['serve --prot 1', 'did you mean --port?'],
    ['keys rotat alice', 'did you mean rotate?'],
    ['keys list --jsn', 'did you mean --json?'],
  ])('"%s" asks what was meant', async (line, question) => {
    const { stdout, stderr, code } = await run(line.split(' '));
    expect({ code, stdout }).toEqual({ code: 2, stdout: '' });
    expect(stderr).toContain(question);
  });

  test('a terminal obeys nothing of a command that there is not', async () => {
    expect((await run(['\u001b[31mred'])).stderr).not.toContain('\u001b');
  });
});

describe('keys', () => {
  test('needs DATA_DIR alone: a mistake in another setting stops no command', async () => {
    const broken = { DATA_DIR: join(folder, 'keys-alone'), LLM_SERVER_URL: 'ftp://x', PORT: 'abc' };
    const file = write('broken-elsewhere.yaml', 'idle_timeout_ms: soon\nno_such_setting: 1\n');
    expect((await run(['keys', 'add', 'alice'], broken)).code).toBe(0);
    const { stdout, code } = await run(['keys', 'list', '--config', file], broken);
    expect(code).toBe(0);
    expect(stdout).toContain('alice');
    expect((await run(['serve'], broken)).code).toBe(1);
  });
});

describe('completion', () => {
  /** Returns what bash offers behind a line. */
  async function offered(line: string): Promise<string[]> {
    const { stdout: script, code } = await run(['completion', 'bash']);
    expect(code).toBe(0);
    const words = line.split(' ');
    const listed = words.map((word) => `'${word}'`).join(' ');
    const ask = `COMP_WORDS=(${listed}) COMP_CWORD=${words.length - 1}; _llm_gateway; printf '%s\\n' "\${COMPREPLY[@]}"`;
    const shell = Bun.spawn(['bash', '-c', `${script}\n${ask}`], { stderr: 'inherit' });
    return (await shell.stdout.text()).split('\n').filter((word) => word !== '');
  }

  test.each([
    ['llm-gateway ch', ['check-config']],
    ['llm-gateway keys r', ['rotate', 'revoke']],
    ['llm-gateway keys rotate k1 --g', ['--grace']],
    ['llm-gateway check-config --s', ['--schema']],
    ['llm-gateway restore --f', ['--force']],
    ['llm-gateway help us', ['usage']],
    ['llm-gateway serve --config ', []],
  ])('bash offers behind "%s" what fits', async (line, names) => {
    expect(await offered(line)).toEqual(names);
  });

  test.each(['bash', 'zsh', 'fish'])('the script of %s knows every command', async (shell) => {
    const { stdout, stderr, code } = await run(['completion', shell]);
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    const help = (await run(['--help'])).stdout.split('\nOptions\n', 1)[0] ?? '';
    const names = [...help.matchAll(/^  ([a-z][a-z-]*) {2,}\S/gm)].map(([, name]) => String(name));
    expect(names).toContain('completion');
    for (const name of names) expect(stdout).toContain(`'${name}'`);
    const syntax = Bun.which(shell);
    if (syntax === null) return;
    const check = Bun.spawn([syntax, '-n'], { stdin: new Blob([stdout]) });
    expect(await check.exited).toBe(0);
  });

  test('another shell is bad usage: 2', async () => {
    const { stderr, code } = await run(['completion', 'fishh']);
    expect(code).toBe(2);
    expect(stderr).toContain('did you mean fish?');
  });
});

describe('healthcheck', () => {
  test('ends with 0 while a gateway answers, and with 1 when none does', async () => {
    const gateway = await startGateway({ LLM_SERVER_URL: engine.url });
    const { port } = new URL(gateway.url);
    // It needs no key, and what only the gateway needs may be wrong.
    const env = { HOST: '0.0.0.0', PORT: port, LLM_SERVER_URL: 'ftp://x' };
    expect(await run(['healthcheck'], env)).toEqual({ code: 0, stdout: '', stderr: '' });
    await gateway[Symbol.asyncDispose]();
    const { stdout, stderr, code } = await run(['healthcheck'], env);
    expect({ code, stdout }).toEqual({ code: 1, stdout: '' });
    expect(stderr).toStartWith(`llm-gateway: http://127.0.0.1:${port}/health does not answer`);
  });
});

describe('serve', () => {
  test('refuses to run without a key, and prints a fresh one that works', async () => {
    const freshOf = async () => {
      const { stdout, stderr, code } = await run([], { LLM_SERVER_URL: engine.url });
      expect({ code, stdout }).toEqual({ code: 1, stdout: '' });
      expect(stderr).toMatch(/no API key/i);
      return /ALLOWED_API_KEYS=(\S+)/.exec(stderr)?.[1] ?? '';
    };
    const [one, other] = await Promise.all([freshOf(), freshOf()]);
    expect(one).toMatch(/^sk-[\w-]{32,}$/);
    expect(other).not.toBe(one);

    await using gateway = await startGateway({
      LLM_SERVER_URL: engine.url,
      ALLOWED_API_KEYS: one,
      LLM_SERVER_API_KEY: 'engine-key-1',
    });
    const headers = { authorization: `Bearer ${one}` };
    expect((await fetch(`${gateway.url}/v1/models`, { headers })).status).toBe(200);
  });

  test('leaves nothing behind when it does not start', async () => {
    const home = mkdtempSync(join(folder, 'home-'));
    const settings = { LLM_SERVER_URL: engine.url, DATA_DIR: 'data', HOST: '127.0.0.1' };
    expect((await run([], settings, home)).code).toBe(1);
    expect(readdirSync(home)).toEqual([]);
    await using other = await startGateway({ LLM_SERVER_URL: engine.url });
    const { port } = new URL(other.url);
    const taken = [{ PORT: port }, { PORT: '0', METRICS_PORT: port }];
    for (const more of taken) {
      const env = { ...settings, ...more, ALLOWED_API_KEYS: key };
      const { stdout, code } = await run([], env, home);
      expect(code).toBe(1);
      expect(stdout).toContain('another program listens there');
      expect(readdirSync(home)).toEqual([]);
    }
  });

  test.each(['', ' , ,'])('takes ALLOWED_API_KEYS=%j for no key', async (keys) => {
    expect((await run(['serve'], { ALLOWED_API_KEYS: keys })).code).toBe(1);
  });

  test('ends with 1 if its port is busy, and the first gateway goes on', async () => {
    await using first = await startGateway({ LLM_SERVER_URL: engine.url });
    const { port } = new URL(first.url);
    const second = await run(['serve', '--host', '127.0.0.1', '--port', port], {
      ALLOWED_API_KEYS: key,
    });
    expect(second.code).toBe(1);
    const line = JSON.parse(second.stdout.trim()) as Record<string, unknown>;
    expect(line).toMatchObject({ level: 'ERROR', code: 'EADDRINUSE', port: Number(port) });
    expect(String(line['msg'])).toContain(`127.0.0.1:${port}`);
    expect(String(line['msg'])).toContain('choose another port with --port or PORT');
    expect(second.stderr).toBe('');
    expect((await fetch(`${first.url}/health`)).status).toBe(200);
  });

  test('lets --host and --port win over the environment', async () => {
    await using gateway = await startGateway(
      { LLM_SERVER_URL: engine.url, HOST: '192.0.2.1', PORT: '1' },
      ['--host', 'localhost', '--port', '0'],
    );
    expect((await fetch(`${gateway.url}/health`)).status).toBe(200);
    expect(gateway.url).toStartWith('http://localhost:');
  });

  test('reads a file with ${ENV}, and the environment wins over it', async () => {
    const path = write(
      'gateway.yaml',
      'llm_server_url: http://127.0.0.1:${ENGINE_PORT}/v1/completions\n' +
        'llm_server_api_key: ${ENGINE_KEY}\nlog_level: error\nallowed_api_keys: [sk-of-the-file-1]\n',
    );
    await using gateway = await startGateway(
      { ENGINE_PORT: String(engine.port), ENGINE_KEY: 'engine-key-1', LOG_LEVEL: 'INFO' },
      ['serve', '--config', path],
    );
    const ask = (given: string) =>
      fetch(`${gateway.url}/v1/models`, { headers: { authorization: `Bearer ${given}` } });
    expect((await ask(key)).status).toBe(200);
    expect((await ask('sk-of-the-file-1')).status).toBe(403);
  });

  test('refuses a file with a ${ENV} that is not set, and says which', async () => {
    const path = write('unset.yaml', 'llm_server_url: http://${NO_SUCH_HOST}:1\n');
    const { stderr, code } = await run(['--config', path], { ALLOWED_API_KEYS: key });
    expect(code).toBe(1);
    expect(stderr).toContain('NO_SUCH_HOST');
    expect(stderr).toContain('llm_server_url');
  });

  test.each([
    ['that is not there', 'missing.yaml', undefined],
    ['that is no YAML', 'broken.yaml', 'a: [1,\nb: }'],
    ['that is a list', 'list.yaml', '- 1\n- 2\n'],
  ])('refuses a file %s and names it', async (_what, name, text) => {
    const path = text === undefined ? join(folder, name) : write(name, text);
    const { stderr, code } = await run(['--config', path], { ALLOWED_API_KEYS: key });
    expect(code).toBe(1);
    expect(stderr).toContain(name);
    expect(stderr).not.toMatch(/^\s+at /m);
  });

  test('reads secrets from files', async () => {
    const keys = write('keys', 'sk-in-a-file-0001\nsk-in-a-file-0002\n');
    const engineKey = write('engine-key', 'engine-key-1\n');
    await using gateway = await startGateway({
      ALLOWED_API_KEYS: '',
      ALLOWED_API_KEYS_FILE: keys,
      LLM_SERVER_URL: engine.url,
      LLM_SERVER_API_KEY_FILE: engineKey,
      TRUSTED_USER_HEADER: 'x-user',
      TRUSTED_USER_KEYS_FILE: write('trusted', 'sk-in-a-file-0002'),
    });
    for (const given of ['sk-in-a-file-0001', 'sk-in-a-file-0002']) {
      const headers = { 'x-api-key': given, 'x-user': 'alice', 'x-request-id': given.slice(-4) };
      expect((await fetch(`${gateway.url}/v1/models`, { headers })).status).toBe(200);
    }
    const principal = async (id: string) =>
      (await gateway.logged(({ requestId, status }) => requestId === id && status === 200))[
        'principal'
      ];
    expect(await principal('0001')).not.toContain('alice');
    expect(await principal('0002')).toEndWith('/alice');
  });

  test.each([
    ['is not there', '/no/such/file', {}],
    ['competes with its own variable', '/dev/null', { LLM_SERVER_API_KEY: 'engine-key-1' }],
  ])('refuses a secret whose file %s', async (_what, path, more) => {
    const env = { ALLOWED_API_KEYS: key, LLM_SERVER_API_KEY_FILE: path, ...more };
    const { stderr, code } = await run([], env);
    expect(code).toBe(1);
    expect(stderr).toContain('LLM_SERVER_API_KEY_FILE');
  });

  test('reads .env of the working directory, and the environment wins over it', async () => {
    const home = mkdtempSync(join(folder, 'home-'));
    writeFileSync(
      join(home, '.env'),
      'ALLOWED_API_KEYS=sk-of-dot-env-1\nMAX_BODY_BYTES=77\nPORT=78\n',
    );
    const { stdout, code } = await run(['check-config'], { PORT: '79' }, home);
    expect(code).toBe(0);
    expect(stdout).toContain('max_body_bytes: 77\n');
    expect(stdout).toContain('port: 79\n');
    expect(stdout).toMatch(/allowed_api_keys: # 1 key/);
  });

  test('obeys no proxy variable of the environment or of .env, and does not restart in a loop', async () => {
    const home = mkdtempSync(join(folder, 'home-'));
    writeFileSync(join(home, '.env'), 'HTTP_PROXY=http://127.0.0.1:1\n');
    const { stdout, code } = await run(['--version'], { https_proxy: 'http://127.0.0.1:1' }, home);
    expect(code).toBe(0);
    expect(stdout).toMatch(/^\d/);
  });
});
