/**
 * The upstreams of the configuration: the `upstreams` of the YAML file, or the URLs of LLM_SERVER_URL. It checks all of
 * them, reads nothing by itself (`readFile` is an argument) and never quotes a key.
 */
import { shown } from './problems.ts';
import { defaultsOf } from './row.ts';
import { mappingLayer, type Environment, type ReadFile } from './sources.ts';
import { upstreamFields, type UpstreamSettings } from './upstreamfields.ts';
import { knownKeys, readRows, unknownKeys } from './values.ts';
import { isRecord } from '../wire/json.ts';

export type { UpstreamSettings } from './upstreamfields.ts';

/** What the list is read with. */
interface Reading {
  /** Fills in each `${NAME}`. */
  env: Environment;
  readFile: ReadFile;
  /** The slots of an upstream that names none. */
  slots: UpstreamSettings['slots'];
}

/** What was read of one upstream. Its id and URL are there if they are good, the settings only if all of it is. */
interface Candidate {
  id: string | undefined;
  url: string | undefined;
  settings: UpstreamSettings | undefined;
}

const known = knownKeys(upstreamFields);
const defaults = defaultsOf(upstreamFields);

function defaultId(index: number, count: number): string {
  return count === 1 ? 'engine' : `engine-${index + 1}`;
}

/**
 * Returns the upstreams of the file's list that are good, and every problem of the list with its place.
 * @param label names the list in messages
 */
export function readUpstreams(
  list: unknown,
  label: string,
  reading: Reading,
): { upstreams: UpstreamSettings[]; problems: string[] } {
  if (!Array.isArray(list) || list.length === 0) {
    const problem = `${label}: found ${shown(list, true)}; allowed is a list of upstreams`;
    return { upstreams: [], problems: [problem] };
  }
  const problems: string[] = [];
  const candidates = list.map((given: unknown, index) => {
    const place = `${label}[${index + 1}]`;
    if (isRecord(given)) {
      return readUpstream(given, place, defaultId(index, list.length), reading, problems);
    }
    problems.push(`${place}: found ${shown(given, true)}; allowed is a mapping with a url`);
    return undefined;
  });
  problems.push(...repeats(candidates, label));
  return { upstreams: candidates.flatMap((each) => each?.settings ?? []), problems };
}

function readUpstream(
  mapping: Record<string, unknown>,
  place: string,
  fallbackId: string,
  { env, readFile, slots }: Reading,
  problems: string[],
): Candidate {
  const before = problems.length;
  const keys = Object.keys(mapping);
  problems.push(...unknownKeys(place, keys, known, `; there are ${known.join(', ')}`));
  const { values, broken } = readRows(
    upstreamFields,
    {
      layers: [mappingLayer(new Map(Object.entries(mapping)), `${place}.`, env)],
      readFile,
      labelOf: ({ key }) => `${place}.${key}`,
    },
    problems,
  );
  // An id that is refused does not become the default one.
  const id = broken.has('id') ? undefined : (values.id ?? fallbackId);
  const { url } = values;
  const isGood = id !== undefined && url !== undefined && problems.length === before;
  const settings = isGood ? { ...values, id, url, slots: values.slots ?? slots } : undefined;
  return { id, url, settings };
}

/** Returns a problem for each id and each URL that stands twice. */
function repeats(candidates: readonly (Candidate | undefined)[], label: string): string[] {
  return candidates.flatMap((candidate, index) => {
    const repeated = (['id', 'url'] as const).map((name) => {
      const value = candidate?.[name];
      const first = candidates.findIndex((other) => other?.[name] === value);
      return value !== undefined && first < index
        ? `${label}[${index + 1}].${name}: repeats that of ${label}[${first + 1}]`
        : [];
    });
    return repeated.flat();
  });
}

/** Returns the upstreams that URLs alone name, in their order; everything else is the same for all of them. */
export function upstreamsOf(
  urls: readonly string[],
  shared: Pick<UpstreamSettings, 'apiKey' | 'kind' | 'slots'>,
): UpstreamSettings[] {
  return urls.map((url, index) => ({
    ...defaults,
    ...shared,
    id: defaultId(index, urls.length),
    url,
  }));
}
