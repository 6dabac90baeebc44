/**
 * Who may come in. Every key in a request is found here, and each of the three doors is one plugin: for clients, for the
 * operator, for readers of metrics. A door opens before anything reads the body, so that a stranger learns nothing of it.
 */
import { Elysia } from 'elysia';
import type { KeyRing } from '../accounts/keyring.ts';
import { digestOf } from '../accounts/keys.ts';
import { GatewayError, type ErrorDetails } from '../wire/errors.ts';
import { requestIdOf } from '../wire/headers.ts';

/** Returns the API key of a request. Bearer wins over `x-api-key`; any other scheme counts as no key. */
export function presentedKey(headers: Headers): string | undefined {
  const authorization = headers.get('authorization');
  if (authorization !== null && authorization.slice(0, 7).toLowerCase() === 'bearer ') {
    return authorization.slice(7).trim() || undefined;
  }
  return headers.get('x-api-key')?.trim() || undefined;
}

function requiredKey(headers: Headers, refusal?: ErrorDetails): string {
  const presented = presentedKey(headers);
  if (presented === undefined) throw new GatewayError('missing_api_key', refusal);
  return presented;
}

/**
 * The door for clients: every route after it, in the instance that uses it, has `requestId` and `caller`. It throws
 * `missing_api_key` and what `KeyRing.find` throws.
 * @param options.epochNow epoch milliseconds
 */
export function clientAuth(options: { keys: KeyRing; epochNow: () => number }) {
  const { keys, epochNow } = options;
  return new Elysia({ name: 'client auth' }).derive(
    { as: 'scoped' },
    function deriveCaller({ request }) {
      const { headers } = request;
      const caller = keys.find(requiredKey(headers), headers, epochNow());
      return { requestId: requestIdOf(headers), caller };
    },
  );
}

/**
 * The door for the operator: every route after it, in the instance that uses it, needs this key. It throws
 * `missing_api_key` or `invalid_api_key`.
 */
export function operatorAuth(adminKey: string) {
  const admit = admitting([adminKey]);
  return new Elysia({ name: 'operator auth' }).derive(
    { as: 'scoped' },
    function deriveOperator({ request }) {
      admit(request.headers);
    },
  );
}

/** The door for readers of metrics, which any of these secrets opens; the same otherwise as the operator's. */
export function metricsAuth(secrets: readonly string[]) {
  const admit = admitting(secrets, {
    message: '/metrics takes METRICS_TOKEN or ADMIN_API_KEY as "Authorization: Bearer <token>".',
  });
  return new Elysia({ name: 'metrics auth' }).derive(
    { as: 'scoped' },
    function deriveReader({ request }) {
      admit(request.headers);
    },
  );
}

/** Returns a function that refuses a request unless it presents one of the secrets, compared in constant time. */
function admitting(secrets: readonly string[], refusal?: ErrorDetails): (headers: Headers) => void {
  const digests = secrets.map(digestOf);
  return (headers) => {
    const digest = digestOf(requiredKey(headers, refusal));
    let isFound = false;
    // Every secret, whether or not one has matched already.
    for (const each of digests) isFound = crypto.timingSafeEqual(each, digest) || isFound;
    if (!isFound) throw new GatewayError('invalid_api_key', refusal);
  };
}
