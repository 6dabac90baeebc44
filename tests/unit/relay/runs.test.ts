/**
 * The one timer of all runs: what is overdue is ended, what is long reported once, a doubtful connection proven.
 */
import { expect, test } from 'bun:test';
import { Runs, type RunOptions } from '../../../src/relay/runs.ts';
import { LiveRequests } from '../../../src/request/inflight.ts';
import { LiveRequest } from '../../../src/request/live.ts';
import { routes, type Route } from '../../../src/wire/routes.ts';
import { readerThat, startRuns } from '../../support/runstage.ts';
import { caller } from '../../support/samples.ts';
import type { Wire } from '../../support/rawengine.ts';
import { until } from '../../support/wait.ts';

/** Runs with requests put in by hand, at a time that a test sets. */
function start(deadlines: Partial<RunOptions['deadlines']> = {}) {
  const live = new LiveRequests();
  const clock = { now: 0 };
  const long: string[] = [];
  const proven: [string, number][] = [];
  const runs = new Runs({
    live,
    now: () => clock.now,
    health: {
      proveByConnecting: (id: string, withinMs: number) => void proven.push([id, withinMs]),
    },
    observer: { started() {}, settled() {}, isLong: ({ id }: LiveRequest) => void long.push(id) },
    deadlines: {
      connectTimeoutMs: 0,
      requestBodyTimeoutMs: 0,
      firstByteTimeoutMs: 0,
      idleTimeoutMs: 0,
      totalTimeoutMs: 0,
      queueTimeoutMs: 0,
      ...deadlines,
    },
  } as unknown as RunOptions); // A sweep reads no other options.
  function add(id: string): LiveRequest {
    const request = new LiveRequest(id, routes[0] as Route, caller, clock.now);
    live.add(request);
    return request;
  }
  return { runs, live, clock, long, proven, add };
}

const to = { model: undefined, units: 1, isPartial: false, maxTokens: Infinity };

test('what is overdue is aborted with the code of its deadline, and nothing else', () => {
  const { runs, clock, add } = start({ queueTimeoutMs: 50, totalTimeoutMs: 100 });
  const [queued, sent, body] = [add('queued'), add('sent'), add('body')];
  queued.queued(0);
  sent.sent({ ...to, upstream: { id: 'engine', provenAt: 1 } }, 0);
  clock.now = 99;
  runs.sweep();
  expect([queued.code, sent.code, body.code]).toEqual(['queue_timeout', undefined, undefined]);
  clock.now = 100;
  runs.sweep();
  expect([sent.code, body.code]).toEqual(['total_timeout', undefined]);
});

test('what passed while the process stood still counts for no deadline', () => {
  const { runs, clock, add } = start({ queueTimeoutMs: 300, totalTimeoutMs: 300 });
  const [queued, sent] = [add('queued'), add('sent')];
  const all = () => [queued.code, sent.code];
  queued.queued(0);
  sent.sent({ ...to, upstream: { id: 'engine', provenAt: 1 } }, 0);
  const beatAt = (now: number) => {
    clock.now = now;
    runs.beat();
  };
  beatAt(100);
  beatAt(6_200);
  expect(all()).toEqual([undefined, undefined]);
  beatAt(6_249);
  expect(all()).toEqual([undefined, undefined]);
  beatAt(6_349);
  expect(all()).toEqual(['queue_timeout', 'total_timeout']);
});

test('a late sweep judges nothing, whatever its deadline: what came lies in the sockets', () => {
  const { runs, clock, add } = start({ queueTimeoutMs: 50 });
  const queued = add('queued');
  queued.queued(0);
  clock.now = 1_000;
  runs.beat();
  expect(queued.code).toBeUndefined();
  clock.now = 1_100;
  runs.beat();
  expect(queued.code).toBe('queue_timeout');
});

test('where every sweep is late, deadlines pass all the same', () => {
  const { runs, clock, add } = start({ queueTimeoutMs: 300 });
  const queued = add('queued');
  queued.queued(0);
  const codes = [500, 1_000, 1_500].map((now) => {
    clock.now = now;
    runs.beat();
    return queued.code;
  });
  expect(codes).toEqual([undefined, undefined, 'queue_timeout']);
});

test('what is open for two seconds is reported once, and its reader held', () => {
  const { runs, clock, add, long } = start();
  const reader = readerThat();
  add('a').readBy(reader);
  clock.now = 1_999;
  runs.sweep();
  expect(long).toEqual([]);
  clock.now = 2_000;
  runs.sweep();
  runs.sweep();
  expect(long).toEqual(['a']);
  expect(reader.heard).toEqual(['attend', 'holdOpen']);
});

test.each([
  [10_000, 500],
  [400, 200],
])(
  'a connection that nothing proves is tried within %p ms, from %p ms on',
  (connectTimeoutMs, from) => {
    const { runs, clock, add, proven } = start({ connectTimeoutMs });
    add('sent').sent({ ...to, upstream: { id: 'engine', provenAt: 0 } }, 10);
    clock.now = 10 + from - 1;
    runs.sweep();
    expect(proven).toEqual([]);
    clock.now = 10 + from;
    runs.sweep();
    expect(proven).toEqual([['engine', connectTimeoutMs]]);
  },
);

test('without such a deadline no connection is doubted', () => {
  const { runs, clock, add, proven } = start();
  add('sent').sent({ ...to, upstream: { id: 'engine', provenAt: 0 } }, 10);
  clock.now = 100_000;
  runs.sweep();
  expect(proven).toEqual([]);
});

test('the timer runs by itself while a run is open: a deadline that passes ends it', async () => {
  let wire: Wire | undefined;
  await using stage = await startRuns((_, opened) => void (wire = opened), {
    TOTAL_TIMEOUT_MS: '1',
  });
  const run = stage.run();
  const thrown = await run.catch((error: unknown) => error);
  expect(thrown).toMatchObject({ code: 'total_timeout' });
  await until('the engine has lost it', () => wire !== undefined);
  await wire?.over;
});
