/**
 * The command `usage`: adds up the rows of the ledger, whether or not a gateway runs on it, and prints the totals as a
 * table, JSON or CSV. It changes nothing.
 */
import {
  commonHelp,
  Misuse,
  runCommand,
  type Command,
  type CommandContext,
  type ExitCode,
} from './command.ts';
import { readSpan } from '../accounts/timespan.ts';
import { csv, none, table, json } from './table.ts';
import {
  usageColumns,
  usageReport,
  type UsageColumn,
  type UsageFigures,
} from '../accounts/usage.ts';

/** The figures, in their order, with what a table has above them. */
const figures: Readonly<Record<keyof UsageFigures, string>> = {
  requests: 'requests',
  refused: 'refused',
  failed: 'failed',
  cancelled: 'cancelled',
  cacheHits: 'cache hits',
  promptTokens: 'prompt',
  cachedTokens: 'cached',
  completionTokens: 'completion',
  estimated: 'estimated',
  engineSeconds: 'engine s',
  firstTokenMsP50: 'first ms p50',
  firstTokenMsP95: 'p95',
  queuedMsP50: 'queued ms p50',
  queuedMsP95: 'p95',
};

type Column = UsageColumn | 'name' | keyof UsageFigures;

function columnsOf(by: readonly UsageColumn[]): Column[] {
  const groups = by.flatMap((column): Column[] => (column === 'key' ? ['key', 'name'] : [column]));
  return [...groups, ...(Object.keys(figures) as (keyof UsageFigures)[])]; // Its own keys and no other.
}

function headingOf(column: Column): string {
  return column in figures ? figures[column as keyof UsageFigures] : column;
}

function cellOf(value: string | number | null | undefined): string {
  return value === null || value === undefined ? none : String(value);
}

/** The arguments of `usage`, and what it does. */
export const usageCommand: Command = {
  help: `Usage: llm-gateway usage [options]
Adds up what requests have used.

  --by A,B           what to group by: ${usageColumns.join(', ')};
                     key without this
  --since WHEN       7d (the default), 24h, or an ISO date
  --until WHEN       the same, not included; now without this
  --json             as JSON
  --csv              as CSV${commonHelp}`,
  options: {
    by: { type: 'string' },
    since: { type: 'string' },
    until: { type: 'string' },
    json: { type: 'boolean' },
    csv: { type: 'boolean' },
  },
  isAboutKey: false,
  async run({ stores, values, epochNow, print }) {
    const { by, since, until, ...form } = values as Partial<Record<string, string>>; // As declared.
    if (form['json'] && form['csv']) throw new Misuse('--json and --csv exclude each other');
    const span = readSpan(
      { by, since, until },
      { columns: usageColumns, epochMs: epochNow(), prefix: '--' },
    );
    const data = await stores.usage.usage(span);
    if (form['json']) return print(json(usageReport(span, data)));
    const columns = columnsOf(span.by);
    if (form['csv']) {
      return print(
        csv([columns, ...data.map((totals) => columns.map((column) => totals[column]))]),
      );
    }
    if (data.length === 0) return print('No requests in that time.');
    const rows = data.map((totals) => columns.map((column) => cellOf(totals[column])));
    print(
      table(
        columns.map(headingOf),
        rows,
        span.by.includes('key') ? span.by.length + 1 : span.by.length,
      ),
    );
  },
};

/** Runs `llm-gateway usage` with the arguments behind it. */
export async function runUsage(
  args: readonly string[],
  context: CommandContext,
): Promise<ExitCode> {
  return await runCommand(usageCommand, args, context, 'usage');
}
