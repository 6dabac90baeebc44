/**
 * The commands `keys …`: they read and change the store directly, whether or not a gateway runs on it. A key is printed
 * once, when it is made; nothing here can show it again.
 */
import {
  commonHelp,
  Misuse,
  runCommand,
  type Call,
  type Command,
  type CommandContext,
  type ExitCode,
} from './command.ts';
import { issuedIdOf, issueKey, rotateKey, type IssuedKey } from '../accounts/keys.ts';
import { keyView, type KeyView } from '../accounts/keyview.ts';
import { changeFromFlags, policyFlags, policyFromFlags } from '../accounts/policy.ts';
import type { AccountStore, AuditAction, KeyChange } from '../accounts/keystore.ts';
import { parseDuration } from '../accounts/timespan.ts';
import { didYouMean } from '../config/nearest.ts';
import { none, oneLine, table, json } from './table.ts';
import type { Budget, Limits } from '../request/caller.ts';

/** What the command asks for cannot be done. */
class NotDone extends Error {}

const actor = 'cli';

/** The options of `policyFlags`. */
const policyHelp = `
  --name NAME        what people call it, up to 100 characters
  --rpm N            requests a minute
  --tpm N            tokens a minute
  --concurrent N     open requests at once, waiting ones included
  --budget-tokens B  tokens for a day or a month: 1M/day or 500k/day,10M/month
  --models A,B       the models that it may use
  --weight N         its share of the engines next to other keys, 0.01 to 100
  --priority P       interactive or batch, which waits behind interactive
  --expires WHEN     90d or 12h from now, an ISO date, or never
  --user-header H    the header in which it names the user whom it speaks for`;

const jsonOption = { json: { type: 'boolean' } } as const;
const jsonHelp = '\n  --json             as JSON';

const add: Command = {
  help: `Usage: llm-gateway keys add NAME [options]
Makes a key and prints it, this one time. Without an option it has no limit, may use all models, has the weight 1 and the
priority interactive, and does not expire.
${policyHelp}${jsonHelp}${commonHelp}`,
  options: { ...policyFlags, ...jsonOption },
  isAboutKey: false,
  takesWord: true,
  async run({ stores, values: { json: asJson, ...values }, named, epochNow, print, printError }) {
    if (named && values['name'] !== undefined) {
      throw new Misuse('the name is given twice: as a word and as --name');
    }
    const flags = named ? { ...values, name: named } : values;
    const { key, record } = issueKey(policyFromFlags(flags, epochNow()), epochNow());
    await stores.accounts.addKey(record, actor);
    print(asJson ? json({ ...keyView(record, epochNow()), key }) : key);
    printError(
      `This is the key of ${record.name} (${record.id}), kept in ${stores.place}. It is shown only this once.`,
    );
  },
};

const list: Command = {
  help: `Usage: llm-gateway keys list [options]
Lists all keys, the oldest first.

  --json             as JSON${commonHelp}`,
  options: jsonOption,
  isAboutKey: false,
  async run({ stores, values, epochNow, print }) {
    const views = (await stores.accounts.keys()).map((key) => keyView(key, epochNow()));
    if (values['json'] === true) return print(json({ data: views }));
    if (views.length === 0) return print('There are no keys. Make one: llm-gateway keys add NAME');
    print(table(['id', 'name', 'state', 'limits', 'models', 'expires'], views.map(rowOf)));
  },
};

const show: Command = {
  help: `Usage: llm-gateway keys show KEY [options]
Shows what a key may do. KEY is its id, or its name if no other key has it.

  --json             as JSON${commonHelp}`,
  options: jsonOption,
  isAboutKey: true,
  async run({ stores, values, named, epochNow, print }) {
    const view = keyView(await find(stores.accounts, named), epochNow());
    if (values['json'] === true) return print(json(view));
    const rows = Object.entries(view).map(([label, value]) => [label, textOf(label, value)]);
    print(table([], rows));
  },
};

const edit: Command = {
  help: `Usage: llm-gateway keys edit KEY [options]
Changes what a key may do. What no option names stays as it is, and none takes away: --rpm none is no limit, --models none
is all; budgets and models that are named take the place of what it has. KEY is its id, or its name if no other key has
it.
${policyHelp}${jsonHelp}${commonHelp}`,
  options: { ...policyFlags, ...jsonOption },
  isAboutKey: true,
  async run(call) {
    const { epochNow, print } = call;
    const { json: asJson, ...values } = call.values;
    const changed = await change(call, 'key_changed', (key) =>
      changeFromFlags(values, key, epochNow()),
    );
    if (asJson) return print(json(keyView(changed, epochNow())));
    const { name, id } = changed;
    print(`The key of ${name} (${id}) is changed.`);
  },
};

const rotate: Command = {
  help: `Usage: llm-gateway keys rotate KEY [options]
Makes a new secret for a key and prints the new key, this one time. KEY is its id, or its name if no other key has it.

  --grace TIME       how long the old secret is still accepted, such as 24h or 30m; not at all without this${jsonHelp}${commonHelp}`,
  options: { grace: { type: 'string' }, ...jsonOption },
  isAboutKey: true,
  async run(call) {
    const { values, epochNow, print, printError } = call;
    const { grace = '0s' } = values;
    const graceMs = parseDuration(String(grace));
    if (graceMs === undefined) {
      throw new Misuse(
        `--grace: found ${JSON.stringify(grace)}; allowed is a duration such as 24h`,
      );
    }
    let made = '';
    const changed = await change(call, 'key_rotated', (current) => {
      const rotated = rotateKey(current, graceMs, epochNow());
      made = rotated.key;
      return rotated.change;
    });
    const { name, id, replaced } = changed;
    print(values['json'] ? json({ ...keyView(changed, epochNow()), key: made }) : made);
    const until = replaced && new Date(replaced.until).toISOString();
    printError(
      `This is the new key of ${name} (${id}). It is shown only this once. ` +
        `The old one is accepted ${until === undefined ? 'no more' : `until ${until}`}.`,
    );
  },
};

const revoke: Command = {
  help: `Usage: llm-gateway keys revoke KEY [options]
Ends a key for good, and what it has running. KEY is its id, or its name if no other key has it.
  --json             as JSON${commonHelp}`,
  options: jsonOption,
  isAboutKey: true,
  async run(call) {
    const at = call.epochNow();
    const changed = await change(call, 'key_revoked', () => ({ revokedAt: at }));
    if (call.values['json']) return call.print(json(keyView(changed, at)));
    const { name, id } = changed;
    call.print(`The key of ${name} (${id}) is revoked.`);
  },
};

/** The commands behind `keys`. */
export const keyCommands: Readonly<Record<string, Command>> = {
  add,
  list,
  show,
  edit,
  rotate,
  revoke,
};

const keysHelp = `Usage: llm-gateway keys COMMAND [options]

  add NAME           make a key
  list               list all keys
  show KEY           show what a key may do
  edit KEY           change what a key may do
  rotate KEY         make a new secret for a key
  revoke KEY         end a key for good
  COMMAND --help     the options of that command`;

/** Runs `llm-gateway keys` with the arguments behind it. */
export async function runKeys(args: readonly string[], context: CommandContext): Promise<ExitCode> {
  const [name, ...rest] = args;
  if (name === undefined || name === '--help' || name === '-h') {
    context[name === undefined ? 'printError' : 'print'](keysHelp);
    return name === undefined ? 2 : 0;
  }
  const command = Object.hasOwn(keyCommands, name) ? keyCommands[name] : undefined;
  if (command !== undefined) return await runCommand(command, rest, context, `keys ${name}`);
  context.printError(
    `llm-gateway: keys has no command "${oneLine(name)}"${didYouMean(name, Object.keys(keyCommands))}\nTry: llm-gateway keys --help`,
  );
  return 2;
}

/** Returns the key with that id, or the only one with that name; one that is revoked does not compete. */
async function find(accounts: AccountStore, given: string): Promise<IssuedKey> {
  const keys = await accounts.keys();
  // A whole key stands for its id, and no message may repeat the secret.
  const named = issuedIdOf(given) ?? given;
  const byId = keys.find(({ id }) => id === named);
  if (byId !== undefined) return byId;
  const byName = keys.filter(({ name }) => name === named);
  const living = byName.filter(({ revokedAt }) => revokedAt === undefined);
  const candidates = living.length > 0 ? living : byName;
  const [only, ...others] = candidates;
  if (only === undefined) {
    throw new NotDone(`no key is called "${oneLine(named)}"; llm-gateway keys list shows them`);
  }
  if (others.length === 0) return only;
  const ids = candidates.map(({ id }) => id).join(', ');
  throw new NotDone(`several keys are called "${oneLine(named)}"; name one by its id: ${ids}`);
}

/** Changes the key that a command is about, if it still can: what is revoked stays so. */
async function change(
  { stores, named, epochNow }: Call,
  action: AuditAction,
  changeOf: (key: IssuedKey) => KeyChange,
): Promise<IssuedKey> {
  const { accounts } = stores;
  const found = await find(accounts, named);
  function changeLiving(key: IssuedKey): KeyChange {
    if (key.revokedAt === undefined) return changeOf(key);
    throw new NotDone(`the key of ${key.name} (${key.id}) is revoked already`);
  }
  // It is still there: no key is ever deleted.
  const edit = { id: found.id, changeOf: changeLiving, action, actor, at: epochNow() };
  return (await accounts.changeKey(edit)) ?? found;
}

const units = [
  ['G', 1e9],
  ['M', 1e6],
  ['k', 1e3],
] as const;

/** Returns a number as one would type it: 1M, 1.5M or 20k if it is as round as that. */
function amountText(amount: number): string {
  const unit = units.find(([, size]) => amount >= size && amount % (size / 10) === 0);
  return unit === undefined ? String(amount) : `${amount / unit[1]}${unit[0]}`;
}

function budgetText({ tokens, per }: Budget): string {
  return `${amountText(tokens)}/${per}`;
}

function limitsText(limits: Limits): string {
  const { requestsPerMinute, tokensPerMinute, concurrentRequests, budgets = [] } = limits;
  const parts = [
    requestsPerMinute === undefined ? [] : `${amountText(requestsPerMinute)} requests/min`,
    tokensPerMinute === undefined ? [] : `${amountText(tokensPerMinute)} tokens/min`,
    concurrentRequests === undefined ? [] : `${amountText(concurrentRequests)} at once`,
    budgets.map(budgetText),
  ];
  return parts.flat().join(', ') || none;
}

function rowOf({ id, name, state, limits, models, expiresAt }: KeyView): string[] {
  return [id, name, state, limitsText(limits), models?.join(', ') ?? 'all', expiresAt ?? 'never'];
}

/** Returns a member of a KeyView as text. */
function textOf(label: string, value: KeyView[keyof KeyView]): string {
  if (value === null) return { models: 'all', expiresAt: 'never' }[label] ?? none;
  if (typeof value !== 'object') return String(value);
  return Array.isArray(value) ? value.join(', ') : limitsText(value as Limits); // There is no other object.
}
