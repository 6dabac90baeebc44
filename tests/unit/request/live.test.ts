/**
 * One request in flight: its transitions, how it is ended, and its record. Clocks are numbers.
 */
import { describe, expect, test } from 'bun:test';
import { isUnproven } from '../../../src/request/deadlines.ts';
import { GatewayError } from '../../../src/wire/errors.ts';
import { LiveRequest } from '../../../src/request/live.ts';
import type { Abortable } from '../../../src/request/reader.ts';
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

/** A reader that records its calls. */
function reader(does: (request: Abortable) => void = () => {}) {
  const heard: string[] = [];
  let reads: Abortable | undefined;
  return {
    heard,
    hasLeft: false,
    attend(request: Abortable) {
      heard.push('attend');
      reads = request;
    },
    left: () => reads && does(reads),
    holdOpen: () => void heard.push('holdOpen'),
    letGo: () => void heard.push('letGo'),
  };
}

const upstream = { id: 'engine', provenAt: 0, contextTokens: 1_000 };
const sent = { upstream, model: 'qwen3-8b', units: 1, isPartial: false, maxTokens: Infinity };

/** The members of a request that a test compares. */
function timesOf({ phase, queuedAt, queuedMs, sentAt, firstByteAt, lastByteAt }: LiveRequest) {
  return { phase, queuedAt, queuedMs, sentAt, firstByteAt, lastByteAt };
}

describe('the phases, each with its times', () => {
  test('body, queued, prefill, decode', () => {
    const inFlight = request();
    const none = { queuedAt: 0, queuedMs: 0, sentAt: 0, firstByteAt: 0, lastByteAt: 0 };
    expect(timesOf(inFlight)).toEqual({ ...none, phase: 'body' });
    inFlight.bodyRead(1_020);
    expect(inFlight.bodyMs).toBe(20);
    inFlight.queued(1_030);
    const queued = { ...none, phase: 'queued' as const, queuedAt: 1_030 };
    expect(timesOf(inFlight)).toEqual(queued);
    inFlight.sent(sent, 1_100);
    const prefill = { ...queued, phase: 'prefill' as const, queuedMs: 70, sentAt: 1_100 };
    expect(timesOf(inFlight)).toEqual(prefill);
    inFlight.began(1_150, true);
    inFlight.received(10, 1_160);
    inFlight.received(5, 1_170);
    expect(timesOf(inFlight)).toEqual({
      ...prefill,
      phase: 'decode',
      firstByteAt: 1_150,
      lastByteAt: 1_170,
    });
    expect(inFlight).toMatchObject({ bytesOut: 15, stream: true, model: 'qwen3-8b', upstream });
  });

  test('an answer that is read whole begins with all of it', () => {
    const inFlight = request();
    inFlight.sent(sent, 1_100);
    inFlight.received(7, 1_200);
    const times = { phase: 'decode' as const, firstByteAt: 1_200, lastByteAt: 1_200 };
    expect(inFlight).toMatchObject({ ...times, bytesOut: 7, stream: false });
  });

  test('one that no engine has run waits again, at none, from its first wait on', () => {
    const inFlight = request();
    inFlight.queued(1_010);
    inFlight.sent(sent, 1_030);
    inFlight.queued(1_050);
    expect(timesOf(inFlight)).toMatchObject({ phase: 'queued', queuedAt: 1_010, sentAt: 0 });
    expect(inFlight.upstream).toBeUndefined();
    inFlight.sent(sent, 1_060);
    expect(inFlight.queuedMs).toBe(30);
  });

  test('a wait for an equal request counts, and an answer of the cache is no run of an engine', () => {
    const inFlight = request();
    inFlight.queued(1_010);
    inFlight.waited(1_050);
    inFlight.reused(1_051);
    inFlight.answered(200);
    inFlight.received(9, 1_052);
    const record = inFlight.settlement('done', undefined, 1_060);
    expect(record).toMatchObject({ queuedMs: 40, engineMs: 0, isCacheHit: true, status: 200 });
    expect(record.firstByteMs).toBeUndefined();
    expect(isUnproven(inFlight)).toBe(false);
  });

  test('a prompt is no longer than what its engine reads', () => {
    for (const [units, most] of [
      [1, 1_000],
      [3, 3_000],
      [0, 1_000],
    ] as const) {
      const inFlight = request();
      inFlight.estimated(100_000, 0.25);
      expect(inFlight.promptEstimate).toBe(25_000);
      inFlight.sent({ ...sent, units }, 1_100);
      expect(inFlight.promptEstimate).toBe(most);
    }
  });

  test('a list of answers counts all, whatever its engine does', () => {
    const inFlight = request();
    inFlight.sent({ ...sent, units: 4, isPartial: true, maxTokens: 5 }, 1_100);
    inFlight.told({ completionTokens: 3 });
    expect(inFlight).toMatchObject({ answers: 4, mostTokens: 20 });
    inFlight.told({ completionTokens: 9 }, true);
    expect(inFlight).toMatchObject({ answers: 1, tokens: { completionTokens: 9 } });
  });
});

describe('the reader', () => {
  test('attends from when it is given, and hears that its request takes long', () => {
    const inFlight = request();
    const client = reader();
    inFlight.readBy(client);
    expect(inFlight.isLong).toBe(false);
    inFlight.becameLong();
    expect(inFlight.isLong).toBe(true);
    expect(client.heard).toEqual(['attend', 'holdOpen']);
  });

  test('decides what its leaving means', () => {
    const [aborting, patient] = [request(), request()];
    const [leaves, stays] = [reader((each) => each.abort('client_closed_request')), reader()];
    aborting.readBy(leaves);
    patient.readBy(stays);
    leaves.left();
    stays.left();
    expect([aborting.code, patient.code]).toEqual(['client_closed_request', undefined]);
  });
});

describe('abort', () => {
  test('fires the signal with a GatewayError that has the code', () => {
    const inFlight = request();
    inFlight.abort('idle_timeout');
    expect(inFlight.code).toBe('idle_timeout');
    expect(inFlight.signal.aborted).toBe(true);
    expect(inFlight.signal.reason).toBeInstanceOf(GatewayError);
    expect(inFlight.signal.reason.code).toBe('idle_timeout');
  });

  test('keeps the first code, and ends a wait once', () => {
    const inFlight = request();
    const heard: string[] = [];
    inFlight.onAbort((error) => heard.push(error.code));
    inFlight.abort('client_closed_request');
    inFlight.abort('total_timeout');
    expect(inFlight.code).toBe('client_closed_request');
    expect(inFlight.signal.reason.code).toBe('client_closed_request');
    expect(heard).toEqual(['client_closed_request']);
  });
});

describe('settlement', () => {
  test('says what happened, with times as differences', () => {
    const ended = request({
      model: 'qwen3-8b',
      askedModel: 'qwen3-8b',
      servedModel: 'qwen3',
      priority: 'batch',
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
    expect(ended.settlement('done', undefined, 2_000)).toEqual({
      requestId: 'id-1',
      uniqueId: 'id-1',
      caller,
      route: '/v1/completions',
      model: 'qwen3-8b',
      askedModel: 'qwen3-8b',
      servedModel: 'qwen3',
      priority: 'batch',
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
      isCacheHit: false,
      traceparent: undefined,
    });
  });

  test('estimates tokens from frames only if the engine counted none', () => {
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
});
