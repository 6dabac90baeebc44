/**
 * What the admin API gives, as far as the page reads it. The page cannot import the server's own types, which need Bun's;
 * tests/unit/dashboard.test.ts has the compiler hold these against them.
 */

export type Phase = 'body' | 'queued' | 'prefill' | 'decode';

export interface LiveRow {
  id: string;
  key: string;
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
}

export interface Engine {
  id: string;
  kind: string;
  state: string;
  /** `null` where the engine takes as many as come. */
  slots: number | null;
  usedSlots: number;
  models: readonly string[];
}

export interface Live {
  requests: readonly LiveRow[];
  upstreams: readonly Engine[];
  queued: number;
}

/** One group of the usage; of the columns that name the group it has those that were asked for. */
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

/** A key that has just been made: the only time that it is shown. */
export interface NewKey extends KeyView {
  key: string;
}
