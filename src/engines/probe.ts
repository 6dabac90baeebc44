/**
 * What kind of inference server an upstream is, how it is and how busy, found out from its cheap endpoints, and how
 * connections to that kind are kept. It never asks for a generation.
 */
import type { EngineKind } from '../wire/kinds.ts';
import { isRecord } from '../wire/json.ts';

/** What one look at an engine gave. */
export interface EngineSighting {
  kind: EngineKind;
  /** How many requests it runs at once, where it says so. */
  slots?: number;
  /** How many tokens one request may have, its prompt and its answer together, where it says so. */
  contextTokens?: number;
  /** Only while it loads its model: what it runs then is not known yet. */
  isLoading?: true;
}

/** How busy an engine says that it is; absent where it does not say. */
export interface EngineLoad {
  /** llama.cpp: how many of its slots work. */
  busySlots?: number;
  /** vLLM and SGLang: how many requests run, and how many wait inside it. */
  running?: number;
  waiting?: number;
  /** Tokens read and made, summed up: as long as it works, another number each time, in either direction. */
  progress?: number;
}

/** `up`: it answers, however busy it is or whatever it answers. `loading`: its model is not there yet. */
export type EngineHealth = 'up' | 'loading';

/** An answer of the engine; `json` is `undefined` where the text is none. */
export interface EngineAnswer {
  status: number;
  headers: Headers;
  text: string;
  json: unknown;
}

/** Asks one path of the engine. `undefined` when it is too slow; throws when it is away. */
export type AskEngine = (path: string) => Promise<EngineAnswer | undefined>;

/** Gives what stands at that path in JSON; `undefined` where the path leads nowhere. */
function at(value: unknown, ...path: (string | number)[]): unknown {
  return path.reduce<unknown>((inner, key) => {
    const hasMembers = isRecord(inner) || Array.isArray(inner);
    return hasMembers ? Reflect.get(inner, key) : undefined;
  }, value);
}

/** Gives the JSON of a 200, where that is an object. */
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
  const contextTokens = at(said, 'default_generation_settings', 'n_ctx');
  if (isCount(contextTokens)) sighting.contextTokens = contextTokens;
  if (readHealth(props.status, props.json) === 'loading') sighting.isLoading = true;
  return sighting;
}

/** vLLM and SGLang tell the size of their context in the list of their models. */
async function sightList(ask: AskEngine): Promise<Pick<EngineSighting, 'contextTokens'>> {
  const list = recordOf(await ask('/v1/models'));
  const contextTokens = at(list, 'data', 0, 'max_model_len');
  return isCount(contextTokens) ? { contextTokens } : {};
}

/** Gives the cheapest path that shows whether an engine of that kind answers. */
export function healthPathOf(kind: EngineKind): string {
  if (kind === 'ollama') return '/api/version';
  return kind === 'openai' || kind === 'unknown' ? '/v1/models' : '/health';
}

/** Judges an answer of any path: only llama.cpp's 503 "Loading model" speaks against an engine that answers. */
export function readHealth(status: number, json: unknown): EngineHealth {
  const message = at(json, 'error', 'message');
  return status === 503 && message === 'Loading model' ? 'loading' : 'up';
}

/**
 * Asks how busy the engine is: llama.cpp by `/slots`, vLLM and SGLang by `/metrics`; `undefined` where it does not say
 * or was too slow. Throws what `ask` throws when the engine is away.
 */
export async function readLoad(kind: EngineKind, ask: AskEngine): Promise<EngineLoad | undefined> {
  if (kind === 'llama.cpp') return loadFromSlots((await ask('/slots'))?.json);
  if (kind !== 'vllm' && kind !== 'sglang') return undefined;
  const answer = await ask('/metrics');
  return answer?.status === 200 ? loadFromMetrics(answer.text, metricsOf[kind]) : undefined;
}

function numberOf(value: unknown): number {
  return typeof value === 'number' ? value : 0;
}

function loadFromSlots(slots: unknown): EngineLoad | undefined {
  if (!Array.isArray(slots) || slots.length === 0) return undefined;
  let busySlots = 0;
  let progress = 0;
  for (const slot of slots) {
    if (at(slot, 'is_processing') === true) busySlots++;
    progress += numberOf(at(slot, 'n_prompt_tokens_processed'));
    // Older builds have an object where newer ones have a list.
    const next = at(slot, 'next_token', 0) ?? at(slot, 'next_token');
    progress += numberOf(at(next, 'n_decoded'));
  }
  return { busySlots, progress };
}

interface MetricNames {
  running: string;
  waiting: string;
  /** Beside the counters a gauge of the cache in use: counters stand still while a long prompt is read. */
  progress: readonly string[];
}

const metricsOf: Record<'vllm' | 'sglang', MetricNames> = {
  vllm: {
    running: 'vllm:num_requests_running',
    waiting: 'vllm:num_requests_waiting',
    progress: [
      'vllm:prompt_tokens_total',
      'vllm:generation_tokens_total',
      'vllm:kv_cache_usage_perc',
      'vllm:gpu_cache_usage_perc',
    ],
  },
  sglang: {
    running: 'sglang:num_running_reqs',
    waiting: 'sglang:num_queue_reqs',
    progress: [
      'sglang:prompt_tokens_total',
      'sglang:generation_tokens_total',
      'sglang:num_used_tokens',
    ],
  },
};

/** Metrics beyond these are not read: both engines write less than a tenth of it. */
const maxMetricsChars = 1024 * 1024;
/** A sample of the Prometheus text format: its name, its labels, its value. */
const sample = /^([a-z_]+:\w+)(?:\{.*\})? ([-+.\w]+)/gm;

function loadFromMetrics(text: string, names: MetricNames): EngineLoad | undefined {
  // A name has a series for each model and each engine of a group; what counts is all of them together.
  const sums = new Map<string, number>();
  for (const [, name = '', value] of text.slice(0, maxMetricsChars).matchAll(sample)) {
    if (Number.isFinite(Number(value))) sums.set(name, (sums.get(name) ?? 0) + Number(value));
  }
  const load: EngineLoad = {};
  const running = sums.get(names.running);
  const waiting = sums.get(names.waiting);
  if (running !== undefined) load.running = running;
  if (waiting !== undefined) load.waiting = waiting;
  if (names.progress.some((name) => sums.has(name))) {
    load.progress = names.progress.reduce((sum, name) => sum + (sums.get(name) ?? 0), 0);
  }
  return Object.keys(load).length > 0 ? load : undefined;
}

/**
 * Says whether connections to that kind may be used again. llama.cpp gives each idle one a thread of its few; of an
 * unknown engine nothing is known, so it gets the safe way.
 */
export function reusesConnections(kind: EngineKind): boolean {
  return kind !== 'llama.cpp' && kind !== 'unknown';
}
