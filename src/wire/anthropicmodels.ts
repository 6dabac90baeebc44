/**
 * The list of models, and one of them, as Anthropic's API has them, made from the same in OpenAI's shape. What no engine
 * tells is null. Pure.
 */
import { GatewayError } from './errors.ts';
import { isRecord, textOf } from './json.ts';

/** Returns how many tokens the context of a model has; `undefined` where that is not known. */
export type ContextOf = (model: string) => number | undefined;

/** Anthropic's name for a date that is not known. */
const epoch = new Date(0);
/** The most models of one page, and of a page without a limit. */
const maxLimit = 1_000;

function isCount(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) > 0;
}

/** vLLM and SGLang tell the context's size as `max_model_len`, llama.cpp in `meta`, others as `context_length`. */
function contextIn(entry: Record<string, unknown>): number | undefined {
  const meta = isRecord(entry['meta']) ? entry['meta'] : {};
  return [entry['max_model_len'], meta['n_ctx'], entry['context_length']].find(isCount);
}

function createdAt({ created }: Record<string, unknown>): Date {
  const date = typeof created === 'number' ? new Date(created * 1_000) : epoch;
  return Number.isNaN(date.getTime()) ? epoch : date;
}

function modelOf(entry: Record<string, unknown>, contextOf: ContextOf) {
  const id = String(entry['id']);
  return {
    type: 'model',
    id,
    display_name: id,
    created_at: createdAt(entry)
      .toISOString()
      .replace(/\.000Z$/, 'Z'),
    max_input_tokens: contextIn(entry) ?? contextOf(id) ?? null,
    max_tokens: null,
    capabilities: null,
    lifecycle: 'active',
    line: null,
    deprecated_at: null,
    retires_at: null,
  };
}

function parsed(json: Uint8Array): unknown {
  try {
    return JSON.parse(textOf(json));
  } catch {
    return undefined; // What is no list has no models.
  }
}

/** Returns a model's entry in Anthropic's shape. */
export function anthropicModel(entry: Uint8Array, contextOf: ContextOf): Uint8Array {
  const read = parsed(entry);
  return Buffer.from(JSON.stringify(modelOf(isRecord(read) ? read : {}, contextOf)));
}

/**
 * Returns a page of the list in Anthropic's shape: all models, unless the query has `limit`, `after_id` or `before_id`.
 * Throws `invalid_field` for one that means nothing.
 * @param search the query with its question mark, or nothing
 */
export function anthropicList(list: Uint8Array, search: string, contextOf: ContextOf): Uint8Array {
  const read = parsed(list);
  const entries = isRecord(read) && Array.isArray(read['data']) ? read['data'] : [];
  const named = entries.filter((each) => isRecord(each) && typeof each['id'] === 'string');
  const { page, hasMore } = pageOf(
    named.map((entry) => modelOf(entry, contextOf)),
    new URLSearchParams(search),
  );
  const [first_id = null, last_id = null] = [page[0]?.id, page.at(-1)?.id];
  return Buffer.from(JSON.stringify({ data: page, has_more: hasMore, first_id, last_id }));
}

function pageOf<Model extends { id: string }>(models: readonly Model[], query: URLSearchParams) {
  const limit = Number(query.get('limit') ?? maxLimit);
  if (!isCount(limit) || limit > maxLimit) throw invalid('limit', `a number from 1 to ${maxLimit}`);
  const placeOf = (name: string) => {
    const id = query.get(name);
    if (id === null) return undefined;
    const place = models.findIndex((model) => model.id === id);
    if (place === -1) throw invalid(name, 'the id of a model of this list');
    return place;
  };
  const before = placeOf('before_id');
  if (before !== undefined) {
    const start = Math.max(0, before - limit);
    return { page: models.slice(start, before), hasMore: start > 0 };
  }
  const start = (placeOf('after_id') ?? -1) + 1;
  return { page: models.slice(start, start + limit), hasMore: start + limit < models.length };
}

function invalid(param: string, allowed: string): GatewayError {
  return new GatewayError('invalid_field', { message: `"${param}" must be ${allowed}.`, param });
}
