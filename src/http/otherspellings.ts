/**
 * Requests whose path is another spelling of a route: they are handled as if they had been sent to that route, with its
 * checks. It decides nothing about spellings: wire/spelling.ts does.
 */
import { Elysia, NotFoundError } from 'elysia';
import { modelsPath } from '../wire/modellist.ts';
import { searchOf } from '../wire/routes.ts';
import { spelledOut } from '../wire/spelling.ts';

type Handle = (request: Request) => Response | Promise<Response>;

/**
 * The plugin that takes what no other route takes; it must come last.
 * @param handle handles a request anew, from the router on
 */
export function otherSpellings(handle: Handle) {
  function answerAsMeant({ request, path }: { request: Request; path: string }) {
    const { method, url } = request;
    const meant = spelledOut(method, path);
    if (meant === undefined) throw new NotFoundError();
    // The router reads the path off the URL, and so does everything after it.
    const value = `http://gateway${meant}${searchOf(url)}`;
    Object.defineProperty(request, 'url', { value, configurable: true });
    // Elysia makes the answer to HEAD of the one to GET, and counts its bytes: without them it would count none.
    if (method === 'HEAD') Object.defineProperty(request, 'method', { value: 'GET' });
    return handle(request);
  }

  return (
    new Elysia({ name: 'other spellings' })
      // The route of every model would take this one.
      .get(`${modelsPath}/`, answerAsMeant)
      .get('/*', answerAsMeant)
      .post('/*', answerAsMeant, { parse: 'none' })
  );
}
