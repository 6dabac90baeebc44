/**
 * What the path of a request means: how the router must be shown it, which route has it, which methods it takes, and
 * the refusal of what nothing takes. It serves no path.
 */
import { GatewayError } from '../wire/errors.ts';
import { hintOf } from '../wire/spelling.ts';

/** A route as the app lists it. */
export interface Listed {
  readonly method: string;
  readonly path: string;
}

/**
 * Elysia looks for the path from the eighth character of the URL on: right behind `http://`, wrong behind `https://`,
 * and wrong in the bare path that HTTP/1.0 without Host leaves. This shows it such a URL as one that it reads right.
 */
export function withReadableUrl(request: Request): Request {
  const { url } = request;
  if (url.startsWith('http://')) return request;
  const value = url.startsWith('/') ? `http://gateway${url}` : url.replace(/^https:/, 'http:');
  return Object.defineProperty(request, 'url', { value, configurable: true });
}

/** Says whether a route has that path; `:id` in it is any one part, `*` at its end one or more of them. */
function isPathOf(route: string, path: string): boolean {
  if (route.endsWith('/*')) {
    const fixed = route.slice(0, -1);
    return path.length > fixed.length && path.startsWith(fixed);
  }
  if (!route.includes(':')) return route === path;
  const given = path.split('/');
  const parts = route.split('/');
  const isSame = (part: string, i: number) =>
    part.startsWith(':') ? given[i] !== '' : part === given[i];
  return parts.length === given.length && parts.every(isSame);
}

/** Returns the routes of a path. Those for all paths, and those for other spellings, are left out. */
function routesOf(path: string, routes: readonly Listed[]): Listed[] {
  return routes.filter((route) => {
    const isServed = route.path !== '/*' && (route.path === '/' || !route.path.endsWith('/'));
    return isServed && isPathOf(route.path, path);
  });
}

/** Returns the path of the route that takes a request, as the app lists it; `undefined` if no route does. */
export function routeOf({ method, path }: Listed, routes: readonly Listed[]): string | undefined {
  const wanted = method === 'HEAD' ? 'GET' : method;
  return routesOf(path, routes).find((route) => route.method === wanted)?.path;
}

/**
 * Returns the error of a request that no route takes: `unknown_route`, or `method_not_allowed` with the methods.
 * @param origin of the gateway, as its client knows it; `undefined` if that is not known
 */
export function refusalOf(
  path: string,
  routes: readonly Listed[],
  origin?: string | undefined,
): GatewayError {
  const methods = routesOf(path, routes).flatMap(({ method }) =>
    method === 'GET' ? ['GET', 'HEAD'] : method,
  );
  if (methods.length === 0) {
    return new GatewayError('unknown_route', { message: unknownText(path, origin) });
  }
  const allow = [...new Set(methods)].join(', ');
  return new GatewayError('method_not_allowed', { headers: { allow } });
}

/** Returns what is wrong with an unknown path, as far as that can be told. Nothing of the path itself is repeated. */
function unknownText(path: string, origin: string | undefined): string {
  const { nearest, base } = hintOf(path);
  const texts = ['Unknown route.'];
  if (nearest !== undefined) texts.push(`The nearest is ${nearest}.`);
  if (base !== undefined) {
    const right = origin ?? 'http://host:port';
    texts.push(`Your base URL already ends in ${base.ends}: use ${right}${base.shouldEnd}.`);
  }
  return [...texts, 'GET / lists the routes of this gateway.'].join(' ');
}

const plainHost = /^[\w.-]{1,253}(?::\d{1,5})?$|^\[[\da-f:.]{2,45}\](?::\d{1,5})?$/i;

/**
 * Returns where the client has sent its request, for a text that advises it; `undefined` without a readable Host header.
 * @param isEncrypted whether the connection itself is; a proxy in front may say so, too
 */
export function originOf({ headers }: Request, isEncrypted: boolean): string | undefined {
  const host = headers.get('host');
  if (host === null || !plainHost.test(host)) return undefined;
  const isSecure = isEncrypted || headers.get('x-forwarded-proto') === 'https';
  return `${isSecure ? 'https' : 'http'}://${host}`;
}
