/**
 * The types of the admin API's answers, as far as the page reads them. The page cannot import the server's types, which
 * need Bun's; tests/unit/pages/dashboard.test.ts has the compiler compare the two.
 */

export type Phase = 'body' | 'queued' | 'prefill' | 'decode';

export interface LiveRow {
  /** What no other request is called. */
  id: string;
  requestId: string;
  keyId: string;
  name: string;
  principal: string;
  route: string;
  model: string | null;
  phase: Phase;
  tokens: number;
  tokensPerSecond: number | null;
  ageMs: number;
  queuedMs: number;
  upstream: string | null;
  stream: boolean;
  wait: Wait | null;
}

/** What a queued request waits for. */
export interface Wait {
  place: number;
  /** `null` if it cannot be estimated. */
  seconds: number | null;
  /** The reason in words. */
  why: string;
}

export interface Engine {
  id: string;
  kind: string;
  state: string;
  /** `null` if the number of slots is unlimited. */
  slots: number | null;
  usedSlots: number;
  models: readonly string[];
}

export interface Live {
  requests: readonly LiveRow[];
  upstreams: readonly Engine[];
  queued: number;
}

/** The usage of one group, with the columns by which the report is grouped. */
export interface UsageRow {
  key?: string | null;
  name?: string | null;
  model?: string | null;
  minute?: string | null;
  hour?: string | null;
  requests: number;
  refused: number;
  failed: number;
  cancelled: number;
  cacheHits: number;
  promptTokens: number;
  cachedTokens: number;
  completionTokens: number;
  estimated: number;
  engineSeconds: number;
  firstTokenMsP50: number | null;
  firstTokenMsP95: number | null;
  queuedMsP50: number | null;
  queuedMsP95: number | null;
}

export interface Usage {
  since: string;
  until: string;
  data: readonly UsageRow[];
}

export interface Limits {
  requestsPerMinute?: number | undefined;
  tokensPerMinute?: number | undefined;
  concurrentRequests?: number | undefined;
  budgets?: readonly { tokens: number; per: string }[] | undefined;
}

export interface KeyView {
  id: string;
  name: string;
  hint: string;
  createdAt: string;
  expiresAt: string | null;
  revokedAt: string | null;
  models: readonly string[] | null;
  weight: number;
  priority: string;
  userHeader: string | null;
  limits: Limits;
  state: 'active' | 'expired' | 'revoked';
  replacedUntil: string | null;
}

/** A new key; only this answer contains the key itself. */
export interface NewKey extends KeyView {
  key: string;
}
