/**
 * The specification of a key's own usage report and of the operator's routes.
 */
import type { OpenAPIV3 } from 'openapi-types';
import { userHeader } from '../../accounts/policyrules.ts';
import { ownColumns, usageColumns } from '../../accounts/usage.ts';
import { anyOf, arrayOf, integer, json, number, object, ref, string } from './parts.ts';
import type { Content, Schema } from './parts.ts';
import { clientSecurity, operatorSecurity } from './security.ts';

const nullable = { nullable: true } as const;
/** Such as `90d`. Longer ones up to a hundred years are accepted, too. */
const duration = string(undefined, {
  pattern: '^([1-9][0-9]{0,8}s|[1-9][0-9]{0,6}m|[1-9][0-9]{0,4}h|[1-9][0-9]{0,3}d)$',
});
const day = string(undefined, { format: 'date' });
/** Names of columns with commas between them; none for one group of everything. */
const columns = (...names: readonly string[]) => {
  const name = `(${names.join('|')})`;
  return string(undefined, { pattern: `^(${name}(,${name})*)?$` });
};
const time = (description: string) => string(description, { ...nullable, format: 'date-time' });
const moment = string(undefined, { format: 'date-time' });

/** Returns an object schema without unknown fields: the gateway refuses them in its own bodies. */
function closed(...fields: Parameters<typeof object>): Schema {
  return { ...object(...fields), additionalProperties: false };
}

/**
 * Returns the properties of a key that can be set.
 * @param more `nullable` in requests, where `null` sets a property to its default
 */
function policy(more: { nullable?: true }, expiresAt: Schema): Record<string, Schema> {
  const shape = more.nullable ? closed : object;
  const count = { minimum: 1, maximum: Number.MAX_SAFE_INTEGER };
  const budget = shape(
    { tokens: integer(undefined, count), per: string(undefined, { enum: ['day', 'month'] }) },
    ['tokens', 'per'],
  );
  const limits = shape({
    requestsPerMinute: integer(undefined, { ...count, ...more }),
    tokensPerMinute: integer(undefined, { ...count, ...more }),
    concurrentRequests: integer('Open requests, including waiting ones.', { ...count, ...more }),
    budgets: {
      type: 'array',
      items: budget,
      minItems: 1,
      maxItems: 2,
      description: 'One for each period at most.',
      ...more,
    },
  });
  return {
    name: string('1 to 100 printable characters.', { minLength: 1, maxLength: 100 }),
    limits: { ...limits, ...more },
    models: {
      type: 'array',
      items: string(undefined, { pattern: '^[^\\r\\n]{1,200}$' }),
      minItems: 1,
      maxItems: 1_000,
      uniqueItems: true,
      ...nullable,
      description: '`null`: all models.',
    },
    weight: number('Share of engine time relative to other keys; default 1.', {
      minimum: 0.01,
      maximum: 100,
      ...more,
    }),
    // `nullable` alone is not enough: an enumeration must list `null`, too.
    priority: string('Default `interactive`.', {
      enum: ['interactive', 'batch', ...(more.nullable ? [null] : [])],
      ...more,
    }),
    userHeader: string('The header in which the client names its user; none for credentials.', {
      ...nullable,
      ...(more.nullable && { pattern: userHeader['pattern'] }),
    }),
    expiresAt,
  };
}

const settable = policy(
  nullable,
  anyOf(
    'A time to come, a duration from now such as `90d`, or `never`.',
    string(undefined, { enum: ['never', null], ...nullable }),
    duration,
    day,
    moment,
  ),
);

export const operatorSchemas: Record<string, Schema> = {
  KeyPolicy: closed(
    settable,
    ['name'],
    'What a new key may do. A limit that is left out does not apply.',
  ),
  KeyChange: {
    ...closed(
      settable,
      [],
      'Changes to a key. Fields that are left out are unchanged; `null` removes a setting.',
    ),
    minProperties: 1,
  },
  Rotation: closed({
    grace: {
      ...duration,
      description:
        'How long the old secret is still accepted, such as `24h`. Without it the old secret is refused at once.',
    },
  }),
  Key: object(
    {
      id: string('The public part of the key, which logs and usage reports show.'),
      hint: string(),
      state: string(undefined, { enum: ['active', 'expired', 'revoked'] }),
      createdAt: moment,
      revokedAt: time('When it was revoked.'),
      replacedUntil: time('Until when the secret from before the last rotation is accepted.'),
      key: string('The key itself, only in the answer that creates it.'),
      ...policy({}, time('When the key expires.')),
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
  Live: object(
    {
      at: moment,
      requests: arrayOf(ref('OpenRequest')),
      upstreams: arrayOf(
        object(
          {
            id: string(),
            kind: string(),
            state: string(),
            slots: integer('`null` if they are not bounded.', nullable),
            usedSlots: integer(),
            models: arrayOf(string()),
          },
          ['id', 'kind', 'state', 'slots', 'usedSlots', 'models'],
        ),
      ),
      queued: integer('How many requests wait for a slot.'),
    },
    ['at', 'requests', 'upstreams', 'queued'],
  ),
  OpenRequest: object(
    {
      id: string('What no other request is called.'),
      requestId: string('What its client calls it.'),
      keyId: string(),
      name: string('The name of its key.'),
      principal: string('The key, or the user that the client named.'),
      route: string(),
      model: string(undefined, nullable),
      phase: string(undefined, { enum: ['body', 'queued', 'prefill', 'decode'] }),
      tokens: integer('Tokens of the answer so far.'),
      tokensPerSecond: number(undefined, nullable),
      ageMs: integer(),
      queuedMs: integer(),
      upstream: string('The engine that has it; `null` while none has.', nullable),
      stream: { type: 'boolean' },
      wait: {
        ...object(
          {
            place: integer('1 is next.'),
            seconds: integer('An estimate.', nullable),
            held: string(
              'turn: slots are in use, or others are ahead. cap: its caller has all the slots that it may have. size: it needs more slots at once than are free. away: its servers take no requests.',
              { enum: ['turn', 'cap', 'size', 'away'] },
            ),
            why: string('The reason in words.'),
            ahead: arrayOf(
              object(
                {
                  name: string(),
                  principal: string(),
                  servedLess: integer('Weighted tokens that it was served less, by weight.'),
                },
                ['name', 'principal', 'servedLess'],
              ),
            ),
          },
          ['place', 'seconds', 'held', 'why', 'ahead'],
          'What it waits for; `null` if it does not wait for a slot.',
        ),
        ...nullable,
      },
    },
    [
      'id',
      'requestId',
      'keyId',
      'name',
      'principal',
      'route',
      'phase',
      'tokens',
      'tokensPerSecond',
      'ageMs',
      'queuedMs',
      'upstream',
      'stream',
      'wait',
    ],
  ),
  Audit: object({ data: arrayOf(ref('AuditEntry')) }, ['data']),
  AuditEntry: object(
    {
      at: moment,
      actor: string('`admin` over HTTP, `cli` at the command line.'),
      action: string(undefined, {
        enum: ['key_added', 'key_changed', 'key_rotated', 'key_revoked', 'request_stopped'],
      }),
      keyId: string('The key that was changed, or whose request was stopped.', nullable),
      name: string('The name of that key.', nullable),
      detail: string(
        'The settings of the key as JSON, or the id of the stopped request.',
        nullable,
      ),
    },
    ['at', 'actor', 'action', 'keyId', 'name', 'detail'],
  ),
};

/** The columns by which usage can be grouped. An answer has those that `by` names. */
const groups: Record<string, Schema> = {
  key: string('The public part of a key.', nullable),
  name: string('The name of that key at its latest request.', nullable),
  principal: string('The key, or the user that the client named.', nullable),
  model: string(
    '`unknown` for all names that no engine serves. Beyond 20,000 groups the rest is `other` in each of these columns.',
    nullable,
  ),
  upstream: string('The engine; null if no engine received the requests.', nullable),
  route: string(undefined, nullable),
  code: string('The error of the gateway; null if there was none.', nullable),
  day: string('Such as `2026-11-05`, in UTC.', nullable),
  hour: string('The beginning of the hour, such as `2026-11-05T13:00Z`.', nullable),
  minute: string('The beginning of the minute, such as `2026-11-05T13:05Z`.', nullable),
};

const rank = 'By nearest rank, to two significant digits.';

const figures: Record<string, Schema> = {
  requests: integer(),
  refused: integer(
    'Requests refused by a limit of their key or by a full queue; no engine received them.',
  ),
  failed: integer('Requests that ended with any other error, of the gateway or of an engine.'),
  cancelled: integer('Requests whose client closed the connection.'),
  cacheHits: integer('Requests that the response cache answered; they cost no tokens.'),
  promptTokens: integer('Including cached tokens.'),
  cachedTokens: integer(),
  completionTokens: integer(),
  estimated: integer('Requests whose token counts are estimated.'),
  engineSeconds: number(),
  firstTokenMsP50: number(`${rank} Streams only.`, nullable),
  firstTokenMsP95: number(rank, nullable),
  queuedMsP50: number(`${rank} Only requests that were in the queue.`, nullable),
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
    'The sums of one group, with the columns that define the group.',
  ),
};

const parameter = (name: string, description: string, schema: Schema = { type: 'string' }) => ({
  name,
  in: 'query' as const,
  description,
  schema,
});

const ago = { anyOf: [duration, day, moment] };
const span = [
  parameter('since', 'How long ago, such as `7d` (the default), or a time before `until`.', ago),
  parameter('until', 'How long ago, or a time; default now.', ago),
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
const liveExample = { at: '2026-01-01T00:00:00.000Z', requests: [], upstreams: [], queued: 0 };
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
  400: 'The request is invalid; the message says where.',
  401: 'The request has no key.',
  403: 'The key is not accepted.',
};
const unwritten = {
  503: '`store_unavailable`: the store cannot be written. The message says what has taken effect. Retry.',
};

interface Said {
  description?: string;
  parameters?: OpenAPIV3.ParameterObject[];
  body?: Content;
  /** Whether the body is required; default true. */
  needsBody?: boolean;
  status?: number;
  answer?: Content;
  /** Further errors by status. */
  errors?: Record<number, string>;
}

function operation(
  method: 'GET' | 'POST' | 'PATCH' | 'DELETE',
  path: string,
  summary: string,
  { description, parameters = [], body, needsBody = true, status = 200, answer, errors }: Said,
) {
  const isOperators = path.startsWith('/admin') || path === '/metrics';
  const given = path.includes('{id}') ? [idParameter, ...parameters] : parameters;
  const unread =
    body === undefined
      ? {}
      : {
          413: '`body_too_large`: the body has over 64 KiB.',
          415: '`unsupported_content_encoding`: the body is coded otherwise than gzip, deflate, br or zstd.',
        };
  const missing = path.includes('{id}') ? { 404: 'Nothing has that id.' } : {};
  return {
    method,
    path,
    operation: {
      tags: [isOperators ? 'Operator' : 'Usage'],
      summary,
      ...(description === undefined ? {} : { description }),
      ...(given.length === 0 ? {} : { parameters: given }),
      ...(body === undefined ? {} : { requestBody: { required: needsBody, content: body } }),
      responses: {
        [status]: { description: summary, ...(answer === undefined ? {} : { content: answer }) },
        ...errorsOf({ ...refusals, ...missing, ...unread, ...errors }),
      },
      security: isOperators ? operatorSecurity : clientSecurity,
    },
  };
}

/** The operations for every key. */
export const ownOperations = [
  operation('GET', '/usage', 'Report the usage of your key', {
    parameters: [
      parameter(
        'by',
        'Any of model, route, day, hour, principal, separated by commas; default model.',
        columns(...ownColumns),
      ),
      ...span,
    ],
    answer: json('UsageReport', { 'One model': usageExample }),
    errors: { 429: '`too_many_concurrent`: another report for this key is still being made.' },
  }),
];

const keyAnswer = json('Key', { 'A key': keyExample });
const madeAnswer = json('Key', { 'A key': { ...keyExample, key: 'sk-gw-0123456789-…' } });

/** The operator's operations, which need ADMIN_API_KEY. */
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
      'Remove the limit of tokens': { limits: { tokensPerMinute: null } },
    }),
    answer: keyAnswer,
    errors: unwritten,
  }),
  operation('DELETE', '/admin/keys/{id}', 'Revoke a key', {
    description: 'Open requests of the key are stopped.',
    answer: keyAnswer,
    errors: unwritten,
  }),
  operation('POST', '/admin/keys/{id}/rotate', 'Make a new secret for a key', {
    body: json('Rotation', { 'The old secret stays valid for a day': { grace: '24h' } }),
    needsBody: false,
    answer: madeAnswer,
    errors: unwritten,
  }),
  operation('GET', '/admin/usage', 'Report the usage of all keys', {
    description: 'Reports are made one after the other; a second request waits.',
    parameters: [
      parameter(
        'by',
        'Any of key, principal, model, upstream, route, code, day, hour, minute, separated by commas; default key.',
        columns(...usageColumns),
      ),
      ...span,
    ],
    answer: json('UsageReport', { 'One model': usageExample }),
  }),
  operation('GET', '/admin/requests', 'List the open requests', {
    description: 'With the engines, and for each request that waits why it does.',
    answer: json('Live', { 'Nothing is open': liveExample }),
  }),
  operation('GET', '/admin/live', 'Watch the open requests', {
    answer: {
      'text/event-stream': {
        schema: {
          type: 'string',
          description:
            'An event `live` each second, whose data is what `GET /admin/requests` answers.',
        },
      },
    },
  }),
  operation('DELETE', '/admin/requests/{id}', 'Stop a request', { status: 204 }),
  operation('GET', '/admin/audit', 'List the changes to keys', {
    parameters: [
      parameter('limit', 'The number of entries, the latest first.', {
        type: 'integer',
        minimum: 1,
        maximum: 1_000,
      }),
    ],
    answer: json('Audit', { 'A change': { data: [auditExample] } }),
  }),
  operation('GET', '/metrics', 'Metrics for Prometheus', {
    description: 'METRICS_TOKEN is accepted, too.',
    answer: { 'text/plain': { schema: { type: 'string' } } },
  }),
];
