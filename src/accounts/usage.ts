/**
 * What is kept of usage: one row for every request that has ended, the questions that can be asked of the rows, and the
 * contract of the store that keeps them. It writes nothing.
 */
import type { Caller, Priority } from '../request/caller.ts';
import type { MaybePromise, Spent } from './limits.ts';
import type { Tokens } from '../wire/tokens.ts';
import type { Outcome, Settlement } from '../request/settlement.ts';

/** One request that has ended. Times in milliseconds, to a tenth. */
export interface UsageRow {
  /** UUIDv7, its own: of the rows that one process writes, a later one has a higher one. */
  uuid: string;
  /** When it ended, in epoch milliseconds. */
  at: number;
  /** Can be the client's choice, so two rows can have the same. */
  requestId: string;
  keyId: string;
  principal: string;
  /** The user whom the key has named; `undefined` if the key spoke for itself. */
  user: string | undefined;
  keyName: string;
  route: string;
  /** The class in which it waited; `undefined` if it ended before that was known. */
  priority: Priority | undefined;
  /** As the client named it; `undefined` if it named none. */
  model: string | undefined;
  /**
   * As the latest engine that had the request knows it; if none had it and the client named none, the model that it
   * waited for. `undefined` if the engine chose for itself.
   */
  servedModel: string | undefined;
  upstream: string | undefined;
  status: number;
  code: string | undefined;
  outcome: Outcome;
  stream: boolean;
  queuedMs: number;
  /** From the engine having the request to its first byte; only of streams that an engine has answered well. */
  firstTokenMs: number | undefined;
  engineMs: number;
  totalMs: number;
  promptTokens: number | undefined;
  cachedTokens: number | undefined;
  completionTokens: number | undefined;
  tokensAre: 'exact' | 'estimated' | undefined;
  isCacheHit: boolean;
}

/** What totals can be grouped by; days, hours and minutes are those of UTC. */
export const usageColumns = [
  'key',
  'principal',
  'model',
  'upstream',
  'route',
  'code',
  'day',
  'hour',
  'minute',
] as const;

/** The columns by which a key of a client may group its own usage. */
export const ownColumns = ['model', 'route', 'day', 'hour', 'principal'] as const;

export type UsageColumn = (typeof usageColumns)[number];

/** Which rows to add up: those with `since` <= at < `until`, in epoch milliseconds. */
export interface UsageQuery {
  since: number;
  until: number;
  /** An empty list makes one group of everything. */
  by: readonly UsageColumn[];
  /** The rows of this key alone. */
  keyId?: string | undefined;
  /** Ends the search; it throws the signal's reason then. */
  signal?: AbortSignal | undefined;
}

/** More groups than this are refused: a week has 10,080 minutes. */
export const maxGroups = 20_000;

/** Sums of a group. Tokens are those that engines have worked for: hits of the response cache add none. */
export interface UsageFigures {
  requests: number;
  /** Those beyond a limit of their key, or with no room in the queue. No engine had them, and no figure below has. */
  refused: number;
  /** Those that ended with any other error, of the gateway or of an engine. */
  failed: number;
  /** Those whose client left. */
  cancelled: number;
  cacheHits: number;
  promptTokens: number;
  cachedTokens: number;
  completionTokens: number;
  /** Requests whose tokens are estimated. */
  estimated: number;
  engineSeconds: number;
  /** Percentiles by nearest rank, to two significant digits; `null` if there is nothing to rank. */
  firstTokenMsP50: number | null;
  firstTokenMsP95: number | null;
  /** Of those that were in the queue, for however short. */
  queuedMsP50: number | null;
  queuedMsP95: number | null;
}

/**
 * One group: the columns asked for, and its sums. `key` is the public id, and `name` goes with it, as of its latest request;
 * `day` is `2026-11-05`, `hour` and `minute` are `2026-11-05T13:00Z`; `null` if a request had no such thing.
 */
export type UsageTotals = { [column in UsageColumn | 'name']?: string | null } & UsageFigures;

/** The totals of a span of time as people get them; times in ISO form. */
export interface UsageReport {
  since: string;
  until: string;
  data: readonly UsageTotals[];
}

export function usageReport(
  { since, until }: Pick<UsageQuery, 'since' | 'until'>,
  data: readonly UsageTotals[],
): UsageReport {
  return { since: new Date(since).toISOString(), until: new Date(until).toISOString(), data };
}

/** Returns the tokens of a request that count for its principal's budgets. */
export function spentTokens(request: {
  isCacheHit: boolean;
  promptTokens?: number | undefined;
  completionTokens?: number | undefined;
}): number {
  return request.isCacheHit ? 0 : (request.promptTokens ?? 0) + (request.completionTokens ?? 0);
}

/** Which rows of a key to add up. */
export interface SpentQuery {
  keyId: string;
  /** The beginnings of the day and of the month, in epoch milliseconds. */
  day: number;
  month: number;
  /** Only rows with a lower `uuid` than this, and rows that have none. */
  before: string;
}

/**
 * Keeps the ledger, here or for several gateways together. Every method throws or rejects if it fails, and does not take
 * long to say so.
 */
export interface UsageStore {
  /** Writes all of these rows or none. A row whose `uuid` is there already is left out: a repeat does no harm. */
  insertUsage(rows: readonly UsageRow[]): MaybePromise<void>;
  /** Returns totals in the order of time if that is a column, and then most tokens first. */
  usage(query: UsageQuery): MaybePromise<UsageTotals[]>;
  /** Returns what each principal of a key has spent. */
  spent(query: SpentQuery): MaybePromise<Spent[]>;
  /** Returns the highest `uuid` of all rows; `undefined` if there is none. */
  latestUuid(): MaybePromise<string | undefined>;
  /** Deletes some of the rows before that time, in epoch milliseconds, and returns how many; 0 if none is left. */
  dropUsageBefore(at: number): MaybePromise<number>;
}

/** The client names the model, at whatever length. */
const maxTextLength = 200;
/** No request has more; a sum over any number of rows stays exact. */
const maxTokens = 1e9;

function countOf(tokens: number | undefined): number | undefined {
  const isCount = Number.isInteger(tokens) && tokens !== undefined;
  return isCount && tokens >= 0 && tokens <= maxTokens ? tokens : undefined;
}

function tenths(milliseconds: number): number {
  return Math.max(0, Math.round(milliseconds * 10) / 10);
}

/** A row that has no `uuid` yet, because nobody has asked for it. */
export type NewRow = Omit<UsageRow, 'uuid'> & { uuid: string | undefined };

/** What an engine ran under another name counts as what it ran. */
function unservedName({ servedModel }: Settlement): string | undefined {
  return servedModel === undefined ? unservedModel : undefined;
}

/** Returns the user whom a key has named as its principal. */
function userOf({ keyId, principal }: Caller): string | undefined {
  return principal === keyId ? undefined : principal.slice(keyId.length + 1);
}

/** The one name in reports of all models that no engine serves: clients can make up any number. */
const unservedModel = 'unknown';

/**
 * Pure: returns the row of a request. Whatever a client or an engine has sent, a store can keep it.
 * @param isServed whether the model that it asked for is the name of one that an engine serves
 */
export function rowOf(record: Settlement, at: number, isServed = true): NewRow {
  const { caller, stream, status, firstByteMs, isCacheHit } = record;
  const isGood = status < 400 && record.code !== 'upstream_failed';
  const isAnswer = stream && isGood && !isCacheHit && firstByteMs !== undefined;
  const tokens: { [name in keyof Tokens]-?: number | undefined } = {
    promptTokens: countOf(record.promptTokens),
    cachedTokens: countOf(record.cachedTokens),
    completionTokens: countOf(record.completionTokens),
  };
  return {
    uuid: undefined,
    at: Math.round(at),
    requestId: record.requestId,
    keyId: caller.keyId,
    principal: caller.principal,
    user: userOf(caller),
    keyName: caller.name.slice(0, maxTextLength),
    route: record.route,
    priority: record.priority,
    model: isServed ? record.askedModel?.slice(0, maxTextLength) : unservedName(record),
    servedModel: record.servedModel?.slice(0, maxTextLength),
    upstream: record.upstream,
    status,
    code: record.code,
    outcome: record.outcome,
    stream,
    queuedMs: tenths(record.queuedMs),
    firstTokenMs: isAnswer ? tenths(firstByteMs) : undefined,
    engineMs: tenths(record.engineMs),
    totalMs: tenths(record.totalMs),
    ...tokens,
    tokensAre: record.tokensAre,
    isCacheHit,
  };
}
