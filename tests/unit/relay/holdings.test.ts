/**
 * What a request holds: given back once, in one order, however it ends.
 */
import { describe, expect, test } from 'bun:test';
import { Recording } from '../../../src/cache/recording.ts';
import { Holdings, type HoldingOptions } from '../../../src/relay/holdings.ts';
import { BodyMemory } from '../../../src/request/bodymemory.ts';
import { LiveRequests } from '../../../src/request/inflight.ts';
import { LiveRequest } from '../../../src/request/live.ts';
import type { Settlement } from '../../../src/request/settlement.ts';
import type { LeaseEnd } from '../../../src/scheduling/lease.ts';
import { errorBody, GatewayError } from '../../../src/wire/errors.ts';
import { routes, type Route } from '../../../src/wire/routes.ts';
import { readerThat } from '../../support/runstage.ts';
import { caller } from '../../support/samples.ts';

type Reservation = Parameters<Holdings['reserved']>[0];
type Held = Parameters<Holdings['leased']>[0];

/** A request that an engine has had since 100, with a lease and a reservation; now is 200. */
function start({ isHead = false } = {}) {
  const live = new LiveRequests();
  const bodyMemory = new BodyMemory({ maxBytes: 100, maxBytesPerKey: 100 });
  const order: string[] = [];
  const ends: LeaseEnd[] = [];
  const used: (number | undefined)[] = [];
  const records: { record: Settlement; cause: unknown }[] = [];
  const options = {
    live,
    limits: {
      settle(_: Reservation, tokens: number | undefined) {
        order.push('limits');
        used.push(tokens);
      },
    },
    bodyMemory,
    observer: {
      started() {},
      isLong() {},
      settled(record: Settlement, cause: unknown) {
        order.push('observer');
        records.push({ record, cause });
      },
    },
    now: () => 200,
    epochNow: () => 1_000_200,
  } as unknown as HoldingOptions; // No other method of the limits is used.
  const request = new LiveRequest('id', routes[0] as Route, caller, 0);
  const reader = { ...readerThat(), letGo: () => void order.push('reader') };
  const holdings = new Holdings(options, request, reader, isHead);
  const upstream = { id: 'engine', provenAt: 0 };
  live.add(request);
  request.sent({ upstream, model: 'm', units: 1, isPartial: false, maxTokens: Infinity }, 100);
  holdings.leased({
    release(end: LeaseEnd) {
      order.push('lease');
      ends.push(end);
    },
  } as Held);
  holdings.reserved({} as Reservation);
  return { live, order, ends, used, records, request, holdings, bodyMemory };
}

describe('a request that ends', () => {
  test('lets go of its reader first, and is recorded last', () => {
    const { holdings, order, live } = start();
    holdings.settle('done');
    expect(order).toEqual(['reader', 'lease', 'limits', 'observer']);
    expect(live.size).toBe(0);
  });

  test('does so once', () => {
    const { holdings, order } = start();
    holdings.settle('done');
    holdings.settle('aborted', new GatewayError('client_closed_request'));
    expect(order).toHaveLength(4);
  });

  test('tells its lease how it ended', () => {
    const { holdings, request, ends } = start();
    request.answered(200);
    request.received(10, 150);
    request.told({ promptTokens: 3 });
    holdings.settle('done');
    expect(ends).toEqual([
      { outcome: 'done', tokens: { promptTokens: 3 }, firstByteMs: 50, verdict: 'well' },
    ]);
  });

  test('counts as not served if the engine refused it', () => {
    const { holdings, request, ends } = start();
    request.answered(400);
    holdings.settle('done');
    expect(ends[0]?.outcome).toBe('unserved');
  });

  test.each([
    [200, 'done', 10, 'well'],
    [200, 'aborted', 10, 'well'],
    // Nothing has come that could have failed.
    [200, 'aborted', 0, undefined],
    [200, 'failed', 10, undefined],
    // The status itself says it.
    [500, 'done', 10, undefined],
    [404, 'done', 10, undefined],
  ] as const)(
    'with %d, %s and %d bytes says %p of its server',
    (status, outcome, bytes, verdict) => {
      const { holdings, request, ends } = start();
      request.answered(status);
      if (bytes > 0) request.received(bytes, 150);
      holdings.settle(outcome);
      expect(ends[0]?.verdict).toBe(verdict);
    },
  );

  test.each(['done', 'aborted', 'failed'] as const)(
    'as %s has failed when its engine told so inside the answer, whose bytes have gone out',
    (outcome) => {
      const { holdings, request, ends, records, used } = start();
      request.answered(200);
      request.received(10, 150);
      request.told({ promptTokens: 3 });
      request.toldFailure({ isRefusal: false, code: '500' });
      holdings.settle(outcome);
      expect(ends).toMatchObject([{ outcome: 'failed', verdict: 'failing' }]);
      expect(records[0]).toMatchObject({
        record: { status: 200, code: 'upstream_failed', outcome: 'failed', bytesOut: 10 },
        cause: { code: '500' },
      });
      expect(used).toEqual([3]);
    },
  );

  test('has failed, and says no ill of its server, when its engine told of a 4xx', () => {
    const { holdings, request, ends, records } = start();
    request.answered(200);
    request.received(10, 150);
    request.toldFailure({ isRefusal: true, code: undefined });
    holdings.settle('done');
    expect(ends).toMatchObject([{ outcome: 'failed', verdict: 'well' }]);
    expect(records[0]).toMatchObject({ record: { code: 'upstream_failed' }, cause: undefined });
  });

  test('corrects what was reserved to what was used', () => {
    const { holdings, request, used } = start();
    request.answered(200);
    request.told({ promptTokens: 30, completionTokens: 12 });
    holdings.settle('done');
    expect(used).toEqual([42]);
  });

  test('ends the collecting of its answer', () => {
    const { holdings } = start();
    const results: unknown[] = [];
    const recording = new Recording({
      maxBytes: 100,
      reserve: () => true,
      settled: (result) => results.push(result),
    });
    holdings.collects(recording);
    expect(holdings.recording).toBe(recording);
    holdings.settle('aborted', new GatewayError('client_closed_request'));
    expect(results).toEqual(['left']);
  });
});

describe('a request that fails', () => {
  test('before any answer has the status and the envelope of its error, and the cause for the log', () => {
    const { holdings, records } = start();
    const cause = new Error('why');
    const error = new GatewayError('upstream_reset', { cause });
    holdings.settle('failed', error);
    expect(records[0]).toMatchObject({
      record: {
        status: 502,
        code: 'upstream_reset',
        bytesOut: errorBody(error, 'openai').length,
      },
      cause,
    });
  });

  test('in the middle of its answer keeps the status and the bytes that have gone out', () => {
    const { holdings, request, records } = start();
    request.answered(200);
    request.received(7, 150);
    holdings.settle('failed', new GatewayError('upstream_reset'));
    expect(records[0]?.record).toMatchObject({ status: 200, code: 'upstream_reset', bytesOut: 7 });
  });

  test.each([
    ['whose reader has left', 'client_closed_request', false],
    ['of which only the headers are wanted', 'upstream_reset', true],
  ] as const)('%s gets no envelope', (_, code, isHead) => {
    const { holdings, records } = start({ isHead });
    holdings.settle('failed', new GatewayError(code));
    expect(records[0]?.record.bytesOut).toBe(0);
  });
});

test('a lease that is given back for another try is not released again', () => {
  const { holdings, ends } = start();
  holdings.giveBack('unserved');
  holdings.settle('failed', new GatewayError('no_healthy_upstream'));
  expect(ends.map(({ outcome }) => outcome)).toEqual(['unserved']);
});

test('the moment is that of both clocks', () => {
  expect(start().holdings.moment()).toEqual({ ms: 200, epochMs: 1_000_200 });
});

test('the memory of the body is given back once: when nobody needs it, or at the end', () => {
  for (const isEarly of [true, false]) {
    const { holdings, request, bodyMemory } = start();
    bodyMemory.take(caller.keyId, 70);
    request.bodyHolds(30);
    if (isEarly) holdings.dropBody();
    expect(bodyMemory.bytes).toBe(isEarly ? 40 : 70);
    holdings.settle('done');
    expect(bodyMemory.bytes).toBe(40);
  }
});
