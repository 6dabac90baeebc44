/**
 * The commands `keys` and `usage`: what they change in the store, what they print and where, and what they say to a
 * command that is wrong.
 */
import { afterEach, beforeEach, describe, expect, spyOn, test } from 'bun:test';
import { runKeys, runUsage } from '../../src/commands.ts';
import { KeyRing } from '../../src/keys.ts';
import { Store } from '../../src/store.ts';
import { usageColumns, type UsageRow } from '../../src/usage.ts';

const epoch = Date.parse('2026-11-24T12:00:00Z');
const hourMs = 3_600_000;

/** Gives a command line on a store in memory, which stays open from one command to the next. */
function setUp() {
  const store = Store.open(undefined);
  const close = spyOn(store, 'close').mockImplementation(() => {});
  const state = { epoch, opened: 0, config: undefined as string | undefined };

  async function run(runner: typeof runKeys, line: string | string[]) {
    const out: string[] = [];
    const errors: string[] = [];
    const code = await runner(typeof line === 'string' ? line.split(' ') : line, {
      open(config) {
        state.opened++;
        state.config = config;
        return store;
      },
      epochNow: () => state.epoch,
      print: (text) => void out.push(text),
      printError: (text) => void errors.push(text),
    });
    expect(close).toHaveBeenCalledTimes(state.opened);
    return { code, out: out.join('\n'), errors: errors.join('\n') };
  }

  return {
    store,
    state,
    keys: (line: string | string[]) => run(runKeys, line),
    usage: (line: string | string[]) => run(runUsage, line),
    end() {
      close.mockRestore();
      store.close();
    },
  };
}

let world: ReturnType<typeof setUp>;
beforeEach(() => {
  world = setUp();
});
afterEach(() => world.end());

/** Says whether the store's keys let this one in. */
function accepts(key: string, at = epoch): boolean {
  const ring = new KeyRing([], { trusted: [], batch: [], userHeader: undefined, hintOf: () => '' });
  ring.replaceIssued(world.store.keys());
  try {
    return ring.find(key, new Headers(), at).keyId !== '';
  } catch {
    return false; // The tests ask only whether.
  }
}

/** Makes a key and gives it with its id. */
async function add(name: string): Promise<{ key: string; id: string }> {
  const { code, out: key } = await world.keys(['add', '--name', name]);
  expect(code).toBe(0);
  return { key, id: key.split('-')[2] as string };
}

describe('keys add', () => {
  test('prints the key alone, once, and says so beside it', async () => {
    const { code, out, errors } = await world.keys(
      'add --name alice --rpm 60 --tpm 20000 --concurrent 2 --budget-tokens 1M/day --models a,b --weight 2 --priority interactive --expires 90d --user-header x-openwebui-user-id',
    );
    expect(code).toBe(0);
    expect(out).toMatch(/^sk-gw-[0-9a-f]{10}-[\w-]{43}$/);
    const [record] = world.store.keys();
    expect(errors).toBe(`This is the key of alice (${record?.id}). It is shown only this once.`);
    expect(accepts(out)).toBeTrue();
    expect(record).toMatchObject({
      name: 'alice',
      limits: {
        requestsPerMinute: 60,
        tokensPerMinute: 20_000,
        concurrentRequests: 2,
        budgets: [{ tokens: 1_000_000, per: 'day' }],
      },
      models: ['a', 'b'],
      weight: 2,
      priority: 'interactive',
      userHeader: 'x-openwebui-user-id',
      expiresAt: epoch + 90 * 24 * hourMs,
    });
    const [entry] = world.store.audit(1);
    expect(entry).toMatchObject({ actor: 'cli', action: 'key_added', keyId: record?.id as string });
    for (const line of ['list', 'list --json', `show ${record?.id}`, 'show alice --json']) {
      const shown = await world.keys(line);
      expect(shown.code).toBe(0);
      expect(shown.out).toContain(record?.id as string);
      expect(shown.out).not.toContain(out);
      expect(shown.out).not.toContain(record?.digest as string);
    }
  });

  test('says all that is wrong and makes no key', async () => {
    const { code, out, errors } = await world.keys('add --rpm none --weight 0');
    expect(code).toBe(2);
    expect(out).toBe('');
    expect(errors.split('\n')).toEqual([
      'llm-gateway: --name: missing; allowed is 1 to 100 printable characters',
      'llm-gateway: --rpm: found "none"; allowed is a whole number from 1 up',
      'llm-gateway: --weight: found "0"; allowed is a number from 0.01 to 100',
      'Try: llm-gateway keys add --help',
    ]);
    expect(world.store.keys()).toEqual([]);
  });
});

describe('keys list', () => {
  test('says how to make the first', async () => {
    const { code, out } = await world.keys('list');
    expect(code).toBe(0);
    expect(out).toBe('There are no keys. Make one: llm-gateway keys add --name NAME');
    expect((await world.keys('list --json')).out).toBe('[]');
  });

  test('is a table with a line a key, the oldest first', async () => {
    const bo = await add('Bo');
    const wide = await add('山田太郎');
    const budgets =
      'add --name eva --rpm 5 --budget-tokens 1M/day,2M/month --models m --expires 1h';
    await world.keys(budgets);
    await world.keys(`revoke ${bo.id}`);
    world.state.epoch += hourMs;
    const { out } = await world.keys('list');
    const id = world.store.keys()[2]?.id;
    expect(out.split('\n')).toEqual(
      [
        'id          name      state    limits                                                       models  expires',
        `${bo.id}  Bo        revoked  -                                                            all     never`,
        `${wide.id}  山田太郎  active   -                                                            all     never`,
        `${id}  eva       expired  5 requests/min, 1000000 tokens/day, 2000000 tokens/month     m       2026-11-24T13:00:00.000Z`,
      ].map((line) => expect.stringMatching(new RegExp(line.replaceAll(/\s{2,}/g, ' {2,}')))),
    );
    const columns = out
      .split('\n')
      .map((line) => Bun.stringWidth(line.slice(0, line.search(/revoked|active|expired|state/))));
    expect(new Set(columns).size).toBe(1);
  });

  test('is JSON as the admin API has it', async () => {
    const { id } = await add('alice');
    const { out } = await world.keys('list --json');
    expect(JSON.parse(out)).toMatchObject([
      { id, name: 'alice', state: 'active', models: null, expiresAt: null },
    ]);
  });
});

describe('naming a key', () => {
  test('goes by its id or its name', async () => {
    const { id } = await add('alice');
    for (const named of [id, 'alice']) {
      const { code, out } = await world.keys(['show', named]);
      expect(code).toBe(0);
      expect(out).toMatch(new RegExp(`^id +${id}\nname +alice\n`));
      expect(out).toMatch(/\nmodels +all\n/);
      expect(out).toMatch(/\nlimits +-$/);
    }
  });

  test('asks for the id where several have the name', async () => {
    const [first, second] = [await add('alice'), await add('alice')];
    const { code, out, errors } = await world.keys('revoke alice');
    expect(code).toBe(1);
    expect(out).toBe('');
    expect(errors).toBe(
      `llm-gateway: several keys are called "alice"; name one by its id: ${first.id}, ${second.id}`,
    );
    expect(accepts(first.key)).toBeTrue();
  });

  test('prefers one that lives to those that are revoked', async () => {
    const [first, second] = [await add('alice'), await add('alice')];
    await world.keys(['revoke', first.id]);
    expect((await world.keys('revoke alice')).out).toBe(
      `The key of alice (${second.id}) is revoked.`,
    );
    const { code, errors } = await world.keys('show alice');
    expect(code).toBe(1);
    expect(errors).toContain('several keys');
  });

  test('says so where there is none', async () => {
    for (const line of ['show x', 'rotate x', 'revoke x']) {
      const { code, errors } = await world.keys(line);
      expect(code).toBe(1);
      expect(errors).toBe('llm-gateway: no key is called "x"; llm-gateway keys list shows them');
    }
  });
});

describe('keys rotate', () => {
  test('prints the new key and says how long the old one lives', async () => {
    const { key, id } = await add('alice');
    const { code, out, errors } = await world.keys('rotate alice --grace 24h');
    expect(code).toBe(0);
    expect(out).toMatch(new RegExp(`^sk-gw-${id}-[\\w-]{43}$`));
    expect(out).not.toBe(key);
    expect(errors).toBe(
      `This is the new key of alice (${id}). It is shown only this once. The old one is accepted until 2026-11-25T12:00:00.000Z.`,
    );
    expect(accepts(out)).toBeTrue();
    expect(accepts(key, epoch + 24 * hourMs - 1)).toBeTrue();
    expect(accepts(key, epoch + 24 * hourMs)).toBeFalse();
  });

  test('ends the old one at once where no grace is given', async () => {
    const { key } = await add('alice');
    const { out, errors } = await world.keys('rotate alice');
    expect(errors).toEndWith('The old one is accepted no more.');
    expect(accepts(key)).toBeFalse();
    expect(accepts(out)).toBeTrue();
  });

  test('does nothing by a grace that is none', async () => {
    const { key } = await add('alice');
    const { code, errors } = await world.keys('rotate alice --grace soon');
    expect(code).toBe(2);
    expect(errors).toStartWith('llm-gateway: --grace: found "soon"; allowed is a duration');
    expect(accepts(key)).toBeTrue();
  });
});

describe('keys revoke', () => {
  test('ends a key for good', async () => {
    const { key, id } = await add('alice');
    const { code, out } = await world.keys('revoke alice');
    expect(code).toBe(0);
    expect(out).toBe(`The key of alice (${id}) is revoked.`);
    expect(accepts(key)).toBeFalse();
    for (const line of ['revoke alice', `rotate ${id}`]) {
      const again = await world.keys(line);
      expect(again.code).toBe(1);
      expect(again.errors).toBe(`llm-gateway: the key of alice (${id}) is revoked already`);
    }
    const actions = world.store.audit(10).map(({ actor, action }) => `${actor} ${action}`);
    expect(actions).toEqual(['cli key_revoked', 'cli key_added']);
  });
});

describe('a wrong command', () => {
  test.each<[string, string, string]>([
    ['remove', 'keys has no command "remove"', 'keys --help'],
    ['constructor', 'keys has no command "constructor"', 'keys --help'],
    ['show', 'name the key', 'keys show --help'],
    ['show a b', 'unexpected "b"', 'keys show --help'],
    ['list alice', 'unexpected "alice"', 'keys list --help'],
    ['list --csv', "Unknown option '--csv'", 'keys list --help'],
    ['add --name', 'argument missing', 'keys add --help'],
  ])('%s', async (line, message, help) => {
    const { code, out, errors } = await world.keys(line);
    expect(code).toBe(2);
    expect(out).toBe('');
    expect(errors).toStartWith('llm-gateway: ');
    expect(errors).toContain(message);
    expect(errors).toEndWith(`Try: llm-gateway ${help}`);
    expect(world.state.opened).toBe(0);
  });

  test('keys alone says what there is', async () => {
    const { code, errors } = await world.keys([]);
    expect(code).toBe(2);
    expect(errors).toStartWith('Usage: llm-gateway keys COMMAND');
  });

  test('a store that does not open is said, not thrown', async () => {
    const errors: string[] = [];
    const code = await runKeys(['list'], {
      open() {
        throw new Error('data/gateway.sqlite: cannot be opened');
      },
      epochNow: () => epoch,
      print: () => {},
      printError: (text) => void errors.push(text),
    });
    expect(code).toBe(1);
    expect(errors).toEqual(['llm-gateway: data/gateway.sqlite: cannot be opened']);
  });
});

describe('help', () => {
  test.each(['add', 'list', 'show', 'rotate', 'revoke'])('keys %s --help', async (name) => {
    const { code, out, errors } = await world.keys([name, '--help']);
    expect(code).toBe(0);
    expect(errors).toBe('');
    expect(out).toStartWith(`Usage: llm-gateway keys ${name}`);
    expect(world.state.opened).toBe(0);
  });

  test.each(['--help', '-h'])('keys %s', async (flag) => {
    const { code, out } = await world.keys(flag);
    expect(code).toBe(0);
    for (const name of ['add', 'list', 'show', 'rotate', 'revoke']) expect(out).toContain(name);
  });

  test('usage --help', async () => {
    const { code, out } = await world.usage('--help');
    expect(code).toBe(0);
    for (const column of usageColumns) expect(out).toContain(column);
  });

  test('--config goes to whoever opens the store', async () => {
    await world.keys('list --config gateway.yaml');
    expect(world.state.config).toBe('gateway.yaml');
    await world.usage('--config other.yaml');
    expect(world.state.config).toBe('other.yaml');
  });
});

/** A row of the ledger. */
function row(fields: Partial<UsageRow>): UsageRow {
  return {
    at: epoch - hourMs,
    requestId: 'r',
    keyId: 'k1',
    principal: 'k1',
    keyName: 'alice',
    route: '/v1/completions',
    model: 'small',
    upstream: 'engine',
    status: 200,
    code: undefined,
    outcome: 'done',
    stream: true,
    queuedMs: 5,
    firstTokenMs: 80,
    engineMs: 1_500,
    totalMs: 1_600,
    promptTokens: 10,
    cachedTokens: 4,
    completionTokens: 20,
    tokensAre: 'exact',
    isCacheHit: false,
    ...fields,
  };
}

describe('usage', () => {
  beforeEach(() => {
    world.store.insertUsage([
      row({}),
      row({ model: 'large', completionTokens: 7_000 }),
      row({
        keyId: 'k2',
        keyName: '=1+1',
        model: 'a,"b"\n',
        completionTokens: 5,
        firstTokenMs: undefined,
      }),
      row({ at: epoch - 8 * 24 * hourMs, completionTokens: 1 }),
    ]);
  });

  test('is an aligned table by key of the last seven days', async () => {
    const { code, out } = await world.usage([]);
    expect(code).toBe(0);
    const [head = '', ...lines] = out.split('\n');
    expect(head).toMatch(/^key +name +requests +failed .* first ms p50 +p95 +queued ms p50 +p95$/);
    expect(lines).toHaveLength(2);
    expect(lines[0]).toMatch(/^k1 +alice +2 +0 +0 +0 +20 +8 +7020 +0 +3 +80 +80 +5 +5$/);
    expect(lines[1]).toMatch(/^k2 +=1\+1 +1 .* - +- +5 +5$/);
    for (const line of lines) expect(line).toHaveLength(head.length);
  });

  test('goes by what is asked for', async () => {
    const { out } = await world.usage('--by model --since 30d --until 7d');
    expect(out.split('\n')).toHaveLength(2);
    expect(out).toMatch(/\nsmall +1 /);
    const all = await world.usage('--by= --since 30d');
    expect(all.out).toMatch(/^requests .*\n +4 /);
  });

  test('is nothing that a terminal obeys', async () => {
    world.store.insertUsage([row({ model: 'x\u001b[2J\u202Ey' })]);
    const { out } = await world.usage('--by model');
    expect(out).toContain('x\uFFFD[2J\uFFFDy');
    expect(out).toContain('a,"b"\uFFFD');
    expect(out).not.toContain('\u001b');
  });

  test('is CSV that a spreadsheet takes for no formula', async () => {
    const { code, out } = await world.usage('--by key,model --csv');
    expect(code).toBe(0);
    const figures =
      'requests,failed,cancelled,cacheHits,promptTokens,cachedTokens,completionTokens,estimated,engineSeconds,firstTokenMsP50,firstTokenMsP95,queuedMsP50,queuedMsP95';
    expect(out.split('\r\n')).toEqual([
      `key,name,model,${figures}`,
      'k1,alice,large,1,0,0,0,10,4,7000,0,1.5,80,80,5,5',
      'k1,alice,small,1,0,0,0,10,4,20,0,1.5,80,80,5,5',
      `k2,'=1+1,"a,""b""\n",1,0,0,0,10,4,5,0,1.5,,,5,5\r`,
    ]);
  });

  test.each(['=1', '+1', '-1', '@x', '\tx', '\rx', '\nx'])('guards %j', async (name) => {
    world.store.insertUsage([row({ keyName: name, model: 'm' })]);
    const { out } = await world.usage('--by key,model --csv');
    expect(out).toMatch(new RegExp(`k1,"?'${name.replace('+', '\\+')}"?,m,`));
  });

  test('is a head alone where nothing was used', async () => {
    const range = '--since 2020-01-01 --until 2020-02-01';
    expect((await world.usage(`${range} --csv --by model`)).out).toStartWith('model,requests,');
    expect((await world.usage(`${range} --csv`)).out).not.toContain('\n');
    expect((await world.usage(range)).out).toBe('No requests in that time.');
    expect(JSON.parse((await world.usage(`${range} --json`)).out).data).toEqual([]);
  });

  test('is JSON as the admin API has it', async () => {
    const { out } = await world.usage('--by model --json');
    const { since, until, data } = JSON.parse(out);
    expect([since, until]).toEqual(['2026-11-17T12:00:00.000Z', '2026-11-24T12:00:00.000Z']);
    expect(data).toHaveLength(3);
    expect(data[0]).toMatchObject({ model: 'large', completionTokens: 7_000 });
  });

  test.each<[string, string]>([
    ['--by color', '--by: found "color"; allowed are key, principal,'],
    ['--since yesterday', '--since: found "yesterday"'],
    ['--since 1d --until 2d', '--since: not before --until'],
    ['--json --csv', '--json and --csv exclude each other'],
    ['key', 'unexpected "key"'],
  ])('is not asked by %s', async (line, message) => {
    const { code, out, errors } = await world.usage(line);
    expect(code).toBe(2);
    expect(out).toBe('');
    expect(errors).toStartWith(`llm-gateway: ${message}`);
    expect(errors).toEndWith('Try: llm-gateway usage --help');
  });
});
