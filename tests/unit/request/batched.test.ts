/**
 * Ended requests are told of in batches: all of them, in their order, once, and before somebody reads.
 */
import { expect, test } from 'bun:test';
import { BatchedObserver } from '../../../src/request/batched.ts';
import type { LiveRequest } from '../../../src/request/live.ts';
import type { RequestObserver } from '../../../src/request/observer.ts';
import { settlement } from '../../support/samples.ts';
import { until } from '../../support/wait.ts';

function listening(told: string[], name: string): RequestObserver {
  return {
    started: ({ id }) => void told.push(`${name} ${id} started`),
    isLong: ({ id }) => void told.push(`${name} ${id} long`),
    settled: ({ requestId }, cause) => void told.push(`${name} ${requestId} ${String(cause)}`),
  };
}

test('tells at once what begins and what is long', () => {
  const told: string[] = [];
  const batched = new BatchedObserver(listening(told, 'log'), listening(told, 'ledger'));
  const request = { id: 'a' } as LiveRequest;
  batched.started(request);
  batched.isLong(request);
  expect(told).toEqual(['log a started', 'ledger a started', 'log a long', 'ledger a long']);
});

test('tells each observer of all that has ended, once, and not at once', async () => {
  const told: string[] = [];
  const batched = new BatchedObserver(listening(told, 'log'), listening(told, 'ledger'));
  batched.settled(settlement({ requestId: 'a' }), undefined);
  batched.settled(settlement({ requestId: 'b' }), 'reset');
  expect(told).toEqual([]);
  await until('it is told', () => told.length > 0);
  batched.flush();
  expect(told).toEqual(['log a undefined', 'log b reset', 'ledger a undefined', 'ledger b reset']);
});

test('tells what waits when it is asked to, and goes on', async () => {
  const told: string[] = [];
  const batched = new BatchedObserver(listening(told, 'log'));
  batched.settled(settlement({ requestId: 'a' }), undefined);
  batched.flush();
  expect(told).toEqual(['log a undefined']);
  batched.settled(settlement({ requestId: 'b' }), undefined);
  await until('it is told', () => told.length > 1);
  expect(told).toEqual(['log a undefined', 'log b undefined']);
});
