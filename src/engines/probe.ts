/**
 * What kind of inference server an upstream is, found out from its cheap endpoints. It never asks for a generation.
 */
import { valueAt, type AskEngine, type EngineAnswer } from './endpoints.ts';
import { saysLoading } from './loading.ts';
import { isRecord } from '../wire/json.ts';
import type { EngineKind } from '../wire/kinds.ts';

/** What one look at an engine has found out. */
export interface EngineSighting {
  kind: EngineKind;
  /** How many requests it runs at once, where it says so. */
  slots?: number;
  /** How many tokens one request may have, its prompt and its answer together, where it says so. */
  contextTokens?: number;
  /** Only while it loads its model: what it runs then is not known yet. */
  isLoading?: true;
}

/** Returns the JSON of a 200 when it is an object, else `undefined`. */
function recordOf(answer: EngineAnswer | undefined): Record<string, unknown> | undefined {
  return answer?.status === 200 && isRecord(answer.json) ? answer.json : undefined;
}

function isCount(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) > 0;
}

/**
 * Finds out the kind: llama.cpp by `/props`, SGLang by `/get_server_info`, Ollama by `/api/version`, vLLM by
 * `/version`; `undefined` when it was too slow to say. Throws what `ask` throws when the engine is away.
 * @param setting a kind that is known is asked only for what engines of that kind tell of themselves; behind `openai`
 *   there may be a llama.cpp
 */
export async function sightEngine(
  ask: AskEngine,
  setting: EngineKind | 'auto',
): Promise<EngineSighting | undefined> {
  if (setting === 'ollama') return { kind: setting };
  if (setting === 'vllm' || setting === 'sglang') {
    return { kind: setting, ...(await sightList(ask)) };
  }
  const props = await ask('/props');
  const llama = props && sightLlama(props);
  if (setting !== 'auto') return props && { ...llama, kind: setting };
  if (llama !== undefined) return llama;
  if (recordOf(await ask('/get_server_info'))) return { kind: 'sglang', ...(await sightList(ask)) };
  if (recordOf(await ask('/api/version'))) return { kind: 'ollama' };
  const version = await ask('/version');
  if (typeof recordOf(version)?.['version'] === 'string') {
    return { kind: 'vllm', ...(await sightList(ask)) };
  }
  return version === undefined ? undefined : { kind: 'unknown' };
}

function sightLlama(props: EngineAnswer): EngineSighting | undefined {
  const said = recordOf(props);
  const slots = said?.['total_slots'];
  const hasSlots = isCount(slots);
  if (!hasSlots && props.headers.get('server') !== 'llama.cpp') return undefined;
  const sighting: EngineSighting = { kind: 'llama.cpp' };
  if (hasSlots) sighting.slots = slots;
  const contextTokens = valueAt(said, 'default_generation_settings', 'n_ctx');
  if (isCount(contextTokens)) sighting.contextTokens = contextTokens;
  if (saysLoading(props.status, props.json)) sighting.isLoading = true;
  return sighting;
}

/** vLLM and SGLang tell the size of their context in the list of their models. */
async function sightList(ask: AskEngine): Promise<Pick<EngineSighting, 'contextTokens'>> {
  const list = recordOf(await ask('/v1/models'));
  const contextTokens = valueAt(list, 'data', 0, 'max_model_len');
  return isCount(contextTokens) ? { contextTokens } : {};
}

/** Returns the cheapest path that shows whether an engine of that kind answers. */
export function healthPathOf(kind: EngineKind): string {
  if (kind === 'ollama') return '/api/version';
  return kind === 'openai' || kind === 'unknown' ? '/v1/models' : '/health';
}
