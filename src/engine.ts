/**
 * What kind of inference server an upstream is, found out from its cheap endpoints, and how connections to that kind
 * are kept. It never asks for a generation.
 */

export const engineKinds = ['llama.cpp', 'vllm', 'sglang', 'ollama', 'openai'] as const;
/** `unknown`: nothing has been learned yet, or no kind matches. */
export type EngineKind = (typeof engineKinds)[number] | 'unknown';

/** What one look at an engine gave. */
export interface EngineSighting {
  kind: EngineKind;
  /** How many requests it runs at once, where it says so. */
  slots?: number;
}

/** Asks one path of the engine: headers, and the JSON of a 200. `undefined` when it is too slow; throws when away. */
export type AskEngine = (path: string) => Promise<{ json: unknown; headers: Headers } | undefined>;

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null;
}

/**
 * Finds out the kind: llama.cpp by `/props`, SGLang by `/get_server_info`, Ollama by `/api/version`, vLLM by
 * `/version`; `undefined` when it was too slow to say. Throws what `ask` throws when the engine is away.
 */
export async function sightEngine(ask: AskEngine): Promise<EngineSighting | undefined> {
  const props = await ask('/props');
  if (isRecord(props?.json)) {
    const slots = props.json['total_slots'];
    if (typeof slots === 'number') return { kind: 'llama.cpp', slots };
  }
  if (props?.headers.get('server') === 'llama.cpp') return { kind: 'llama.cpp' };
  if (isRecord((await ask('/get_server_info'))?.json)) return { kind: 'sglang' };
  if (isRecord((await ask('/api/version'))?.json)) return { kind: 'ollama' };
  const version = await ask('/version');
  if (isRecord(version?.json) && typeof version.json['version'] === 'string')
    return { kind: 'vllm' };
  return version === undefined ? undefined : { kind: 'unknown' };
}

/**
 * Says whether connections to that kind may be used again. llama.cpp gives each idle one a thread of its few; of an
 * unknown engine nothing is known, so it gets the safe way.
 */
export function reusesConnections(kind: EngineKind): boolean {
  return kind !== 'llama.cpp' && kind !== 'unknown';
}

/** What `fetch` calls a connection that was never made. */
const unreachable = new Set([
  'ECONNREFUSED',
  'ConnectionRefused',
  'ENOTFOUND',
  'EAI_AGAIN',
  'EHOSTUNREACH',
  'ENETUNREACH',
  'EADDRNOTAVAIL',
  'FailedToOpenSocket',
]);

/** Says whether a failure of `fetch` means that no connection was made, so that the engine has seen nothing. */
export function isUnreachable(thrown: unknown): boolean {
  return thrown instanceof Error && 'code' in thrown && unreachable.has(String(thrown.code));
}
