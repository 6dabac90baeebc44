/**
 * Other spellings of the paths of the table of routes, and hints for paths that are none. Pure. Whatever a client sends,
 * the result is a path of the table: what is checked and what is forwarded is that path, never the client's text.
 */
import { editDistance } from './editdistance.ts';
import { routes, type Route } from './routes.ts';

/** What stands in base URLs in front of a route, once or several times. */
const prefixes = new Set(['v1', 'openai']);
/** A part of a path that needs no decoding, so that no two servers read it differently. */
const plainPart = /^(?!\.\.?$)[\w.-]+$/;
/** Of a path that is looked into; no client sends longer ones, and strangers may. */
const maxLength = 1_024;
const maxParts = 16;
/** What no model's name has: in a form it would be read as syntax. */
const isControl = (letter: string) => letter < ' ' || letter === '\x7f';
const maxNameLength = 200;

const paths = new Set(routes.map(({ path }) => path).filter((path) => !path.endsWith('/*')));
const modelRoutes = new Map(
  routes.filter(({ body }) => body !== 'none').map((route) => [route.path, route]),
);

/** Where Azure's clients send requests; the deployment's name and a path without `/v1` follow. */
export const deploymentsPath = '/openai/deployments/';

/** Returns the parts of a path without the empty ones, which doubled and trailing slashes make. */
function partsOf(path: string): string[] {
  const parts = path.length > maxLength ? [] : path.split('/').filter((part) => part !== '');
  return parts.length > maxParts ? [] : parts;
}

/** Returns how many parts at the beginning are prefixes. */
function prefixLength(parts: readonly string[]): number {
  const end = parts.findIndex((part) => !prefixes.has(part));
  return end === -1 ? parts.length : end;
}

/** Returns the path of the table that is spelled so; `undefined` if there is none. */
function pathOf(rest: readonly string[], hasPrefix: boolean): string | undefined {
  if (rest.length === 0 || !rest.every((part) => plainPart.test(part))) return undefined;
  const bare = `/${rest.join('/')}`;
  const found = hasPrefix ? [`/v1${bare}`, bare] : [bare, `/v1${bare}`];
  return found.find((path) => paths.has(path));
}

function isSame(some: readonly string[], others: readonly string[]): boolean {
  return some.length === others.length && some.every((part, i) => part === others[i]);
}

/** Returns the first half of a path that is given twice, with or without prefixes in between. */
function halfOf(rest: readonly string[]): readonly string[] | undefined {
  for (let length = 1; length * 2 <= rest.length; length++) {
    const half = rest.slice(0, length);
    const between = rest.slice(length, -length);
    if (isSame(half, rest.slice(-length)) && prefixLength(between) === between.length) return half;
  }
  return undefined;
}

/**
 * Returns the path of the route that another spelling of it means: slashes doubled or at the end, `/v1` given twice or
 * left out, `/openai/v1`, a path given twice, Azure's deployments. Returns `undefined` for a path that is right already,
 * and for one that means no route, or not one alone. Percent-encodings and dots are read in names of models only.
 */
export function spelledOut(method: string, path: string): string | undefined {
  const meant = meaningOf(method, path);
  return meant === path ? undefined : meant;
}

function meaningOf(method: string, path: string): string | undefined {
  const parts = partsOf(path);
  const start = prefixLength(parts);
  const rest = parts.slice(start);
  const [first, ...names] = rest;
  if (first === 'deployments') {
    const spelled = deploymentsPath + names.join('/');
    return deploymentOf(spelled) && spelled;
  }
  if (first === 'models' && names.length > 0 && method !== 'POST') {
    return names.includes('.') || names.includes('..')
      ? undefined
      : `/v1/models/${names.join('/')}`;
  }
  return pathOf(rest, start > 0) ?? pathOf(halfOf(rest) ?? [], start > 0);
}

/** A request to a deployment. */
export interface Deployment {
  route: Route;
  model: string;
}

/** Returns what the path of a deployment names; `undefined` if it names no route, or no model. */
export function deploymentOf(path: string): Deployment | undefined {
  const parts = partsOf(path.slice(deploymentsPath.length));
  if (parts.includes('.') || parts.includes('..')) return undefined;
  // A model's name may have slashes, as SDKs do not encode them; the longest route counts.
  for (let end = 1; end < parts.length; end++) {
    const route = modelRoutes.get(`/v1/${parts.slice(end).join('/')}`);
    if (route === undefined) continue;
    const name = parts.slice(
      0,
      parts.findLastIndex((part, i) => i < end && !prefixes.has(part)) + 1,
    );
    const model = decoded(name.join('/'));
    return model === undefined ? undefined : { route, model };
  }
  return undefined;
}

/** Returns the name of a model as it stands in a path; `undefined` if it is none. */
function decoded(name: string): string | undefined {
  try {
    const model = decodeURIComponent(name);
    const isName = model !== '' && model.length <= maxNameLength && ![...model].some(isControl);
    return isName ? model : undefined;
  } catch {
    return undefined; // A stray percent sign.
  }
}

/** What to tell the client of an unknown path. */
export interface Hint {
  /** The nearest route. */
  nearest: string | undefined;
  /** With what its base URL ends that it should not, and how it should end. */
  base: { ends: string; shouldEnd: '' | '/v1' } | undefined;
}

/** Returns what may be wrong with a path that is no spelling of a route. */
export function hintOf(path: string): Hint {
  const parts = partsOf(path);
  const start = prefixLength(parts);
  const rest = parts.slice(start);
  const isTwice = parts.slice(0, start).filter((part) => part === 'v1').length > 1;
  const base = isTwice ? ({ ends: '/v1', shouldEnd: '' } as const) : undefined;
  const similar = similarTo(`/${rest.join('/')}`);
  if (similar !== undefined) return { nearest: similar, base };
  for (let from = 1; from < rest.length; from++) {
    if (prefixes.has(rest[from] as string)) continue;
    const nearest = pathOf(rest.slice(from), true);
    if (nearest !== undefined) return { nearest, base: base ?? endpointIn(rest.slice(0, from)) };
  }
  return { nearest: undefined, base };
}

/** Returns the advice about a base URL that is the URL of a whole route. */
function endpointIn(parts: readonly string[]): Hint['base'] {
  const end = parts.findLastIndex((part) => !prefixes.has(part)) + 1;
  const endpoint = pathOf(parts.slice(0, end), true);
  if (endpoint === undefined) return undefined;
  return { ends: endpoint, shouldEnd: parts.slice(end).includes('v1') ? '' : '/v1' };
}

const maxDifference = 3;

/** Returns the route whose path differs in the fewest letters, if they are few. */
function similarTo(bare: string): string | undefined {
  let nearest: string | undefined;
  let fewest = maxDifference + 1;
  const wanted = bare.toLowerCase();
  for (const path of paths) {
    const own = path.replace(/^\/v1(?=\/)/, '');
    const most = Math.min(fewest - 1, Math.floor(own.length / 3));
    if (Math.abs(own.length - wanted.length) > most) continue;
    const difference = editDistance(own, wanted, 2);
    if (difference > most) continue;
    fewest = difference;
    nearest = path;
  }
  return nearest;
}
