/**
 * Reads what a key may do, from flags of the command line and from JSON, by one set of rules. It tells every problem at
 * once, and takes nothing that it does not know.
 */
import { Type, type Static, type TSchema } from '@sinclair/typebox';
import { Value } from '@sinclair/typebox/value';
import { hintOfIssued, stateOf, type IssuedKey, type KeyPolicy } from './keys.ts';
import type { Budget, Limits } from './limits.ts';
import type { Priority } from './queue.ts';
import { rows, shown } from './settings.ts';

/** What was given is wrong: one line for every problem, with its place, what was found, what is allowed. */
export class PolicyError extends Error {
  override readonly name = 'PolicyError';

  constructor(readonly problems: readonly string[]) {
    super(problems.join('\n'));
  }
}

const unitMs = { s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 } as const;
/** A hundred years: whatever is added to or taken from a date stays one. */
const longestMs = 36_500 * unitMs.d;
const durations = 'a duration such as 7d, 24h, 30m or 90s';
const dates = 'an ISO date such as 2027-01-31 or 2027-01-31T18:00Z (UTC where it names no zone)';

/** Gives the milliseconds of `7d`, `24h`, `30m` or `90s`, of at most a hundred years; `undefined` for anything else. */
export function parseDuration(text: string): number | undefined {
  const match = /^(\d{1,10})([smhd])$/.exec(text);
  if (match === null) return undefined;
  const ms = Number(match[1]) * unitMs[match[2] as keyof typeof unitMs]; // The pattern has only these.
  return ms <= longestMs ? ms : undefined;
}

const isoDate = /^(\d{4}-\d\d-\d\d)(T\d\d:\d\d(:\d\d(\.\d{1,9})?)?(Z|[+-]\d\d:\d\d)?)?$/;

/** Gives the epoch milliseconds of an ISO date. */
function parseDate(text: string): number | undefined {
  const [, day = '', time, , , zone] = isoDate.exec(text) ?? [];
  const dayAt = Date.parse(day);
  // An engine may roll the 30th of February on into March.
  if (Number.isNaN(dayAt) || !new Date(dayAt).toISOString().startsWith(day)) return undefined;
  const at = Date.parse(time !== undefined && zone === undefined ? `${text}Z` : text);
  return Number.isNaN(at) ? undefined : at;
}

/**
 * Gives the time that a duration ago or an ISO date means; `undefined` for anything else.
 * @param epochMs now, in epoch milliseconds
 */
export function parseSince(text: string, epochMs: number): number | undefined {
  const ms = parseDuration(text);
  return ms === undefined ? parseDate(text) : epochMs - ms;
}

const budgetUnits = { '': 1, k: 1e3, m: 1e6, g: 1e9 } as const;

/** Gives the budget of `1M/day` or `500k/month`; `undefined` for anything else. */
function parseBudget(text: string): unknown {
  const match = /^(\d+(?:\.\d+)?)([kmg]?)\/(day|month)$/i.exec(text.trim());
  if (match === null) return undefined;
  const [, amount, unit = '', per = ''] = match.map((part) => part?.toLowerCase());
  const tokens = Number(amount) * budgetUnits[unit as keyof typeof budgetUnits]; // The pattern has only these.
  // 1.1 * 1e6 is not whole in binary.
  return { tokens: Number(tokens.toPrecision(15)), per };
}

/** Every member of a policy, those of its limits among them. */
type Values = Omit<KeyPolicy, 'limits'> & { -readonly [N in keyof Limits]-?: Limits[N] };
type Name = keyof Values;

/** How one member is read. */
interface Rule<T> {
  /** Its name on the command line. */
  flag: string;
  /** Which values it may have, for people. */
  allowed: string;
  /** The value where none is given, and what `null` sets it to; `null` where there must be one. */
  fallback: T | null;
  /** Gives what JSON would have, from the text of a flag. */
  decode: (text: string) => unknown;
  /** Gives the value; `null` where it is none that is allowed. */
  accept: (value: unknown, epochMs: number) => T | null;
}

function asIs(text: string): unknown {
  return text;
}

function asNumber(text: string): unknown {
  return /^\d+(\.\d+)?$/.test(text.trim()) ? Number(text) : text;
}

function partsOf(text: string): string[] {
  return text.split(',').flatMap((part) => part.trim() || []);
}

function checked<S extends TSchema>(schema: S) {
  return (value: unknown): Static<S> | null => (Value.Check(schema, value) ? value : null);
}

const count = Type.Integer({ minimum: 1, maximum: Number.MAX_SAFE_INTEGER });

function limit(flag: string): Rule<number | undefined> {
  const allowed = 'a whole number from 1 up';
  return { flag, allowed, fallback: undefined, decode: asNumber, accept: checked(count) };
}

const budgetList = Type.Array(
  Type.Object(
    { tokens: count, per: Type.Union([Type.Literal('day'), Type.Literal('month')]) },
    { additionalProperties: false },
  ),
  { minItems: 1 },
);

/** Gives budgets, of which each period has one at most. */
function acceptBudgets(value: unknown): readonly Budget[] | null {
  const budgets = checked(budgetList)(value);
  return budgets && new Set(budgets.map(({ per }) => per)).size === budgets.length ? budgets : null;
}

/** No control or formatting characters, which could disguise a line of the log or of a table. */
const printable = /^[^\p{C}\p{Zl}\p{Zp}]{1,100}$/u;

// A header with a credential must not become a user's name: one rule for all keys.
const userHeader = rows.find(({ env }) => env === 'TRUSTED_USER_HEADER')?.schema ?? Type.Never();

const rules: { readonly [N in Name]: Rule<Values[N]> } = {
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

const names = Object.keys(rules) as Name[]; // A constant has its own keys and no other.
const limitNames: readonly Name[] = [
  'requestsPerMinute',
  'tokensPerMinute',
  'concurrentRequests',
  'budgets',
];

/** A value as a source gave it: `label` names its place, `found` is what a message shows. */
interface Given {
  label: string;
  value: unknown;
  found: unknown;
}

type Source = ReadonlyMap<Name, Given>;

/** Reads what one source gives; what is wrong goes to `problems`. */
function read(source: Source, problems: string[], epochMs: number): Partial<Values> {
  function valueOf<N extends Name>(name: N, { label, value, found }: Given): Partial<Values> {
    const rule = rules[name];
    const accepted = value === null ? rule.fallback : rule.accept(value, epochMs);
    if (accepted !== null) return { [name]: accepted };
    problems.push(`${label}: found ${shown(found, false)}; allowed is ${rule.allowed}`);
    return {};
  }
  return Object.assign({}, ...[...source].map(([name, given]) => valueOf(name, given)));
}

/** Puts the members of limits where they belong; those that are not limited are left out. */
function limitsOf(values: Partial<Values>): Limits {
  const set = limitNames.filter((name) => values[name] !== undefined);
  return Object.fromEntries(set.map((name) => [name, values[name]]));
}

function withoutLimits(values: Partial<Values>): Partial<Omit<KeyPolicy, 'limits'>> {
  const entries = Object.entries(values).filter(([name]) => !limitNames.includes(name as Name));
  return Object.fromEntries(entries);
}

/** Gives the policy of a new key. Throws a PolicyError. */
function policyOf(
  source: Source,
  problems: string[],
  nameLabel: string,
  epochMs: number,
): KeyPolicy {
  const given = read(source, problems, epochMs);
  if (!source.has('name')) {
    problems.unshift(`${nameLabel}: missing; allowed is ${rules.name.allowed}`);
  }
  if (problems.length > 0) throw new PolicyError(problems);
  const { weight = 1, priority = 'interactive', name = '', models, userHeader, expiresAt } = given;
  return { name, limits: limitsOf(given), models, weight, priority, userHeader, expiresAt };
}

type Mapping = Readonly<Record<string, unknown>>;

function isMapping(value: unknown): value is Mapping {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** Gives the members that a JSON object has; one that no rule knows is a problem. */
function fromJson(body: Mapping, problems: string[]): Source {
  const source = new Map<Name, Given>();
  function take(members: Mapping, path: string, known: readonly Name[]): void {
    for (const [member, value] of Object.entries(members)) {
      const name = known.find((each) => each === member);
      const label = path + member;
      if (name !== undefined) source.set(name, { label, value, found: value });
      else problems.push(`${path}${shown(member, false)}: a policy has no such member`);
    }
  }
  const { limits, ...others } = body;
  const known = names.filter((name) => !limitNames.includes(name));
  take(others, '', known);
  if (isMapping(limits)) take(limits, 'limits.', limitNames);
  else if (limits === null)
    take(Object.fromEntries(limitNames.map((name) => [name, null])), '', limitNames);
  else if (limits !== undefined) {
    problems.push(`limits: found ${shown(limits, false)}; allowed is an object of limits`);
  }
  return source;
}

/**
 * Gives the policy that a JSON object sets out. Throws a PolicyError.
 * @param epochMs now, in epoch milliseconds
 */
export function policyFromJson(body: Mapping, epochMs: number): KeyPolicy {
  const problems: string[] = [];
  return policyOf(fromJson(body, problems), problems, 'name', epochMs);
}

/**
 * Gives what a JSON object changes; limits that it does not name stay, and `null` clears. Throws a PolicyError.
 * @param epochMs now, in epoch milliseconds
 */
export function changeFromJson(
  body: Mapping,
  current: KeyPolicy,
  epochMs: number,
): Partial<KeyPolicy> {
  const problems: string[] = [];
  const source = fromJson(body, problems);
  const given = read(source, problems, epochMs);
  if (source.size === 0 && problems.length === 0) problems.push('the body changes nothing');
  if (problems.length > 0) throw new PolicyError(problems);
  const changesLimits = limitNames.some((name) => source.has(name));
  const limits = changesLimits ? { limits: limitsOf({ ...current.limits, ...given }) } : {};
  return { ...withoutLimits(given), ...limits };
}

/** The flags of a policy, for `parseArgs`. */
export const policyFlags: Readonly<Record<string, { type: 'string' }>> = Object.fromEntries(
  names.map((name) => [rules[name].flag, { type: 'string' }]),
);

/**
 * Gives the policy that flags set out; those that are none of a policy are passed over. Throws a PolicyError.
 * @param epochMs now, in epoch milliseconds
 */
export function policyFromFlags(flags: Mapping, epochMs: number): KeyPolicy {
  const source = new Map<Name, Given>();
  for (const name of names) {
    const { flag, decode } = rules[name];
    const text = flags[flag];
    if (typeof text !== 'string') continue;
    source.set(name, { label: `--${flag}`, value: decode(text), found: text });
  }
  return policyOf(source, [], '--name', epochMs);
}

/** What of the usage is asked for. */
export interface UsageSpan<Column> {
  by: Column[];
  /** Epoch milliseconds; `until` is not in it any more. */
  since: number;
  until: number;
}

/** Where nobody says for how long. */
const usualSpanMs = 7 * unitMs.d;

/**
 * Reads what is asked of the usage. Throws a PolicyError.
 * @param columns what it may be grouped by; the first is the default
 * @param prefix what stands before a name in messages
 */
export function readSpan<Column extends string>(
  given: Readonly<Partial<Record<'by' | 'since' | 'until', string | undefined>>>,
  { columns, epochMs, prefix }: { columns: readonly Column[]; epochMs: number; prefix: string },
): UsageSpan<Column> {
  const problems: string[] = [];
  function time(name: 'since' | 'until', fallback: number): number {
    const text = given[name];
    const at = text === undefined ? fallback : parseSince(text.trim(), epochMs);
    if (at !== undefined) return at;
    problems.push(
      `${prefix}${name}: found ${shown(text, false)}; allowed is ${durations} ago, or ${dates}`,
    );
    return fallback;
  }
  const by = partsOf(given.by ?? (columns[0] as string)).flatMap((word) => {
    const column = columns.find((each) => each === word);
    if (column !== undefined) return column;
    problems.push(`${prefix}by: found ${shown(word, false)}; allowed are ${columns.join(', ')}`);
    return [];
  });
  const until = time('until', epochMs);
  const since = time('since', until - usualSpanMs);
  if (since >= until && problems.length === 0) {
    problems.push(`${prefix}since: not before ${prefix}until; nothing lies between them`);
  }
  if (problems.length > 0) throw new PolicyError(problems);
  return { by: [...new Set(by)], since, until };
}

/** A key as the operator sees it; times in ISO form. */
export interface KeyView {
  id: string;
  name: string;
  hint: string;
  state: ReturnType<typeof stateOf>;
  createdAt: string;
  expiresAt: string | null;
  revokedAt: string | null;
  /** Until when the secret before the last rotation is still accepted; `null` when it is not any more. */
  replacedUntil: string | null;
  models: readonly string[] | null;
  weight: number;
  priority: Priority;
  userHeader: string | null;
  limits: Limits;
}

function isoOf(epochMs: number | undefined): string | null {
  return epochMs === undefined ? null : new Date(epochMs).toISOString();
}

/**
 * Gives what may be shown of a key.
 * @param epochMs now, in epoch milliseconds
 */
export function keyView(record: IssuedKey, epochMs: number): KeyView {
  const { id, name, weight, priority, limits, replaced } = record;
  const isReplacedValid = replaced !== undefined && replaced.until > epochMs;
  return {
    id,
    name,
    hint: hintOfIssued(id),
    state: stateOf(record, epochMs),
    createdAt: new Date(record.createdAt).toISOString(),
    expiresAt: isoOf(record.expiresAt),
    revokedAt: isoOf(record.revokedAt),
    replacedUntil: isReplacedValid ? isoOf(replaced.until) : null,
    models: record.models ?? null,
    weight,
    priority,
    userHeader: record.userHeader ?? null,
    limits,
  };
}
