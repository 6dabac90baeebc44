/**
 * One model of an engine's list, as the engine describes it.
 */
import { GatewayError } from './errors.ts';
import { spans, textOf } from './json.ts';

/** Finds a model by its id: the bytes of its entry in the list. Throws `model_not_found`. */
export function findModel(list: Uint8Array, id: string): Uint8Array {
  const data = spans(list).find(({ key }) => key === 'data');
  for (const { start, end } of data ? spans(list, data.start) : []) {
    if (idOf(textOf(list, start, end)) === id) return list.subarray(start, end);
  }
  throw new GatewayError('model_not_found', { param: 'model' });
}

function idOf(entry: string): unknown {
  try {
    return (JSON.parse(entry) as { id?: unknown } | null)?.id;
  } catch {
    return undefined; // No JSON: nobody can ask for it.
  }
}
