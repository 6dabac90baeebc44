/**
 * What of a body of Ollama's routes decides about models in memory: how long one stays there, and the options with which
 * it is loaded. A change of one of these loads the model anew, for everybody. It is overwritten with spaces, in place.
 */
import { spans, type Span } from './json.ts';
import type { JsonBody } from './jsonbody.ts';

const OPEN_BRACE = 0x7b;
const SPACE = 0x20;

/** The options that are the model's, not the request's. */
const loading = new Set(['num_ctx', 'num_batch', 'num_gpu', 'main_gpu', 'use_mmap', 'num_thread']);
/** Of older versions. */
for (const name of ['low_vram', 'f16_kv', 'logits_all', 'vocab_only', 'use_mlock', 'numa']) {
  loading.add(name);
}

/** Returns a name as Go compares it to that of a field. */
function folded(name: string): string {
  return name.toUpperCase().toLowerCase();
}

/** Overwrites what decides about models in memory. The body must be JSON. */
export function leaveModelsAlone({ bytes, members }: JsonBody): void {
  for (const { key, start } of members) {
    if (folded(key) !== 'options' || bytes[start] !== OPEN_BRACE) continue;
    blank(bytes, start, spans(bytes, start), (name) => loading.has(folded(name)));
  }
  blank(bytes, bytes.indexOf(OPEN_BRACE), members, (name) => folded(name) === 'keep_alive');
}

/** Overwrites some members of the object that opens at `open`, each with one of the commas beside it. */
function blank(
  bytes: Uint8Array,
  open: number,
  members: readonly Span[],
  isUnwanted: (name: string) => boolean,
): void {
  let hasBefore = false;
  let from = open + 1;
  for (const [i, { key, end }] of members.entries()) {
    const next = members[i + 1];
    const comma = next === undefined ? end : bytes.indexOf(COMMA, end);
    if (!isUnwanted(key)) hasBefore = true;
    // The comma in front of it, if something stays there, else the one behind it.
    else bytes.fill(SPACE, from, hasBefore || next === undefined ? end : comma + 1);
    from = hasBefore ? comma : comma + 1;
  }
}

const COMMA = 0x2c;
