/**
 * One try at an engine: the request as it is sent there, and what came of it. It never tries twice and decides nothing
 * about trying again.
 */
import { upstreamHeaders } from '../wire/headers.ts';
import { editJson } from '../wire/json.ts';
import type { JsonBody } from '../wire/jsonbody.ts';
import type { LiveRequest } from '../request/live.ts';
import { replaceModel } from '../wire/multipart.ts';
import type { Edits, Lease } from '../scheduling/lease.ts';
import { uploadOf } from '../request/upload.ts';
import { isLookup, modelsPath } from '../wire/modellist.ts';
import { pathAt } from '../wire/routes.ts';

type Bytes = Uint8Array<ArrayBuffer>;

export interface Attempt {
  lease: Lease;
  request: LiveRequest;
  /** Of the client: its query with the question mark, or nothing, and its headers. */
  search: string;
  headers: Headers;
  body: Bytes | undefined;
  json: JsonBody | undefined;
  /** Members of a JSON body that get other values; of a form, its model alone. */
  edits: Edits | undefined;
  /** Whether the gateway reads the answer, which then has to come decoded. */
  isRead: boolean;
}

/** Asks the engine. Rejects with what `fetch` rejects with, which engines/failure.ts can read. */
export function attempt(options: Attempt): Promise<Response> {
  const { lease, request, search, headers, body, isRead } = options;
  const { route } = request;
  const { kind, settings } = lease.upstream;
  const { url, apiKey } = settings;
  const path = isLookup(route) ? modelsPath : pathAt(route, kind) + search;
  const sent = headersFor(headers, request, apiKey);
  const upload = body && uploadOf(edited(body, options));
  if (upload?.contentLength !== undefined) sent['content-length'] = upload.contentLength;
  return fetch(url + path, {
    ...lease.connection,
    method: route.method,
    headers: sent,
    body: upload?.body ?? null,
    signal: request.signal,
    decompress: isRead,
    redirect: 'manual',
    timeout: false,
  });
}

/**
 * Returns the headers for the engine. An engine reads a body as its headers say: for a key that may not use every model
 * they must say what the gateway has read, JSON or a form.
 */
function headersFor(client: Headers, request: LiveRequest, apiKey: string | undefined) {
  const headers = upstreamHeaders(client, request, apiKey);
  const { route, caller } = request;
  if (caller.models === undefined || route.body === 'none') return headers;
  if (route.body === 'json') headers['content-type'] = 'application/json';
  return headers;
}

/** Returns the body with its edits, as parts; the same bytes if it has none. */
function edited(body: Bytes, { json, edits, headers }: Attempt): Uint8Array[] {
  if (edits === undefined) return [body];
  if (json !== undefined) return editJson(json, edits);
  const model = edits['model'];
  if (typeof model !== 'string') return [body];
  return replaceModel(body, headers.get('content-type') ?? '', model);
}
