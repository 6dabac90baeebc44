/**
 * Who may come in. Every key in a request is found here, and each of the three doors is one plugin: for clients, for the
 * operator, for readers of metrics. A door opens before anything reads the body, so that a stranger learns nothing of it.
 */
import { Elysia } from 'elysia';
import type { KeyRing } from '../accounts/keyring.ts';
import { digestOf } from '../accounts/keys.ts';
import { partsOf } from '../config/problems.ts';
import type { Caller } from '../request/caller.ts';
import { GatewayError, type ErrorDetails } from '../wire/errors.ts';
import { givenIdOf, keyHeaders, minKeyLength } from '../wire/headers.ts';
import { queryKeys } from '../wire/querykey.ts';

/** Returns the keys at one place of a request. */
type Place = (request: Request) => readonly string[];

const none: readonly string[] = [];
const bearer = /^Bearer /i;

/**
 * Returns the keys of `Authorization: Bearer`; what follows another scheme is no key. A proxy or an SDK that sends a header
 * twice makes one with a comma of it.
 */
function bearerKeys({ headers }: Request): readonly string[] {
  const authorization = headers.get('authorization');
  if (authorization === null) return none;
  if (!authorization.includes(',')) return afterBearer(authorization);
  let isBearer = false;
  return partsOf(authorization).flatMap((part) => {
    // A part of one word goes with the scheme before it.
    if (!part.includes(' ')) return isBearer ? part : [];
    const keys = afterBearer(part);
    isBearer = keys.length > 0;
    return keys;
  });
}

/** Returns the key in `Bearer KEY`. */
function afterBearer(credentials: string): readonly string[] {
  const key = bearer.test(credentials) ? credentials.slice('Bearer '.length).trim() : '';
  return key === '' ? none : [key];
}

function keysInHeader(name: string): Place {
  return ({ headers }) => {
    const value = headers.get(name);
    return value === null ? none : partsOf(value);
  };
}

const [xApiKey, ...otherHeaders] = keyHeaders;

/** Where the operator and readers of metrics may present a key. */
const operatorPlaces: readonly Place[] = [bearerKeys, keysInHeader(xApiKey)];
/** Where clients may, in the order in which they are looked at. */
const clientPlaces: readonly Place[] = [
  ...operatorPlaces,
  ...otherHeaders.map(keysInHeader),
  ({ url }) => queryKeys(url).flatMap(partsOf),
];

/** How many keys of a request are looked at. */
const maxKeys = 5;

function allKeys(request: Request): string[] {
  return clientPlaces.flatMap((place) => place(request));
}

/** Returns the keys that a client's request presents, at most five, in the order in which they are tried. */
export function presentedKeys(request: Request): string[] {
  return allKeys(request).slice(0, maxKeys);
}

/**
 * Returns the caller behind the first key of a request that the ring accepts, so that a stale key next to a good one
 * does not lock out. Throws `missing_api_key`, or what `KeyRing.find` throws: the refusal of a key that has ended rather
 * than that of an unknown key.
 */
function callerOf(request: Request, { keys, epochNow, invalidKeyStatus }: ClientDoor): Caller {
  const now = epochNow();
  let refusal: GatewayError | undefined;
  let tried = 0;
  // Place by place: nearly every request is done with the first.
  for (const place of clientPlaces) {
    for (const key of place(request)) {
      if (++tried > maxKeys) break;
      try {
        return keys.find(key, request.headers, now);
      } catch (error) {
        if (!(error instanceof GatewayError)) throw error;
        if (refusal === undefined || refusal.code === 'invalid_api_key') refusal = error;
      }
    }
  }
  if (refusal === undefined) throw new GatewayError('missing_api_key');
  if (refusal.status === invalidKeyStatus) throw refusal;
  throw new GatewayError(refusal.code, { status: invalidKeyStatus });
}

/** What the door for clients goes by. */
export interface ClientDoor {
  keys: KeyRing;
  /** Epoch milliseconds. */
  epochNow: () => number;
  /** The status of the refusal of a key that is not accepted. */
  invalidKeyStatus: 401 | 403;
}

/** What a request is called. */
export interface RequestIds {
  /** The client's own id if it sent one; in the answer and in logs. */
  requestId: string;
  /** An id that no other request has, whatever clients send: the client's with a suffix. The engine gets it. */
  uniqueId: string;
}

/** Returns the ids of a request. An id with the request's own key in it is not taken: ids are sent on and logged. */
export function idsOf(request: Request): RequestIds {
  const given = givenIdOf(request.headers);
  if (given === undefined || holdsKey(given, request)) {
    const made = crypto.randomUUID();
    return { requestId: made, uniqueId: made };
  }
  return { requestId: given, uniqueId: `${given}-${crypto.randomUUID().slice(0, 8)}` };
}

function holdsKey(id: string, request: Request): boolean {
  return allKeys(request).some((key) => key.length >= minKeyLength && id.includes(key));
}

/**
 * The door for clients: every route after it, in the instance that uses it, has `requestId`, `uniqueId` and `caller`. It
 * throws `missing_api_key` and what `KeyRing.find` throws.
 */
export function clientAuth(door: ClientDoor) {
  return new Elysia({ name: 'client auth' }).derive(
    { as: 'scoped' },
    function deriveCaller({ request }) {
      const caller = callerOf(request, door);
      const { requestId, uniqueId } = idsOf(request);
      return { requestId, uniqueId, caller };
    },
  );
}

/**
 * The door for the operator: every route after it, in the instance that uses it, needs this key. It throws
 * `missing_api_key` or `invalid_api_key`.
 */
export function operatorAuth(adminKey: string) {
  const admit = admitting([adminKey]);
  return new Elysia({ name: 'operator auth' }).derive(
    { as: 'scoped' },
    function deriveOperator({ request }) {
      admit(request);
    },
  );
}

/** The door for readers of metrics, which any of these secrets opens; the same otherwise as the operator's. */
export function metricsAuth(secrets: readonly string[]) {
  const admit = admitting(secrets, {
    message: '/metrics takes METRICS_TOKEN or ADMIN_API_KEY as "Authorization: Bearer <token>".',
  });
  return new Elysia({ name: 'metrics auth' }).derive(
    { as: 'scoped' },
    function deriveReader({ request }) {
      admit(request);
    },
  );
}

/** Returns a function that refuses a request unless it presents one of the secrets, compared in constant time. */
function admitting(secrets: readonly string[], refusal?: ErrorDetails): (request: Request) => void {
  const digests = secrets.map(digestOf);
  return (request) => {
    const presented = [
      ...wholeValues(request),
      ...operatorPlaces.flatMap((place) => place(request)),
    ];
    if (presented.length === 0) throw new GatewayError('missing_api_key', refusal);
    let isFound = false;
    for (const key of presented.slice(0, maxKeys)) {
      const digest = digestOf(key);
      // Every secret, whether or not one has matched already.
      for (const each of digests) isFound = crypto.timingSafeEqual(each, digest) || isFound;
    }
    if (!isFound) throw new GatewayError('invalid_api_key', refusal);
  };
}

/** Returns what has a comma in it whole: the secrets of the operator, unlike the keys of clients, may have one. */
function wholeValues({ headers }: Request): string[] {
  const values = [...afterBearer(headers.get('authorization') ?? ''), headers.get(xApiKey) ?? ''];
  return values.filter((value) => value.includes(','));
}
