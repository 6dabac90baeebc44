/**
 * Looks for a request's answer in the response cache, under a key that says who may share it.
 */
import type { ResponseCache } from '../cache/cache.ts';
import { cacheKeyOf, mayKeep } from '../cache/key.ts';
import type { Recording, Kept } from '../cache/recording.ts';
import type { Job } from '../request/job.ts';
import { digestOf, sliceBytes } from '../request/digest.ts';
import type { LiveRequest } from '../request/live.ts';
import type { JsonBody } from '../wire/jsonbody.ts';

export interface Reuse {
  cache: ResponseCache;
  /** Whether keys share answers. */
  isCacheShared: boolean;
  request: LiveRequest;
  job: Job;
  search: string;
  headers: Headers;
  json: JsonBody;
}

/**
 * Returns a kept answer, or the duty to collect one; `undefined` where the answer to such a request may not be kept.
 * May wait for an equal request of the same caller; rejects with the reason of the request's signal.
 */
export function reuse(options: Reuse): Promise<Kept | Recording> | undefined {
  const { cache, isCacheShared, request, job, search, headers, json } = options;
  const { route, caller, signal } = request;
  if (!mayKeep({ route, headers, fields: json.fields })) return undefined;
  // Also by the models of the key: what one may not use must not come from another that may.
  const model = job.isModelInUrl ? job.model : undefined;
  const scope = JSON.stringify([isCacheShared ? null : caller.keyId, caller.models, model]);
  const line = `${caller.principal} ${job.priority}`;
  const enter = (body: Uint8Array | string) => {
    const key = cacheKeyOf({ route, search, headers, body, scope });
    return cache.enter(key, { line, bytes: json.bytes.length, signal });
  };
  return json.bytes.length > sliceBytes ? digestOf([json.bytes]).then(enter) : enter(json.bytes);
}
