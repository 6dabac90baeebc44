/**
 * What a key may ask about itself, and what the operator may ask and do, as the specification shows it.
 */
import type { OpenAPIV3 } from 'openapi-types';
import { arrayOf, integer, json, number, object, ref, string } from './parts.ts';
import type { Content, Schema } from './parts.ts';

const nullable = { nullable: true } as const;
const time = (description: string) => string(description, { ...nullable, format: 'date-time' });
const moment = string(undefined, { format: 'date-time' });

/**
 * What can be set of a key.
 * @param more of what a key has at any rate: as it is set, `null` stands for what it is without being named
 */
function policy(more: { nullable?: true }, expiresAt: Schema): Record<string, Schema> {
  const budget = object({ tokens: integer(), per: string(undefined, { enum: ['day', 'month'] }) }, [
    'tokens',
    'per',
  ]);
  const limits = object({
    requestsPerMinute: integer(undefined, more),
    tokensPerMinute: integer(undefined, more),
    concurrentRequests: integer('Open requests, those that wait included.', more),
    budgets: { type: 'array', items: budget, ...more },
  });
  return {
    name: string('1 to 100 printable characters.'),
    limits: { ...limits, ...more },
    models: { type: 'array', items: { type: 'string' }, ...nullable, description: 'null: all.' },
    weight: number('Its share of engine time beside others; 1 where nobody has set it.', more),
    // An enumeration that lacks `null` would forbid it.
    priority: string('`interactive` where nobody has set it.', {
      enum: ['interactive', 'batch', ...(more.nullable ? [null] : [])],
      ...more,
    }),
    userHeader: string('The header in which it names its user.', nullable),
    expiresAt,
  };
}

const settable = policy(
  nullable,
  string('A time, a duration from now such as `90d`, or `never`.', nullable),
);

export const operatorSchemas: Record<string, Schema> = {
  KeyPolicy: object(settable, ['name'], 'What a new key may do. What is not named has no limit.'),
  KeyChange: object(settable, [], 'What changes of a key. The rest stays; `null` takes away.'),
  Rotation: object({
    grace: string(
      'How long the old secret is still accepted, such as `24h`; not at all without it.',
    ),
  }),
  Key: object(
    {
      id: string('Its public part, as logs and usage name it.'),
      hint: string(),
      state: string(undefined, { enum: ['active', 'expired', 'revoked'] }),
      createdAt: moment,
      revokedAt: time('When it was revoked.'),
      replacedUntil: time('Until when the secret before the last rotation is accepted.'),
      key: string('The key itself: only in the answer that makes it.'),
      ...policy({}, time('When it ends to be valid.')),
    },
    [
      'id',
      'name',
      'hint',
      'state',
      'createdAt',
      'expiresAt',
      'revokedAt',
      'replacedUntil',
      'models',
      'weight',
      'priority',
      'userHeader',
      'limits',
    ],
  ),
  Keys: object({ data: arrayOf(ref('Key')) }, ['data']),
  Audit: object({ data: arrayOf(ref('AuditEntry')) }, ['data']),
  AuditEntry: object(
    {
      at: moment,
      actor: string('`admin` over HTTP, `cli` at the command line.'),
      action: string(undefined, {
        enum: ['key_added', 'key_changed', 'key_rotated', 'key_revoked', 'request_stopped'],
      }),
      keyId: string('The key that it was done to, or whose request it was.', nullable),
      name: string('The name of that key.', nullable),
      detail: string('What was set of a key, as JSON; of a request, its id.', nullable),
    },
    ['at', 'actor', 'action', 'keyId', 'name', 'detail'],
  ),
};

/** What usage can be grouped by; each is there where it was asked for. */
const groups: Record<string, Schema> = {
  key: string('The public part of a key.', nullable),
  name: string('What that key is called, as of its latest request.', nullable),
  principal: string('The key, or the user whom it names.', nullable),
  model: string(undefined, nullable),
  upstream: string('The engine; null where none had the requests.', nullable),
  route: string(undefined, nullable),
  code: string('The error of the gateway; null where there was none.', nullable),
  day: string('Such as `2026-11-05`, in UTC.', nullable),
  hour: string('Its beginning, such as `2026-11-05T13:00Z`.', nullable),
  minute: string('Its beginning, such as `2026-11-05T13:05Z`.', nullable),
};

const rank = 'By nearest rank, to two significant digits.';

const figures: Record<string, Schema> = {
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
  firstTokenMsP50: number(`${rank} Of streams.`, nullable),
  firstTokenMsP95: number(rank, nullable),
  queuedMsP50: number(`${rank} Of those that were in the queue, for however short.`, nullable),
  queuedMsP95: number(rank, nullable),
};

export const usageSchemas: Record<string, Schema> = {
  UsageReport: object(
    {
      since: moment,
      until: moment,
      data: arrayOf(ref('UsageTotals')),
    },
    ['since', 'until', 'data'],
  ),
  UsageTotals: object(
    { ...groups, ...figures },
    Object.keys(figures),
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
  data: [
    {
      model: 'qwen3-8b',
      requests: 2,
      refused: 0,
      failed: 0,
      cancelled: 0,
      cacheHits: 0,
      promptTokens: 30,
      cachedTokens: 10,
      completionTokens: 200,
      estimated: 0,
      engineSeconds: 6.25,
      firstTokenMsP50: 84,
      firstTokenMsP95: 120,
      queuedMsP50: 0,
      queuedMsP95: 210,
    },
  ],
};

const keyExample = {
  id: '0123456789',
  name: 'alice',
  hint: 'sk-gw-0123456789-…',
  state: 'active',
  createdAt: '2026-01-01T00:00:00.000Z',
  expiresAt: null,
  revokedAt: null,
  replacedUntil: null,
  models: null,
  weight: 1,
  priority: 'interactive',
  userHeader: null,
  limits: { requestsPerMinute: 60 },
};
const auditExample = {
  at: '2026-01-01T00:00:00.000Z',
  actor: 'admin',
  action: 'key_changed',
  keyId: '0123456789',
  name: 'alice',
  detail: '{"weight":2}',
};
const idParameter: OpenAPIV3.ParameterObject = {
  name: 'id',
  in: 'path',
  required: true,
  schema: { type: 'string' },
};

/** Returns the error answers of an operation, by status. */
function errorsOf(descriptions: Record<number, string>): OpenAPIV3.ResponsesObject {
  const content = { 'application/json': { schema: ref('Error') } };
  return Object.fromEntries(
    Object.entries(descriptions).map(([status, description]) => [status, { description, content }]),
  );
}

const refusals = {
  400: 'It is wrong, and the message says where.',
  401: 'No key.',
  403: 'Not that key.',
};
const unwritten = {
  503: '`store_unavailable`: the store cannot be written. The message says how things stand; try again.',
};

interface Said {
  description?: string;
  parameters?: OpenAPIV3.ParameterObject[];
  body?: Content;
  /** Whether it is wrong without a body; so it is unless this says otherwise. */
  needsBody?: boolean;
  status?: number;
  answer?: Content;
  /** Errors of its own by status. */
  errors?: Record<number, string>;
}

function operation(
  method: 'GET' | 'POST' | 'PATCH' | 'DELETE',
  path: string,
  summary: string,
  { description, parameters = [], body, needsBody = true, status = 200, answer, errors }: Said,
) {
  const given = path.includes('{id}') ? [idParameter, ...parameters] : parameters;
  const missing = path.includes('{id}') ? { 404: 'There is none with that id.' } : {};
  return {
    method,
    path,
    operation: {
      tags: [path.startsWith('/admin') || path === '/metrics' ? 'Operator' : 'Usage'],
      summary,
      ...(description === undefined ? {} : { description }),
      ...(given.length === 0 ? {} : { parameters: given }),
      ...(body === undefined ? {} : { requestBody: { required: needsBody, content: body } }),
      responses: {
        [status]: { description: summary, ...(answer === undefined ? {} : { content: answer }) },
        ...errorsOf({ ...refusals, ...missing, ...errors }),
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
    errors: { 429: '`too_many_concurrent`: a report of this key is being made.' },
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
    errors: unwritten,
  }),
  operation('GET', '/admin/keys/{id}', 'Show a key', { answer: keyAnswer }),
  operation('PATCH', '/admin/keys/{id}', 'Change a key', {
    body: json('KeyChange', {
      'Another weight': { weight: 2 },
      'No limit of tokens any more': { limits: { tokensPerMinute: null } },
    }),
    answer: keyAnswer,
    errors: unwritten,
  }),
  operation('DELETE', '/admin/keys/{id}', 'Revoke a key', {
    description: 'Its live requests end.',
    answer: keyAnswer,
    errors: unwritten,
  }),
  operation('POST', '/admin/keys/{id}/rotate', 'Make a new secret for a key', {
    body: json('Rotation', { 'The old secret for a day more': { grace: '24h' } }),
    needsBody: false,
    answer: madeAnswer,
    errors: unwritten,
  }),
  operation('GET', '/admin/usage', 'What everybody has used', {
    description: 'Reports are made one after the other.',
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
    answer: json('Audit', { 'A change': { data: [auditExample] } }),
  }),
  operation('GET', '/metrics', 'Metrics for Prometheus', {
    description: 'METRICS_TOKEN may read it as well.',
    answer: { 'text/plain': { schema: { type: 'string' } } },
  }),
];
