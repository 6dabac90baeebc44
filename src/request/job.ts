/**
 * What a request asks of the scheduler: whose it is, which model, how many slots, and where its prompt may be cached
 * already. It looks at the request once and decides nothing.
 */
import { GatewayError } from '../wire/errors.ts';
import type { Fields } from '../wire/json.ts';
import type { JsonBody } from '../wire/jsonbody.ts';
import type { LiveRequest } from './live.ts';
import { isStrictForm, modelPart } from '../wire/multipart.ts';
import { promptFactsOf, unitsOf } from '../wire/prompt.ts';
import type { Route } from '../wire/routes.ts';
import type { Priority, Caller } from './caller.ts';

/** A request that wants to run. */
export interface Job {
  /** That of its request, which no other has. */
  readonly id: string;
  readonly caller: Caller;
  readonly route: Route;
  readonly priority: Priority;
  /** What the client called its model, and whether the route cannot do without one. */
  readonly model: string | undefined;
  readonly needsModel: boolean;
  /** Whether the model stands in the URL alone, so that the engine must get it in the body. */
  readonly isModelInUrl: boolean;
  /** Whether its body can have the name of a model; a list of models has no body. */
  readonly takesModel: boolean;
  /** Slots that it takes; 0 for none. */
  readonly units: number;
  /** Of the body that waits in memory. */
  readonly bytes: number;
  /** Approximate size of the prompt in bytes; that of the whole body when the prompt was not located. */
  readonly promptBytes: number;
  /** The blocks of its prompt; `undefined` if there is no choice of engines. */
  readonly chain: Uint32Array | undefined;
  /** The client's own name of the conversation; `undefined` without one, or if there is no choice of engines. */
  readonly conversation: string | undefined;
  /** How many tokens of the answer have gone to the client; `undefined` for an answer that comes whole. */
  served(): number | undefined;
}

const maxConversationLength = 200;

/**
 * Makes the job of a request whose body is here.
 * @param json a JSON body
 * @param hasChoice whether there are several upstreams, so that it matters where the prompt is cached
 * @param deployedModel the model that the URL names; throws `invalid_field` if the body names another
 */
export function jobOf(
  request: LiveRequest,
  headers: Headers,
  body: Uint8Array | undefined,
  json: JsonBody | undefined,
  hasChoice: boolean,
  deployedModel?: string,
): Job {
  if (request.route.body === 'multipart' && body !== undefined) {
    request.asks(modelIn(body, headers.get('content-type') ?? '', request.caller), false);
  }
  const isModelInUrl = deployedModel !== undefined && request.askedModel === undefined;
  if (deployedModel !== undefined) agreeOn(deployedModel, request);
  const job = new RequestJob(request, headers, json, hasChoice, isModelInUrl);
  request.ranked(job.priority);
  return job;
}

/** Takes the model of the URL where the body names none. Throws if it names another one. */
function agreeOn(deployedModel: string, request: LiveRequest): void {
  const { askedModel, stream } = request;
  if (askedModel === undefined) request.asks(deployedModel, stream);
  else if (askedModel !== deployedModel) {
    throw new GatewayError('invalid_field', {
      message:
        'The URL names one model and "model" in the body another. Name the same one, or leave "model" out.',
      param: 'model',
    });
  }
}

/** A job that follows its request: a class, so that all jobs share their functions. */
class RequestJob implements Job {
  readonly caller: Caller;
  readonly route: Route;
  readonly priority: Priority;
  readonly model: string | undefined;
  readonly needsModel: boolean;
  readonly takesModel: boolean;
  readonly units: number;
  readonly bytes: number;
  readonly promptBytes: number;
  readonly chain: Uint32Array | undefined;
  readonly conversation: string | undefined;

  constructor(
    private readonly request: LiveRequest,
    headers: Headers,
    json: JsonBody | undefined,
    hasChoice: boolean,
    readonly isModelInUrl: boolean,
  ) {
    const { caller, route } = request;
    const { generates } = route;
    const hasPrompt = generates && json !== undefined;
    const facts = hasPrompt && hasChoice ? promptFactsOf(json) : undefined;
    this.caller = caller;
    this.route = route;
    this.priority = headers.get('x-priority') === 'batch' ? 'batch' : caller.priority;
    this.model = request.model;
    this.needsModel = generates;
    this.takesModel = route.body !== 'none';
    this.units = generates ? unitsOf(route, json?.fields ?? noFields) : 0;
    this.bytes = request.bytesIn;
    this.promptBytes = facts?.bytes ?? (hasPrompt ? json.bytes.length : 0);
    this.chain = facts?.chain;
    const session = hasChoice ? headers.get('x-session-id') : null;
    this.conversation = session?.slice(0, maxConversationLength) || undefined;
  }

  get id(): string {
    return this.request.uniqueId;
  }

  served(): number | undefined {
    return this.request.stream ? this.request.frames : undefined;
  }
}

const noFields: Fields = {};

/** Returns the model that a form names. Throws where a caller that may not use all could have it read otherwise. */
function modelIn(body: Uint8Array, contentType: string, caller: Caller): string | undefined {
  if (caller.models !== undefined && !isStrictForm(body, contentType)) {
    throw new GatewayError('invalid_field', {
      message:
        'The form (multipart/form-data) can be read in several ways, and this API key may not use every model. Send it as browsers do: lines that end in CR LF, a simple name in each Content-Disposition.',
    });
  }
  return modelPart(body, contentType)?.value;
}
