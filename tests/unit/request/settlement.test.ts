/**
 * The outcome of a request that ended with an error.
 */
import { expect, test } from 'bun:test';
import { outcomeOf } from '../../../src/request/settlement.ts';
import { errorTable, GatewayError, type ErrorCode } from '../../../src/wire/errors.ts';

test('it failed, unless its client left', () => {
  for (const code of Object.keys(errorTable) as ErrorCode[]) {
    const isLeaving = code === 'client_closed_request';
    expect([code, outcomeOf(new GatewayError(code))]).toEqual([
      code,
      isLeaving ? 'aborted' : 'failed',
    ]);
  }
});
