/**
 * SGLang's id of a request in its body, `rid`: the engine finds requests by it, so that two clients with one `rid` hang,
 * get nothing or stop the engine. It gets the gateway's suffix, as the id in the header does.
 */
import type { Fields } from '../wire/json.ts';
import type { EngineKind } from '../wire/kinds.ts';

export type RidEdit = Readonly<{ rid: string | string[] }>;

/** Engines that have no such member, and so get it as it came. */
const kindsWithout: ReadonlySet<EngineKind> = new Set(['llama.cpp', 'vllm', 'ollama']);

/** As many characters of the unique id make the suffix. */
const suffixLength = 8;

/** Returns what must stand in a body in place of its `rid`; `undefined` if it has none. */
export function ridEdit({ rid }: Fields, kind: EngineKind, uniqueId: string): RidEdit | undefined {
  if (rid === undefined || kindsWithout.has(kind)) return undefined;
  const suffix = uniqueId.slice(-suffixLength);
  if (typeof rid === 'string') return { rid: `${rid}-${suffix}` };
  if (!Array.isArray(rid) || !rid.every((each) => typeof each === 'string')) return undefined;
  // One list can have an id twice.
  return { rid: rid.map((each, index) => `${each}-${suffix}-${index}`) };
}
