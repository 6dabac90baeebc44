/** Who may come in: the key of a request, and the doors for clients, for the operator and for readers of metrics. */
import { describe, expect, test } from 'bun:test';
import { Elysia } from 'elysia';
import { KeyRing } from '../../../src/accounts/keyring.ts';
import { clientAuth, metricsAuth, operatorAuth, presentedKey } from '../../../src/http/auth.ts';
import { GatewayError } from '../../../src/wire/errors.ts';

describe('presentedKey', () => {
  test.each<[string, Record<string, string>, string | undefined]>([
    ['a Bearer key', { authorization: 'Bearer sk-1' }, 'sk-1'],
    ['a Bearer key in any case', { authorization: 'bEARER sk-1' }, 'sk-1'],
    ['a Bearer key behind more spaces', { authorization: 'Bearer   sk-1  ' }, 'sk-1'],
    ['x-api-key', { 'x-api-key': 'sk-2' }, 'sk-2'],
    ['x-api-key with a no-break space, as pasted', { 'x-api-key': 'sk-2\xa0' }, 'sk-2'],
    ['Bearer before x-api-key', { authorization: 'Bearer sk-1', 'x-api-key': 'sk-2' }, 'sk-1'],
    ['nothing', {}, undefined],
    ['another scheme', { authorization: 'Basic eDp5' }, undefined],
    [
      'another scheme together with x-api-key',
      { authorization: 'Basic eDp5', 'x-api-key': 'sk-2' },
      'sk-2',
    ],
    ['a key without a scheme', { authorization: 'sk-1' }, undefined],
    ['a scheme without a key', { authorization: 'Bearer' }, undefined],
    ['a scheme and spaces', { authorization: 'Bearer  ' }, undefined],
    ['an empty x-api-key', { 'x-api-key': '' }, undefined],
    ['a blank x-api-key', { 'x-api-key': '  ' }, undefined],
  ])('%s', (_, headers, key) => {
    expect(presentedKey(new Headers(headers))).toBe(key);
  });
});

/** Returns an app that answers an error with its code, and what the route says of the request. */
function base() {
  return new Elysia().onError(({ error }) =>
    error instanceof GatewayError
      ? new Response(`${error.code}: ${error.message}`, { status: error.status })
      : new Response(null, { status: 500 }),
  );
}

async function ask(
  app: { handle(request: Request): Promise<Response> },
  headers: Record<string, string>,
  path = '/',
): Promise<[number, string]> {
  const answer = await app.handle(new Request(`http://gateway${path}`, { headers }));
  return [answer.status, (await answer.text()).replace(/: .*/, '')];
}

describe('the door for clients', () => {
  const keys = new KeyRing(['sk-client-one'], {
    trusted: [],
    batch: [],
    userHeader: undefined,
    hintOf: () => 'the hint',
  });
  const guarded = new Elysia()
    .use(clientAuth({ keys, epochNow: () => 0 }))
    .get('/', ({ requestId, caller }) => `${requestId} ${caller.hint}`);
  const app = base()
    .use(guarded)
    .get('/open', () => 'open');

  test('gives the id of the request and the caller behind the key', async () => {
    const headers = { authorization: 'Bearer sk-client-one', 'x-request-id': 'id-1' };
    expect(await ask(app, headers)).toEqual([200, 'id-1 the hint']);
  });

  test('is shut without a key and with a wrong one', async () => {
    expect(await ask(app, {})).toEqual([401, 'missing_api_key']);
    expect(await ask(app, { 'x-api-key': 'sk-client-two' })).toEqual([403, 'invalid_api_key']);
  });

  test('guards only the instance that uses it', async () => {
    expect(await ask(app, {}, '/open')).toEqual([200, 'open']);
  });
});

describe.each([
  ['the operator', operatorAuth('sk-of-the-operator'), ['sk-of-the-operator']],
  [
    'readers of metrics',
    metricsAuth(['first-token', 'second-token']),
    ['first-token', 'second-token'],
  ],
] as const)('the door for %s', (_, door, secrets) => {
  const guarded = new Elysia().use(door).get('/', () => 'in');
  const app = base()
    .use(guarded)
    .get('/open', () => 'open');

  test('opens with a secret of its own, in either header', async () => {
    for (const secret of secrets) {
      expect(await ask(app, { authorization: `Bearer ${secret}` })).toEqual([200, 'in']);
      expect(await ask(app, { 'x-api-key': secret })).toEqual([200, 'in']);
    }
  });

  test('is shut without a key and with a wrong one', async () => {
    expect(await ask(app, {})).toEqual([401, 'missing_api_key']);
    const [secret] = secrets;
    for (const wrong of ['wrong', secret.slice(0, -1), `${secret}x`, secret.toUpperCase()]) {
      expect(await ask(app, { authorization: `Bearer ${wrong}` })).toEqual([
        403,
        'invalid_api_key',
      ]);
      expect(await ask(app, { 'x-api-key': wrong })).toEqual([403, 'invalid_api_key']);
    }
  });

  test('guards only the instance that uses it', async () => {
    expect(await ask(app, {}, '/open')).toEqual([200, 'open']);
  });
});

test('the door for readers of metrics says which secrets it takes', async () => {
  const app = base().use(new Elysia().use(metricsAuth(['token'])).get('/', () => 'in'));
  const answer = await app.handle(new Request('http://gateway/'));
  expect(await answer.text()).toContain('METRICS_TOKEN or ADMIN_API_KEY');
});
