/**
 * What scheduling reads from a body: how many slots the request takes, how long its prompt is, and a chain of hashes
 * that finds earlier prompts with the same beginning. It validates nothing.
 */
import { isRecord, type Fields, type Span } from './json.ts';
import { listFacts, type JsonBody } from './jsonbody.ts';
import type { Route } from './routes.ts';

export const blockBytes = 256;
/** Only the first 256 KiB of a prompt are hashed. */
const maxBlocks = 1_024;
const maxUnits = 4_096;

/**
 * Fields that hold the conversation, of which the first one present counts, and fields that engines put in front of it.
 * To fill in the middle, llama.cpp reads `input_extra`, `input_prefix` and only then `prompt`.
 */
const prompts = ['messages', 'input_prefix', 'prompt', 'input', 'content'];
const preambles = ['tools', 'system', 'instructions', 'input_extra'];

function countOf(value: unknown): number {
  const list = listFacts(value);
  // A list of numbers is one prompt, given as tokens.
  return list === undefined || list.items === 0 || list.numbers > 0 ? 1 : list.items;
}

function integerIn(value: unknown): number {
  return Number.isInteger(value) ? (value as number) : 1;
}

/** `n_cmpl` is llama.cpp's name for `n`. */
function choicesOf({ n, n_cmpl, best_of }: Fields): number {
  return Math.max(1, integerIn(n), integerIn(n_cmpl), integerIn(best_of));
}

/** Returns how many slots the request takes: one for each choice of each prompt; 0 if the route generates nothing. */
export function unitsOf({ path, generates, family }: Route, fields: Fields): number {
  if (!generates) return 0;
  if (family === 'ollama') {
    return path === '/api/embed' ? Math.min(countOf(fields['input']), maxUnits) : 1;
  }
  if (path.includes('chat')) return Math.min(choicesOf(fields), maxUnits);
  if (path.includes('embedding')) {
    return Math.min(countOf(fields['input'] ?? fields['content']), maxUnits);
  }
  if (path.includes('rerank')) return Math.min(countOf(fields['documents']), maxUnits);
  const prompts = path.includes('completion') ? countOf(fields['prompt']) : 1;
  return Math.min(choicesOf(fields) * prompts, maxUnits);
}

/** What the families call the most tokens of an answer. */
const maxima = ['max_tokens', 'max_completion_tokens', 'max_output_tokens', 'n_predict'];

/** Returns the most tokens that a body allows one answer; `undefined` if it does not say. */
export function maxAnswerTokens({ family }: Route, fields: Fields): number | undefined {
  if (family === 'ollama') {
    const { options } = fields;
    const most = isRecord(options) ? options['num_predict'] : undefined;
    // Any other number is no maximum to Ollama.
    return Number.isInteger(most) && (most as number) > 0 ? (most as number) : undefined;
  }
  let most = -1;
  for (const name of maxima) {
    const value = fields[name];
    // Engines differ in which of several counts.
    if (Number.isInteger(value)) most = Math.max(most, value as number);
  }
  return most < 0 ? undefined : most;
}

interface Place {
  preambles: Span[];
  prompt: Span | undefined;
}

/** Returns where the prompt and its preambles are in a body. When a key occurs twice, engines take the last. */
function locate({ members }: JsonBody): Place {
  const find = (name: string) => members.findLast(({ key }) => key === name) ?? [];
  return { preambles: preambles.flatMap(find), prompt: prompts.flatMap(find)[0] };
}

function bytesIn(parts: readonly Span[]): number {
  return parts.reduce((sum, { start, end }) => sum + end - start, 0);
}

/** The length of a prompt, and hashes that identify its beginning. */
interface PromptFacts {
  /** Length in bytes, including the preambles. */
  bytes: number;
  /** One hash for each prefix of whole blocks of 256 bytes. */
  chain: Uint32Array;
}

/** Returns the prompt's length and its chain of hashes; prompts with the same beginning have the same first hashes. */
export function promptFactsOf(json: JsonBody): PromptFacts {
  const body = json.bytes;
  const place = locate(json);
  const { prompt } = place;
  if (prompt === undefined) return { bytes: bytesIn(place.preambles), chain: new Uint32Array() };
  let hash = 0;
  // Prompts with different preambles share no hash: the preambles' position in the engine's template is unknown.
  for (const { start, end } of place.preambles) {
    hash = Bun.hash.xxHash32(body.subarray(start, end), hash);
  }
  // Leave out the closing bracket or quote: it moves when the conversation continues.
  const wholeBlocks = Math.floor((prompt.end - prompt.start - 1) / blockBytes);
  const chain = new Uint32Array(Math.max(0, Math.min(maxBlocks, wholeBlocks)));
  for (let i = 0; i < chain.length; i++) {
    const start = prompt.start + i * blockBytes;
    hash = Bun.hash.xxHash32(body.subarray(start, start + blockBytes), hash);
    chain[i] = hash;
  }
  return { bytes: bytesIn([...place.preambles, prompt]), chain };
}
