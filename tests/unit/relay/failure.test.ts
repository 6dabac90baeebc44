/**
 * The error that a client gets: the reason for which its request was ended, or the engine's failure.
 */
import { describe, expect, test } from 'bun:test';
import { explainFailure, shuttingDown } from '../../../src/relay/failure.ts';
import { LiveRequest } from '../../../src/request/live.ts';
import { GatewayError, type ErrorCode } from '../../../src/wire/errors.ts';
import { routes, type Route } from '../../../src/wire/routes.ts';
import { caller } from '../../support/samples.ts';

function inFlight(code?: ErrorCode): LiveRequest {
  const request = new LiveRequest('id', routes[0] as Route, caller, 0);
  if (code !== undefined) request.abort(code);
  return request;
}

describe('a request that nobody ended', () => {
  test.each<[string, ErrorCode]>([
    ['ECONNREFUSED', 'upstream_unreachable'],
    ['DEPTH_ZERO_SELF_SIGNED_CERT', 'upstream_unreachable'],
    ['ECONNRESET', 'upstream_reset'],
    ['Malformed_HTTP_Response', 'upstream_malformed'],
  ])('%s is %s, with its cause for the log', (code, expected) => {
    const thrown = Object.assign(new Error('http://10.0.0.7'), { code });
    const error = explainFailure(thrown, inFlight());
    expect(error).toMatchObject({ code: expected, cause: thrown });
    expect(error.message).not.toContain('10.0.0.7');
  });

  test('gets an error of the gateway unchanged', () => {
    const error = new GatewayError('model_not_found');
    expect(explainFailure(error, inFlight())).toBe(error);
  });
});

describe('a request that was ended', () => {
  test('gets the reason, whatever broke then', () => {
    const thrown = Object.assign(new Error('broken'), { code: 'ECONNRESET' });
    expect(explainFailure(thrown, inFlight('idle_timeout')).code).toBe('idle_timeout');
  });

  test('gets the text that came with the reason', () => {
    const request = inFlight();
    request.abort('idle_timeout', 'silent for 3 ms');
    const { code, message } = explainFailure(new Error('broken'), request);
    expect([code, message]).toEqual(['idle_timeout', 'silent for 3 ms']);
  });

  test('gets the time until a retry if the thrown error has it', () => {
    const knows = new GatewayError('queue_timeout', { headers: { 'retry-after': '7' } });
    expect(explainFailure(knows, inFlight('queue_timeout'))).toBe(knows);
    expect(explainFailure(knows, inFlight('key_revoked')).code).toBe('key_revoked');
  });

  test('by a shutdown may be retried at once only if no engine had it', () => {
    const queued = inFlight('shutting_down');
    queued.queued(1);
    expect(explainFailure(undefined, queued).headers).toEqual(shuttingDown().headers);
    const sent = inFlight('shutting_down');
    const upstream = { id: 'engine', provenAt: 0 };
    sent.sent({ upstream, model: undefined, units: 1, isPartial: false, maxTokens: Infinity }, 2);
    expect(explainFailure(undefined, sent).headers).toMatchObject({ 'x-should-retry': 'false' });
  });
});
