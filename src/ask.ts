/**
 * What a request asks of the scheduler: whose it is, which model, how many slots, and where its prompt may be cached
 * already. It looks at the request once and decides nothing.
 */
import type { Fields } from './body.ts';
import type { LiveRequest } from './live.ts';
import { modelPart } from './multipart.ts';
import { promptFactsOf, unitsOf } from './prompt.ts';
import type { Caller } from './keys.ts';
import type { Priority } from './queue.ts';

/** A request that wants to run. */
export interface Ask {
  caller: Caller;
  priority: Priority;
  /** What the client called its model, and whether the route cannot do without one. */
  model: string | undefined;
  needsModel: boolean;
  /** Slots that it takes; 0 for none. */
  units: number;
  /** Of the body that waits in memory. */
  bytes: number;
  /** About; of the whole body where the prompt was not looked for. */
  promptBytes: number;
  /** The blocks of its prompt; `undefined` where that does not matter. */
  chain: Uint32Array | undefined;
  /** What the client calls its conversation. */
  session: string | undefined;
  /** How many tokens of the answer have gone to the client; `undefined` for an answer that comes whole. */
  served: () => number | undefined;
}

const maxSessionLength = 200;

/**
 * Makes the ask of a request whose body is here.
 * @param fields the members of a JSON body
 * @param hasChoice whether there are several upstreams, so that it matters where the prompt is cached
 */
export function askOf(
  entry: LiveRequest,
  headers: Headers,
  body: Uint8Array | undefined,
  fields: Fields | undefined,
  hasChoice: boolean,
): Ask {
  const { caller, route } = entry;
  const { generates } = route;
  if (route.body === 'multipart' && body !== undefined) {
    entry.model = modelPart(body, headers.get('content-type') ?? '')?.value;
  }
  const hasPrompt = generates && body !== undefined && fields !== undefined;
  const facts = hasPrompt && hasChoice ? promptFactsOf(body) : undefined;
  return {
    caller,
    priority: headers.get('x-priority') === 'batch' ? 'batch' : caller.priority,
    model: entry.model,
    needsModel: generates,
    units: generates ? unitsOf(route, fields ?? {}) : 0,
    bytes: entry.bytesIn,
    promptBytes: facts?.bytes ?? (hasPrompt ? body.length : 0),
    chain: facts?.chain,
    session: headers.get('x-session-id')?.slice(0, maxSessionLength) || undefined,
    served: () => (entry.stream ? entry.frames : undefined),
  };
}
