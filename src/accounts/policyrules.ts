/**
 * What each member of a key's policy may be, and how it is written as a flag and in JSON. One rule for both; it knows
 * nothing of the others.
 */
import { Type, type Static, type TSchema } from '@sinclair/typebox';
import { Value } from '@sinclair/typebox/value';
import { partsOf } from '../config/problems.ts';
import type { KeyPolicy } from './keys.ts';
import { settings } from '../config/settings.ts';
import { dates, durations, parseDate, parseDuration } from './timespan.ts';
import type { Budget, Limits, Priority } from '../request/caller.ts';

const budgetUnits = { '': 1, k: 1e3, m: 1e6, g: 1e9 } as const;

/** Returns the budget of `1M/day` or `500k/month`; `undefined` for anything else. */
function parseBudget(text: string): unknown {
  const match = /^(\d+(?:\.\d+)?)([kmg]?)\/(day|month)$/i.exec(text.trim());
  if (match === null) return undefined;
  const [, amount = '', unit = '', per = ''] = match;
  return { tokens: amountOf(amount, unit), per: per.toLowerCase() };
}

/** Every member of a policy, those of its limits among them. */
export type Values = Omit<KeyPolicy, 'limits'> & { -readonly [N in keyof Limits]-?: Limits[N] };
export type Name = keyof Values;

/** How one member is read. */
interface Rule<T> {
  /** Its name on the command line. */
  flag: string;
  /** Which values it may have, for people. */
  allowed: string;
  /** The value if none is given, and what `null` sets it to; `null` if there must be one. */
  fallback: T | null;
  /** Returns what JSON would have, from the text of a flag. */
  decode: (text: string) => unknown;
  /** Returns the value; `null` if it is not allowed. */
  accept: (value: unknown, epochMs: number) => T | null;
}

function asIs(text: string): unknown {
  return text;
}

function asNumber(text: string): unknown {
  return /^\d+(\.\d+)?$/.test(text.trim()) ? Number(text) : text;
}

/** Reads `20000`, `20k` or `1.5M`. */
function asCount(text: string): unknown {
  const match = /^(\d+(?:\.\d+)?)([kmg]?)$/i.exec(text.trim());
  if (match === null) return text;
  return amountOf(match[1] ?? '', match[2] ?? '');
}

function amountOf(amount: string, unit: string): number {
  const factor = budgetUnits[unit.toLowerCase() as keyof typeof budgetUnits]; // The patterns have only these.
  // 1.1 * 1e6 is not whole in binary.
  return factor === 1 ? Number(amount) : Number((Number(amount) * factor).toPrecision(15));
}

function checked<S extends TSchema>(schema: S) {
  return (value: unknown): Static<S> | null => (Value.Check(schema, value) ? value : null);
}

const count = Type.Integer({ minimum: 1, maximum: Number.MAX_SAFE_INTEGER });

function limit(flag: string): Rule<number | undefined> {
  const allowed = 'a whole number from 1 up, or such as 20k';
  return { flag, allowed, fallback: undefined, decode: asCount, accept: checked(count) };
}

const budgetList = Type.Array(
  Type.Object(
    { tokens: count, per: Type.Union([Type.Literal('day'), Type.Literal('month')]) },
    { additionalProperties: false },
  ),
  { minItems: 1 },
);

/** Returns budgets, of which each period has one at most. */
function acceptBudgets(value: unknown): readonly Budget[] | null {
  const budgets = checked(budgetList)(value);
  return budgets && new Set(budgets.map(({ per }) => per)).size === budgets.length ? budgets : null;
}

/** No control or formatting characters, which could disguise a line of the log or of a table. */
const printable = /^[^\p{C}\p{Zl}\p{Zp}]{1,100}$/u;

/** A header with a credential must not become a user's name: one rule for all keys. */
export const userHeader: TSchema =
  settings.find(({ env }) => env === 'TRUSTED_USER_HEADER')?.schema ?? Type.Never();

export const rules: { readonly [N in Name]: Rule<Values[N]> } = {
  name: {
    flag: 'name',
    allowed: '1 to 100 printable characters',
    fallback: null,
    decode: asIs,
    accept(value) {
      return typeof value === 'string' && printable.test(value.trim()) ? value.trim() : null;
    },
  },
  requestsPerMinute: limit('rpm'),
  tokensPerMinute: limit('tpm'),
  concurrentRequests: limit('concurrent'),
  budgets: {
    flag: 'budget-tokens',
    allowed:
      'tokens for a day, for a month, or both, such as 1M/day,20M/month; in JSON [{tokens, per}]',
    fallback: undefined,
    decode: (text) => text.split(',').map(parseBudget),
    accept: acceptBudgets,
  },
  models: {
    flag: 'models',
    allowed: 'one or more different names of models',
    fallback: undefined,
    decode: partsOf,
    accept: checked(
      Type.Array(Type.String({ pattern: '^[^\\r\\n]{1,200}$' }), {
        minItems: 1,
        maxItems: 1_000,
        uniqueItems: true,
      }),
    ),
  },
  weight: {
    flag: 'weight',
    allowed: 'a number from 0.01 to 100',
    fallback: 1,
    decode: asNumber,
    accept: checked(Type.Number({ minimum: 0.01, maximum: 100 })),
  },
  priority: {
    flag: 'priority',
    allowed: 'interactive or batch',
    fallback: 'interactive',
    decode: (text) => text.trim().toLowerCase(),
    accept: checked(
      Type.Unsafe<Priority>(Type.Union([Type.Literal('interactive'), Type.Literal('batch')])),
    ),
  },
  expiresAt: {
    flag: 'expires',
    allowed: `${durations}, ${dates}, in the future, or never`,
    fallback: undefined,
    decode: asIs,
    accept: acceptExpiry,
  },
  userHeader: {
    flag: 'user-header',
    allowed: String(userHeader.description),
    fallback: undefined,
    decode: asIs,
    accept(value) {
      const name = typeof value === 'string' ? value.trim().toLowerCase() : value;
      return checked(Type.Unsafe<string>(userHeader))(name);
    },
  },
};

function acceptExpiry(value: unknown, epochMs: number): number | undefined | null {
  if (typeof value !== 'string') return null;
  if (value === 'never') return undefined;
  const ms = parseDuration(value);
  const at = ms === undefined ? parseDate(value) : epochMs + ms;
  return at !== undefined && at > epochMs ? at : null;
}

export const names = Object.keys(rules) as Name[]; // A constant has its own keys and no other.
export const limitNames: readonly Name[] = [
  'requestsPerMinute',
  'tokensPerMinute',
  'concurrentRequests',
  'budgets',
];
