/**
 * The table of what an upstream in the configuration can have. values.ts reads it; describe.ts writes the print
 * and the JSON Schema from it.
 */
import { Type } from '@sinclair/typebox';
import { oneOf, row } from './row.ts';
import { serverBaseUrl } from './settings.ts';
import { engineKinds } from '../wire/kinds.ts';

const modelName = Type.String({
  pattern: '^[^\\r\\n]{1,200}$',
  description: 'the name of a model, at most 200 characters',
});
const aliasName = Type.String({
  pattern: '^(?=.{1,200}$)[^\\r\\n*]*\\*?$',
  description: 'a name, at most 200 characters, with * at its end alone',
});
const slotCount = Type.Integer({ minimum: 1, maximum: 65_536 });

function oneServer(text: string): string {
  if (text.includes(',')) throw new Error('several servers are several entries of the list');
  if (/[?#@]/.test(text)) {
    throw new Error('no query, fragment or credentials in it, use api_key for a key');
  }
  return serverBaseUrl(text);
}

/** What an upstream can have, in the order of the documentation. */
export const upstreamFields = [
  row(
    'url',
    Type.String({
      pattern: '^[^,]+$',
      description: 'an http:// or https:// URL, with or without /v1/completions, without commas',
    }),
    undefined,
    'The inference server; the only key that is required.',
    { isRequired: true, decode: oneServer },
  ),
  row(
    'id',
    Type.String({
      pattern: '^[A-Za-z0-9._-]{1,64}$',
      description: '1 to 64 of the characters A-Z, a-z, 0-9, dot, _ and -',
    }),
    undefined,
    'Its name in logs and in /health; without it engine-1, engine-2 and so on by its place in the list, or engine if it is the only one.',
  ),
  row(
    'api_key',
    Type.String({ pattern: '^[!-~]+$', description: 'visible ASCII characters without space' }),
    undefined,
    'Key that it wants from the gateway.',
    { secret: true },
  ),
  row('kind', oneOf('auto', ...engineKinds), 'auto', 'Kind of the inference server; auto asks it.'),
  row(
    'models',
    Type.Array(modelName, {
      minItems: 1,
      uniqueItems: true,
      description: 'a list of names of models',
    }),
    undefined,
    'Names of its models; without them the gateway asks it (/v1/models).',
  ),
  row(
    'aliases',
    Type.Record(Type.String(), modelName, {
      propertyNames: aliasName,
      description: 'a mapping of further names to names of models',
    }),
    {},
    'Further names under which clients can ask for its models. One that ends in * stands for all names that begin so: a name that is known comes first, then the longest of these.',
  ),
  row(
    'slots',
    Type.Union(
      [
        Type.Literal('auto'),
        Type.Literal('unbounded'),
        slotCount,
        Type.Record(Type.String(), slotCount, { propertyNames: modelName }),
      ],
      {
        description:
          'auto, unbounded, a whole number from 1 to 65536, or a mapping of models to such numbers',
      },
    ),
    undefined,
    'How many requests it runs at once; auto asks it. Without it UPSTREAM_SLOTS applies.',
  ),
  row(
    'weight',
    Type.Number({
      exclusiveMinimum: 0,
      maximum: 1_000,
      description: 'a number above 0, at most 1000',
    }),
    1,
    'Its share of the requests that could run on any upstream, relative to the weights of the others.',
  ),
  row(
    'drain',
    Type.Boolean({ description: 'true or false' }),
    false,
    'Whether it gets no new requests, so that it can be removed when its last request has ended.',
  ),
] as const;

/** One upstream of the configuration. */
export interface UpstreamSettings {
  readonly id: string;
  /** Without a slash at its end and without `/v1`. */
  readonly url: string;
  readonly apiKey: string | undefined;
  readonly kind: 'auto' | (typeof engineKinds)[number];
  /** `undefined`: the gateway asks it for them. */
  readonly models: readonly string[] | undefined;
  /** Models by their further names. */
  readonly aliases: Readonly<Record<string, string>>;
  readonly slots: 'auto' | 'unbounded' | number | Readonly<Record<string, number>>;
  readonly weight: number;
  readonly drain: boolean;
}
