/**
 * Who sends a request: `deriveCaller` runs before anything reads the body, so that a stranger learns nothing about it.
 */
import { Elysia } from 'elysia';
import { GatewayError } from '../wire/errors.ts';
import { presentedKey, requestIdOf } from '../wire/headers.ts';
import type { KeyRing } from '../accounts/keys.ts';

/**
 * The plugin that gives every route after it, in the instance that uses it, `requestId` and `caller`.
 * It throws `missing_api_key` and what `KeyRing.find` throws.
 * @param options.epochNow epoch milliseconds
 */
export function auth(options: { keys: KeyRing; epochNow: () => number }) {
  const { keys, epochNow } = options;
  return new Elysia({ name: 'auth' }).derive({ as: 'scoped' }, function deriveCaller({ request }) {
    const { headers } = request;
    const presented = presentedKey(headers);
    if (presented === undefined) throw new GatewayError('missing_api_key');
    return { requestId: requestIdOf(headers), caller: keys.find(presented, headers, epochNow()) };
  });
}
