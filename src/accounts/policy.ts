/**
 * Reads what a key may do, from flags of the command line and from JSON, by one set of rules. It tells every problem at
 * once, and takes nothing that it does not know.
 */
import { InputError } from '../config/problems.ts';
import type { KeyPolicy } from './keys.ts';
import { limitNames, names, rules, type Name, type Values } from './policyrules.ts';
import { shown } from '../config/problems.ts';
import { isRecord } from '../wire/json.ts';
import type { Limits } from '../request/caller.ts';

/** A value as a source gave it: `label` names its place, `found` is what a message shows. */
interface Given {
  label: string;
  value: unknown;
  found: unknown;
}

type Source = ReadonlyMap<Name, Given>;

/** As a flag, and in JSON. */
type ClearingWord = 'none' | 'null';

/**
 * Reads the members of one source; what is wrong with them goes to `problems`.
 * @param clearing the word with which a change takes a member away; `undefined` if there is nothing to take
 */
function read(
  source: Source,
  problems: string[],
  epochMs: number,
  clearing?: ClearingWord,
): Partial<Values> {
  function valueOf<N extends Name>(name: N, { label, value, found }: Given): Partial<Values> {
    const rule = rules[name];
    const accepted = value === null ? rule.fallback : rule.accept(value, epochMs);
    if (accepted !== null) return { [name]: accepted };
    const more = clearing !== undefined && rule.fallback !== null ? `, or ${clearing}` : '';
    problems.push(`${label}: found ${shown(found, false)}; allowed is ${rule.allowed}${more}`);
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

/** Returns the policy of a new key. Throws an InputError. */
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
  if (problems.length > 0) throw new InputError(problems);
  const { weight = 1, priority = 'interactive', name = '', models, userHeader, expiresAt } = given;
  return { name, limits: limitsOf(given), models, weight, priority, userHeader, expiresAt };
}

/** Returns what changes of a policy. Throws an InputError. */
function changeOf(
  source: Source,
  problems: string[],
  current: KeyPolicy,
  epochMs: number,
  clearing: ClearingWord,
): Partial<KeyPolicy> {
  const given = read(source, problems, epochMs, clearing);
  if (problems.length > 0) throw new InputError(problems);
  const changesLimits = limitNames.some((name) => source.has(name));
  const limits = changesLimits ? { limits: limitsOf({ ...current.limits, ...given }) } : {};
  return { ...withoutLimits(given), ...limits };
}

type Mapping = Readonly<Record<string, unknown>>;

/** Returns the members that a JSON object has; one that no rule knows is a problem. */
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
  if (isRecord(limits)) take(limits, 'limits.', limitNames);
  else if (limits === null)
    take(Object.fromEntries(limitNames.map((name) => [name, null])), '', limitNames);
  else if (limits !== undefined) {
    problems.push(`limits: found ${shown(limits, false)}; allowed is an object of limits, or null`);
  }
  return source;
}

/**
 * Returns the policy that a JSON object sets out. Throws an InputError.
 * @param epochMs now, in epoch milliseconds
 */
export function policyFromJson(body: Mapping, epochMs: number): KeyPolicy {
  const problems: string[] = [];
  return policyOf(fromJson(body, problems), problems, 'name', epochMs);
}

/**
 * Returns what a JSON object changes; limits that it does not name stay, and `null` clears. Throws an InputError.
 * @param epochMs now, in epoch milliseconds
 */
export function changeFromJson(
  body: Mapping,
  current: KeyPolicy,
  epochMs: number,
): Partial<KeyPolicy> {
  const problems: string[] = [];
  const source = fromJson(body, problems);
  if (source.size === 0 && problems.length === 0) problems.push('the body changes nothing');
  return changeOf(source, problems, current, epochMs, 'null');
}

/** The flags of a policy, for `parseArgs`. */
export const policyFlags: Readonly<Record<string, { type: 'string' }>> = Object.fromEntries(
  names.map((name) => [rules[name].flag, { type: 'string' }]),
);

/** Returns the members that flags name; flags that do not belong to a policy are ignored. */
function fromFlags(flags: Mapping, decode: (name: Name, text: string) => unknown): Source {
  const source = new Map<Name, Given>();
  for (const name of names) {
    const { flag } = rules[name];
    const text = flags[flag];
    if (typeof text !== 'string') continue;
    source.set(name, { label: `--${flag}`, value: decode(name, text), found: text });
  }
  return source;
}

function decodeFlag(name: Name, text: string): unknown {
  return rules[name].decode(text);
}

/**
 * Returns the policy that flags set out; those that do not belong to a policy are ignored. Throws an InputError.
 * @param epochMs now, in epoch milliseconds
 */
export function policyFromFlags(flags: Mapping, epochMs: number): KeyPolicy {
  return policyOf(fromFlags(flags, decodeFlag), [], '--name', epochMs);
}

/** As the text of a flag that can be taken away it does that, as `null` does in JSON; a name can be this word. */
function decodeChange(name: Name, text: string): unknown {
  const isTakenAway = text.trim().toLowerCase() === 'none' && rules[name].fallback !== null;
  return isTakenAway ? null : decodeFlag(name, text);
}

/**
 * Returns what flags change; limits that they do not name stay, and `none` clears. Throws an InputError.
 * @param epochMs now, in epoch milliseconds
 */
export function changeFromFlags(
  flags: Mapping,
  current: KeyPolicy,
  epochMs: number,
): Partial<KeyPolicy> {
  const source = fromFlags(flags, decodeChange);
  const problems = source.size === 0 ? ['no option says what to change'] : [];
  return changeOf(source, problems, current, epochMs, 'none');
}
