/**
 * What a watch asks and when, by a clock that the tests move; and what it hears of an engine whose requests break: an
 * answer, a broken connection, nobody, or nothing yet.
 */
import { describe, expect, test } from 'bun:test';
import type { Socket } from 'node:net';
import type { Log } from '../../../src/log/log.ts';
import { watchAgent } from '../../../src/wire/headers.ts';
import { Upstream } from '../../../src/engines/upstream.ts';
import { Watch, type WatchOptions } from '../../../src/engines/watch.ts';
import { setRealTimer } from '../../../src/request/timer.ts';
import type { UpstreamSettings } from '../../../src/config/upstreams.ts';
import { HandClock, settled } from '../../support/handclock.ts';
import { holdPort } from '../../support/heldport.ts';
import { startUpstream } from '../../support/rawengine.ts';
import { until } from '../../support/wait.ts';
import { settingsOf } from '../../support/schedulingworld.ts';

/** What a test says that the engine answers at a path: JSON of a 200, a whole answer, or a failure to throw. */
type Said = object | Response | Error;

const props = { total_slots: 2, default_generation_settings: { n_ctx: 4_096 } };
const list = { data: [{ id: 'qwen' }] };
const loading = () => {
  const error = { message: 'Loading model' };
  return Response.json({ error }, { status: 503, headers: { server: 'llama.cpp' } });
};
const refused = Object.assign(new Error('refused'), { code: 'ConnectionRefused' });
const slow = Object.assign(new Error('too slow'), { name: 'TimeoutError' });
const reset = Object.assign(new Error('reset'), { code: 'ECONNRESET' });

/** A watch of an engine that answers what is said here, by a clock that stands still. */
function watchOf(
  said: Record<string, Said | (() => Said)>,
  settings: Partial<UpstreamSettings> = {},
) {
  const clock = new HandClock();
  const asked: string[] = [];
  const sent: RequestInit[] = [];
  const heard: string[] = [];
  const lines: string[] = [];
  const noted = (what: string) => () => void heard.push(what);
  const upstream = new Upstream(settingsOf('a', settings), () => 0);
  const watch = new Watch(
    {
      upstream,
      log: { info: (_: object, line: string) => lines.push(line) } as unknown as Log, // No more of it is used.
      now: clock.now,
      random: () => 0.5,
      changed: noted('changed'),
      loaded: (load, askedAt) => void heard.push(`loaded ${JSON.stringify(load)} ${askedAt}`),
      reached: noted('reached'),
      answered: () => upstream.proven(clock.now()),
      broke: noted('broke'),
      unreachable: noted('unreachable'),
    },
    {
      setTimer: clock.setTimer,
      async fetch(url, init) {
        const { pathname } = new URL(url);
        asked.push(pathname);
        sent.push(init);
        const entry = said[pathname];
        const answer = typeof entry === 'function' ? entry() : entry;
        if (answer instanceof Error) throw answer;
        if (answer instanceof Response) return answer;
        return answer === undefined ? new Response('', { status: 404 }) : Response.json(answer);
      },
    },
  );
  /** Returns what was asked since the last time. */
  const news = () => asked.splice(0);
  return { clock, watch, upstream, said, sent, heard, lines, news };
}

describe('an engine', () => {
  test('is asked what it is and what it serves, and then again and again whether it lives', async () => {
    const { clock, watch, upstream, news } = watchOf({ '/props': props, '/v1/models': list });
    watch.start();
    await clock.pass(0);
    expect(news()).toEqual(['/props', '/v1/models']);
    const { kind, reportedSlots, contextTokens, models, state } = upstream;
    expect([kind, reportedSlots, contextTokens]).toEqual(['llama.cpp', 2, 4_096]);
    expect([models, state]).toEqual([['qwen'], 'up']);
    for (let i = 0; i < 5; i++) {
      await clock.pass(4_999);
      expect(news()).toEqual([]);
      await clock.pass(1);
      expect(news()).toEqual(['/health']);
    }
    // After half a minute what it serves is asked for again.
    await clock.pass(5_000);
    expect(news()).toEqual(['/health', '/v1/models']);
  });

  test('is asked at once what it serves when that is wanted, unless it is away or its models are given', async () => {
    const { clock, watch, upstream, said, news, heard } = watchOf({
      '/props': props,
      '/v1/models': list,
    });
    watch.start();
    await clock.pass(0);
    news();
    said['/v1/models'] = { data: [{ id: 'qwen' }, { id: 'gemma' }] };
    const before = heard.length;
    await watch.readListNow();
    expect([news(), upstream.models]).toEqual([['/v1/models'], ['qwen', 'gemma']]);
    expect(heard.slice(before)).toEqual(['changed']);
    said['/v1/models'] = refused;
    await watch.readListNow();
    expect(heard.slice(before)).toEqual(['changed', 'unreachable', 'changed']);
    expect(upstream.models).toEqual(['qwen', 'gemma']);
    upstream.breaker.unreachable(clock.now());
    news();
    await watch.readListNow();
    expect(news()).toEqual([]);
    const given = watchOf({ '/v1/models': list }, { models: ['x'] });
    await given.watch.readListNow();
    expect(given.news()).toEqual([]);
  });

  test('that goes away is found out by its health endpoint alone, without any request', async () => {
    const { clock, watch, said, heard } = watchOf({ '/props': props, '/v1/models': list });
    watch.start();
    await clock.pass(4_000);
    expect(heard).toEqual(['changed', 'changed']);
    said['/health'] = refused;
    await clock.pass(1_000);
    expect(heard.slice(2)).toEqual(['unreachable', 'changed']);
  });

  test('that loads its model is looked at less and less often, and its list is read when it has', async () => {
    const { clock, watch, upstream, said, news } = watchOf({
      '/props': loading,
      '/health': loading,
    });
    watch.start();
    await clock.pass(0);
    news();
    expect(upstream.state).toBe('loading');
    const times: number[] = [];
    for (let at = 0; at < 20_000; at += 250) {
      await clock.pass(250);
      if (news().length > 0) times.push(clock.now());
    }
    expect(times).toEqual([500, 1_500, 3_500, 7_500, 12_500, 17_500]);
    Object.assign(said, { '/props': props, '/health': {}, '/v1/models': list });
    await clock.pass(5_000);
    expect([upstream.state, upstream.models]).toEqual(['up', ['qwen']]);
  });

  test('that loads another model has its list read again at once', async () => {
    const { clock, watch, upstream, said } = watchOf({ '/props': props, '/v1/models': list });
    watch.start();
    await clock.pass(0);
    said['/health'] = loading;
    await clock.pass(5_000);
    expect(upstream.state).toBe('loading');
    Object.assign(said, { '/health': {}, '/v1/models': { data: [{ id: 'other' }] } });
    await clock.pass(500);
    expect([upstream.state, upstream.models]).toEqual(['up', ['other']]);
  });

  test('that does not say what it is gets requests after a second all the same, and not sooner', async () => {
    const { clock, upstream, heard } = watchOf({});
    const answer = Promise.withResolvers<Response>();
    const watch = new Watch(
      { ...optionsOf({ upstream, clock }), changed: () => void heard.push('changed') },
      { setTimer: clock.setTimer, fetch: () => answer.promise },
    );
    watch.start();
    await clock.pass(999);
    expect([upstream.isSighted, heard]).toEqual([false, []]);
    await clock.pass(1);
    expect([upstream.isSighted, heard]).toEqual([true, ['changed']]);
    watch.close();
    answer.resolve(new Response());
  });

  test('that is slow says nothing, and is not away for that', async () => {
    const { clock, watch, heard, upstream } = watchOf({ '/props': slow, '/health': slow });
    watch.start();
    await clock.pass(10_000);
    expect(new Set(heard)).toEqual(new Set(['changed']));
    expect(upstream.kind).toBe('llama.cpp');
  });

  test('whose health endpoint breaks the connection is told, and no other path', async () => {
    const { clock, watch, said, heard } = watchOf({ '/props': props, '/v1/models': reset });
    watch.start();
    await clock.pass(0);
    expect(heard).not.toContain('broke');
    said['/health'] = reset;
    await clock.pass(5_000);
    expect(heard).toContain('broke');
  });

  test('that may be another one is asked anew, and gets no request before', async () => {
    const { clock, watch, upstream, said, lines, news } = watchOf(
      { '/props': props, '/v1/models': list },
      { kind: 'auto' },
    );
    watch.start();
    await clock.pass(0);
    news();
    Object.assign(said, { '/props': undefined, '/version': { version: '1' } });
    watch.lookAnew();
    expect(upstream.isSighted).toBe(false);
    await clock.pass(0);
    expect(news()).toEqual([
      '/props',
      '/get_server_info',
      '/api/version',
      '/version',
      '/v1/models',
      '/v1/models',
    ]);
    expect([upstream.kind, upstream.isSighted]).toEqual(['vllm', true]);
    expect(lines).toEqual(['upstream kind found', 'upstream kind found']);
  });

  test('is asked with its key, as the watch, and by no kept connection', async () => {
    const { clock, watch, sent } = watchOf({ '/props': props }, { apiKey: 'sk-engine' });
    watch.start();
    await clock.pass(0);
    const headers = new Headers(sent[0]?.headers);
    expect(headers.get('authorization')).toBe('Bearer sk-engine');
    expect(headers.get('user-agent')).toBe(watchAgent);
    expect(sent[0]).toMatchObject({ keepalive: false, redirect: 'manual' });
  });

  test('that is hastened to is looked at soon', async () => {
    const { clock, watch, news } = watchOf({ '/props': props, '/v1/models': list });
    watch.start();
    await clock.pass(100);
    news();
    watch.hasten();
    await clock.pass(500);
    expect(news()).toEqual(['/health']);
  });

  test('is left alone once the watch is closed', async () => {
    const { clock, watch, news } = watchOf({ '/props': props, '/v1/models': list });
    watch.start();
    await clock.pass(0);
    news();
    watch.close();
    expect(clock.due).toEqual([]);
    watch.hasten();
    await watch.look();
    await clock.pass(60_000);
    expect(news()).toEqual([]);
  });
});

describe('the load', () => {
  const slots = [{ is_processing: true, n_prompt_tokens_processed: 7 }];

  test('is asked for once within a pause, and told with the time of the question', async () => {
    const { clock, watch, heard, news } = watchOf({ '/slots': slots });
    await clock.pass(40);
    expect([watch.askLoad(20), watch.askLoad(20)]).toEqual([true, false]);
    await settled();
    expect(heard).toEqual(['loaded {"busySlots":1,"progress":7} 40']);
    await clock.pass(19);
    expect(watch.askLoad(20)).toBe(false);
    await clock.pass(1);
    expect(watch.askLoad(20)).toBe(true);
    await settled();
    expect(news()).toEqual(['/slots', '/slots']);
  });

  test('of an engine that is away says that', async () => {
    const { watch, heard } = watchOf({ '/slots': refused });
    watch.askLoad(0);
    await settled();
    expect(heard).toEqual(['unreachable']);
  });

  test('of an engine that stands still is asked for at every look', async () => {
    const { clock, watch, upstream, news } = watchOf({ '/props': props, '/v1/models': list });
    watch.start();
    await clock.pass(0);
    upstream.stalled(true);
    news();
    await clock.pass(5_000);
    expect(news()).toEqual(['/health', '/slots']);
  });
});

test('what is posted comes back as JSON, and as nothing when it is no 200', async () => {
  const { watch, sent, said } = watchOf({ '/tokenize': { tokens: [1] } });
  expect(await watch.post('/tokenize', [Buffer.from('{}')])).toEqual({ tokens: [1] });
  expect([sent[0]?.method, `${sent[0]?.body}`]).toEqual(['POST', '{}']);
  said['/tokenize'] = refused;
  expect(await watch.post('/tokenize', [Buffer.from('{}')])).toBeUndefined();
  said['/tokenize'] = new Response('{}', { status: 500 });
  expect(await watch.post('/tokenize', [Buffer.from('{}')])).toBeUndefined();
});

/** Returns what a watch needs, of which nothing but the upstream and the clock matters. */
function optionsOf({ upstream, clock }: { upstream: Upstream; clock: HandClock }): WatchOptions {
  const nothing = () => {};
  return {
    upstream,
    log: {} as Log, // Nothing is found out that it would log.
    now: clock.now,
    random: () => 0.5,
    changed: nothing,
    loaded: nothing,
    reached: nothing,
    answered: nothing,
    broke: nothing,
    unreachable: nothing,
  };
}

/** A watch of an engine that has a socket. */
function stage(url: string) {
  const heard: string[] = [];
  const noted = (what: string) => () => void heard.push(what);
  let now = 0;
  const upstream = new Upstream(settingsOf('a', { url }), () => 0);
  const watch = new Watch(
    {
      ...optionsOf({ upstream, clock: new HandClock() }),
      now: () => now,
      changed: noted('changed'),
      loaded: noted('loaded'),
      reached: noted('reached'),
      answered: noted('answered'),
      broke: noted('broke'),
      unreachable: noted('unreachable'),
    },
    { setTimer: setRealTimer, fetch },
  );
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
  expect(await watch.post('/tokenize', [Buffer.from('{}')])).toBeUndefined();
  expect(heard).toEqual([]);
});

describe('a connection that is only tried', () => {
  test('tells of an engine that takes it, and sends nothing', async () => {
    await using engine = await startUpstream(() => {});
    const { watch, heard } = stage(engine.url);
    watch.proveByConnecting(60_000);
    await until('it says so', () => heard.length > 0);
    expect([heard, engine.questions]).toEqual([['reached'], []]);
  });

  test('tells nothing of one that refuses it: the request itself fails with that', async () => {
    using dead = holdPort();
    const { watch, heard } = stage(dead.url);
    watch.proveByConnecting(60_000);
    watch.proveByAsking();
    await until('the question is answered', () => heard.length > 0);
    expect(heard).toEqual(['unreachable']);
  });
});
