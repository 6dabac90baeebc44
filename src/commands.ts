/**
 * The commands `keys` and `usage`: they read and change the store directly, whether or not a gateway runs on it. A key
 * is printed once, when it is made; nothing here can show it again.
 */
import { parseArgs, type ParseArgsOptionsConfig } from 'node:util';
import { issueKey, rotateKey, type IssuedKey } from './keys.ts';
import type { Budget, Limits } from './limits.ts';
import {
  keyView,
  parseDuration,
  policyFlags,
  policyFromFlags,
  PolicyError,
  readSpan,
  type KeyView,
} from './policy.ts';
import type { Store } from './store.ts';
import { usageColumns, type UsageColumn, type UsageFigures, type UsageTotals } from './usage.ts';

/** What a command needs of the process; `print` and `printError` end the line. */
export interface CommandContext {
  /** @param config the file that --config names; throws an Error that says why it cannot be opened */
  open(config: string | undefined): Store;
  /** Epoch milliseconds. */
  epochNow(): number;
  print(text: string): void;
  printError(text: string): void;
}

/** 0: done. 1: it could not be done. 2: the command was given wrongly. */
export type ExitCode = 0 | 1 | 2;

/** The command was given wrongly. */
class Misuse extends Error {}

/** What was asked for cannot be done. */
class Refusal extends Error {}

type Values = Readonly<Record<string, string | boolean | undefined>>;

/** A command that has been read. */
interface Call extends CommandContext {
  store: Store;
  values: Values;
  /** The key that it is about, where it is about one. */
  named: string;
}

interface Command {
  help: string;
  options: ParseArgsOptionsConfig;
  /** Whether it is about one key, which must be named. */
  isAboutKey: boolean;
  run(call: Call): void | Promise<void>;
}

const actor = 'cli';

const commonHelp = `
  --config FILE      the configuration whose DATA_DIR is meant, where it is in a file
  --help             this text`;

const add: Command = {
  help: `Usage: llm-gateway keys add --name NAME [options]
Makes a key and prints it, this one time.

  --name NAME        what people call it, up to 100 characters
  --rpm N            requests a minute
  --tpm N            tokens a minute
  --concurrent N     open requests at once, waiting ones included
  --budget-tokens B  tokens for a day or a month: 1M/day or 500k/day,10M/month
  --models A,B       the models that it may use; all without this
  --weight N         its share of the engines beside others, 0.01 to 100; 1 without this
  --priority P       interactive (the default) or batch, which waits behind interactive
  --expires WHEN     90d, 12h, an ISO date, or never (the default)
  --user-header H    the header in which it names the user whom it speaks for${commonHelp}`,
  options: policyFlags,
  isAboutKey: false,
  run({ store, values, epochNow, print, printError }) {
    const { key, record } = issueKey(policyFromFlags(values, epochNow()), epochNow());
    store.addKey(record, actor);
    print(key);
    printError(`This is the key of ${record.name} (${record.id}). It is shown only this once.`);
  },
};

const list: Command = {
  help: `Usage: llm-gateway keys list [options]
Lists all keys, the oldest first.

  --json             as JSON${commonHelp}`,
  options: { json: { type: 'boolean' } },
  isAboutKey: false,
  run({ store, values, epochNow, print }) {
    const views = store.keys().map((key) => keyView(key, epochNow()));
    if (values['json'] === true) return print(JSON.stringify(views, null, 2));
    if (views.length === 0)
      return print('There are no keys. Make one: llm-gateway keys add --name NAME');
    print(table(['id', 'name', 'state', 'limits', 'models', 'expires'], views.map(rowOf)));
  },
};

const show: Command = {
  help: `Usage: llm-gateway keys show KEY [options]
Shows what a key may do. KEY is its id, or its name where no other key has it.

  --json             as JSON${commonHelp}`,
  options: { json: { type: 'boolean' } },
  isAboutKey: true,
  run({ store, values, named, epochNow, print }) {
    const view = keyView(find(store, named), epochNow());
    if (values['json'] === true) return print(JSON.stringify(view, null, 2));
    const rows = Object.entries(view).map(([label, value]) => [label, textOf(label, value)]);
    print(table([], rows));
  },
};

const rotate: Command = {
  help: `Usage: llm-gateway keys rotate KEY [options]
Makes a new secret for a key and prints the new key, this one time. KEY is its id, or its name where no other key has it.

  --grace TIME       how long the old secret is still accepted, such as 24h or 30m; not at all without this${commonHelp}`,
  options: { grace: { type: 'string' } },
  isAboutKey: true,
  run({ store, values, named, epochNow, print, printError }) {
    const { grace = '0s' } = values;
    const graceMs = parseDuration(String(grace));
    if (graceMs === undefined) {
      throw new Misuse(
        `--grace: found ${JSON.stringify(grace)}; allowed is a duration such as 24h`,
      );
    }
    const record = changeable(store, named);
    const { key, change } = rotateKey(record, graceMs, epochNow());
    store.changeKey(record.id, change, 'key_rotated', actor, epochNow());
    print(key);
    const until = change.replaced && new Date(change.replaced.until).toISOString();
    printError(
      `This is the new key of ${record.name} (${record.id}). It is shown only this once. ` +
        `The old one is accepted ${until === undefined ? 'no more' : `until ${until}`}.`,
    );
  },
};

const revoke: Command = {
  help: `Usage: llm-gateway keys revoke KEY [options]
Ends a key for good, and what it has running. KEY is its id, or its name where no other key has it.
${commonHelp}`,
  options: {},
  isAboutKey: true,
  run({ store, named, epochNow, print }) {
    const record = changeable(store, named);
    store.changeKey(record.id, { revokedAt: epochNow() }, 'key_revoked', actor, epochNow());
    print(`The key of ${record.name} (${record.id}) is revoked.`);
  },
};

const keyCommands: Readonly<Record<string, Command>> = { add, list, show, rotate, revoke };

const keysHelp = `Usage: llm-gateway keys COMMAND [options]

  add                make a key
  list               list all keys
  show KEY           show what a key may do
  rotate KEY         make a new secret for a key
  revoke KEY         end a key for good
  COMMAND --help     the options of that command`;

const usageCommand: Command = {
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
  async run({ store, values, epochNow, print }) {
    const { by, since, until, json, csv } = values as Partial<Record<string, string>>; // As declared.
    if (json && csv) throw new Misuse('--json and --csv exclude each other');
    const span = readSpan(
      { by, since, until },
      { columns: usageColumns, epochMs: epochNow(), prefix: '--' },
    );
    const data = await store.usage(span);
    if (json) {
      const [from, to] = [span.since, span.until].map((at) => new Date(at).toISOString());
      return print(JSON.stringify({ since: from, until: to, data }, null, 2));
    }
    const columns = columnsOf(span.by);
    if (csv) return print(csvOf(columns, data));
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

/** Runs `llm-gateway keys` with the arguments behind it. */
export async function runKeys(args: readonly string[], context: CommandContext): Promise<ExitCode> {
  const [name, ...rest] = args;
  if (name === undefined || name === '--help' || name === '-h') {
    context[name === undefined ? 'printError' : 'print'](keysHelp);
    return name === undefined ? 2 : 0;
  }
  const command = Object.hasOwn(keyCommands, name) ? keyCommands[name] : undefined;
  if (command !== undefined) return await run(command, rest, context, `keys ${name}`);
  context.printError(
    `llm-gateway: keys has no command "${oneLine(name)}"\nTry: llm-gateway keys --help`,
  );
  return 2;
}

/** Runs `llm-gateway usage` with the arguments behind it. */
export async function runUsage(
  args: readonly string[],
  context: CommandContext,
): Promise<ExitCode> {
  return await run(usageCommand, args, context, 'usage');
}

async function run(
  command: Command,
  args: readonly string[],
  context: CommandContext,
  title: string,
): Promise<ExitCode> {
  let store: Store | undefined;
  try {
    const { values, named } = read(command, args);
    if (values['help'] === true) {
      context.print(command.help);
      return 0;
    }
    store = context.open(values['config'] as string | undefined); // As declared.
    await command.run({ ...context, store, values, named });
    return 0;
  } catch (error) {
    const isMisuse = error instanceof Misuse || error instanceof PolicyError;
    const problems = error instanceof PolicyError ? error.problems : [messageOf(error)];
    for (const problem of problems) context.printError(`llm-gateway: ${problem}`);
    if (isMisuse) context.printError(`Try: llm-gateway ${title} --help`);
    return isMisuse ? 2 : 1;
  } finally {
    store?.close();
  }
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

function read(command: Command, args: readonly string[]): { values: Values; named: string } {
  const { options, isAboutKey } = command;
  const common = { config: { type: 'string' }, help: { type: 'boolean', short: 'h' } } as const;
  let parsed;
  try {
    parsed = parseArgs({
      args: [...args],
      allowPositionals: true,
      options: { ...options, ...common },
    });
  } catch (error) {
    throw new Misuse(messageOf(error));
  }
  const [named, ...surplus] = isAboutKey ? parsed.positionals : ['', ...parsed.positionals];
  const values = parsed.values as Values; // No option may be given several times.
  if (surplus.length > 0) throw new Misuse(`unexpected "${oneLine(surplus.join(' '))}"`);
  if (!named && isAboutKey && values['help'] !== true) {
    throw new Misuse('name the key: its id, or its name where no other key has it');
  }
  return { values, named: named ?? '' };
}

/** Gives the key with that id, or the only one with that name; one that is revoked does not compete. */
function find(store: Store, named: string): IssuedKey {
  const keys = store.keys();
  const byId = keys.find(({ id }) => id === named);
  if (byId !== undefined) return byId;
  const byName = keys.filter(({ name }) => name === named);
  const living = byName.filter(({ revokedAt }) => revokedAt === undefined);
  const candidates = living.length > 0 ? living : byName;
  const [only, ...others] = candidates;
  if (only === undefined) {
    throw new Refusal(`no key is called "${oneLine(named)}"; llm-gateway keys list shows them`);
  }
  if (others.length === 0) return only;
  const ids = candidates.map(({ id }) => id).join(', ');
  throw new Refusal(`several keys are called "${oneLine(named)}"; name one by its id: ${ids}`);
}

/** Gives a key that can still change: what is revoked stays so. */
function changeable(store: Store, named: string): IssuedKey {
  const record = find(store, named);
  if (record.revokedAt === undefined) return record;
  throw new Refusal(`the key of ${record.name} (${record.id}) is revoked already`);
}

/** Gives a text on one line and without what a terminal would obey: models and users are named by strangers. */
function oneLine(text: string): string {
  return text.replace(/[\p{C}\p{Zl}\p{Zp}]/gu, '\uFFFD');
}

const none = '-';

function budgetText({ tokens, per }: Budget): string {
  return `${tokens} tokens/${per}`;
}

function limitsText(limits: Limits): string {
  const { requestsPerMinute, tokensPerMinute, concurrentRequests, budgets = [] } = limits;
  const parts = [
    requestsPerMinute === undefined ? [] : `${requestsPerMinute} requests/min`,
    tokensPerMinute === undefined ? [] : `${tokensPerMinute} tokens/min`,
    concurrentRequests === undefined ? [] : `${concurrentRequests} at once`,
    budgets.map(budgetText),
  ];
  return parts.flat().join(', ') || none;
}

function rowOf({ id, name, state, limits, models, expiresAt }: KeyView): string[] {
  return [id, name, state, limitsText(limits), models?.join(', ') ?? 'all', expiresAt ?? 'never'];
}

/** Gives a member of a KeyView as text. */
function textOf(label: string, value: KeyView[keyof KeyView]): string {
  if (value === null) return { models: 'all', expiresAt: 'never' }[label] ?? none;
  if (typeof value !== 'object') return String(value);
  return Array.isArray(value) ? value.join(', ') : limitsText(value as Limits); // There is no other object.
}

/** The figures, in their order, with what a table has above them. */
const figures: Readonly<Record<keyof UsageFigures, string>> = {
  requests: 'requests',
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

/** Gives an aligned table; the columns from `firstNumber` on end at one edge. */
function table(
  headings: readonly string[],
  rows: readonly (readonly string[])[],
  firstNumber = Number.POSITIVE_INFINITY,
): string {
  const lines = [headings, ...rows].filter(({ length }) => length > 0);
  const cells = lines.map((line) => line.map(oneLine));
  const widths = (cells[0] ?? []).map((_, column) => {
    return Math.max(...cells.map((line) => Bun.stringWidth(line[column] ?? '')));
  });
  const padded = (text: string, column: number) => {
    const space = ' '.repeat((widths[column] ?? 0) - Bun.stringWidth(text));
    return column < firstNumber ? text + space : space + text;
  };
  return cells.map((line) => line.map(padded).join('  ').trimEnd()).join('\n');
}

/** Gives a field of a CSV file, quoted as RFC 4180 has it, and not as a formula where a spreadsheet opens the file. */
function csvField(value: string | number | null | undefined): string {
  if (typeof value !== 'string') return String(value ?? '');
  const text = /^[=+\-@\t\r\n]/.test(value) ? `'${value}` : value;
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

/** Gives the totals as CSV by RFC 4180; `print` adds the second half of the last line break. */
function csvOf(columns: readonly Column[], data: readonly UsageTotals[]): string {
  const lines = data.map((totals) => columns.map((column) => csvField(totals[column])));
  return `${[columns, ...lines].map((fields) => fields.join(',')).join('\r\n')}\r`;
}
