/** Authentication: the key of a request, and the doors for clients, for the operator and for readers of metrics. */
import { describe, expect, test } from 'bun:test';
import { Elysia } from 'elysia';
import { KeyRing } from '../../../src/accounts/keyring.ts';
import {
  clientAuth,
  idsOf,
  metricsAuth,
  operatorAuth,
  presentedKeys,
} from '../../../src/http/auth.ts';
import { issueKey } from '../../../src/accounts/keys.ts';
import { GatewayError } from '../../../src/wire/errors.ts';

function request(headers: Record<string, string>, path = '/'): Request {
  return new Request(`http://gateway${path}`, { headers });
}

describe('presentedKeys', () => {
  test.each<[string, Record<string, string>, string[]]>([
    ['a Bearer key', { authorization: 'Bearer sk-1' }, ['sk-1']],
    ['a Bearer key in any case', { authorization: 'bEARER sk-1' }, ['sk-1']],
    ['a Bearer key behind more spaces', { authorization: 'Bearer   sk-1  ' }, ['sk-1']],
    ['x-api-key', { 'x-api-key': 'sk-2' }, ['sk-2']],
    ['x-api-key with a no-break space, as pasted', { 'x-api-key': 'sk-2\xa0' }, ['sk-2']],
    ['api-key', { 'api-key': 'sk-3' }, ['sk-3']],
    ['x-goog-api-key', { 'x-goog-api-key': 'sk-4' }, ['sk-4']],
    [
      'every place, in their order',
      {
        'x-goog-api-key': 'sk-4',
        'api-key': 'sk-3',
        'x-api-key': 'sk-2',
        authorization: 'Bearer sk-1',
      },
      ['sk-1', 'sk-2', 'sk-3', 'sk-4'],
    ],
    ['nothing', {}, []],
    ['another scheme', { authorization: 'Basic eDp5' }, []],
    [
      'another scheme and x-api-key',
      { authorization: 'Basic eDp5', 'x-api-key': 'sk-2' },
      ['sk-2'],
    ],
    ['a key without a scheme', { authorization: 'sk-1' }, []],
    ['a scheme without a key', { authorization: 'Bearer' }, []],
    ['a scheme and spaces', { authorization: 'Bearer  ' }, []],
    ['Bearer twice', { authorization: 'Bearer sk-1, Bearer sk-2' }, ['sk-1', 'sk-2']],
    ['Bearer with two keys', { authorization: 'Bearer sk-1,sk-2' }, ['sk-1', 'sk-2']],
    ['a scheme before Bearer', { authorization: 'Basic eDp5, Bearer sk-1' }, ['sk-1']],
    ['a scheme behind Bearer', { authorization: 'Bearer sk-1, Basic eDp5, eDp6' }, ['sk-1']],
    ['another scheme of parts', { authorization: 'Digest username="a", uri="/"' }, []],
    ['x-api-key of parts', { 'x-api-key': ' sk-1,, sk-2 ,' }, ['sk-1', 'sk-2']],
    ['an empty x-api-key', { 'x-api-key': '' }, []],
    ['a blank x-api-key', { 'x-api-key': '  ' }, []],
    ['more than five', { 'x-api-key': '1,2,3', 'api-key': '4,5,6' }, ['1', '2', '3', '4', '5']],
  ])('%s', (_, headers, keys) => {
    expect(presentedKeys(request(headers))).toEqual(keys);
  });

  test('the query, behind every header', () => {
    const asked = request({ 'x-api-key': 'sk-1' }, '/?a=1&key=sk-2,sk-3&key=%73k-4');
    expect(presentedKeys(asked)).toEqual(['sk-1', 'sk-2', 'sk-3', 'sk-4']);
  });
});

describe('idsOf', () => {
  const uuid = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;

  test('without an id of the client makes one, which is unique', () => {
    const [one, two] = [idsOf(request({})), idsOf(request({}))];
    expect(one.requestId).toMatch(uuid);
    expect(one.uniqueId).toBe(one.requestId);
    expect(two.requestId).not.toBe(one.requestId);
  });

  test("takes the client's, and makes a unique one of it each time", () => {
    const asked = request({ 'x-request-id': 'job-42' });
    const [one, two] = [idsOf(asked), idsOf(asked)];
    expect([one.requestId, two.requestId]).toEqual(['job-42', 'job-42']);
    for (const { uniqueId } of [one, two]) expect(uniqueId).toMatch(/^job-42-[0-9a-f]{8}$/);
    expect(one.uniqueId).not.toBe(two.uniqueId);
  });

  test.each<[string, Record<string, string>, string]>([
    ['a header', { 'x-api-key': 'sk-secret-1' }, '/'],
    ['a place behind the fifth key', { 'x-api-key': `1,2,3,4,5,sk-secret-1` }, '/'],
    ['the query', {}, '/?key=sk-secret-1'],
  ])('takes none with a key in it, here of %s', (_, headers, path) => {
    const asked = request({ ...headers, 'x-request-id': 'job-sk-secret-1' }, path);
    expect(idsOf(asked).requestId).toMatch(uuid);
  });

  test('keeps an id in which a text too short for a key stands', () => {
    const asked = request({ 'x-api-key': 'job', 'x-request-id': 'job-42' });
    expect(idsOf(asked).requestId).toBe('job-42');
  });
});

/** Returns an app that answers with the code of an error, or with the caller and the id of the request. */
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
  const policy = {
    name: 'expired',
    limits: {},
    models: undefined,
    weight: 1,
    priority: 'interactive',
    userHeader: undefined,
    expiresAt: 1,
  } as const;
  const expired = issueKey(policy, 0);
  keys.replaceIssued([expired.record]);
  const guarded = new Elysia()
    .use(clientAuth({ keys, epochNow: () => 2, invalidKeyStatus: 403 }))
    .get('/', ({ requestId, caller }) => `${requestId} ${caller.hint}`);
  const app = base()
    .use(guarded)
    .get('/open', () => 'open');

  test('returns the id of the request and the caller behind the key', async () => {
    const headers = { authorization: 'Bearer sk-client-one', 'x-request-id': 'id-1' };
    expect(await ask(app, headers)).toEqual([200, 'id-1 the hint']);
  });

  test('is shut without a key and with a wrong one', async () => {
    expect(await ask(app, {})).toEqual([401, 'missing_api_key']);
    expect(await ask(app, { 'x-api-key': 'sk-client-two' })).toEqual([403, 'invalid_api_key']);
  });

  test('accepts a request with one good key, whatever its other keys are', async () => {
    for (const stale of ['sk-unknown', expired.key]) {
      const headers = { authorization: `Bearer ${stale}`, 'x-api-key': 'sk-client-one' };
      expect((await ask(app, headers))[0]).toBe(200);
    }
    expect((await ask(app, {}, '/?key=sk-client-one'))[0]).toBe(200);
    expect((await ask(app, { 'x-api-key': '1,2,3,4,sk-client-one' }))[0]).toBe(200);
    expect((await ask(app, { 'x-api-key': '1,2,3,4,5,sk-client-one' }))[0]).toBe(403);
  });

  test('reports an expired key rather than an unknown one', async () => {
    for (const value of [`sk-unknown,${expired.key}`, `${expired.key},sk-unknown`]) {
      expect(await ask(app, { 'x-api-key': value })).toEqual([403, 'key_expired']);
    }
  });

  test('refuses with 401 where that is wanted, whatever is wrong with the key', async () => {
    const door = clientAuth({ keys, epochNow: () => 2, invalidKeyStatus: 401 });
    const strict = base().use(new Elysia().use(door).get('/', () => 'in'));
    expect(await ask(strict, { 'x-api-key': 'sk-unknown' })).toEqual([401, 'invalid_api_key']);
    expect(await ask(strict, { 'x-api-key': expired.key })).toEqual([401, 'key_expired']);
    expect(await ask(strict, { 'x-api-key': 'sk-client-one' })).toEqual([200, 'in']);
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

  test('opens with any of its secrets, in either header', async () => {
    for (const secret of secrets) {
      expect(await ask(app, { authorization: `Bearer ${secret}` })).toEqual([200, 'in']);
      expect(await ask(app, { 'x-api-key': secret })).toEqual([200, 'in']);
    }
  });

  test('opens with a good secret behind a stale one', async () => {
    const [secret] = secrets;
    const headers = { authorization: 'Bearer sk-stale', 'x-api-key': `sk-older, ${secret}` };
    expect(await ask(app, headers)).toEqual([200, 'in']);
  });

  test('is shut to a key in places that are only for clients', async () => {
    const [secret] = secrets;
    for (const name of ['api-key', 'x-goog-api-key']) {
      expect(await ask(app, { [name]: secret })).toEqual([401, 'missing_api_key']);
    }
    expect(await ask(app, {}, `/?key=${secret}`)).toEqual([401, 'missing_api_key']);
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

test('a secret of the operator may have a comma in it', async () => {
  const app = base().use(
    new Elysia().use(operatorAuth('of,the,operator,and,longer')).get('/', () => 'in'),
  );
  const whole = 'of,the,operator,and,longer';
  expect(await ask(app, { authorization: `Bearer ${whole}` })).toEqual([200, 'in']);
  expect(await ask(app, { 'x-api-key': whole })).toEqual([200, 'in']);
  expect(await ask(app, { 'x-api-key': 'operator' })).toEqual([403, 'invalid_api_key']);
});

test('the door for readers of metrics says which secrets it takes', async () => {
  const app = base().use(new Elysia().use(metricsAuth(['token'])).get('/', () => 'in'));
  const answer = await app.handle(new Request('http://gateway/'));
  expect(await answer.text()).toContain('METRICS_TOKEN or ADMIN_API_KEY');
});
