/**
 * Looks for a request's answer in the response cache, under a key that says who may share it.
 */
import type { ResponseCache } from '../cache/cache.ts';
import { cacheKeyOf } from '../cache/key.ts';
import type { Recording, Kept } from '../cache/recording.ts';
import type { Job } from '../request/job.ts';
import type { LiveRequest } from '../request/live.ts';
import type { Fields } from '../wire/json.ts';

export interface Reuse {
  cache: ResponseCache;
  /** Whether keys share answers. */
  isCacheShared: boolean;
  request: LiveRequest;
  job: Job;
  search: string;
  headers: Headers;
  body: Uint8Array;
  fields: Fields;
}

/**
 * Returns a kept answer, or the duty to collect one; `undefined` where the answer to such a request may not be kept.
 * May wait for an equal request of the same caller; rejects with the reason of the request's signal.
 */
export function reuse(options: Reuse): Promise<Kept | Recording> | undefined {
  const { cache, isCacheShared, request, job, search, headers, body, fields } = options;
  const { route, caller, signal } = request;
  // Also by the models of the key: what one may not use must not come from another that may.
  const scope = JSON.stringify([isCacheShared ? null : caller.keyId, caller.models]);
  const key = cacheKeyOf({ route, search, headers, body, fields, scope });
  if (key === undefined) return undefined;
  const line = `${caller.principal} ${job.priority}`;
  return cache.enter(key, { line, bytes: body.length, signal });
}
