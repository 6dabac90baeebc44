/**
 * A request with two different Host headers: a proxy in front may have read the other one than the gateway, and checked
 * what does not hold here.
 */
import { GatewayError } from '../wire/errors.ts';

/** Returns the refusal of a request that names two hosts. Pure. The runtime joins the values of equal headers by commas. */
export function hostRefusal({ headers }: Request): GatewayError | undefined {
  const host = headers.get('host');
  if (host === null || !host.includes(',')) return undefined;
  const [first, ...others] = host.split(',').map((each) => each.trim().toLowerCase());
  if (others.every((other) => other === first)) return undefined;
  const message = 'The request has two different Host headers. Send one.';
  return new GatewayError('invalid_field', { message, param: 'host' });
}
