/**
 * What scheduling must know of a body: how many slots it takes, how long its prompt is, and the chain of hashes by which
 * a prompt is found again that begins alike. It reads bytes and judges nothing.
 */
import { spans, type Span } from './json.ts';
import type { Route } from './routes.ts';

export type Fields = Readonly<Record<string, unknown>>;

export const blockBytes = 256;
/** What lies behind the first 256 KiB of a prompt does not count. */
const maxBlocks = 1_024;
const maxUnits = 4_096;

/** Fields that hold the conversation, and those that engines put in front of it. */
const prompts = ['messages', 'prompt', 'input', 'input_prefix', 'content'];
const preambles = ['tools', 'system', 'instructions'];

function countOf(value: unknown): number {
  // A list of numbers is one prompt in tokens.
  if (!Array.isArray(value) || value.length === 0) return 1;
  return value.some((item) => typeof item === 'number') ? 1 : value.length;
}

function choicesOf({ n, best_of }: Fields): number {
  const counts = [n, best_of].filter((count): count is number => Number.isInteger(count));
  return Math.max(1, ...counts);
}

/** Gives how many slots the request takes: 0 for none, else one for each choice of each prompt. */
export function unitsOf({ path, generates }: Route, fields: Fields): number {
  if (!generates) return 0;
  let units = choicesOf(fields);
  if (/embedding/.test(path)) units = countOf(fields['input'] ?? fields['content']);
  else if (/rerank/.test(path)) units = countOf(fields['documents']);
  else if (/completions?$/.test(path) && !/chat/.test(path)) units *= countOf(fields['prompt']);
  return Math.min(units, maxUnits);
}

interface Place {
  preambles: Span[];
  prompt: Span | undefined;
}

/** Finds the prompt in a body, and what comes before it. */
function locate(body: Uint8Array): Place {
  const members = spans(body);
  const found = prompts.flatMap((name) => members.filter(({ key }) => key === name));
  return {
    preambles: preambles.flatMap((name) => members.filter(({ key }) => key === name)),
    prompt: found[0],
  };
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
  const { preambles: before, prompt } = locate(body);
  if (prompt === undefined) return { bytes: 0, chain: new Uint32Array() };
  let hash = 0;
  let bytes = prompt.end - prompt.start;
  for (const { start, end } of before) {
    hash = Bun.hash.xxHash32(body.subarray(start, end), hash);
    bytes += end - start;
  }
  // The closing bracket or quote is not there when the conversation goes on.
  const count = Math.min(maxBlocks, Math.floor((prompt.end - 1 - prompt.start) / blockBytes));
  const chain = new Uint32Array(Math.max(0, count));
  for (let i = 0; i < chain.length; i++) {
    const start = prompt.start + i * blockBytes;
    hash = Bun.hash.xxHash32(body.subarray(start, start + blockBytes), hash);
    chain[i] = hash;
  }
  return { bytes, chain };
}
