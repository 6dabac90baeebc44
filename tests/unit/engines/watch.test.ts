/** What a watch hears of an engine whose requests break: an answer, a broken connection, nobody, or nothing yet. */
import { expect, test } from 'bun:test';
import type { Socket } from 'node:net';
import type { Log } from '../../../src/log/log.ts';
import { Upstream } from '../../../src/engines/upstream.ts';
import { Watch } from '../../../src/engines/watch.ts';
import { holdPort } from '../../support/heldport.ts';
import { startUpstream } from '../../support/rawengine.ts';
import { until } from '../../support/wait.ts';
import { settingsOf } from '../../support/schedulingworld.ts';

function stage(url: string) {
  const heard: string[] = [];
  const noted = (what: string) => () => void heard.push(what);
  let now = 0;
  const watch = new Watch({
    upstream: new Upstream(settingsOf('a', { url }), () => 0),
    log: {} as Log, // Nothing is found out that it would log.
    now: () => now,
    random: () => 0,
    changed: noted('changed'),
    loaded: noted('loaded'),
    reached: noted('reached'),
    answered: noted('answered'),
    broke: noted('broke'),
    unreachable: noted('unreachable'),
  });
  return { watch, heard, at: (time: number) => (now = time) };
}

const cases: [string, (socket: Socket) => void][] = [
  ['answered', () => {}],
  ['broke', (socket) => void socket.resetAndDestroy()],
  ['broke', (socket) => void socket.end()],
];

test.each(cases)('says that the health endpoint has %s', async (expected, connected) => {
  await using engine = await startUpstream(() => {}, { connected });
  const { watch, heard } = stage(engine.url);
  watch.proveByAsking();
  await until('it says so', () => heard.length > 0);
  expect(heard).toEqual([expected]);
});

test('says that nobody is there', async () => {
  using dead = holdPort();
  const { watch, heard } = stage(dead.url);
  watch.proveByAsking();
  await until('it says so', () => heard.length > 0);
  expect(heard).toEqual(['unreachable']);
});

test('asks the health endpoint no more often than every half second, however many requests break', async () => {
  await using engine = await startUpstream(() => {});
  const { watch, heard, at } = stage(engine.url);
  for (const time of [0, 1, 499, 500, 501, 999, 1_000]) {
    at(time);
    watch.proveByAsking();
  }
  await until('all have been answered', () => heard.length === 3);
  expect(engine.questions).toEqual(['/health', '/health', '/health']);
});

test('says nothing of another path that breaks connections', async () => {
  await using engine = await startUpstream(() => {}, {
    connected: (socket) => void socket.resetAndDestroy(),
  });
  const { watch, heard } = stage(engine.url);
  expect(await watch.post('/tokenize', '{}')).toBeUndefined();
  expect(heard).toEqual([]);
});
