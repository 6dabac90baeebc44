/**
 * The kinds of inference server that the gateway knows.
 */

export const engineKinds = ['llama.cpp', 'vllm', 'sglang', 'ollama', 'openai'] as const;

/** `unknown`: the engine has not been probed yet, or it matches no kind. */
export type EngineKind = (typeof engineKinds)[number] | 'unknown';
