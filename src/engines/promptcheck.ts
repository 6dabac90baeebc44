/**
 * Counts the tokens of a prompt with the engine's own tokenizer before the request waits, and refuses a prompt that
 * cannot fit into the context. It generates nothing, and without a count it refuses nothing: then the engine judges.
 */
import { GatewayError } from '../wire/errors.ts';
import { digestOf } from '../request/digest.ts';
import { unlessAborted } from '../request/unlessaborted.ts';
import { editJson, type Span } from '../wire/json.ts';
import { isText, listFacts, type JsonBody } from '../wire/jsonbody.ts';
import type { Route } from '../wire/routes.ts';
import type { EngineKind } from '../wire/kinds.ts';

export interface PromptCheckOptions {
  /** Asks one engine; returns the JSON of a 200, `undefined` for anything else. */
  post(path: string, parts: readonly Uint8Array[]): Promise<unknown>;
  /** How many counts are remembered. */
  maxEntries?: number;
}

/** What is sent of a request. */
export interface SentPrompt {
  route: Route;
  json: JsonBody;
  signal: AbortSignal;
}

/** A prompt that is to be checked, and what is known of the engine. */
export interface PromptToCheck extends SentPrompt {
  kind: EngineKind;
  /** What the engine is to get as the model in place of what the body says; `undefined` to leave that. */
  model: string | undefined;
  /** Tokens that one request may have, its prompt and its answer together. */
  contextTokens: number | undefined;
  /** Of the prompt alone. */
  promptBytes: number;
}

/** A question to a tokenizer, and where the count stands in its answer. */
interface Question {
  path: string;
  /** What is one body together. */
  parts: readonly Uint8Array[];
  countIn(json: Record<string, unknown>): unknown;
}

/** A token has at least one byte; the rest of the context is room for what a chat template adds. */
const surelyFitsShare = 0.75;

/** Members that do not change the prompt; clients that send a prompt again often change them. */
const besidePrompt = new Set([
  'stream',
  'stream_options',
  'max_tokens',
  'max_completion_tokens',
  'max_output_tokens',
  'n_predict',
  'n',
  'temperature',
  'top_p',
  'top_k',
  'min_p',
  'seed',
  'stop',
  'user',
  'metadata',
]);

/** What vLLM's chat template gets; its tokenizer route knows these by the same names. */
const templateMembers = new Set([
  'model',
  'messages',
  'tools',
  'chat_template',
  'chat_template_kwargs',
  'add_generation_prompt',
  'continue_final_message',
  'add_special_tokens',
  'mm_processor_kwargs',
]);

/** The checks of prompts for one engine: they share what they have counted. */
export class PromptCheck {
  /** By digest, the latest used last; counts that are still being asked for are among them. */
  readonly #counts = new Map<string, Promise<number | undefined>>();

  constructor(private readonly options: PromptCheckOptions) {}

  /**
   * Throws `context_length_exceeded` when the prompt leaves no room for an answer, and the reason of the signal when
   * that is aborted meanwhile.
   */
  async check(request: PromptToCheck): Promise<void> {
    const { route, contextTokens, promptBytes, signal } = request;
    if (contextTokens === undefined || promptBytes <= surelyFitsShare * contextTokens) return;
    signal.throwIfAborted();
    const tokens = await unlessAborted(this.#count(request), signal);
    // llama.cpp and vLLM alike refuse a prompt that fills the context: its answer needs a token.
    if (tokens === undefined || tokens < contextTokens) return;
    // Clients know such an error by these words.
    const message = `The prompt is too long: ${tokens} tokens, and the model's maximum context length is ${contextTokens} tokens, the answer included. Shorten the prompt.`;
    throw new GatewayError('context_length_exceeded', { message, param: promptField(route) });
  }

  async #count(request: PromptToCheck): Promise<number | undefined> {
    if (!isCountable(request)) return undefined;
    const { json, route, model } = request;
    const list = listFacts(json.fields['prompt']);
    const isTokenList = list !== undefined && list.items === list.numbers;
    if (promptPaths.has(route.path) && isTokenList) return list.items;
    const question = questionOf(request);
    if (question === undefined) return undefined;
    const key = await digestOf([
      `${question.path} ${JSON.stringify(model)}`,
      ...promptPartsOf(json),
    ]);
    const known = this.#counts.get(key);
    if (known !== undefined) {
      this.#counts.delete(key);
      this.#counts.set(key, known);
      return await known;
    }
    const counting = this.#ask(question);
    this.#counts.set(key, counting);
    this.#forgetOldest();
    const count = await counting;
    // A tokenizer that failed may answer the next time.
    if (count === undefined && this.#counts.get(key) === counting) this.#counts.delete(key);
    return count;
  }

  /** Never rejects: a tokenizer that fails gives no count. */
  async #ask({ path, parts, countIn }: Question): Promise<number | undefined> {
    try {
      const json = await this.options.post(path, parts);
      if (typeof json !== 'object' || json === null) return undefined;
      const count = countIn(json as Record<string, unknown>);
      return Number.isSafeInteger(count) ? (count as number) : undefined;
    } catch {
      return undefined; // The request itself will show what is wrong with the engine.
    }
  }

  #forgetOldest(): void {
    const { maxEntries = 1_000 } = this.options;
    if (this.#counts.size <= maxEntries) return;
    const [oldest] = this.#counts.keys();
    if (oldest !== undefined) this.#counts.delete(oldest);
  }
}

/** Returns whether the engine has a tokenizer route and takes the prompt whole: vLLM cuts it where a request asks for that. */
function isCountable({ kind, json }: PromptToCheck): boolean {
  if (kind === 'llama.cpp') return true;
  return kind === 'vllm' && typeof json.fields['truncate_prompt_tokens'] !== 'number';
}

/** Returns the name of the member that holds the prompt. */
function promptField({ path, family }: Route): 'prompt' | 'messages' | 'input' {
  if (family === 'responses') return 'input';
  return family === 'anthropic' || path.endsWith('/chat/completions') ? 'messages' : 'prompt';
}

const promptPaths = new Set(['/v1/completions', '/completion', '/completions']);
const chatPaths = new Set(['/v1/chat/completions', '/chat/completions']);
const responsesPaths = new Set(['/v1/responses', '/responses']);

/** Returns what to ask the engine's tokenizer; `undefined` where there is no such question. */
function questionOf({ route: { path }, json, kind, model }: PromptToCheck): Question | undefined {
  const { fields, members, bytes } = json;
  const isPrompt = promptPaths.has(path) && isText(fields['prompt']);
  if (kind === 'llama.cpp') {
    if (isPrompt) {
      const prompt = members.findLast(({ key }) => key === 'prompt') as Span;
      const content = bytes.subarray(prompt.start, prompt.end);
      const parts = [Buffer.from('{"content":'), content, Buffer.from(',"add_special":true}')];
      return { path: '/tokenize', parts, countIn: lengthOfTokens };
    }
    const countPath = llamaCountPath(path);
    if (countPath === undefined) return undefined;
    const parts = model === undefined ? [bytes] : editJson(json, { model });
    return { path: countPath, parts, countIn: (answer) => answer['input_tokens'] };
  }
  const isChat = chatPaths.has(path) && listFacts(fields['messages']) !== undefined;
  if (!isPrompt && !isChat) return undefined;
  const names = isPrompt ? new Set(['model', 'prompt', 'add_special_tokens']) : templateMembers;
  const asked = members.filter(({ key }) => names.has(key));
  const parts = asked.flatMap(({ key, start, end }, i) => [
    Buffer.from(`${i === 0 ? '{' : ','}${JSON.stringify(key)}:`),
    key === 'model' && model !== undefined
      ? Buffer.from(JSON.stringify(model))
      : bytes.subarray(start, end),
  ]);
  const isAdded = model !== undefined && !asked.some(({ key }) => key === 'model');
  const end = isAdded ? `,"model":${JSON.stringify(model)}}` : '}';
  return {
    path: '/tokenize',
    parts: [...parts, Buffer.from(end)],
    countIn: (answer) => answer['count'],
  };
}

function lengthOfTokens({ tokens }: Record<string, unknown>): number | undefined {
  return Array.isArray(tokens) ? tokens.length : undefined;
}

function llamaCountPath(path: string): string | undefined {
  if (path === '/v1/messages') return '/v1/messages/count_tokens';
  return chatPaths.has(path) || responsesPaths.has(path) ? `${path}/input_tokens` : undefined;
}

/** Returns what the count depends on. Nobody may find another prompt with the same digest. */
function promptPartsOf({ members, bytes }: JsonBody): (string | Uint8Array)[] {
  const telling = members.filter(({ key }) => !besidePrompt.has(key));
  return telling.flatMap(({ key, start, end }) => [
    `\n${JSON.stringify(key)}:`,
    bytes.subarray(start, end),
  ]);
}
