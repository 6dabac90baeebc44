/**
 * How busy an engine says that it is, read from its cheap endpoints. It judges nothing.
 */
import { valueAt, type AskEngine } from './endpoints.ts';
import type { EngineKind } from '../wire/kinds.ts';

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
    if (valueAt(slot, 'is_processing') === true) busySlots++;
    progress += numberOf(valueAt(slot, 'n_prompt_tokens_processed'));
    // Older builds have an object where newer ones have a list.
    const next = valueAt(slot, 'next_token', 0) ?? valueAt(slot, 'next_token');
    progress += numberOf(valueAt(next, 'n_decoded'));
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
