/**
 * The errors that the gateway itself produces: one table of codes, one class, and the envelope of each wire family.
 * Errors of an engine are not in the table; they pass through unchanged.
 */

/** The wire format of a route's errors and of the last event of its streams. */
export type Family = 'openai' | 'responses' | 'anthropic' | 'ollama';

interface ErrorRow {
  status: number;
  /** `false` when the client's SDK must not retry: the engine had the request, the wait is hours, or nothing will change. */
  retryable?: false;
  message: string;
}

/** Every error of the gateway itself: its status, and the message used when the throwing place passes none. */
export const errorTable = {
  invalid_json: { status: 400, message: 'The body must be one JSON object.' },
  missing_field: {
    status: 400,
    message: 'A required field is missing. /docs lists the fields of each route.',
  },
  invalid_field: {
    status: 400,
    message: 'A field or parameter has an invalid value. /docs lists what each route accepts.',
  },
  invalid_content_encoding: {
    status: 400,
    message: 'The body cannot be decoded as its Content-Encoding says. Send it uncompressed.',
  },
  model_required: {
    status: 400,
    message: 'This gateway serves several models. Name one in "model"; GET /v1/models lists them.',
  },
  context_length_exceeded: {
    status: 400,
    message: "The prompt is longer than the model's context. Shorten the prompt.",
  },
  missing_api_key: {
    status: 401,
    message:
      'No API key. Send "Authorization: Bearer <key>" or "x-api-key: <key>". Ask the operator of this gateway for a key.',
  },
  invalid_api_key: {
    status: 403,
    retryable: false,
    message: 'Invalid API key. Check it for typing errors or ask the operator.',
  },
  key_expired: {
    status: 403,
    retryable: false,
    message: 'This API key has expired. Ask the operator of this gateway for a new one.',
  },
  key_revoked: {
    status: 403,
    retryable: false,
    message: 'This API key has been revoked. Ask the operator of this gateway for a new one.',
  },
  model_not_allowed: {
    status: 403,
    retryable: false,
    message: 'This API key may not use that model. GET /v1/models lists the models it may use.',
  },
  unknown_route: {
    status: 404,
    message: 'Unknown route. GET / lists the routes of this gateway.',
  },
  model_not_found: {
    status: 404,
    message: 'No upstream serves that model. GET /v1/models lists the models.',
  },
  key_not_found: { status: 404, message: 'No key has that id. GET /admin/keys lists the keys.' },
  request_not_found: {
    status: 404,
    message:
      'No open request has that id; it may have ended. GET /admin/requests shows the open requests.',
  },
  method_not_allowed: {
    status: 405,
    message:
      'This route does not accept that method. The Allow header lists the methods it accepts.',
  },
  request_body_timeout: {
    status: 408,
    message: 'The request body did not arrive in time (REQUEST_BODY_TIMEOUT_MS). Send it again.',
  },
  body_too_large: { status: 413, message: 'The request body is too large. Send a smaller one.' },
  unsupported_content_encoding: {
    status: 415,
    retryable: false,
    message:
      'The body has a Content-Encoding that is not known here. Use one of gzip, deflate, br and zstd, or send it uncompressed.',
  },
  websocket_unsupported: {
    status: 426,
    retryable: false,
    message: 'No WebSockets here. Send the request over HTTP; "stream": true streams the answer.',
  },
  rate_limited: {
    status: 429,
    message: 'Rate limit reached: too many requests a minute. Retry-After says when to retry.',
  },
  tokens_exhausted: {
    status: 429,
    message:
      'Token limit reached: not enough tokens left this minute. Retry-After says when to retry.',
  },
  too_many_concurrent: {
    status: 429,
    message: 'Too many open requests for this API key. Retry when one of them has ended.',
  },
  budget_spent: {
    status: 429,
    retryable: false,
    message:
      'The token budget of this API key is used up. Retry-After says when the next one begins.',
  },
  client_closed_request: { status: 499, message: 'The client closed the connection.' },
  internal_error: {
    status: 500,
    retryable: false,
    message:
      'Internal error of the gateway. Its log has the cause under this request id; tell the operator.',
  },
  upstream_unreachable: {
    status: 502,
    message: 'The inference server cannot be reached. It may be down or starting. Retry later.',
  },
  upstream_reset: {
    status: 502,
    retryable: false,
    message:
      'The inference server closed the connection before its answer was complete. It may have crashed; ask the operator.',
  },
  upstream_malformed: {
    status: 502,
    retryable: false,
    message:
      'The inference server sent an answer that is not valid HTTP. The operator must check its URL.',
  },
  upstream_redirected: {
    status: 502,
    retryable: false,
    message:
      'The inference server answered with a redirect, which is not followed. The operator must check its URL; the log says where it leads.',
  },
  // Never sent: in the log and in usage the name of a failure that the engine told inside its answer.
  upstream_failed: {
    status: 502,
    retryable: false,
    message:
      'The inference server began an answer and then told in it that it failed. Its own words are in the answer.',
  },
  upstream_auth_failed: {
    status: 502,
    retryable: false,
    message:
      "The inference server refused the gateway's own key. Your key is valid; the operator must check LLM_SERVER_API_KEY.",
  },
  no_healthy_upstream: {
    status: 503,
    message: 'No inference server that can answer this request is available. Retry later.',
  },
  queue_full: {
    status: 503,
    message: 'The queue for the inference server is full. Retry-After says when to retry.',
  },
  queue_timeout: {
    status: 503,
    message: 'No slot of the inference server became free in time (QUEUE_TIMEOUT_MS). Retry later.',
  },
  store_unavailable: {
    status: 503,
    message: 'The store of this gateway cannot be written. Nothing has changed. Retry.',
  },
  shutting_down: { status: 503, message: 'The gateway is shutting down. Retry in a few seconds.' },
  stopped_by_operator: {
    status: 503,
    retryable: false,
    message: 'The operator of this gateway stopped the request. Ask before you send it again.',
  },
  connect_timeout: {
    status: 504,
    retryable: false,
    message:
      'No connection to the inference server in time (CONNECT_TIMEOUT_MS). It may be down; ask the operator.',
  },
  first_byte_timeout: {
    status: 504,
    retryable: false,
    message:
      'The inference server sent no first byte in time (FIRST_BYTE_TIMEOUT_MS). Shorten the prompt or stream the answer.',
  },
  idle_timeout: {
    status: 504,
    retryable: false,
    message:
      'The inference server sent nothing for too long in the middle of its answer (IDLE_TIMEOUT_MS). Ask the operator.',
  },
  total_timeout: {
    status: 504,
    retryable: false,
    message:
      'The request took longer than this gateway allows (TOTAL_TIMEOUT_MS). Ask for a shorter answer.',
  },
} as const satisfies Record<string, ErrorRow>;

export type ErrorCode = keyof typeof errorTable;

export interface ErrorDetails {
  /** In place of the code's own. */
  status?: number;
  /** What happened, the figure, and what to do. Never contains a key, a prompt or an internal address. */
  message?: string;
  /** The field at fault, for 400s. */
  param?: string;
  /** Further response headers, for instance `allow`. */
  headers?: Record<string, string>;
  cause?: unknown;
}

/** A failure with a code from `errorTable`. Thrown anywhere; http/errorrenderer.ts turns it into an answer. */
export class GatewayError extends Error {
  override readonly name = 'GatewayError';
  readonly status: number;
  readonly param: string | null;
  readonly headers: Record<string, string> | undefined;

  constructor(
    readonly code: ErrorCode,
    details: ErrorDetails = {},
  ) {
    super(details.message ?? errorTable[code].message, { cause: details.cause });
    this.status = details.status ?? errorTable[code].status;
    this.param = details.param ?? null;
    this.headers = details.headers;
  }
}

/** Returns the message of an Error, or any other thrown value as text. */
export function messageOf(thrown: unknown): string {
  return thrown instanceof Error ? thrown.message : String(thrown);
}

/** Returns the OpenAI `error.type` of a status. */
function openaiType(status: number): string {
  if (status === 401) return 'authentication_error';
  if (status === 403) return 'permission_error';
  if (status === 429) return 'rate_limit_error';
  return status < 500 ? 'invalid_request_error' : 'server_error';
}

/** Returns the Anthropic `error.type` of a status. */
function anthropicType(status: number): string {
  if (status === 404) return 'not_found_error';
  if (status === 503) return 'overloaded_error';
  return status < 500 ? openaiType(status) : 'api_error';
}

/** Returns the JSON error body in the format of the family. */
export function errorBody(error: GatewayError, family: Family): string {
  const { status, message, param, code } = error;
  if (family === 'ollama') return JSON.stringify({ error: message });
  return JSON.stringify(
    family === 'anthropic'
      ? { type: 'error', error: { type: anthropicType(status), message } }
      : { error: { message, type: openaiType(status), param, code } },
  );
}

/** Returns the response headers that go with `errorBody`. */
export function errorHeaders(error: GatewayError): Record<string, string> {
  const headers: Record<string, string> = {
    'content-type': 'application/json; charset=utf-8',
    'x-gateway-error': error.code,
    ...error.headers,
  };
  if (error.status === 401) headers['www-authenticate'] = 'Bearer';
  if ('retryable' in errorTable[error.code]) headers['x-should-retry'] = 'false';
  return headers;
}

/**
 * Returns the last frame of a stream that failed after it had begun. `data: [DONE]` never follows it. Ollama's streams
 * are lines.
 * @param sequenceNumber for a Responses stream, which numbers its events: one more than the last relayed event's
 */
export function errorFrame(error: GatewayError, family: Family, sequenceNumber = 0): string {
  if (family === 'anthropic') return `event: error\ndata: ${errorBody(error, family)}\n\n`;
  if (family === 'openai') return `data: ${errorBody(error, family)}\n\n`;
  if (family === 'ollama') return `${errorBody(error, family)}\n`;
  const { code, message, param } = error;
  const data = { type: 'error', code, message, param, sequence_number: sequenceNumber };
  return `event: error\ndata: ${JSON.stringify(data)}\n\n`;
}
