/**
 * One question to an endpoint of an engine, bounded in time and size. It judges neither an answer nor a failure.
 */
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
  /** Posted as JSON; `undefined` for a GET. */
  body?: Uint8Array<ArrayBuffer> | string | undefined;
}

/** An endpoint that answers slower than this says nothing. */
const timeoutMs = 2_000;
const maxAnswerBytes = 4 * 1024 * 1024;

/**
 * Asks an endpoint. Throws what `fetch` throws; a TimeoutError after 2 s.
 * @param answered called when the headers of the answer are there
 */
export async function askEndpoint(
  { url, apiKey, path, body }: EndpointQuestion,
  { fetch, answered }: { fetch: Fetch; answered: () => void },
): Promise<EngineAnswer> {
  const headers = new Headers({ 'user-agent': watchAgent, 'content-type': 'application/json' });
  if (apiKey !== undefined) headers.set('authorization', `Bearer ${apiKey}`);
  const response = await fetch(url + path, {
    ...(body !== undefined && { method: 'POST', body }),
    keepalive: false,
    redirect: 'manual',
    signal: AbortSignal.timeout(timeoutMs),
    headers,
  });
  answered();
  const text = await readText(response);
  return { status: response.status, headers: response.headers, text, json: parsed(text) };
}

async function readText(response: Response): Promise<string> {
  const length = Number(response.headers.get('content-length') ?? 0);
  if (length <= maxAnswerBytes) return await response.text();
  await response.body?.cancel();
  return '';
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
