/**
 * The specification of the error answers, made from the table in wire/errors.ts, so that the two cannot differ: each
 * code that a route can return, in the format of its family.
 */
import type { OpenAPIV3 } from 'openapi-types';
import { errorBody, errorTable, GatewayError } from '../../wire/errors.ts';
import type { ErrorCode, Family } from '../../wire/errors.ts';
import { object, ref, string } from './parts.ts';
import type { Schema } from './parts.ts';
import type { Route } from '../../wire/routes.ts';

type Envelope = 'openai' | 'anthropic' | 'ollama';

/** The codes that a client can receive; `client_closed_request` appears only in the log. */
const codes = (Object.keys(errorTable) as ErrorCode[]).filter(
  (code) => code !== 'client_closed_request',
);

const header = (name: string): Record<string, OpenAPIV3.ReferenceObject> => ({
  [name]: { $ref: `#/components/headers/${name}` },
});

const text = (description: string, more: Partial<OpenAPIV3.NonArraySchemaObject> = {}) => ({
  description,
  schema: { type: 'string' as const, ...more },
});

export const responseHeaders: Record<string, OpenAPIV3.HeaderObject> = {
  'x-request-id': text(
    'The id of this request, also in the gateway’s log: your own `x-request-id` or a new one.',
  ),
  'request-id': text('The id of this request, in the header that Anthropic’s clients read.'),
  'x-gateway-queue-ms': {
    description: 'How long the request waited in the gateway’s queue, in milliseconds.',
    schema: { type: 'integer' },
  },
  'x-gateway-queue-place': {
    description: 'The place that the request had in the queue, or would have had; 1 is next.',
    schema: { type: 'integer' },
  },
  'x-gateway-error': text(
    'The code of the error. Only errors of the gateway itself have this header.',
    { enum: codes },
  ),
  'x-should-retry': text('`false` if a retry would only add load; the official SDKs obey it.', {
    enum: ['false'],
  }),
  'Retry-After': {
    description: 'When to retry, in seconds, if that is known.',
    schema: { type: 'integer' },
  },
  Allow: text('The methods that this path accepts.'),
  'WWW-Authenticate': text('The scheme to authenticate with.', { enum: ['Bearer'] }),
};

export const errorSchemas: Record<string, Schema> = {
  Error: object(
    {
      error: object(
        {
          message: string('What happened and what to do.'),
          type: string('The kind of error, in OpenAI’s terms.'),
          param: string('The field at fault.', { nullable: true }),
          code: string('The code of the error.', { enum: codes }),
        },
        ['message', 'type', 'param', 'code'],
      ),
    },
    ['error'],
    'An error of the gateway itself. The answer has the header `x-gateway-error`.',
  ),
  AnthropicError: object(
    {
      type: string(undefined, { enum: ['error'] }),
      error: object(
        {
          type: string('The kind of error, in Anthropic’s terms.'),
          message: string('What happened and what to do.'),
        },
        ['type', 'message'],
      ),
    },
    ['type', 'error'],
    'An error of the gateway itself, on Anthropic’s routes. The answer has the header `x-gateway-error`.',
  ),
  OllamaError: object(
    { error: string('What happened and what to do.') },
    ['error'],
    'An error of the gateway itself, on Ollama’s routes. The answer has the header `x-gateway-error`.',
  ),
  EngineError: {
    ...object(
      {},
      [],
      'An error of the engine, passed through unchanged. The answer has no header `x-gateway-error`.',
    ),
    example: {
      error: { code: 501, message: 'Infill is not supported.', type: 'not_supported_error' },
    },
  },
};

/**
 * Returns whether a request to this route can get this error. Codes without a case below are possible on every route.
 */
function canEndWith(code: ErrorCode, route: Route): boolean {
  switch (code) {
    case 'unknown_route':
      return route.kinds !== undefined;
    case 'websocket_unsupported':
    case 'key_not_found':
    case 'request_not_found':
    case 'store_unavailable':
      return false;
    case 'invalid_json':
      return route.body === 'json';
    case 'invalid_field':
      return route.body !== 'none' || route.path === '/v1/models';
    case 'missing_field':
      return route.needsOneOf !== undefined;
    case 'model_not_found':
      return route.body !== 'none' || route.path.endsWith('/*');
    case 'model_required':
    case 'model_not_allowed':
    case 'rate_limited':
    case 'tokens_exhausted':
    case 'too_many_concurrent':
    case 'budget_spent':
      return route.body !== 'none';
    case 'context_length_exceeded':
      return route.body === 'json' && route.generates;
    case 'unsupported_content_encoding':
    case 'invalid_content_encoding':
    case 'request_body_timeout':
    case 'body_too_large':
      return route.body !== 'none';
    case 'first_byte_timeout':
    case 'idle_timeout':
      return route.generates;
    default:
      return true;
  }
}

/** Returns the headers of every answer of a route that needs a key, from the gateway or the engine. */
export function commonHeaders(envelope: Family): Record<string, OpenAPIV3.ReferenceObject> {
  return { ...header('x-request-id'), ...(envelope === 'anthropic' ? header('request-id') : {}) };
}

/** Returns a message for Markdown, with `<` escaped, which would begin a tag. */
const asText = (message: string) => message.replaceAll('<', '&lt;');

const schemaNames = {
  openai: 'Error',
  anthropic: 'AnthropicError',
  ollama: 'OllamaError',
} as const;

/** Returns the error answer of a status, with an example body for each code in `these`. */
function errorResponse(
  envelope: Envelope,
  status: number,
  these: ErrorCode[],
): OpenAPIV3.ResponseObject {
  const schema = ref(schemaNames[envelope]);
  // The gateway turns an engine's 401 or 403 into a 502.
  const isGatewayOnly = status === 401 || status === 403;
  const isFinal = these.some((code) => 'retryable' in errorTable[code]);
  return {
    description: these
      .map((code) => `\`${code}\`: ${asText(errorTable[code].message)}`)
      .join('\n\n'),
    headers: {
      ...commonHeaders(envelope),
      ...header('x-gateway-error'),
      ...(isFinal ? header('x-should-retry') : {}),
      ...(status === 429 || status === 503 ? header('Retry-After') : {}),
      ...(these.includes('queue_full') ? header('x-gateway-queue-place') : {}),
      ...(status === 401 ? header('WWW-Authenticate') : {}),
      ...(status === 405 ? header('Allow') : {}),
    },
    content: {
      'application/json': {
        schema: isGatewayOnly ? schema : { anyOf: [schema, ref('EngineError')] },
        examples: Object.fromEntries(
          these.map((code) => [
            code,
            { summary: code, value: JSON.parse(errorBody(new GatewayError(code), envelope)) },
          ]),
        ),
      },
    },
  };
}

/** Collects the error answers that routes share; each is written once and then referenced. */
export class ErrorResponses {
  readonly components: Record<string, OpenAPIV3.ResponseObject> = {
    EngineError: {
      description:
        'Any other status is the engine’s answer, passed through unchanged, including its body and `Retry-After`.',
      headers: { ...commonHeaders('openai'), ...header('x-gateway-queue-ms') },
      content: { 'application/json': { schema: ref('EngineError') } },
    },
  };

  /** Returns the error answers of a route by status, and adds the referenced ones to `components`. */
  of(route: Route): OpenAPIV3.ResponsesObject {
    const { family } = route;
    const envelope = family === 'anthropic' || family === 'ollama' ? family : 'openai';
    const possible = codes.filter((code) => canEndWith(code, route));
    const engine = { $ref: '#/components/responses/EngineError' };
    return { ...this.#byStatus(envelope, possible), default: engine };
  }

  /** Returns the error answer that every path has. */
  ofAnyPath(): OpenAPIV3.ResponsesObject {
    return this.#byStatus('openai', ['method_not_allowed']);
  }

  #byStatus(envelope: Envelope, these: ErrorCode[]): OpenAPIV3.ResponsesObject {
    const responses: OpenAPIV3.ResponsesObject = {};
    for (const [status, group] of Map.groupBy(these, (code) => errorTable[code].status)) {
      const name = [envelope, status, ...group].join('.');
      this.components[name] ??= errorResponse(envelope, status, group);
      responses[status] = { $ref: `#/components/responses/${name}` };
    }
    return responses;
  }
}

/** Returns the table of all errors in Markdown. */
export function errorTableText(): string {
  const rows = codes.map(
    (code) => `| ${errorTable[code].status} | \`${code}\` | ${asText(errorTable[code].message)} |`,
  );
  return ['| status | `x-gateway-error` | what it means |', '|---|---|---|', ...rows].join('\n');
}
