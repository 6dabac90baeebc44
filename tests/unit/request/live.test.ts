/**
 * Requests in flight: which deadline has passed in which phase, how one is ended, what its record says. Clocks are
 * numbers; nothing here waits.
 */
import { describe, expect, test } from 'bun:test';
import { GatewayError, type ErrorCode } from '../../../src/wire/errors.ts';
import { LiveRequest, LiveRequests, type Phase } from '../../../src/request/live.ts';
import { routes } from '../../../src/wire/routes.ts';
import { caller } from '../../support/samples.ts';
import { isUnproven, overdue, type Deadlines } from '../../../src/request/deadlines.ts';

const [route] = routes;
if (route === undefined) throw new Error('there is no route');

/** A request that began at 1,000. */
function request(fields: Partial<LiveRequest> = {}): LiveRequest {
  return Object.assign(
    new LiveRequest('id-1', route as (typeof routes)[number], caller, 1_000),
    fields,
  );
}

const limits: Deadlines = {
  connectTimeoutMs: 10,
  requestBodyTimeoutMs: 20,
  firstByteTimeoutMs: 30,
  idleTimeoutMs: 40,
  totalTimeoutMs: 1_000,
  queueTimeoutMs: 50,
};

const off: Deadlines = {
  connectTimeoutMs: 0,
  requestBodyTimeoutMs: 0,
  firstByteTimeoutMs: 0,
  idleTimeoutMs: 0,
  totalTimeoutMs: 0,
  queueTimeoutMs: 0,
};

/** Proven long before, or only after, the engine was asked at 5,000. */
const proven = 5_000;
const unproven = Number.NEGATIVE_INFINITY;

type State = Partial<Pick<LiveRequest, 'stream' | 'hasHeaders' | 'firstByteAt' | 'lastByteAt'>> & {
  phase: Phase;
};

/** A request in that state, whose upstream was proven then; the engine was asked at 5,000, if it was. */
function inState(state: State, provenAt: number): LiveRequest {
  const { phase } = state;
  if (phase === 'body') return request(state);
  if (phase === 'queued') return request({ ...state, queuedAt: 2_000 });
  const upstream = { id: 'engine', provenAt };
  return request({ ...state, queuedAt: 2_000, sentAt: 5_000, upstream });
}

const waiting: State = { phase: 'waiting' };
const waitingStream: State = { phase: 'waiting', stream: true };
const headersOfStream: State = { phase: 'waiting', stream: true, hasHeaders: true };
const streaming: State = {
  phase: 'streaming',
  stream: true,
  hasHeaders: true,
  firstByteAt: 5_010,
  lastByteAt: 5_600,
};
const plainBody: State = { ...streaming, stream: false };

/** What a request is in, when the upstream was proven, the time, and what has passed by then. */
const table: [string, State, number, number, ErrorCode | undefined][] = [
  ['a body that is young', { phase: 'body' }, unproven, 1_019, undefined],
  ['a body that is late', { phase: 'body' }, unproven, 1_020, 'request_body_timeout'],
  [
    'a body counts from its own beginning',
    { phase: 'body' },
    unproven,
    999_999,
    'request_body_timeout',
  ],
  ['a wait in the queue that is young', { phase: 'queued' }, unproven, 2_049, undefined],
  ['a wait in the queue that is late', { phase: 'queued' }, unproven, 2_050, 'queue_timeout'],
  [
    'a stream in the queue, for no other deadline',
    { phase: 'queued', stream: true },
    unproven,
    999_999,
    'queue_timeout',
  ],

  ['a connection that is young', waiting, unproven, 5_009, undefined],
  ['a connection that is late', waiting, unproven, 5_010, 'connect_timeout'],
  ['a connection proven before the request', waiting, 4_999, 5_010, 'connect_timeout'],
  ['a connection proven as it was asked', waiting, proven, 5_010, undefined],
  ['a connection proven since', waiting, 5_004, 5_010, undefined],
  ['a connection that sent headers', { ...waiting, hasHeaders: true }, unproven, 5_010, undefined],
  ['an unproven stream', waitingStream, unproven, 5_030, 'connect_timeout'],

  ['a plain answer, silent for long', waiting, proven, 5_999, undefined],
  ['a plain answer, silent for too long', waiting, proven, 6_000, 'total_timeout'],
  ['a plain body that stands still', plainBody, proven, 5_999, undefined],
  ['a plain body that took too long', plainBody, proven, 6_000, 'total_timeout'],

  ['a first byte that is due', waitingStream, proven, 5_029, undefined],
  ['a first byte that is late', waitingStream, proven, 5_030, 'first_byte_timeout'],
  [
    'a first byte that is late behind headers',
    headersOfStream,
    unproven,
    5_030,
    'first_byte_timeout',
  ],
  ['a stream that moves', streaming, proven, 5_639, undefined],
  ['a stream that stands still', streaming, proven, 5_640, 'idle_timeout'],
  [
    'a stream that moves for too long',
    { ...streaming, lastByteAt: 5_999 },
    proven,
    6_000,
    'total_timeout',
  ],
];

describe('overdue', () => {
  test.each(table)('%s', (_, state, provenAt, now, expected) => {
    expect(overdue(inState(state, provenAt), limits, now)).toBe(expected);
  });

  test.each(table)('%s: with every deadline off nothing is overdue', (_, state, provenAt) => {
    expect(overdue(inState(state, provenAt), off, 1e12)).toBeUndefined();
  });

  const each: [keyof Deadlines, State, number, number, ErrorCode][] = [
    ['connectTimeoutMs', waiting, unproven, 5_500, 'connect_timeout'],
    ['requestBodyTimeoutMs', { phase: 'body' }, unproven, 5_500, 'request_body_timeout'],
    ['firstByteTimeoutMs', waitingStream, proven, 5_500, 'first_byte_timeout'],
    ['idleTimeoutMs', streaming, proven, 5_900, 'idle_timeout'],
    ['totalTimeoutMs', plainBody, proven, 6_500, 'total_timeout'],
    ['queueTimeoutMs', { phase: 'queued' }, unproven, 5_500, 'queue_timeout'],
  ];

  test.each(each)(
    '%s alone, with the others off, decides',
    (name, state, provenAt, now, expected) => {
      expect(overdue(inState(state, provenAt), { ...off, [name]: limits[name] }, now)).toBe(
        expected,
      );
    },
  );

  test.each(each)('%s off lets that wait go on', (name, state, provenAt, now, expected) => {
    expect(overdue(inState(state, provenAt), { ...limits, [name]: 0 }, now)).not.toBe(expected);
  });

  test('time in the queue counts for no deadline of the exchange', () => {
    const upstream = { id: 'engine', provenAt: 900_000 };
    const entry = request({ ...waitingStream, queuedAt: 2_000, sentAt: 900_000, upstream });
    expect(overdue(entry, limits, 900_029)).toBeUndefined();
  });

  test('time with the body counts for no deadline of the queue', () => {
    const entry = request({ phase: 'queued', queuedAt: 900_000 });
    expect(overdue(entry, limits, 900_049)).toBeUndefined();
  });

  test('a wait that goes on at another engine counts from its beginning', () => {
    const upstream = { id: 'engine', provenAt: proven };
    const entry = request({ phase: 'queued', queuedAt: 2_000, sentAt: 2_040, upstream });
    expect(overdue(entry, limits, 2_050)).toBe('queue_timeout');
  });

  test('an upstream that is proven meanwhile counts as that', () => {
    const upstream = { id: 'engine', provenAt: unproven };
    const entry = request({ ...waiting, sentAt: 5_000, upstream });
    expect(isUnproven(entry)).toBe(true);
    expect(overdue(entry, limits, 5_010)).toBe('connect_timeout');
    upstream.provenAt = 5_009;
    expect(isUnproven(entry)).toBe(false);
    expect(overdue(entry, limits, 5_010)).toBeUndefined();
  });

  test.each<Phase>(['body', 'queued', 'streaming'])('nothing is unproven in phase %s', (phase) => {
    expect(isUnproven(inState({ phase }, unproven))).toBe(false);
  });

  test('does not change the request', () => {
    const entry = inState(streaming, proven);
    const before = JSON.stringify(entry);
    overdue(entry, limits, 9_000);
    expect(JSON.stringify(entry)).toBe(before);
    expect(entry.signal.aborted).toBe(false);
  });
});

describe('abort', () => {
  test('fires the signal with a GatewayError that has the code', () => {
    const entry = request();
    entry.abort('idle_timeout');
    expect(entry.code).toBe('idle_timeout');
    expect(entry.signal.aborted).toBe(true);
    expect(entry.signal.reason).toBeInstanceOf(GatewayError);
    expect(entry.signal.reason.code).toBe('idle_timeout');
  });

  test('keeps the first code, and calls onAbort once', () => {
    const entry = request();
    const heard: string[] = [];
    entry.onAbort = (error) => heard.push(error.code);
    entry.abort('client_closed_request');
    entry.abort('total_timeout');
    expect(entry.code).toBe('client_closed_request');
    expect(entry.signal.reason.code).toBe('client_closed_request');
    expect(heard).toEqual(['client_closed_request']);
  });
});

describe('settlement', () => {
  test('says what happened, with times as differences', () => {
    const entry = request({
      model: 'qwen3-8b',
      upstream: { id: 'engine', provenAt: 1_100 },
      stream: true,
      status: 200,
      sentAt: 1_200,
      firstByteAt: 1_450,
      lastByteAt: 1_900,
      queuedMs: 150,
      bytesIn: 10,
      bytesOut: 20,
      frames: 5,
      tokens: { promptTokens: 7, completionTokens: 3 },
    });
    expect(entry.settlement('done', undefined, 2_000)).toEqual({
      requestId: 'id-1',
      caller,
      route: '/v1/completions',
      model: 'qwen3-8b',
      upstream: 'engine',
      status: 200,
      code: undefined,
      outcome: 'done',
      stream: true,
      bodyMs: 0,
      queuedMs: 150,
      firstByteMs: 250,
      engineMs: 800,
      totalMs: 1_000,
      promptTokens: 7,
      completionTokens: 3,
      tokensAre: 'exact',
      bytesIn: 10,
      bytesOut: 20,
      clientGone: false,
      isCacheHit: false,
      traceparent: undefined,
    });
  });

  test('estimates tokens from frames only where the engine said nothing', () => {
    const record = request({ stream: true, frames: 5, sentAt: 1_200 }).settlement(
      'failed',
      'upstream_reset',
      2_000,
    );
    expect(record).toMatchObject({ completionTokens: 5, tokensAre: 'estimated' });
    expect(record).not.toHaveProperty('promptTokens');
  });

  test('estimates the prompt with them, from its bytes', () => {
    const record = request({ stream: true, frames: 5, promptEstimate: 40, sentAt: 1_200 });
    expect(record.settlement('failed', 'upstream_reset', 2_000)).toMatchObject({
      promptTokens: 40,
      completionTokens: 5,
      tokensAre: 'estimated',
    });
  });

  test('estimates the prompt of a client that left once an engine had it', () => {
    const left = { promptEstimate: 40, sentAt: 1_200 };
    const record = request(left).settlement('aborted', 'client_closed_request', 2_000);
    expect(record).toMatchObject({ promptTokens: 40, tokensAre: 'estimated' });
    for (const other of [
      { ...left, sentAt: 0 },
      { ...left, promptEstimate: 0 },
    ]) {
      const none = request(other).settlement('aborted', 'client_closed_request', 2_000);
      expect(none.tokensAre).toBeUndefined();
    }
  });

  test('knows no tokens of an answer without usage and without frames', () => {
    const record = request().settlement('done', undefined, 2_000);
    expect(record.tokensAre).toBeUndefined();
    expect(record).not.toHaveProperty('completionTokens');
  });

  test('calls tokens exact when only those of the prompt are known, as of an embedding', () => {
    const record = request({ tokens: { promptTokens: 4 }, sentAt: 1_200 }).settlement(
      'done',
      undefined,
      2_000,
    );
    expect(record).toMatchObject({ promptTokens: 4, tokensAre: 'exact' });
    expect(record).not.toHaveProperty('completionTokens');
  });

  test('names no upstream while it has none', () => {
    expect(request().settlement('failed', 'queue_timeout', 2_000).upstream).toBeUndefined();
  });

  test('has no first byte before there was one', () => {
    const record = request({ sentAt: 1_200 }).settlement('failed', 'connect_timeout', 2_000);
    expect(record.firstByteMs).toBeUndefined();
  });

  test('says that the client has gone only when that ended it', () => {
    expect(request().settlement('aborted', 'client_closed_request', 2_000).clientGone).toBe(true);
    expect(request().settlement('failed', 'idle_timeout', 2_000).clientGone).toBe(false);
  });
});

describe('LiveRequests', () => {
  test('knows what is in flight', () => {
    const live = new LiveRequests();
    const [one, two] = [request(), request()];
    live.add(one);
    live.add(two);
    expect(live.size).toBe(2);
    expect([...live]).toEqual([one, two]);
  });

  test('takes each request out once', () => {
    const live = new LiveRequests();
    const one = request();
    live.add(one);
    expect(live.remove(one)).toBe(true);
    expect(live.remove(one)).toBe(false);
    expect(live.size).toBe(0);
  });

  test('aborts every one, also when that takes them out', () => {
    const live = new LiveRequests();
    const all = [request(), request(), request()];
    for (const entry of all) {
      live.add(entry);
      entry.onAbort = () => live.remove(entry);
    }
    live.abortAll('shutting_down');
    expect(all.map(({ code }) => code)).toEqual(Array(3).fill('shutting_down'));
    expect(live.size).toBe(0);
  });

  test('is empty at once when there is none', async () => {
    await new LiveRequests().empty();
    expect(new LiveRequests().size).toBe(0);
  });

  test('tells everybody who waits that it is empty, and not earlier', async () => {
    const live = new LiveRequests();
    const [one, two] = [request(), request()];
    live.add(one);
    live.add(two);
    let told = 0;
    const waits = [live.empty(), live.empty()].map((wait) => wait.then(() => told++));
    live.remove(one);
    await Bun.sleep(0);
    expect(told).toBe(0);
    live.remove(two);
    await Promise.all(waits);
    expect(told).toBe(2);
  });
});
