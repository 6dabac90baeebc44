/**
 * The log's lines about requests: their levels and fields, and that neither messages of failures nor bodies get in.
 */
import { describe, expect, test } from 'bun:test';
import pino from 'pino';
import { accessLog, logRefusal } from '../../../src/observe/accesslog.ts';
import { errorTable, GatewayError, type ErrorCode } from '../../../src/wire/errors.ts';
import { LiveRequest } from '../../../src/request/live.ts';
import { routes } from '../../../src/wire/routes.ts';
import { caller, settlement } from '../../support/samples.ts';

/** An access log at that level, with the lines that it has written. */
function logging(level: 'debug' | 'info' | 'error' = 'debug', served: readonly string[] = []) {
  const lines: Record<string, unknown>[] = [];
  const log = pino(
    { level, base: null },
    { write: (line: string) => lines.push(JSON.parse(line)) },
  );
  return { lines, log, observer: accessLog(log, (model) => served.includes(model)) };
}

function request(): LiveRequest {
  const route = routes.find(({ path }) => path === '/v1/chat/completions');
  if (route === undefined) throw new Error('no such route');
  return Object.assign(new LiveRequest('id-1', route, caller, 100), {
    model: 'qwen3-8b',
    upstream: { id: 'engine', provenAt: 0 },
    status: 200,
    stream: true,
    sentAt: 110,
    firstByteAt: 160.06,
    bytesIn: 11,
    bytesOut: 22,
    tokens: { promptTokens: 7, cachedTokens: 4, completionTokens: 3 },
  });
}

const levels: Record<ErrorCode, 'info' | 'warn' | 'error'> = {
  invalid_json: 'info',
  missing_field: 'info',
  invalid_field: 'info',
  invalid_content_encoding: 'info',
  model_required: 'info',
  context_length_exceeded: 'info',
  missing_api_key: 'warn',
  invalid_api_key: 'warn',
  key_expired: 'warn',
  key_revoked: 'warn',
  model_not_allowed: 'warn',
  unknown_route: 'info',
  key_not_found: 'info',
  request_not_found: 'info',
  rate_limited: 'info',
  tokens_exhausted: 'info',
  too_many_concurrent: 'info',
  budget_spent: 'info',
  model_not_found: 'info',
  method_not_allowed: 'info',
  request_body_timeout: 'warn',
  body_too_large: 'info',
  unsupported_content_encoding: 'info',
  websocket_unsupported: 'info',
  client_closed_request: 'info',
  internal_error: 'error',
  upstream_unreachable: 'error',
  upstream_reset: 'error',
  upstream_malformed: 'error',
  upstream_redirected: 'error',
  upstream_failed: 'error',
  upstream_auth_failed: 'error',
  no_healthy_upstream: 'warn',
  queue_full: 'warn',
  queue_timeout: 'warn',
  store_unavailable: 'warn',
  shutting_down: 'warn',
  stopped_by_operator: 'warn',
  connect_timeout: 'warn',
  first_byte_timeout: 'warn',
  idle_timeout: 'warn',
  total_timeout: 'warn',
};

describe('the level of a request that has ended', () => {
  const numbers = { info: 30, warn: 40, error: 50 };
  function levelOf(code: ErrorCode | undefined): unknown {
    const { lines, observer } = logging();
    observer.settled(settlement({ code }), undefined);
    return lines[0]?.['level'];
  }

  test.each(Object.keys(errorTable) as ErrorCode[])('with %s', (code) => {
    expect(levelOf(code)).toBe(numbers[levels[code]]);
  });

  test('well is info', () => {
    expect(levelOf(undefined)).toBe(numbers.info);
  });
});

describe('started', () => {
  test('is a line at DEBUG that says who asks for what', () => {
    const { lines, observer } = logging();
    observer.started(request());
    expect(lines).toEqual([
      expect.objectContaining({
        level: 20,
        msg: 'request started',
        requestId: 'id-1',
        caller: 'sk-…4f2a',
        principal: '00112233/eva',
        route: '/v1/chat/completions',
      }),
    ]);
  });

  test('is no line above DEBUG', () => {
    const { lines, observer } = logging('info');
    observer.started(request());
    expect(lines).toEqual([]);
  });
});

test('a request that is open for long is a line at INFO with its phase', () => {
  const { lines, observer } = logging('info');
  observer.isLong(Object.assign(request(), { phase: 'prefill' }));
  expect(lines).toEqual([
    expect.objectContaining({
      level: 30,
      msg: 'request is still open',
      requestId: 'id-1',
      model: 'qwen3-8b',
      phase: 'prefill',
    }),
  ]);
});

describe('settled', () => {
  test('has the unique id in addition to the id of the client', () => {
    const { lines, observer } = logging();
    observer.settled(settlement({ requestId: 'job', uniqueId: 'job-1a2b3c4d' }), undefined);
    expect(lines).toMatchObject([{ requestId: 'job', uniqueId: 'job-1a2b3c4d' }]);
  });

  test('is one line with every figure, times to a tenth of a millisecond', () => {
    const { lines, observer } = logging('info');
    observer.settled(request().settlement('done', undefined, 1_100.123), undefined);
    const [{ time, ...line } = {}] = lines;
    expect(typeof time).toBe('number');
    expect(line).toEqual({
      level: 30,
      msg: 'request ended',
      requestId: 'id-1',
      caller: 'sk-…4f2a',
      principal: '00112233/eva',
      route: '/v1/chat/completions',
      model: 'qwen3-8b',
      upstream: 'engine',
      status: 200,
      outcome: 'done',
      stream: true,
      bytesIn: 11,
      bytesOut: 22,
      queuedMs: 0,
      firstByteMs: 50.1,
      totalMs: 1000.1,
      promptTokens: 7,
      cachedTokens: 4,
      completionTokens: 3,
      tokensAre: 'exact',
    });
    expect(lines.length).toBe(1);
  });

  test('has the level of its code', () => {
    const { lines, observer } = logging();
    for (const code of ['client_closed_request', 'idle_timeout', 'upstream_reset'] as const) {
      observer.settled(request().settlement('failed', code, 200), undefined);
    }
    expect(lines.map(({ level, code }) => [level, code])).toEqual([
      [30, 'client_closed_request'],
      [40, 'idle_timeout'],
      [50, 'upstream_reset'],
    ]);
  });

  test.each([
    [
      Object.assign(new Error('http://10.0.0.7 said: secret prompt'), { code: 'ECONNRESET' }),
      'ECONNRESET',
    ],
    [new TypeError('secret prompt'), 'TypeError'],
    ['secret prompt', undefined],
    [{ code: 'secret prompt' }, undefined],
    [undefined, undefined],
  ])('names the cause of a failure by its code alone: %p', (cause, expected) => {
    const { lines, observer } = logging();
    observer.settled(request().settlement('failed', 'upstream_reset', 200), cause);
    expect(lines[0]?.['cause']).toBe(expected as never);
    expect(JSON.stringify(lines)).not.toContain('secret prompt');
  });
});

describe('the model', () => {
  /** What the three lines about a request call its model. */
  function named(model: string | undefined, served: readonly string[] = []): unknown[] {
    const { lines, observer } = logging('debug', served);
    const entry = Object.assign(request(), { model });
    observer.started(entry);
    observer.isLong(entry);
    observer.settled(entry.settlement('done', undefined, 1_000), undefined);
    return lines.map((line) => line['model']);
  }

  const text = 'Dear diary, this was meant to be the prompt.';
  const path = `/models/${'long/'.repeat(20)}model.gguf`;

  test.each(['gpt-4o', 'org/team_7b.Q4:latest', 'a@b+c', 'x'.repeat(64)])(
    'is the name that the client sent if that looks like a name: %j',
    (model) => {
      expect(named(model)).toEqual([model, model, model]);
    },
  );

  test.each([text, '你今天过得怎么样', 'x'.repeat(65), 'a\nb', '', path])(
    'is unknown if it could be a text put there by mistake: %j',
    (model) => {
      expect(named(model)).toEqual(['unknown', 'unknown', 'unknown']);
    },
  );

  test.each(['модель 7b', path])('is named in any form if it is served: %j', (model) => {
    expect(named(model, [model])).toEqual([model, model, model]);
  });

  test('has no name if the request names none', () => {
    expect(named(undefined)).toEqual([undefined, undefined, undefined]);
  });
});

describe('bytesIn', () => {
  test.each([
    ['of a body that never was whole and was not counted', { bytesIn: 0, bodyMs: 0 }, undefined],
    ['of a body of which a part came', { bytesIn: 70_000, bodyMs: 0 }, 70_000],
    ['of a request without a body', { bytesIn: 0, bodyMs: 0.1 }, 0],
  ])('%s', (_what, fields, expected) => {
    const { lines, observer } = logging();
    observer.settled(settlement(fields), undefined);
    expect(lines[0]?.['bytesIn']).toBe(expected as never);
  });
});

describe('a refusal', () => {
  const refusal = {
    requestId: 'id-1',
    presented: 'sk-somebody-elses-key-9f3b',
    method: 'POST',
    path: '/v1/completions',
    route: '/v1/completions',
    error: new GatewayError('invalid_api_key'),
    bytesOut: 160,
    totalMs: 0.2345,
  };

  function refused(fields: Partial<typeof refusal> | { presented: undefined } = {}) {
    const { lines, log } = logging();
    logRefusal(log, { ...refusal, ...fields });
    expect(lines).toHaveLength(1);
    const [{ time: _time, ...line } = {}] = lines;
    return line;
  }

  test('is one line that says who asked for what', () => {
    expect(refused()).toEqual({
      level: 40,
      msg: 'refused',
      requestId: 'id-1',
      caller: 'sk-…9f3b',
      method: 'POST',
      path: '/v1/completions',
      route: '/v1/completions',
      status: 403,
      outcome: 'failed',
      code: 'invalid_api_key',
      bytesOut: 160,
      totalMs: 0.2,
    });
  });

  test.each([
    ['sk-gw-0123456789-of-the-store-and-secret', 'sk-gw-0123456789-…'],
    ['sk-gw-not-of-the-store', 'sk-…tore'],
    ['twelve-chars', '…rs'],
    ['hunter2', '…'],
    [undefined, undefined],
  ])('shows of the key %j no more than %j', (presented, hint) => {
    expect(refused({ presented })['caller']).toBe(hint as never);
  });

  test('holds no path of any length', () => {
    expect(refused({ path: `/${'x'.repeat(5_000)}` })['path']).toHaveLength(200);
  });

  test('of a client that has left is no failure', () => {
    const line = refused({ error: new GatewayError('client_closed_request') });
    expect(line).toMatchObject({ level: 30, outcome: 'aborted', status: 499 });
  });
});
