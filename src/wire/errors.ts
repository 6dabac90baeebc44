/**
 * The errors that the gateway itself produces: one table of codes, one class, and the envelope of each wire family.
 * Errors of an engine never come here; they pass through as they are.
 */

/** Whose envelope and ending events a route speaks. */
export type Family = 'openai' | 'responses' | 'anthropic';

interface ErrorRow {
  status: number;
  /** `false` where a repeat by the client's SDK would only add load: the engine had the request, or it is hours. */
  retryable?: false;
  message: string;
}

/** Every error of the gateway's own making: its status and what the client reads when nobody says it better. */
export const errorTable = {
  invalid_json: { status: 400, message: 'The body must be one JSON object.' },
  missing_field: { status: 400, message: 'A field that this route needs is missing.' },
  invalid_field: { status: 400, message: 'A field has the wrong type.' },
  model_required: {
    status: 400,
    message: 'Several models are served here: name one in "model". GET /v1/models lists them.',
  },
  context_length_exceeded: {
    status: 400,
    message: 'The prompt is longer than the context of the model.',
  },
  missing_api_key: {
    status: 401,
    message:
      'No API key. Send "Authorization: Bearer <key>" or "x-api-key: <key>"; ask the operator of this gateway for one.',
  },
  invalid_api_key: {
    status: 403,
    message: 'This API key is not one of ours. Check it for typing errors or ask the operator.',
  },
  key_expired: {
    status: 403,
    message: 'This API key has expired. Ask the operator of this gateway for a new one.',
  },
  key_revoked: {
    status: 403,
    message: 'This API key has been revoked. Ask the operator of this gateway for a new one.',
  },
  model_not_allowed: {
    status: 403,
    message: 'This API key may not use that model. GET /v1/models lists what it may use.',
  },
  unknown_route: {
    status: 404,
    message: 'This gateway has no such route. GET / lists what it has.',
  },
  model_not_found: {
    status: 404,
    message: 'No upstream serves that model. GET /v1/models lists them.',
  },
  key_not_found: { status: 404, message: 'There is no such key. GET /admin/keys lists them.' },
  request_not_found: {
    status: 404,
    message: 'No such request is open. It may have ended. GET /admin/live shows what is.',
  },
  method_not_allowed: { status: 405, message: 'This route does not take that method. See Allow.' },
  request_body_timeout: {
    status: 408,
    message: 'The body of the request did not arrive in time (REQUEST_BODY_TIMEOUT_MS).',
  },
  body_too_large: { status: 413, message: 'The body is larger than this gateway takes.' },
  rate_limited: {
    status: 429,
    message: 'This API key has sent its requests of a minute. Try again after Retry-After.',
  },
  tokens_exhausted: {
    status: 429,
    message: 'This API key has not that many tokens left this minute. Try again after Retry-After.',
  },
  too_many_concurrent: {
    status: 429,
    message: 'This API key has as many requests open as it may. Wait until one has ended.',
  },
  budget_spent: {
    status: 429,
    retryable: false,
    message: 'This API key has spent its budget of tokens. Retry-After says when the next begins.',
  },
  client_closed_request: { status: 499, message: 'The client left.' },
  internal_error: {
    status: 500,
    retryable: false,
    message: 'The gateway failed. Its log has the cause under this request id.',
  },
  upstream_unreachable: {
    status: 502,
    message: 'The inference server cannot be reached. It may be down or starting; try again later.',
  },
  upstream_reset: {
    status: 502,
    retryable: false,
    message: 'The inference server closed the connection before its answer was whole.',
  },
  upstream_malformed: {
    status: 502,
    retryable: false,
    message: 'The inference server answered with something that is not valid HTTP.',
  },
  upstream_auth_failed: {
    status: 502,
    retryable: false,
    message:
      "The inference server refused the gateway's own key. Your key is fine; the operator must check LLM_SERVER_API_KEY.",
  },
  no_healthy_upstream: {
    status: 503,
    message: 'No inference server that serves this is available. Try again later.',
  },
  queue_full: {
    status: 503,
    message: 'Too many requests wait for the inference server. Try again after Retry-After.',
  },
  queue_timeout: {
    status: 503,
    message: 'The inference server had no free slot in time (QUEUE_TIMEOUT_MS).',
  },
  store_unavailable: {
    status: 503,
    message: 'The store of this gateway cannot be written. Nothing has changed; try again.',
  },
  shutting_down: { status: 503, message: 'The gateway is shutting down. Try again in a moment.' },
  stopped_by_operator: {
    status: 503,
    retryable: false,
    message: 'The operator of this gateway ended the request.',
  },
  connect_timeout: {
    status: 504,
    retryable: false,
    message: 'No connection to the inference server in time (CONNECT_TIMEOUT_MS).',
  },
  first_byte_timeout: {
    status: 504,
    retryable: false,
    message: 'The inference server sent no first byte in time (FIRST_BYTE_TIMEOUT_MS).',
  },
  idle_timeout: {
    status: 504,
    retryable: false,
    message: 'The stream stood still for too long (IDLE_TIMEOUT_MS).',
  },
  total_timeout: {
    status: 504,
    retryable: false,
    message: 'The request took longer than this gateway allows (TOTAL_TIMEOUT_MS).',
  },
} as const satisfies Record<string, ErrorRow>;

export type ErrorCode = keyof typeof errorTable;

export interface ErrorDetails {
  /** Says what happened and what to do; never a key, never a prompt, never an internal address. */
  message?: string;
  /** The field at fault, for 400s. */
  param?: string;
  /** Further response headers, for instance `allow`. */
  headers?: Record<string, string>;
  cause?: unknown;
}

/** A failure with a code from `errorTable`. Thrown anywhere, rendered in one place. */
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
    this.status = errorTable[code].status;
    this.param = details.param ?? null;
    this.headers = details.headers;
  }
}

/** Gives what is said of something that was thrown, whatever it is. */
export function messageOf(thrown: unknown): string {
  return thrown instanceof Error ? thrown.message : String(thrown);
}

/** Gives the OpenAI `error.type` of a status. */
function openaiType(status: number): string {
  if (status === 401) return 'authentication_error';
  if (status === 403) return 'permission_error';
  if (status === 429) return 'rate_limit_error';
  return status < 500 ? 'invalid_request_error' : 'server_error';
}

/** Gives the Anthropic `error.type` of a status. */
function anthropicType(status: number): string {
  if (status === 404) return 'not_found_error';
  if (status === 413) return 'request_too_large';
  if (status === 503) return 'overloaded_error';
  return status < 500 ? openaiType(status) : 'api_error';
}

/** Gives the error body that clients of this family parse. */
export function errorBody(error: GatewayError, family: Family): string {
  const { status, message, param, code } = error;
  return JSON.stringify(
    family === 'anthropic'
      ? { type: 'error', error: { type: anthropicType(status), message } }
      : { error: { message, type: openaiType(status), param, code } },
  );
}

/** Gives the headers that go with `errorBody`. */
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
 * Gives the last frame of an event stream that failed after it had begun. `data: [DONE]` never follows it.
 * A Responses stream counts its events; `sequenceNumber` is the one after the last that was relayed.
 */
export function errorFrame(error: GatewayError, family: Family, sequenceNumber = 0): string {
  if (family === 'anthropic') return `event: error\ndata: ${errorBody(error, family)}\n\n`;
  if (family === 'openai') return `data: ${errorBody(error, family)}\n\n`;
  const { code, message, param } = error;
  const data = { type: 'error', code, message, param, sequence_number: sequenceNumber };
  return `event: error\ndata: ${JSON.stringify(data)}\n\n`;
}
