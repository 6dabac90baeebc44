/**
 * What the path of a request means: how the router must be shown it, which route has it, which methods it takes, and
 * the refusal of what nothing takes. It serves no path.
 */
import { Elysia } from 'elysia';
import { GatewayError } from '../wire/errors.ts';
import { modelsPath } from '../wire/modellist.ts';

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
  return Object.defineProperty(request, 'url', { value });
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

/** Returns the routes of a path. The one OPTIONS route for all paths, and routes that only refuse, are left out. */
function routesOf(path: string, routes: readonly Listed[]): Listed[] {
  return routes.filter((route) => {
    const isServed =
      route.method !== 'OPTIONS' && (route.path === '/' || !route.path.endsWith('/'));
    return isServed && isPathOf(route.path, path);
  });
}

/** Returns the path of the route that takes a request, as the app lists it; `undefined` if no route does. */
export function routeOf({ method, path }: Listed, routes: readonly Listed[]): string | undefined {
  const wanted = method === 'HEAD' ? 'GET' : method;
  return routesOf(path, routes).find((route) => route.method === wanted)?.path;
}

/** Returns the error of a request that no route takes: `unknown_route`, or `method_not_allowed` with the methods. */
export function refusalOf(path: string, routes: readonly Listed[]): GatewayError {
  const methods = routesOf(path, routes).flatMap(({ method }) =>
    method === 'GET' ? ['GET', 'HEAD'] : method,
  );
  if (methods.length === 0) return new GatewayError('unknown_route');
  const allow = [...new Set(methods)].join(', ');
  return new GatewayError('method_not_allowed', { headers: { allow } });
}

/** The plugin that refuses the path of no model at all, which the route of every model would take, too. */
export function noModel() {
  return new Elysia({ name: 'no model' }).get(`${modelsPath}/`, function refuseEmptyId() {
    throw new GatewayError('unknown_route');
  });
}
