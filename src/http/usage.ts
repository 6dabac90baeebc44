/**
 * What has been used, over HTTP: reports for the operator, and for a key of a client its own usage.
 */
import { Elysia } from 'elysia';
import { type CorsHeaders, answering } from '../wire/cors.ts';
import { GatewayError } from '../wire/errors.ts';
import {
  type UsageColumn,
  type UsageReport,
  type UsageStore,
  ownColumns,
  usageReport,
} from '../accounts/usage.ts';
import { clientAuth, type ClientDoor } from './auth.ts';
import { endOf, parametersOf, reading } from './input.ts';
import { readSpan } from '../accounts/timespan.ts';
import { withoutKey } from '../wire/querykey.ts';

export interface UsageReader {
  usage: Pick<UsageStore, 'usage'>;
  /** Epoch milliseconds. */
  epochNow: () => number;
}

/** Returns the totals that a request asks for; of one key if it is given. */
export async function usageFor(
  request: Request,
  { usage, epochNow }: UsageReader,
  columns: readonly UsageColumn[],
  keyId?: string,
): Promise<UsageReport> {
  // A client may have put its key there; the operator may not.
  const url = keyId === undefined ? request.url : withoutKey(request.url);
  const given = parametersOf(url, ['by', 'since', 'until']);
  const span = reading(() => readSpan(given, { columns, epochMs: epochNow(), prefix: '' }));
  try {
    return usageReport(span, await usage.usage({ ...span, keyId, signal: request.signal }));
  } catch (cause) {
    throw endOf(request, cause);
  }
}

export interface OwnUsageOptions extends UsageReader, ClientDoor {
  corsHeaders: CorsHeaders;
}

/** The plugin with `GET /usage`: for a key of a client, what it has used itself. */
export function ownUsage(options: OwnUsageOptions) {
  const answer = answering(options.corsHeaders);
  /** Keys that a report is being made for: one at a time, since each reads many rows. */
  const busy = new Set<string>();
  return new Elysia({ name: 'usage' })
    .use(clientAuth(options))
    .get('/usage', async function reportOwnUsage({ request, caller: { keyId } }) {
      if (busy.has(keyId)) {
        throw new GatewayError('too_many_concurrent', {
          message:
            'Another usage report of this API key is being made; one at a time. Retry in 1 s.',
          headers: { 'retry-after': '1' },
        });
      }
      busy.add(keyId);
      try {
        return answer(request, await usageFor(request, options, ownColumns, keyId));
      } finally {
        busy.delete(keyId);
      }
    });
}
