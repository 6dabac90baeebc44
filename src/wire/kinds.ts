/**
 * The kinds of inference server that the gateway knows.
 */

export const engineKinds = ['llama.cpp', 'vllm', 'sglang', 'ollama', 'openai'] as const;

/** `unknown`: nothing has been learned yet, or no kind matches. */
export type EngineKind = (typeof engineKinds)[number] | 'unknown';
