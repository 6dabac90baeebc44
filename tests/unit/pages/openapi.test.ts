/**
 * The specification is complete and correct: every route, every error, and examples that match their schemas.
 */
import { describe, expect, test } from 'bun:test';
import { errorBody, errorTable, GatewayError, type ErrorCode } from '../../../src/wire/errors.ts';
import { issueKey } from '../../../src/accounts/keys.ts';
import { keyView } from '../../../src/accounts/keyview.ts';
import { specification } from '../../../src/pages/openapi.ts';
import { routes } from '../../../src/wire/routes.ts';
import { Totals } from '../../../src/accounts/totals.ts';
import { usageColumns } from '../../../src/accounts/usage.ts';
import { fullPolicy } from '../../support/samples.ts';

interface Json {
  [key: string]: Json;
}

const { operations, document } = specification('1.2.3', true);
/** The specification as it is served. */
const whole = JSON.parse(JSON.stringify({ operations, document })) as Json;
const root = whole['document'] as Json;

function resolve(ref: string): Json | undefined {
  const [hash, ...steps] = ref.split('/');
  if (hash !== '#') return undefined;
  return steps.reduce<Json | undefined>((at, step) => at?.[step], root);
}

/** Returns the object that `value` references, or `value` itself. */
function target(value: Json): Json {
  const ref = value['$ref'] as unknown;
  if (typeof ref !== 'string') return value;
  const found = resolve(ref);
  if (found === undefined) throw new Error(`${ref} does not resolve`);
  return found;
}

/** Every object below `value`. */
function* objectsIn(value: unknown): Generator<Json> {
  if (typeof value !== 'object' || value === null) return;
  yield value as Json;
  for (const child of Object.values(value)) yield* objectsIn(child);
}

/**
 * Returns where `value` does not match `schema`. It knows only the JSON Schema keywords that the specification uses.
 */
function problems(schema: Json, value: unknown, at = '$'): string[] {
  const { type, nullable, properties = {}, required, items, anyOf, ...rest } = target(schema);
  const values = rest['enum'] as unknown as unknown[] | undefined;
  if (value === null && nullable) return [];
  const found: string[] = [];
  if (values !== undefined && !values.includes(value)) found.push(`${at}: not one of ${values}`);
  const kind = Array.isArray(value) ? 'array' : value === null ? 'null' : typeof value;
  const expected = String(type ?? kind);
  const isOfType = expected === 'integer' ? Number.isInteger(value) : expected === kind;
  if (!isOfType) return [...found, `${at}: ${kind} where ${expected} is due`];
  if (kind === 'array' && items !== undefined) {
    for (const [index, item] of (value as unknown[]).entries()) {
      found.push(...problems(items, item, `${at}[${index}]`));
    }
  }
  if (kind === 'object') {
    const fields = value as Record<string, unknown>;
    for (const name of (required ?? []) as unknown as string[]) {
      if (!(name in fields)) found.push(`${at}: ${name} is missing`);
    }
    for (const [name, property] of Object.entries(properties)) {
      if (name in fields) found.push(...problems(property, fields[name], `${at}.${name}`));
    }
  }
  const shapes = anyOf as unknown as Json[] | undefined;
  if (shapes && !shapes.some((shape) => problems(shape, value).length === 0)) {
    found.push(`${at}: none of its shapes`);
  }
  return found;
}

interface Answer {
  content: Json;
  headers: string[];
  description: string;
}

/** Returns an operation, with all references in its answers resolved. */
function operationAt(method: string, path: string) {
  const operation = (whole['operations'] as unknown as Json[]).find(
    (one) => String(one['method']) === method && String(one['path']) === path,
  )?.['operation'];
  if (operation === undefined) throw new Error(`${method} ${path} is not described`);
  const answers = new Map<string, Answer>();
  for (const [status, response] of Object.entries(operation['responses'] ?? {})) {
    const { content = {}, headers = {}, description } = target(response);
    answers.set(status, {
      content,
      headers: Object.keys(headers),
      description: String(description),
    });
  }
  return { operation, answers, body: operation['requestBody']?.['content'] };
}

const everyOperation = operations.map(({ method, path }) => ({
  name: `${method} ${path}`,
  ...operationAt(method, path),
}));

/** Returns the examples of an error answer: body by code. */
function errorsOf(answer: Answer | undefined): Record<string, unknown> {
  const examples = answer?.content['application/json']?.['examples'] ?? {};
  return Object.fromEntries(Object.entries(examples).map(([code, { value }]) => [code, value]));
}

/** Codes of other routes than a completion, and the code that appears only in the log. */
const neverOfARoute: ErrorCode[] = [
  'websocket_unsupported',
  'unknown_route',
  'client_closed_request',
  'key_not_found',
  'request_not_found',
  'store_unavailable',
];
const everyCode = (Object.keys(errorTable) as ErrorCode[]).filter(
  (code) => !neverOfARoute.includes(code),
);

const open = ['/', '/health', '/ready', '/docs', '/redoc', '/openapi.json'];

describe('routes', () => {
  test('every route of the table is described, and otherwise only routes that need no key', () => {
    const described = operations.map(({ method, path }) => `${method} ${path}`);
    const expected = routes.map(({ method, path }) => `${method} ${path.replace('*', '{id}')}`);
    const known = [...expected, ...open.map((path) => `GET ${path}`)];
    const others = described.filter((each) => !known.includes(each));
    expect(described).toEqual(expect.arrayContaining(known));
    expect(others.filter((each) => !/ \/(usage|metrics|admin\/.+)$/.test(each))).toEqual([]);
  });

  test('the operator’s routes are described if there is an operator', () => {
    const { operations: few, document: small } = specification('1.2.3');
    const paths = few.map(({ path }) => path);
    expect(paths).toContain('/usage');
    expect(paths.filter((path) => /^\/(admin|metrics)/.test(path))).toEqual([]);
    expect(small.tags?.map(({ name }) => name)).not.toContain('Operator');
    expect(small.components?.schemas).not.toHaveProperty('Key');
  });

  test('every route has the summary of the table, and takes a body exactly when the table says so', () => {
    for (const { method, path, summary, body } of routes) {
      const described = operationAt(method, path.replace('*', '{id}'));
      expect(String(described.operation['summary'])).toBe(summary);
      const type = { json: 'application/json', multipart: 'multipart/form-data', none: undefined };
      expect([path, Object.keys(described.body ?? {})[0]]).toEqual([path, type[body]]);
    }
  });

  test('every operation has a unique id, a success answer, and a tag that is described', () => {
    const ids = operations.map(({ operation }) => operation.operationId);
    expect(new Set(ids).size).toBe(ids.length);
    const tags = (document.tags ?? []).map(({ name }) => name);
    for (const { operation, answers } of everyOperation) {
      const [status, answer] = [...answers][0] ?? [];
      expect(status).toMatch(/^2/);
      expect(answer?.description).not.toBe('');
      expect(tags).toContain(String(operation['tags']?.[0]));
    }
  });

  test('every part of a path in braces is documented as a parameter', () => {
    for (const { path, operation } of operations) {
      const inPath = [...path.matchAll(/\{(\w+)\}/g)].map(([, name]) => name);
      const parameters = (operation.parameters ?? []).filter((one) => 'in' in one);
      const named = parameters.filter((one) => one.in === 'path').map(({ name }) => name);
      expect(named).toEqual(inPath as string[]);
    }
  });

  test('routes that stream show an event stream and JSON', () => {
    // The operator's live view is only a stream.
    const streaming = everyOperation.filter(
      ({ name, answers }) =>
        name !== 'GET /admin/live' &&
        answers.get('200')?.content['text/event-stream'] !== undefined,
    );
    expect(streaming.map(({ name }) => name).toSorted()).toEqual(
      [
        'POST /v1/completions',
        'POST /v1/chat/completions',
        'POST /v1/responses',
        'POST /v1/messages',
        'POST /v1/audio/transcriptions',
        'POST /v1/audio/translations',
        'POST /audio/transcriptions',
        'POST /chat/completions',
        'POST /responses',
        'POST /completion',
        'POST /completions',
        'POST /infill',
      ].toSorted(),
    );
    for (const { answers } of streaming) {
      expect(Object.keys(answers.get('200')?.content ?? {})).toContain('application/json');
    }
  });
});

describe('keys', () => {
  const operators = [{ bearer: [] }, { apiKey: [] }];
  const clients = [...operators, { azureKey: [] }, { googleKey: [] }, { queryKey: [] }];

  test('public routes need no key, those of the operator one of two schemes, all others one of five', () => {
    for (const { path, operation } of operations) {
      expect([path, operation.security]).toEqual([
        path,
        open.includes(path) ? [] : /^\/(admin|metrics)/.test(path) ? operators : clients,
      ]);
    }
    expect<unknown>(document.security).toEqual(clients);
  });

  test('the schemes are the places that the gateway reads', () => {
    expect(document.components?.securitySchemes).toMatchObject({
      bearer: { type: 'http', scheme: 'bearer' },
      apiKey: { type: 'apiKey', in: 'header', name: 'x-api-key' },
      azureKey: { type: 'apiKey', in: 'header', name: 'api-key' },
      googleKey: { type: 'apiKey', in: 'header', name: 'x-goog-api-key' },
      queryKey: { type: 'apiKey', in: 'query', name: 'key' },
    });
  });
});

describe('errors', () => {
  test('a completion shows every error that a request can get, as it is sent', () => {
    const { answers } = operationAt('POST', '/v1/completions');
    const shown: string[] = [];
    for (const [status, answer] of answers) {
      for (const [code, body] of Object.entries(errorsOf(answer))) {
        if (!(code in errorTable)) continue;
        const error = new GatewayError(code as ErrorCode);
        expect([code, status]).toEqual([code, String(error.status)]);
        expect(body).toEqual(JSON.parse(errorBody(error, 'openai')));
        shown.push(code);
      }
    }
    expect(shown.toSorted()).toEqual(everyCode.toSorted());
  });

  test('every proxied route shows the errors that any request can get', () => {
    const any = everyCode.filter((code) => errorTable[code].status >= 500);
    const anywhere = ['missing_api_key', 'invalid_api_key', ...any].filter(
      (code) => code !== 'first_byte_timeout' && code !== 'idle_timeout',
    );
    for (const { method, path } of routes) {
      const { answers } = operationAt(method, path.replace('*', '{id}'));
      const shown = [...answers.values()].flatMap((answer) => Object.keys(errorsOf(answer)));
      expect(shown).toEqual(expect.arrayContaining(anywhere));
      expect(answers.has('default')).toBe(true);
    }
  });

  test('a route without a body shows no body errors, and one without JSON no JSON errors', () => {
    const model = operationAt('GET', '/v1/models/{id}').answers;
    expect(['400', '408', '413'].filter((status) => model.has(status))).toEqual([]);
    // A page of the list can be asked for in a wrong way.
    const models = operationAt('GET', '/v1/models').answers;
    expect(Object.keys(errorsOf(models.get('400')))).toEqual(['invalid_field']);
    const { answers } = operationAt('POST', '/v1/audio/transcriptions');
    expect([...answers.keys()]).toEqual(expect.arrayContaining(['408', '413']));
    expect(Object.keys(errorsOf(answers.get('400')))).toEqual([
      'invalid_field',
      'invalid_content_encoding',
      'model_required',
    ]);
  });

  test('every route that runs a model shows the errors about its name', () => {
    for (const { method, path, generates } of routes) {
      if (!generates) continue;
      const { answers } = operationAt(method, path);
      expect([path, ...Object.keys(errorsOf(answers.get('400')))]).toContain('model_required');
      expect([path, ...Object.keys(errorsOf(answers.get('404')))]).toContain('model_not_found');
    }
  });

  test('an audio route shows the errors of the queue', () => {
    const { answers } = operationAt('POST', '/v1/audio/transcriptions');
    const shown = Object.keys(errorsOf(answers.get('503')));
    expect(shown).toEqual(expect.arrayContaining(['queue_full', 'queue_timeout']));
  });

  test('Anthropic’s routes show errors in Anthropic’s format', () => {
    for (const path of ['/v1/messages', '/v1/messages/count_tokens']) {
      const { answers } = operationAt('POST', path);
      expect(errorsOf(answers.get('401'))['missing_api_key']).toEqual({
        type: 'error',
        error: { type: 'authentication_error', message: errorTable.missing_api_key.message },
      });
      expect(answers.get('503')?.headers).toContain('request-id');
    }
  });

  test('error answers list their headers', () => {
    const { answers } = operationAt('POST', '/v1/completions');
    for (const [status, { headers }] of answers) {
      expect(headers).toContain('x-request-id');
      if (Number(status) >= 400) expect(headers).toContain('x-gateway-error');
    }
    expect(answers.get('200')?.headers).toContain('x-gateway-queue-ms');
    expect(answers.get('401')?.headers).toContain('WWW-Authenticate');
    expect(answers.get('503')?.headers).toContain('Retry-After');
    expect(answers.get('504')?.headers).toContain('x-should-retry');
  });

  test('every operation shows the 405 with its Allow header', () => {
    for (const { name, answers } of everyOperation) {
      expect([name, ...Object.keys(errorsOf(answers.get('405')))]).toEqual([
        name,
        'method_not_allowed',
      ]);
      expect([name, ...(answers.get('405')?.headers ?? [])]).toContain('Allow');
    }
  });

  test('the introduction lists every code that a client can read', () => {
    for (const code of Object.keys(errorTable)) {
      const isListed = document.info.description?.includes(`| \`${code}\` |`);
      expect([code, isListed]).toEqual([code, code !== 'client_closed_request']);
    }
  });
});

describe('what the operator sends and gets', () => {
  const schemaOf = (name: string) => resolve(`#/components/schemas/${name}`) as Json;
  const nothing = { models: null, weight: null, priority: null, userHeader: null, expiresAt: null };
  const cleared = {
    requestsPerMinute: null,
    tokensPerMinute: null,
    concurrentRequests: null,
    budgets: null,
  };

  test('a change may remove every setting except the name', () => {
    const change = schemaOf('KeyChange');
    for (const limits of [null, cleared]) {
      expect(problems(change, { ...nothing, limits })).toEqual([]);
      expect(problems(schemaOf('KeyPolicy'), { name: 'alice', ...nothing, limits })).toEqual([]);
    }
    expect(problems(change, { expiresAt: '90d' })).toEqual([]);
    expect(problems(change, { name: null })).not.toEqual([]);
    expect(problems(schemaOf('KeyPolicy'), { weight: 2 })).toEqual(['$: name is missing']);
    expect(JSON.stringify(change)).not.toContain('"expiresAt":{"type"');
  });

  test('a key, a usage group and an audit entry match the answers of the admin API', () => {
    const { record } = issueKey(fullPolicy, Date.now());
    const view = JSON.parse(JSON.stringify(keyView(record, Date.now())));
    expect(problems(schemaOf('Key'), view)).toEqual([]);
    expect(Object.keys(schemaOf('Key')['properties'] ?? {})).toEqual(
      expect.arrayContaining(Object.keys(view)),
    );
    expect(problems(schemaOf('Key'), { ...view, limits: null })).not.toEqual([]);
    const [totals] = new Totals([]).totals();
    expect(problems(schemaOf('UsageTotals'), totals)).toEqual([]);
    expect(Object.keys(schemaOf('UsageTotals')['properties'] ?? {}).sort()).toEqual(
      [...usageColumns, 'name', ...Object.keys(totals ?? {})].sort(),
    );
    expect(problems(schemaOf('UsageTotals'), { requests: 1 })).toHaveLength(13);
    expect(problems(schemaOf('AuditEntry'), { at: 'now' })).toContain('$: actor is missing');
  });

  test('writes to the store show that it may be unavailable, and a report that only one runs at a time', () => {
    const statuses = (method: string, path: string) => [
      ...operationAt(method, path).answers.keys(),
    ];
    for (const [method, path] of [
      ['POST', '/admin/keys'],
      ['PATCH', '/admin/keys/{id}'],
      ['DELETE', '/admin/keys/{id}'],
      ['POST', '/admin/keys/{id}/rotate'],
    ] as const) {
      expect([path, ...statuses(method, path)]).toContain('503');
    }
    expect(statuses('DELETE', '/admin/requests/{id}')).not.toContain('503');
    expect(statuses('GET', '/usage')).toContain('429');
  });

  test('every route of the operator with a body shows that it may be too large', () => {
    const withBody = everyOperation.filter(
      ({ name, body }) => name.includes(' /admin') && body !== undefined,
    );
    expect(withBody).toHaveLength(3);
    for (const { name, answers } of withBody) {
      expect([name, answers.has('413')]).toEqual([name, true]);
    }
  });

  test('a rotation may have a body', () => {
    const { operation, body } = operationAt('POST', '/admin/keys/{id}/rotate');
    expect(String(operation['requestBody']?.['required'])).toBe('false');
    expect(problems(body?.['application/json']?.['schema'] as Json, { grace: '24h' })).toEqual([]);
  });
});

describe('schemas', () => {
  test('every reference resolves, and every named part is referenced or mentioned', () => {
    const referred = new Set<string>();
    const text: string[] = [];
    for (const object of objectsIn(whole)) {
      const { $ref, description } = object as unknown as Record<string, unknown>;
      if (typeof description === 'string') text.push(description);
      if (typeof $ref !== 'string') continue;
      expect([$ref, typeof resolve($ref)]).toEqual([$ref, 'object']);
      referred.add($ref);
    }
    for (const kind of ['schemas', 'responses', 'headers']) {
      for (const name of Object.keys(root['components']?.[kind] ?? {})) {
        const isUsed =
          referred.has(`#/components/${kind}/${name}`) ||
          text.some((line) => new RegExp(`\\b${name}\\b`).test(line));
        expect([kind, name, isUsed]).toEqual([kind, name, true]);
      }
    }
  });

  test('every example matches its schema', () => {
    let count = 0;
    for (const { name, answers, body } of everyOperation) {
      const contents = [body ?? {}, ...[...answers.values()].map(({ content }) => content)];
      for (const media of contents.flatMap((content) => Object.values(content))) {
        for (const example of Object.values(media['examples'] ?? {})) {
          const { summary, value } = example;
          expect([name, summary, problems(media['schema'] as Json, value)]).toEqual([
            name,
            summary,
            [],
          ] as never);
          count += 1;
        }
      }
    }
    expect(count).toBeGreaterThan(routes.length * 2);
  });

  test('every body of a proxied route has an example', () => {
    for (const { method, path, body } of routes) {
      if (body === 'none') continue;
      for (const { examples } of Object.values(operationAt(method, path).body ?? {})) {
        expect([path, Object.keys(examples ?? {}).length]).not.toEqual([path, 0]);
      }
    }
  });

  test('an example that does not match its schema is detected', () => {
    const schema = { $ref: '#/components/schemas/CompletionRequest' } as unknown as Json;
    expect(problems(schema, { max_tokens: 1 })).toEqual(['$: none of its shapes']);
    expect(problems(schema, { prompt: 'a', max_tokens: '1' })).toEqual([
      '$.max_tokens: string where integer is due',
    ]);
    expect(problems(schema, { prompt: { text: 'a' } })).toEqual(['$.prompt: none of its shapes']);
  });

  /** What the gateway reads itself. */
  const own = ['KeyPolicy', 'KeyChange', 'Rotation'];

  test('the bodies that the gateway reads itself allow no unknown fields, as the gateway', () => {
    const schemas = root['components']?.['schemas'] as unknown as Record<string, Json>;
    for (const name of own) {
      for (const object of objectsIn(schemas[name])) {
        const { type, properties, additionalProperties } = object as Record<string, unknown>;
        if (type === 'object' && properties) expect(additionalProperties, name).toBe(false);
      }
    }
  });

  test('other objects allow unknown fields, and none requires a model', () => {
    const schemas = root['components']?.['schemas'] as unknown as Record<string, Json>;
    const others = Object.entries(schemas).filter(([name]) => !own.includes(name));
    for (const object of objectsIn(Object.fromEntries(others))) {
      const { type, properties, required, additionalProperties } = object as unknown as Record<
        string,
        unknown
      >;
      if (type !== 'object' || properties === undefined) continue;
      expect(additionalProperties).toBe(true);
      expect(required ?? []).not.toContain('model');
    }
  });

  test('a completion needs a prompt or its embeddings, and shows the documented request', () => {
    const { body } = operationAt('POST', '/v1/completions');
    const documented = { prompt: 'Привет! Как дела?', max_tokens: 100, temperature: 0.7 };
    const examples = Object.values(body?.['application/json']?.['examples'] ?? {});
    expect(examples[0]?.['value'] as unknown).toEqual(documented);
    const schema = body?.['application/json']?.['schema'] as Json;
    expect(problems(schema, { prompt_embeds: 'AAAA' })).toEqual([]);
    expect(problems(schema, { max_tokens: 100 })).not.toEqual([]);
  });
});
