/**
 * Backups, as an operator makes and restores them: each command is a process, next to a gateway that serves and writes.
 */
import { afterAll, expect, test } from 'bun:test';
import { Database } from 'bun:sqlite';
import { copyFileSync, mkdtempSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { startDemoEngine } from '../../src/demo/engine.ts';
import { runCommand, startGateway } from '../support/gatewayprocess.ts';

const folder = mkdtempSync(join(tmpdir(), 'backup-'));
const engine = startDemoEngine();
afterAll(async () => {
  rmSync(folder, { recursive: true });
  await engine.stop();
});

const run = (line: string, dir: string) =>
  runCommand(line.split(' '), { DATA_DIR: dir, LLM_SERVER_URL: 'ftp://x' }, folder);

/** Returns the names of the keys in a store. */
async function namesIn(dir: string): Promise<string[]> {
  const { stdout } = await run('keys list --json', dir);
  return (JSON.parse(stdout) as { data: { name: string }[] }).data.map(({ name }) => name);
}

test('a backup of a store that a gateway writes to is restored, but not under that gateway', async () => {
  const dir = join(folder, 'live');
  const { stdout: secret } = await run('keys add alice', dir);
  const gateway = await startGateway({ LLM_SERVER_URL: engine.url, DATA_DIR: dir });
  const headers = { authorization: `Bearer ${secret.trim()}` };
  expect((await fetch(`${gateway.url}/v1/models`, { headers })).status).toBe(200);

  const made = await run('backup copy.sqlite --json', dir);
  expect(made).toMatchObject({ code: 0, stderr: '' });
  const file = join(folder, 'copy.sqlite');
  const { size, mode } = statSync(file);
  expect(JSON.parse(made.stdout)).toEqual({ file, bytes: size, version: 2 });
  expect(mode & 0o777).toBe(0o600);

  await run('keys add bob', dir);
  const refused = await run('restore copy.sqlite --force', dir);
  expect(refused).toMatchObject({ code: 1, stdout: '' });
  expect(refused.stderr).toContain('Stop the gateway that runs on it');
  expect(await namesIn(dir)).toEqual(['alice', 'bob']);
  expect((await fetch(`${gateway.url}/v1/models`, { headers })).status).toBe(200);
  await gateway[Symbol.asyncDispose]();

  const careful = await run('restore copy.sqlite', dir);
  expect(careful.code).toBe(1);
  expect(careful.stderr).toContain('--force replaces it');
  expect((await run('restore copy.sqlite --force', dir)).code).toBe(0);
  expect(await namesIn(dir)).toEqual(['alice']);

  const other = join(folder, 'other', 'new');
  expect((await run('restore copy.sqlite', other)).code).toBe(0);
  await using again = await startGateway({ LLM_SERVER_URL: engine.url, DATA_DIR: other });
  expect((await fetch(`${again.url}/v1/models`, { headers })).status).toBe(200);
});

test('a file that is no sound backup of this version replaces nothing and leaves nothing behind', async () => {
  const dir = join(folder, 'kept');
  await run('keys add carol', dir);
  await run('backup sound.sqlite', dir);
  const file = (name: string) => join(folder, name);
  writeFileSync(file('text.sqlite'), 'no database');
  new Database(file('foreign.sqlite')).run('CREATE TABLE things (id)');
  copyFileSync(file('sound.sqlite'), file('newer.sqlite'));
  new Database(file('newer.sqlite')).run("INSERT INTO schema_version VALUES (99, '9.0.0')");
  const reasons = {
    'text.sqlite': 'damaged or no database',
    'foreign.sqlite': 'another program',
    'newer.sqlite': 'LLM Gateway 9.0.0 or later is needed',
    'missing.sqlite': 'is not there',
  };
  for (const [name, reason] of Object.entries(reasons)) {
    const { stderr, code } = await run(`restore ${name} --force`, dir);
    expect(code).toBe(1);
    expect(stderr).toContain(reason);
  }
  expect(await namesIn(dir)).toEqual(['carol']);
  expect(readdirSync(dir).filter((name) => name.includes('.part'))).toEqual([]);
});

test('a damaged store is replaced by its backup', async () => {
  const dir = join(folder, 'damaged');
  await run('keys add dave', dir);
  await run('backup dave.sqlite', dir);
  writeFileSync(join(dir, 'gateway.sqlite'), 'no database');
  expect((await run('restore dave.sqlite --force', dir)).code).toBe(0);
  expect(await namesIn(dir)).toEqual(['dave']);
});

test('a backup replaces no file unasked, and there is none of a store that is not there', async () => {
  const dir = join(folder, 'careful');
  expect((await run('backup nothing.sqlite', dir)).stderr).toContain('there is no store yet');
  await run('keys add erin', dir);
  writeFileSync(join(folder, 'mine.txt'), 'mine');
  expect((await run('backup mine.txt', dir)).stderr).toContain('--force replaces it');
  expect((await run('backup mine.txt --force', dir)).code).toBe(0);
  expect((await run(`backup ${dir}/gateway.sqlite --force`, dir)).stderr).toContain('is the store');
  expect((await run('backup', dir)).code).toBe(2);
});
