/**
 * The one renderer of errors: the envelope of the path's wire family, and a line in the log if no other part has a
 * record of the request. The meaning of each error stands in wire/errors.ts.
 */
import { logRefusal } from '../observe/accesslog.ts';
import { isOperatorPath, type CorsHeaders } from '../wire/cors.ts';
import { errorBody, errorHeaders, GatewayError, type Family } from '../wire/errors.ts';
import { isAnthropicClient, modelsPath } from '../wire/modellist.ts';
import { idsOf, presentedKeys } from './auth.ts';
import type { Log } from '../log/log.ts';
import { originOf, refusalOf, routeOf, type Listed } from './paths.ts';
import { familyOfPath } from '../wire/routes.ts';

/** What Elysia tells of a failure; the id is there once `deriveCaller` has run. */
interface Failed {
  code: string | number;
  error: unknown;
  request: Request;
  path: string;
  requestId?: string;
}

export interface RendererOptions {
  log: Log;
  corsHeaders: CorsHeaders;
  /** The same of the routes of the operator. */
  operatorCorsHeaders: CorsHeaders;
  /** Whether its connections are encrypted. */
  isEncrypted: () => boolean;
  /** Every route of the app. */
  routes: () => readonly Listed[];
  /** Milliseconds of a clock that never goes back. */
  now: () => number;
}

/** The family of a path; that of a list of models depends on who asks. */
function familyOf(path: string, { headers }: Request): Family {
  const isList = path === modelsPath || path.startsWith(`${modelsPath}/`);
  return isList && isAnthropicClient(headers) ? 'anthropic' : familyOfPath(path);
}

/** Returns the hook that answers whatever fails, and what must hear of each request when it arrives. */
export function errorRenderer(options: RendererOptions) {
  const { log, corsHeaders, operatorCorsHeaders, routes, now } = options;
  // Of the latest alone: nearly all that is refused is so before another one can arrive, and to keep the time of every
  // request for the few others is not worth what it costs.
  let latest: Request | undefined;
  let latestAt = 0;

  function arrived(request: Request): void {
    latest = request;
    latestAt = now();
  }

  // Elysia reads off the parameters what a hook needs and prepares that for every request: name only these.
  function renderError({ code, error: thrown, request, path, requestId: derived }: Failed) {
    const known =
      code === 'NOT_FOUND'
        ? refusalOf(path, routes(), originOf(request, options.isEncrypted()))
        : thrown;
    const error =
      known instanceof GatewayError ? known : new GatewayError('internal_error', { cause: known });
    const requestId = derived ?? idsOf(request).requestId;
    const family = familyOf(path, request);
    const cors = isOperatorPath(path) ? operatorCorsHeaders : corsHeaders;
    const body = errorBody(error, family);
    if (error.code === 'internal_error') {
      log.error({ requestId, path, err: thrown }, 'gateway failed');
    } else if (derived === undefined) {
      // Past `deriveCaller` the proxy has told its observer.
      const { method } = request;
      logRefusal(log, {
        requestId,
        presented: presentedKeys(request)[0],
        method,
        path,
        route: routeOf({ method, path }, routes()),
        error,
        bytesOut: method === 'HEAD' ? 0 : Buffer.byteLength(body),
        totalMs: request === latest ? now() - latestAt : undefined,
      });
    }
    return new Response(body, {
      status: error.status,
      headers: {
        ...errorHeaders(error),
        ...cors(request.headers.get('origin')),
        'x-request-id': requestId,
        ...(family === 'anthropic' ? { 'request-id': requestId } : {}),
      },
    });
  }

  return { arrived, renderError };
}
