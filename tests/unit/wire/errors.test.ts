/**
 * The gateway's own errors: the status of every code, the format of every family, and which requests a client may
 * retry.
 */
import { describe, expect, test } from 'bun:test';
import {
  errorBody,
  errorFrame,
  errorHeaders,
  errorTable,
  GatewayError,
  type ErrorCode,
} from '../../../src/wire/errors.ts';

/** Status, OpenAI type, Anthropic type, and whether the client's SDK may retry. */
const expected: Record<ErrorCode, [number, string, string, boolean]> = {
  invalid_json: [400, 'invalid_request_error', 'invalid_request_error', true],
  missing_field: [400, 'invalid_request_error', 'invalid_request_error', true],
  invalid_field: [400, 'invalid_request_error', 'invalid_request_error', true],
  invalid_content_encoding: [400, 'invalid_request_error', 'invalid_request_error', true],
  model_required: [400, 'invalid_request_error', 'invalid_request_error', true],
  context_length_exceeded: [400, 'invalid_request_error', 'invalid_request_error', true],
  missing_api_key: [401, 'authentication_error', 'authentication_error', true],
  invalid_api_key: [403, 'permission_error', 'permission_error', false],
  key_expired: [403, 'permission_error', 'permission_error', false],
  key_revoked: [403, 'permission_error', 'permission_error', false],
  model_not_allowed: [403, 'permission_error', 'permission_error', false],
  unknown_route: [404, 'invalid_request_error', 'not_found_error', true],
  model_not_found: [404, 'invalid_request_error', 'not_found_error', true],
  key_not_found: [404, 'invalid_request_error', 'not_found_error', true],
  request_not_found: [404, 'invalid_request_error', 'not_found_error', true],
  method_not_allowed: [405, 'invalid_request_error', 'invalid_request_error', true],
  request_body_timeout: [408, 'invalid_request_error', 'invalid_request_error', true],
  body_too_large: [413, 'invalid_request_error', 'invalid_request_error', true],
  unsupported_content_encoding: [415, 'invalid_request_error', 'invalid_request_error', false],
  websocket_unsupported: [426, 'invalid_request_error', 'invalid_request_error', false],
  rate_limited: [429, 'rate_limit_error', 'rate_limit_error', true],
  tokens_exhausted: [429, 'rate_limit_error', 'rate_limit_error', true],
  too_many_concurrent: [429, 'rate_limit_error', 'rate_limit_error', true],
  budget_spent: [429, 'rate_limit_error', 'rate_limit_error', false],
  client_closed_request: [499, 'invalid_request_error', 'invalid_request_error', true],
  internal_error: [500, 'server_error', 'api_error', false],
  upstream_unreachable: [502, 'server_error', 'api_error', true],
  upstream_reset: [502, 'server_error', 'api_error', false],
  upstream_malformed: [502, 'server_error', 'api_error', false],
  upstream_redirected: [502, 'server_error', 'api_error', false],
  upstream_failed: [502, 'server_error', 'api_error', false],
  upstream_auth_failed: [502, 'server_error', 'api_error', false],
  no_healthy_upstream: [503, 'server_error', 'overloaded_error', true],
  queue_full: [503, 'server_error', 'overloaded_error', true],
  queue_timeout: [503, 'server_error', 'overloaded_error', true],
  store_unavailable: [503, 'server_error', 'overloaded_error', true],
  shutting_down: [503, 'server_error', 'overloaded_error', true],
  stopped_by_operator: [503, 'server_error', 'overloaded_error', false],
  connect_timeout: [504, 'server_error', 'api_error', false],
  first_byte_timeout: [504, 'server_error', 'api_error', false],
  idle_timeout: [504, 'server_error', 'api_error', false],
  total_timeout: [504, 'server_error', 'api_error', false],
};

const rows = (Object.keys(errorTable) as ErrorCode[]).map((code) => ({
  code,
  row: expected[code],
}));

describe.each(rows)('$code', ({ code, row: [status, openaiType, anthropicType, isRetryable] }) => {
  const error = new GatewayError(code);
  const { message } = errorTable[code];

  test('has its status and a message that is a sentence', () => {
    expect(error.status).toBe(status);
    expect(error.message).toBe(message);
    expect(message).toMatch(/^[A-Z"].*[.)]$/);
  });

  test("has OpenAI's envelope on OpenAI and Responses routes", () => {
    const body = { error: { message, type: openaiType, param: null, code } };
    expect(JSON.parse(errorBody(error, 'openai'))).toEqual(body);
    expect(JSON.parse(errorBody(error, 'responses'))).toEqual(body);
  });

  test("has Anthropic's envelope on Anthropic routes", () => {
    expect(JSON.parse(errorBody(error, 'anthropic'))).toEqual({
      type: 'error',
      error: { type: anthropicType, message },
    });
  });

  test('tells the SDK whether to retry, and that the error is the gateway’s', () => {
    const headers = errorHeaders(error);
    expect(headers['x-gateway-error']).toBe(code);
    expect(headers['x-should-retry']).toBe(isRetryable ? undefined : 'false');
    expect(headers['content-type']).toBe('application/json; charset=utf-8');
    expect(headers['www-authenticate']).toBe(status === 401 ? 'Bearer' : undefined);
  });
});

describe('GatewayError', () => {
  test('takes a message, a field, headers and a cause', () => {
    const cause = new Error('below');
    const error = new GatewayError('invalid_field', {
      message: 'Better said.',
      param: 'model',
      headers: { allow: 'GET' },
      cause,
    });
    expect(error).toBeInstanceOf(Error);
    expect(error.name).toBe('GatewayError');
    expect(error.cause).toBe(cause);
    expect(JSON.parse(errorBody(error, 'openai'))).toEqual({
      error: {
        message: 'Better said.',
        type: 'invalid_request_error',
        param: 'model',
        code: 'invalid_field',
      },
    });
    expect(errorHeaders(error)['allow']).toBe('GET');
  });

  test('never shows its cause to the client', () => {
    const error = new GatewayError('upstream_reset', { cause: new Error('http://10.0.0.7:8080') });
    for (const family of ['openai', 'responses', 'anthropic'] as const) {
      expect(errorBody(error, family)).not.toContain('10.0.0.7');
      expect(errorFrame(error, family)).not.toContain('10.0.0.7');
    }
    expect(JSON.stringify(errorHeaders(error))).not.toContain('10.0.0.7');
  });
});

describe('errorFrame', () => {
  const error = new GatewayError('idle_timeout', { message: 'Two\nlines, "quoted", ё.' });

  test('is a data frame with the envelope in an OpenAI stream', () => {
    expect(errorFrame(error, 'openai')).toBe(`data: ${errorBody(error, 'openai')}\n\n`);
  });

  test('is an error event with the envelope in an Anthropic stream', () => {
    expect(errorFrame(error, 'anthropic')).toBe(
      `event: error\ndata: ${errorBody(error, 'anthropic')}\n\n`,
    );
  });

  test('is a numbered error event in a Responses stream', () => {
    const [event, data = '', ...rest] = errorFrame(error, 'responses', 7).split('\n');
    expect(event).toBe('event: error');
    expect(rest).toEqual(['', '']);
    expect(JSON.parse(data.slice('data: '.length))).toEqual({
      type: 'error',
      code: 'idle_timeout',
      message: 'Two\nlines, "quoted", ё.',
      param: null,
      sequence_number: 7,
    });
  });

  test.each(['openai', 'responses', 'anthropic'] as const)(
    'is one frame of %s, whatever its message contains',
    (family) => {
      expect(errorFrame(error, family).split('\n\n')).toHaveLength(2);
      expect(errorFrame(error, family)).not.toContain('[DONE]');
    },
  );
});

test("Ollama's envelope is a text, and ends a stream as a line", () => {
  const error = new GatewayError('upstream_reset', { message: 'm' });
  expect(errorBody(error, 'ollama')).toBe('{"error":"m"}');
  expect(errorFrame(error, 'ollama')).toBe('{"error":"m"}\n');
});
