/**
 * A changed configuration takes effect on SIGHUP or when its file changes, without dropping a stream; a wrong one is
 * refused with its problems, and the old one stays.
 */
import { expect, setDefaultTimeout, test } from 'bun:test';
import { writeFileSync } from 'node:fs';
import { startDemoEngine } from '../../src/demo/engine.ts';
import { ask, send } from '../support/rawclient.ts';
import { configFile, startWith } from '../support/configfile.ts';
import { healthOf, untilUpstream } from '../support/gatewayhealth.ts';
import { key } from '../support/gatewayprocess.ts';
import { until } from '../support/wait.ts';

setDefaultTimeout(60_000);

const stream = { prompt: 'x', max_tokens: 60, ignore_eos: true, stream: true };
const reloaded = (line: Record<string, unknown>) => line['msg'] === 'configuration reloaded';
const refused = (line: Record<string, unknown>) =>
  String(line['msg']).startsWith('the new configuration is wrong');

test('an upstream that is replaced keeps its streams to their end and gets no further requests', async () => {
  const before = startDemoEngine({ slots: 2, tokensPerSecond: 50 });
  const after = startDemoEngine({ slots: 2 });
  using file = configFile({ upstreams: [{ id: 'before', url: before.url }] });
  await using gateway = await startWith(file);
  await untilUpstream(gateway, 'before', { state: 'up', slots: 2 });
  const open = await send(gateway.url, { body: stream });
  await open.hasBytes();
  file.write({ upstreams: [{ id: 'after', url: after.url }] });
  gateway.kill('SIGHUP');
  await gateway.logged(reloaded);
  await untilUpstream(gateway, 'after', { state: 'up', slots: 2 });
  expect((await healthOf(gateway)).upstreams.map(({ id }) => id)).toEqual(['after']);
  expect((await ask(gateway.url, { body: { prompt: 'x', max_tokens: 1 } })).status).toBe(200);
  await open.ended();
  expect(open.text).toEndWith('data: [DONE]\n\n');
  const posts = before.requests.filter(({ method }) => method === 'POST');
  expect(posts).toHaveLength(1);
  await Promise.all([before.stop(), after.stop()]);
});

test('a changed file is enough, without a signal', async () => {
  const engine = startDemoEngine({ slots: 2 });
  using file = configFile({ upstreams: [{ id: 'one', url: engine.url }] });
  await using gateway = await startWith(file);
  await untilUpstream(gateway, 'one', { state: 'up' });
  file.write({ upstreams: [{ id: 'one', url: engine.url, drain: true }] });
  await untilUpstream(gateway, 'one', { state: 'drained' });
  const answer = await ask(gateway.url, { body: { prompt: 'x', max_tokens: 1 } });
  expect(answer.header('x-gateway-error')).toBe('no_healthy_upstream');
  file.write({ upstreams: [{ id: 'one', url: engine.url }] });
  await untilUpstream(gateway, 'one', { state: 'up' });
  await engine.stop();
});

test('a wrong configuration is refused with its problems and changes nothing', async () => {
  const engine = startDemoEngine();
  using file = configFile({ upstreams: [{ url: engine.url }] });
  await using gateway = await startWith(file);
  await untilUpstream(gateway, 'engine', { state: 'up' });
  file.write({ upstreams: [{ url: 'nowhere', slots: -1 }], log_level: 'loud' });
  gateway.kill('SIGHUP');
  const { problems } = (await gateway.logged(refused)) as { problems: string[] };
  const said = problems.join('\n');
  for (const part of ['upstreams[1].url', 'upstreams[1].slots', 'log_level'])
    expect(said).toContain(part);
  expect((await ask(gateway.url, { body: { prompt: 'x', max_tokens: 1 } })).status).toBe(200);
  await engine.stop();
});

test('what a start would refuse is refused: nobody has a key, or the file is empty', async () => {
  const engine = startDemoEngine();
  const whole = { upstreams: [{ url: engine.url }], allowed_api_keys: [key] };
  using file = configFile(whole);
  await using gateway = await startWith(file, { ALLOWED_API_KEYS: '' });
  await untilUpstream(gateway, 'engine', { state: 'up' });
  const problemsOf = async (count: number) => {
    await until('it is refused', () => gateway.logs.filter(refused).length === count);
    return String(gateway.logs.filter(refused).at(-1)?.['problems']);
  };
  file.write({ upstreams: [{ url: engine.url }] });
  expect(await problemsOf(1)).toContain('no API key is configured');
  writeFileSync(file.path, '');
  expect(await problemsOf(2)).toContain('the file is empty');
  expect((await ask(gateway.url, { body: { prompt: 'x', max_tokens: 1 } })).status).toBe(200);
  expect(gateway.logs.filter(reloaded)).toEqual([]);
  file.write(whole);
  await gateway.logged(reloaded);
  await engine.stop();
});

test('keys that are added and taken away count at once', async () => {
  const engine = startDemoEngine();
  const [old, fresh] = ['sk-test-old-key-1', 'sk-test-new-key-1'];
  using file = configFile({ upstreams: [{ url: engine.url }], allowed_api_keys: [old] });
  await using gateway = await startWith(file, { ALLOWED_API_KEYS: '' });
  const status = async (key: string) => {
    const headers = { Authorization: `Bearer ${key}` };
    return (await ask(gateway.url, { path: '/v1/models', headers })).status;
  };
  expect([await status(old), await status(fresh)]).toEqual([200, 403]);
  file.write({ upstreams: [{ url: engine.url }], allowed_api_keys: [fresh] });
  gateway.kill('SIGHUP');
  await gateway.logged(reloaded);
  expect([await status(old), await status(fresh)]).toEqual([403, 200]);
  await engine.stop();
});

test('a file with a secret counts when it stands still: a half and an empty one change nothing', async () => {
  const engine = startDemoEngine();
  using file = configFile({ upstreams: [{ url: engine.url }] });
  const secrets = `${file.path}.keys`;
  const [first, second, third] = ['sk-test-key-one-1', 'sk-test-key-two-2', 'sk-test-key-three'];
  writeFileSync(secrets, `${first}\n${second}\n`);
  const env = { ALLOWED_API_KEYS: '', ALLOWED_API_KEYS_FILE: secrets };
  await using gateway = await startWith(file, env);
  const status = async (key: string) => {
    const headers = { Authorization: `Bearer ${key}` };
    return (await ask(gateway.url, { path: '/v1/models', headers })).status;
  };
  const statuses = () => Promise.all([first, second, third].map(status));
  await until('it takes requests', async () => (await status(second)) === 200);

  writeFileSync(secrets, '');
  const { problems } = (await gateway.logged(refused)) as { problems: string[] };
  expect(String(problems)).toContain('is empty');
  expect(await statuses()).toEqual([200, 200, 403]);

  // Half of it is there when the signal comes.
  writeFileSync(secrets, `${first}\nsk-test-`);
  gateway.kill('SIGHUP');
  expect(await statuses()).toEqual([200, 200, 403]);
  writeFileSync(secrets, `${first}\n${second}\n${third}\n`);
  await gateway.logged(reloaded);
  expect(await statuses()).toEqual([200, 200, 200]);
  expect(gateway.logs.filter(reloaded)).toHaveLength(1);

  // A change of it is enough, and a new one is waited for as well.
  const moved = `${file.path}.moved`;
  writeFileSync(moved, `${third}\n`);
  file.write({ upstreams: [{ url: engine.url, api_key_file: moved }] });
  await until('it is read again', () => gateway.logs.filter(reloaded).length === 2);
  writeFileSync(secrets, `${third}\n`);
  await until('only the third is left', async () => (await status(second)) === 403);
  expect(await statuses()).toEqual([403, 403, 200]);
  await engine.stop();
});

test('waiting requests run on the new upstreams', async () => {
  const engine = startDemoEngine({ slots: 1, tokensPerSecond: 20 });
  const more = startDemoEngine({ slots: 1 });
  using file = configFile({ upstreams: [{ id: 'one', url: engine.url }] });
  await using gateway = await startWith(file);
  await untilUpstream(gateway, 'one', { state: 'up', slots: 1 });
  const holder = await send(gateway.url, { body: { ...stream, max_tokens: 2000 } });
  await holder.hasBytes();
  const waiting = await send(gateway.url, { body: { prompt: 'x', max_tokens: 1 } });
  await until('it waits', async () => (await healthOf(gateway)).queued === 1);
  file.write({
    upstreams: [
      { id: 'one', url: engine.url },
      { id: 'two', url: more.url },
    ],
  });
  gateway.kill('SIGHUP');
  await waiting.ended();
  expect(waiting.status).toBe(200);
  expect(holder.ending).toBe('open');
  holder.leaveByReset();
  await Promise.all([engine.stop(), more.stop()]);
});
