/**
 * What a key may ask about itself, and what the operator may ask and do, as the specification shows it.
 */
import type { OpenAPIV3 } from 'openapi-types';
import { anyObject, arrayOf, integer, json, number, object, ref, string } from './parts.ts';
import type { Content, Schema } from './parts.ts';

const nullable = { nullable: true } as const;
const time = (description: string) => string(description, { ...nullable, format: 'date-time' });

const limits = object({
  requestsPerMinute: integer(),
  tokensPerMinute: integer(),
  concurrentRequests: integer('Open requests, those that wait included.'),
  budgets: arrayOf(
    object({ tokens: integer(), per: string(undefined, { enum: ['day', 'month'] }) }, [
      'tokens',
      'per',
    ]),
  ),
});

/** What can be set of a key. */
const policy: Record<string, Schema> = {
  name: string(),
  limits,
  models: { type: 'array', items: { type: 'string' }, nullable: true, description: 'null: all.' },
  weight: number('Its share of engine time beside others.'),
  priority: string(undefined, { enum: ['interactive', 'batch'] }),
  userHeader: string('The header in which it names its user.', nullable),
  expiresAt: time('A time; a duration such as `90d` is taken, too.'),
};

export const operatorSchemas: Record<string, Schema> = {
  KeyPolicy: object(policy, [], 'What a key may do. In a change, null takes away.'),
  Key: object(
    {
      id: string('Its public part, as logs and usage name it.'),
      hint: string(),
      state: string(undefined, { enum: ['active', 'expired', 'revoked'] }),
      createdAt: string(undefined, { format: 'date-time' }),
      revokedAt: time('When it was revoked.'),
      replacedUntil: time('Until when the secret before the last rotation is accepted.'),
      key: string('The key itself: only in the answer that makes it.'),
      ...policy,
    },
    ['id', 'name', 'state'],
  ),
  Keys: object({ data: arrayOf(ref('Key')) }, ['data']),
  Audit: object({ data: arrayOf(anyObject('Who did what to which key, and when.')) }, ['data']),
};

export const usageSchemas: Record<string, Schema> = {
  UsageReport: object(
    {
      since: string(undefined, { format: 'date-time' }),
      until: string(undefined, { format: 'date-time' }),
      data: arrayOf(ref('UsageTotals')),
    },
    ['since', 'until', 'data'],
  ),
  UsageTotals: object(
    {
      requests: integer(),
      refused: integer(
        'Those beyond a limit of their key, or with no room in the queue: no engine had them.',
      ),
      failed: integer('Those that ended with any other error, of the gateway or of an engine.'),
      cancelled: integer('Those whose client left.'),
      cacheHits: integer('Those that the response cache answered: they cost no tokens.'),
      promptTokens: integer('Cached ones included.'),
      cachedTokens: integer(),
      completionTokens: integer(),
      estimated: integer('Requests whose tokens are estimated.'),
      engineSeconds: number(),
      firstTokenMsP50: number(undefined, nullable),
      firstTokenMsP95: number(undefined, nullable),
      queuedMsP50: number(undefined, nullable),
      queuedMsP95: number(undefined, nullable),
    },
    ['requests'],
    'The sums of one group, with the columns that it is grouped by.',
  ),
};

const parameter = (name: string, description: string, schema: Schema = { type: 'string' }) => ({
  name,
  in: 'query' as const,
  description,
  schema,
});

const span = [
  parameter('since', 'A duration ago such as `7d` (the default), or a time.'),
  parameter('until', 'The same; now unless set.'),
];

const usageExample = {
  since: '2026-01-01T00:00:00.000Z',
  until: '2026-01-08T00:00:00.000Z',
  data: [{ model: 'qwen3-8b', requests: 2, promptTokens: 30, completionTokens: 200 }],
};

const keyExample = { id: '0123456789', name: 'alice', state: 'active' };
const idParameter: OpenAPIV3.ParameterObject = {
  name: 'id',
  in: 'path',
  required: true,
  schema: { type: 'string' },
};

const refusals: OpenAPIV3.ResponsesObject = Object.fromEntries(
  Object.entries({
    400: 'It is wrong, and the message says where.',
    401: 'No key.',
    403: 'Not that key.',
  }).map(([status, description]) => [
    status,
    { description, content: { 'application/json': { schema: ref('Error') } } },
  ]),
);

interface Said {
  description?: string;
  parameters?: OpenAPIV3.ParameterObject[];
  body?: Content;
  status?: number;
  answer?: Content;
}

function operation(
  method: 'GET' | 'POST' | 'PATCH' | 'DELETE',
  path: string,
  summary: string,
  { description, parameters = [], body, status = 200, answer }: Said,
) {
  const given = path.includes('{id}') ? [idParameter, ...parameters] : parameters;
  const found = path.includes('{id}')
    ? {
        404: {
          description: 'There is none with that id.',
          content: { 'application/json': { schema: ref('Error') } },
        },
      }
    : {};
  return {
    method,
    path,
    operation: {
      tags: [path.startsWith('/admin') || path === '/metrics' ? 'Operator' : 'Usage'],
      summary,
      ...(description === undefined ? {} : { description }),
      ...(given.length === 0 ? {} : { parameters: given }),
      ...(body === undefined ? {} : { requestBody: { required: true, content: body } }),
      responses: {
        [status]: { description: summary, ...(answer === undefined ? {} : { content: answer }) },
        ...refusals,
        ...found,
      },
      security: [{ bearer: [] }, { apiKey: [] }],
    },
  };
}

/** What any key may ask. */
export const ownOperations = [
  operation('GET', '/usage', 'What your key has used', {
    parameters: [
      parameter(
        'by',
        'Any of model, route, day, hour, principal, comma-separated; model unless set.',
      ),
      ...span,
    ],
    answer: json('UsageReport', { 'One model': usageExample }),
  }),
];

const keyAnswer = json('Key', { 'A key': keyExample });
const madeAnswer = json('Key', { 'A key': { ...keyExample, key: 'sk-gw-0123456789-…' } });

/** What the operator may ask and do, with ADMIN_API_KEY. */
export const operatorOperations = [
  operation('GET', '/admin/keys', 'List the keys', {
    answer: json('Keys', { 'One key': { data: [keyExample] } }),
  }),
  operation('POST', '/admin/keys', 'Make a key', {
    body: json('KeyPolicy', {
      'With limits': { name: 'alice', limits: { requestsPerMinute: 60 } },
    }),
    status: 201,
    answer: madeAnswer,
  }),
  operation('GET', '/admin/keys/{id}', 'Show a key', { answer: keyAnswer }),
  operation('PATCH', '/admin/keys/{id}', 'Change a key', {
    body: json('KeyPolicy', { 'Another weight': { weight: 2 } }),
    answer: keyAnswer,
  }),
  operation('DELETE', '/admin/keys/{id}', 'Revoke a key', {
    description: 'Its live requests end.',
    answer: keyAnswer,
  }),
  operation('POST', '/admin/keys/{id}/rotate', 'Make a new secret for a key', {
    description: 'The body may be `{"grace": "24h"}`: how long the old one is still accepted.',
    answer: madeAnswer,
  }),
  operation('GET', '/admin/usage', 'What everybody has used', {
    parameters: [
      parameter(
        'by',
        'Any of key, principal, model, upstream, route, code, day, hour, minute, comma-separated; key unless set.',
      ),
      ...span,
    ],
    answer: json('UsageReport', { 'One model': usageExample }),
  }),
  operation('GET', '/admin/live', 'Watch what is open', {
    answer: {
      'text/event-stream': {
        schema: {
          type: 'string',
          description: 'An event `live` each second: requests, upstreams, how many wait.',
        },
      },
    },
  }),
  operation('DELETE', '/admin/requests/{id}', 'Stop a request', { status: 204 }),
  operation('GET', '/admin/audit', 'What was done with the keys', {
    parameters: [parameter('limit', 'How many entries, the latest first.', { type: 'integer' })],
    answer: json('Audit', { Nothing: { data: [] } }),
  }),
  operation('GET', '/metrics', 'Metrics for Prometheus', {
    description: 'METRICS_TOKEN may read it as well.',
    answer: { 'text/plain': { schema: { type: 'string' } } },
  }),
];
