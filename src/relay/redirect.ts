/**
 * The answer of an engine that is a redirect, from http to https or to a path with a slash: a mistake in its URL. A client
 * that followed it would leave the gateway, and an address inside the network is not for clients.
 */
import { GatewayError } from '../wire/errors.ts';

/** An address is cut there in the log. */
const maxLength = 200;

/** Where an engine redirects to. The log shows the code of a cause, and so this says it there. */
class Redirect extends Error {
  override readonly name = 'Redirect';
  readonly code: string;

  constructor(address: string) {
    super('the server redirects');
    this.code = `it redirects to ${address.slice(0, maxLength)}: set its URL accordingly`;
  }
}

/** Returns whether a status sends the client elsewhere; 304 does not. */
export function isRedirect(status: number): boolean {
  return status >= 300 && status < 400 && status !== 304;
}

/** Returns the error of a request that was answered so; its cause, for the log alone, has the address without a query. */
export function redirected({ headers, url }: Response): GatewayError {
  const to = URL.parse(headers.get('location') ?? '', url);
  const address = to === null ? 'no valid address' : `${to.origin}${to.pathname}`;
  return new GatewayError('upstream_redirected', { cause: new Redirect(address) });
}
