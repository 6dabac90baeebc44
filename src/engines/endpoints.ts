/**
 * One question to an endpoint of an engine, bounded in time and size. It judges neither an answer nor a failure.
 */
import { uploadOf } from '../request/upload.ts';
import { watchAgent } from '../wire/headers.ts';
import { isRecord } from '../wire/json.ts';

/** An answer of the engine; `json` is `undefined` where the text is not JSON. */
export interface EngineAnswer {
  status: number;
  headers: Headers;
  text: string;
  json: unknown;
}

/** Asks one path of the engine. Returns `undefined` when it is too slow; throws when it is away. */
export type AskEngine = (path: string) => Promise<EngineAnswer | undefined>;

/** The part of `fetch` that is used here. */
export type Fetch = (url: string, init: BunFetchRequestInit) => Promise<Response>;

export interface EndpointQuestion {
  /** Of the upstream, without a path. */
  url: string;
  apiKey: string | undefined;
  path: string;
  /** Posted one after another, as JSON; `undefined` for a GET. */
  parts?: readonly Uint8Array[] | undefined;
}

/** An endpoint that answers slower than this says nothing. */
const timeoutMs = 2_000;
const maxAnswerBytes = 4 * 1024 * 1024;

/**
 * Asks an endpoint. Throws what `fetch` throws; a TimeoutError after 2 s.
 * @param answered called when the headers of the answer are there
 */
export async function askEndpoint(
  { url, apiKey, path, parts }: EndpointQuestion,
  { fetch, answered }: { fetch: Fetch; answered: () => void },
): Promise<EngineAnswer> {
  const headers = new Headers({ 'user-agent': watchAgent, 'content-type': 'application/json' });
  if (apiKey !== undefined) headers.set('authorization', `Bearer ${apiKey}`);
  const upload = parts && uploadOf(parts);
  if (upload?.contentLength !== undefined) headers.set('content-length', upload.contentLength);
  const response = await fetch(url + path, {
    ...(upload !== undefined && { method: 'POST', body: upload.body }),
    keepalive: false,
    redirect: 'manual',
    signal: AbortSignal.timeout(timeoutMs),
    headers,
  });
  answered();
  const text = await readText(response);
  return { status: response.status, headers: response.headers, text, json: parsed(text) };
}

/** Returns the text of an answer; nothing of one that is too long, whether or not it announces its length. */
async function readText(response: Response): Promise<string> {
  if (Number(response.headers.get('content-length') ?? 0) > maxAnswerBytes) {
    await response.body?.cancel();
    return '';
  }
  const parts: Uint8Array[] = [];
  let length = 0;
  for await (const part of response.body ?? []) {
    length += part.length;
    if (length > maxAnswerBytes) return ''; // Leaving the loop cancels the body.
    parts.push(part);
  }
  return Buffer.concat(parts).toString();
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined; // Prometheus text, a page, or nothing.
  }
}

/** Returns what stands at that path in JSON; `undefined` where the path leads nowhere. */
export function valueAt(value: unknown, ...path: (string | number)[]): unknown {
  return path.reduce<unknown>((inner, key) => {
    const hasMembers = isRecord(inner) || Array.isArray(inner);
    return hasMembers ? Reflect.get(inner, key) : undefined;
  }, value);
}
