/**
 * What scheduling must know of a body: how many slots it takes, how long its prompt is, and the chain of hashes by which
 * a prompt is found again that begins alike. It reads bytes and judges nothing.
 */
import { spans, type Fields, type Span } from './json.ts';
import type { Route } from './routes.ts';

export const blockBytes = 256;
/** What lies behind the first 256 KiB of a prompt does not count. */
const maxBlocks = 1_024;
const maxUnits = 4_096;

/**
 * Fields that hold the conversation, the first of which counts, and those that engines put in front of it. To fill in
 * the middle, llama.cpp reads `input_extra`, `input_prefix` and only then `prompt`.
 */
const prompts = ['messages', 'input_prefix', 'prompt', 'input', 'content'];
const preambles = ['tools', 'system', 'instructions', 'input_extra'];

function countOf(value: unknown): number {
  // A list of numbers is one prompt in tokens.
  if (!Array.isArray(value) || value.length === 0) return 1;
  return value.some((item) => typeof item === 'number') ? 1 : value.length;
}

function integerIn(value: unknown): number {
  return Number.isInteger(value) ? (value as number) : 1;
}

/** `n_cmpl` is llama.cpp's own name of `n`. */
function choicesOf({ n, n_cmpl, best_of }: Fields): number {
  return Math.max(1, integerIn(n), integerIn(n_cmpl), integerIn(best_of));
}

/** Gives how many slots the request takes: 0 for none, else one for each choice of each prompt. */
export function unitsOf({ path, generates }: Route, fields: Fields): number {
  if (!generates) return 0;
  if (path.includes('chat')) return Math.min(choicesOf(fields), maxUnits);
  if (path.includes('embedding')) {
    return Math.min(countOf(fields['input'] ?? fields['content']), maxUnits);
  }
  if (path.includes('rerank')) return Math.min(countOf(fields['documents']), maxUnits);
  const prompts = path.includes('completion') ? countOf(fields['prompt']) : 1;
  return Math.min(choicesOf(fields) * prompts, maxUnits);
}

interface Place {
  preambles: Span[];
  prompt: Span | undefined;
}

/** Finds the prompt in a body, and what comes before it. Of a key that stands twice, engines take the last. */
function locate(body: Uint8Array): Place {
  const members = spans(body);
  const find = (name: string) => members.findLast(({ key }) => key === name) ?? [];
  return { preambles: preambles.flatMap(find), prompt: prompts.flatMap(find)[0] };
}

function bytesIn(parts: readonly Span[]): number {
  return parts.reduce((sum, { start, end }) => sum + end - start, 0);
}

/** What a request's prompt is, for finding it again. */
export interface PromptFacts {
  /** In bytes, with what comes before it. */
  bytes: number;
  /** A hash of every prefix of whole blocks. */
  chain: Uint32Array;
}

/** Gives the length of the prompt and its chain: prompts that begin alike have the same first hashes. */
export function promptFactsOf(body: Uint8Array): PromptFacts {
  const place = locate(body);
  const { prompt } = place;
  if (prompt === undefined) return { bytes: bytesIn(place.preambles), chain: new Uint32Array() };
  let hash = 0;
  // Whoever differs in what comes before shares nothing: its order in the engine's template is not known.
  for (const { start, end } of place.preambles) {
    hash = Bun.hash.xxHash32(body.subarray(start, end), hash);
  }
  // The closing bracket or quote is not there when the conversation goes on.
  const wholeBlocks = Math.floor((prompt.end - prompt.start - 1) / blockBytes);
  const chain = new Uint32Array(Math.max(0, Math.min(maxBlocks, wholeBlocks)));
  for (let i = 0; i < chain.length; i++) {
    const start = prompt.start + i * blockBytes;
    hash = Bun.hash.xxHash32(body.subarray(start, start + blockBytes), hash);
    chain[i] = hash;
  }
  return { bytes: bytesIn([...place.preambles, prompt]), chain };
}
