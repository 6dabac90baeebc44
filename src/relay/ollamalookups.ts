/**
 * Answers the look-ups of Ollama's clients that no model runs for: the models that there are, those that are loaded, the
 * version. It asks every Ollama at once and makes one answer of theirs.
 */
import { askEndpoint, type Fetch } from '../engines/endpoints.ts';
import { notServed } from '../engines/fleet.ts';
import type { Upstream } from '../engines/upstream.ts';
import { GatewayError } from '../wire/errors.ts';
import { isRecord } from '../wire/json.ts';
import { mergeOllamaLists } from '../wire/ollamalists.ts';
import type { Route } from '../wire/routes.ts';

/**
 * Returns the body of the answer. Throws `unknown_route` where no upstream is an Ollama, and `no_healthy_upstream` where
 * none answers.
 * @param allowed the names that the key may use; `undefined` for all
 */
export async function lookUpAtOllama(
  route: Route,
  upstreams: readonly Upstream[],
  allowed: readonly string[] | undefined,
  fetch: Fetch = globalThis.fetch,
): Promise<Uint8Array> {
  const ollamas = upstreams.filter(({ kind }) => kind === 'ollama');
  const areAllKnown = upstreams.every(({ isSighted }) => isSighted);
  if (ollamas.length === 0 && areAllKnown) throw notServed(route, upstreams);
  const hopeful = ollamas.filter(({ isHopeful }) => isHopeful);
  const asked = await Promise.all(hopeful.map((upstream) => ask(upstream, route.path, fetch)));
  const answers = asked.filter((answer) => answer !== undefined);
  const [first] = answers;
  if (first === undefined) throw new GatewayError('no_healthy_upstream');
  if (route.path === '/api/version') return first.list;
  return mergeOllamaLists(answers, allowed);
}

/** Returns what one says; `undefined` if it does not answer well. */
async function ask({ settings }: Upstream, path: string, fetch: Fetch) {
  const { url, apiKey, models, aliases } = settings;
  try {
    const question = { url, apiKey, path };
    const { status, json, text } = await askEndpoint(question, { fetch, answered() {} });
    if (status !== 200 || !isRecord(json)) return undefined;
    return { list: Buffer.from(text), models, aliases };
  } catch {
    return undefined; // It is away, or too slow; the watch finds that out by itself.
  }
}
