/**
 * What a client gets of a list of models: all of it, those that its key may use, or the one that it looks up.
 */
import { Elysia } from 'elysia';
import { GatewayError } from './errors.ts';
import { findModel, onlyModels } from './modellist.ts';
import type { Route } from './routes.ts';

/** Takes from a list of models what the client is to get. */
export type ModelPick = (list: Uint8Array) => Uint8Array;

export const modelsPath = '/v1/models';

/** Says whether a route looks for one model, for which the engine is asked for its list. */
export function isLookup({ path }: Route): boolean {
  return path.endsWith('/*');
}

/**
 * Gives what a list of models is made into; `undefined` where it goes to the client as it is, or there is none.
 * @param allowed the names that the key may use; `undefined` for all
 */
export function pickOf(
  route: Route,
  url: string,
  allowed: readonly string[] | undefined,
): ModelPick | undefined {
  if (route.method !== 'GET') return undefined;
  if (!isLookup(route)) return allowed && ((list) => onlyModels(list, allowed));
  const id = lookedUp(url);
  return (list) => findModel(list, id, allowed);
}

/** Gives the id that a path under /v1/models/ names; an absolute target, or none of a host, changes nothing. */
function lookedUp(url: string): string {
  const path = url.split('?', 1)[0] as string;
  const id = path.slice(path.indexOf(`${modelsPath}/`) + modelsPath.length + 1);
  try {
    return decodeURIComponent(id);
  } catch {
    return id; // A stray percent sign: no model is called that, and the answer says so.
  }
}

/** Makes the answer that an engine with this list would give. */
export function listAnswer(list: Uint8Array): Response {
  return new Response(list as Uint8Array<ArrayBuffer>, {
    headers: { 'content-type': 'application/json' },
  });
}

/** The plugin that refuses the path of no model at all, which the route of every model would take, too. */
export function noModel() {
  return new Elysia({ name: 'no model' }).get(`${modelsPath}/`, function refuseEmptyId() {
    throw new GatewayError('unknown_route');
  });
}
