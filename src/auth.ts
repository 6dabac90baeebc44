/**
 * Who sends a request: `deriveCaller` runs before anything reads the body, so that a stranger learns nothing about it.
 */
import { Elysia } from 'elysia';
import { GatewayError } from './errors.ts';
import { presentedKey, requestIdOf } from './headers.ts';
import type { Caller, KeyRing } from './keys.ts';

/**
 * The plugin that gives every route after it, in the instance that uses it, `requestId` and `caller`.
 * It throws `missing_api_key` or `invalid_api_key`.
 * @param options.trustedUserHeader the header in which a trusted key names its user
 */
export function auth(options: { keys: KeyRing; trustedUserHeader: string | undefined }) {
  const { keys, trustedUserHeader } = options;
  return new Elysia({ name: 'auth' }).derive({ as: 'scoped' }, function deriveCaller({ request }) {
    const { headers } = request;
    const presented = presentedKey(headers);
    if (presented === undefined) throw new GatewayError('missing_api_key');
    const user = trustedUserHeader === undefined ? null : headers.get(trustedUserHeader);
    const caller: Caller | undefined = keys.find(presented, user);
    if (caller === undefined) throw new GatewayError('invalid_api_key');
    return { requestId: requestIdOf(headers), caller };
  });
}
