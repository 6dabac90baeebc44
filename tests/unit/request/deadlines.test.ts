/**
 * Which deadline has passed in which phase. Clocks are numbers; nothing here waits.
 */
import { describe, expect, test } from 'bun:test';
import {
  isUnproven,
  overdue,
  type Deadlines,
  overdueText,
  type Overdue,
} from '../../../src/request/deadlines.ts';
import { LiveRequest, type Phase } from '../../../src/request/live.ts';
import { routes } from '../../../src/wire/routes.ts';
import { caller } from '../../support/samples.ts';

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

/**
 * A request in that state, with the time of its upstream's last proof; it was sent to the engine at 5,000, if at all.
 */
function inState(state: State, provenAt: number): LiveRequest {
  const { phase } = state;
  if (phase === 'body') return request(state);
  if (phase === 'queued') return request({ ...state, queuedAt: 2_000 });
  const upstream = { id: 'engine', provenAt };
  return request({ ...state, queuedAt: 2_000, sentAt: 5_000, upstream });
}

const prefill: State = { phase: 'prefill' };
const prefillStream: State = { phase: 'prefill', stream: true };
const headersOfStream: State = { phase: 'prefill', stream: true, hasHeaders: true };
const decode: State = {
  phase: 'decode',
  stream: true,
  hasHeaders: true,
  firstByteAt: 5_010,
  lastByteAt: 5_600,
};
const plainBody: State = { ...decode, stream: false };

/** The state of a request, the time of the upstream's last proof, the time now, and the deadline that has passed. */
const table: [string, State, number, number, Overdue | undefined][] = [
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

  ['a connection that is young', prefill, unproven, 5_009, undefined],
  ['a connection that is late', prefill, unproven, 5_010, 'connect_timeout'],
  ['a connection proven before the request', prefill, 4_999, 5_010, 'connect_timeout'],
  ['a connection proven as it was asked', prefill, proven, 5_010, undefined],
  ['a connection proven since', prefill, 5_004, 5_010, undefined],
  ['a connection that sent headers', { ...prefill, hasHeaders: true }, unproven, 5_010, undefined],
  ['an unproven stream', prefillStream, unproven, 5_030, 'connect_timeout'],

  ['a plain answer, silent for long', prefill, proven, 5_999, undefined],
  ['a plain answer, silent for too long', prefill, proven, 6_000, 'total_timeout'],
  ['a plain body that stands still', plainBody, proven, 5_999, undefined],
  ['a plain body that took too long', plainBody, proven, 6_000, 'total_timeout'],

  ['a first byte that is due', prefillStream, proven, 5_029, undefined],
  ['a first byte that is late', prefillStream, proven, 5_030, 'first_byte_timeout'],
  [
    'a first byte that is late behind headers',
    headersOfStream,
    unproven,
    5_030,
    'first_byte_timeout',
  ],
  ['a stream that moves', decode, proven, 5_639, undefined],
  ['a stream that stands still', decode, proven, 5_640, 'idle_timeout'],
  [
    'a stream that moves for too long',
    { ...decode, lastByteAt: 5_999 },
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

  const each: [keyof Deadlines, State, number, number, Overdue][] = [
    ['connectTimeoutMs', prefill, unproven, 5_500, 'connect_timeout'],
    ['requestBodyTimeoutMs', { phase: 'body' }, unproven, 5_500, 'request_body_timeout'],
    ['firstByteTimeoutMs', prefillStream, proven, 5_500, 'first_byte_timeout'],
    ['idleTimeoutMs', decode, proven, 5_900, 'idle_timeout'],
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
    const inFlight = request({ ...prefillStream, queuedAt: 2_000, sentAt: 900_000, upstream });
    expect(overdue(inFlight, limits, 900_029)).toBeUndefined();
  });

  test('time with the body counts for no deadline of the queue', () => {
    const inFlight = request({ phase: 'queued', queuedAt: 900_000 });
    expect(overdue(inFlight, limits, 900_049)).toBeUndefined();
  });

  test('a wait that goes on at another engine counts from its beginning', () => {
    const upstream = { id: 'engine', provenAt: proven };
    const inFlight = request({ phase: 'queued', queuedAt: 2_000, sentAt: 2_040, upstream });
    expect(overdue(inFlight, limits, 2_050)).toBe('queue_timeout');
  });

  test('an upstream that is proven meanwhile counts as that', () => {
    const upstream = { id: 'engine', provenAt: unproven };
    const inFlight = request({ ...prefill, sentAt: 5_000, upstream });
    expect(isUnproven(inFlight)).toBe(true);
    expect(overdue(inFlight, limits, 5_010)).toBe('connect_timeout');
    upstream.provenAt = 5_009;
    expect(isUnproven(inFlight)).toBe(false);
    expect(overdue(inFlight, limits, 5_010)).toBeUndefined();
  });

  test.each<Phase>(['body', 'queued', 'decode'])('nothing is unproven in phase %s', (phase) => {
    expect(isUnproven(inState({ phase }, unproven))).toBe(false);
  });

  test('does not change the request', () => {
    const inFlight = inState(decode, proven);
    const before = JSON.stringify(inFlight);
    overdue(inFlight, limits, 9_000);
    expect(JSON.stringify(inFlight)).toBe(before);
    expect(inFlight.signal.aborted).toBe(false);
  });
});

test.each([
  ['connect_timeout', 'CONNECT_TIMEOUT_MS is 1 ms'],
  ['first_byte_timeout', 'FIRST_BYTE_TIMEOUT_MS is 2 ms'],
  ['idle_timeout', 'IDLE_TIMEOUT_MS is 3 ms'],
  ['total_timeout', 'TOTAL_TIMEOUT_MS is 4 ms'],
  ['queue_timeout', 'QUEUE_TIMEOUT_MS is 5 ms'],
  ['request_body_timeout', 'REQUEST_BODY_TIMEOUT_MS is 6 ms'],
] as const)(
  'the client of %s is told which setting ended its request, and the figure',
  (code, figure) => {
    const text = overdueText(code, {
      connectTimeoutMs: 1,
      firstByteTimeoutMs: 2,
      idleTimeoutMs: 3,
      totalTimeoutMs: 4,
      queueTimeoutMs: 5,
      requestBodyTimeoutMs: 6,
    });
    expect(text).toContain(`(${figure})`);
  },
);
