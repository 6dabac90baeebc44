/**
 * Reads from a request's body the prompts, their tokens, and the runs to make of them. It validates only the fields
 * that the simulated engine needs.
 */
import type { Json, Prompt, Run } from './run.ts';
import { answerTo, detokenize, hashOf, tokenize } from './model.ts';
import { EngineError } from './wire.ts';

const defaultAnswerTokens = 64;
const maxRuns = 128;

export function isObject(value: unknown): value is Json {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** Parses a body; throws a 400 if it is not a JSON object. */
export function parseBody(bytes: Uint8Array): Json {
  let body: unknown;
  try {
    // TextDecoder removes a byte order mark; llama.cpp ignores one too.
    body = JSON.parse(new TextDecoder().decode(bytes));
  } catch {
    throw new EngineError(400, 'invalid_request_error', 'parse error: the body is not JSON');
  }
  if (isObject(body)) return body;
  throw new EngineError(400, 'invalid_request_error', 'the body is not a JSON object');
}

/** Parses a multipart body into its fields; `audio` is the file's name and size. Throws a 400 if there is no file. */
export async function parseForm(bytes: Uint8Array, contentType: string): Promise<Json> {
  const body: Json = {};
  try {
    const headers = { 'content-type': contentType };
    const form = await new Response(Buffer.from(bytes), { headers }).formData();
    for (const [name, value] of form) {
      if (typeof value === 'string') body[name] = value;
      else body['audio'] = `${value.name}, ${value.size} bytes`;
    }
  } catch {
    throw new EngineError(400, 'invalid_request_error', 'the body is not multipart/form-data');
  }
  if (body['audio'] !== undefined) return body;
  throw new EngineError(400, 'invalid_request_error', "'file' is required");
}

function promptOf(text: string, subject = text): Prompt {
  return { tokens: tokenize(text), subject };
}

/** Returns one prompt, made from a text, tokens, or tokens and texts mixed. */
function promptFrom(value: unknown): Prompt {
  if (!Array.isArray(value)) return promptOf(typeof value === 'string' ? value : '');
  const tokens = value.flatMap((item) => (typeof item === 'number' ? item : tokenize(`${item}`)));
  return { tokens, subject: detokenize(tokens) };
}

/** Returns the prompts in a `prompt`, `input` or `content`: one, or one for each element of a list. */
export function promptsFrom(value: unknown): Prompt[] {
  const isList = Array.isArray(value) && !value.some((item) => typeof item === 'number');
  return isList ? value.map(promptFrom) : [promptFrom(value)];
}

/** Returns the prompts of a body for `/v1/completions` or `/completion`; throws a 400 if there is none. */
export function promptsFromCompletion({ prompt, prompt_embeds }: Json): Prompt[] {
  if (prompt !== undefined || prompt_embeds !== undefined) return promptsFrom(prompt);
  throw new EngineError(400, 'invalid_request_error', "key 'prompt' not found");
}

/** Returns the prompt of a body for `/infill`. */
export function promptsFromInfill({ input_prefix, prompt, input_suffix }: Json): Prompt[] {
  return promptsFrom([input_prefix, prompt, input_suffix].map((part) => part ?? '').join(''));
}

/** Returns the text of a message's content: a string, or the text parts of a list. */
function textOf(content: unknown): string {
  if (typeof content === 'string') return content;
  if (!Array.isArray(content)) return '';
  return content.map((part) => (isObject(part) ? String(part['text'] ?? '') : '')).join('');
}

/** Returns the messages as one text, in the template of the simulated model; throws a 400 if they are not a list. */
export function renderChat(messages: unknown): string {
  if (!Array.isArray(messages)) {
    throw new EngineError(400, 'invalid_request_error', "'messages' is required");
  }
  const rendered = messages.filter(isObject).map(({ role, content }) => {
    return `<|im_start|>${String(role)}\n${textOf(content)}<|im_end|>\n`;
  });
  return `${rendered.join('')}<|im_start|>assistant\n`;
}

/** Returns whether a message is one of a conversation; Claude Code ends its list with one of the system. */
function isSaid(message: unknown): boolean {
  return isObject(message) && message['role'] !== 'system';
}

/** Returns the prompt of a conversation; the answer repeats words of its last message. */
export function promptFromChat(messages: unknown): Prompt {
  const text = renderChat(messages);
  const last: unknown = Array.isArray(messages)
    ? (messages.findLast(isSaid) ?? messages.at(-1))
    : undefined;
  return promptOf(text, isObject(last) ? textOf(last['content']) : '');
}

/** Returns the messages of an Anthropic body, with its `system` as the first. */
export function anthropicMessages({ system, messages }: Json): unknown {
  if (system === undefined || !Array.isArray(messages)) return messages;
  return [{ role: 'system', content: system }, ...messages];
}

/** Returns the messages of a Responses body: `input`, with `instructions` as the first. */
export function responsesMessages({ instructions, input }: Json): unknown {
  const messages = typeof input === 'string' ? [{ role: 'user', content: input }] : input;
  if (typeof instructions !== 'string' || !Array.isArray(messages)) return messages;
  return [{ role: 'system', content: instructions }, ...messages];
}

/** Returns the limit of the answer's tokens, which each wire family names differently; `undefined` for no limit. */
function limitOf(body: Json): number | undefined {
  const names = ['max_completion_tokens', 'max_tokens', 'max_output_tokens', 'n_predict'];
  for (const name of names) {
    const limit = body[name];
    if (typeof limit === 'number' && limit >= 0) return Math.floor(limit);
  }
  return undefined;
}

function isJson(text: string): boolean {
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
}

/** Returns the name of a tool in OpenAI's, Responses' or Anthropic's list of tools. */
function toolName(tool: unknown): unknown {
  if (!isObject(tool)) return undefined;
  return isObject(tool['function']) ? tool['function']['name'] : tool['name'];
}

/**
 * Returns the tool that a prompt wants called, with the JSON of its arguments: the last message says `call NAME {…}`
 * and the request offers a tool of that name.
 */
function toolCallOf(subject: string, { tools }: Json) {
  if (!Array.isArray(tools)) return undefined;
  const [, name = '', args = ''] = /\bcall ([\w.-]+) (\{.*\})/.exec(subject) ?? [];
  const isOffered = tools.some((tool) => name !== '' && toolName(tool) === name);
  return isOffered && isJson(args) ? { name, args } : undefined;
}

/** The facts about the engine that a run needs. */
export interface Engine {
  model: string;
  /** The context size of one slot. */
  contextTokens: number;
}

/** Returns a run for the prompt; throws llama.cpp's 400 if the prompt does not fit into the context. */
export function runOf(prompt: Prompt, body: Json, { model, contextTokens }: Engine): Run {
  const promptTokens = prompt.tokens.length;
  const room = contextTokens - promptTokens;
  if (room <= 0) {
    const fault = `exceeds the available context size (${contextTokens} tokens)`;
    const message = `request (${promptTokens} tokens) ${fault}, try increasing it`;
    const more = { n_prompt_tokens: promptTokens, n_ctx: contextTokens };
    throw new EngineError(400, 'exceed_context_size_error', message, more);
  }
  const asked = limitOf(body);
  // What offers tools is an agent, and its limit, often 32,000, is a bound and no wish.
  const isAgent = Array.isArray(body['tools']) && body['tools'].length > 0;
  const limit = isAgent && (asked ?? 0) >= defaultAnswerTokens ? undefined : asked;
  const call = toolCallOf(prompt.subject, body);
  const called = call && { tool: call.name, output: tokenize(call.args), finish: 'stop' as const };
  return {
    id: hashOf(prompt.tokens).toString(16).padStart(8, '0'),
    index: 0,
    model: typeof body['model'] === 'string' ? body['model'] : model,
    prompt,
    cachedTokens: 0,
    output: answerTo(prompt.subject, Math.min(limit ?? defaultAnswerTokens, room)),
    finish: limit === undefined && room >= defaultAnswerTokens ? 'stop' : 'length',
    promptMs: 0,
    predictedMs: 0,
    ...called,
  };
}

/** Returns a run for each of the `n` choices of each prompt. All have the id of the first. */
export function runsOf(prompts: readonly Prompt[], body: Json, engine: Engine): Run[] {
  const choices = typeof body['n'] === 'number' ? Math.max(1, Math.floor(body['n'])) : 1;
  const count = prompts.length * choices;
  if (count === 0 || count > maxRuns) {
    const message = `${count} answers requested; 1 to ${maxRuns} are possible`;
    throw new EngineError(400, 'invalid_request_error', message);
  }
  const runs = prompts.flatMap((prompt) => {
    return Array.from({ length: choices }, () => runOf(prompt, body, engine));
  });
  return runs.map((run, index) => ({ ...run, index, id: (runs[0] as Run).id }));
}
