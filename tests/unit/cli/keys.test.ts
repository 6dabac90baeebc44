/**
 * The commands `keys …`: what they change in the store, what they print and where, and their errors for a command that
 * is wrong.
 */
import { afterEach, beforeEach, describe, expect, test } from 'bun:test';
import { runKeys } from '../../../src/cli/keys.ts';
import { epoch, openTerminal } from '../../support/terminal.ts';
import { KeyRing } from '../../../src/accounts/keyring.ts';

const hourMs = 3_600_000;

let world: ReturnType<typeof openTerminal>;
beforeEach(() => {
  world = openTerminal();
});
afterEach(() => world.end());

/** Runs `llm-gateway keys …`. */
const keys = (line: string | string[]) => world.run(runKeys, line);

/** Returns whether the store accepts this key. */
function accepts(key: string, at = epoch): boolean {
  const ring = new KeyRing([], { trusted: [], batch: [], userHeader: undefined, hintOf: () => '' });
  ring.replaceIssued(world.accounts.keys());
  try {
    return ring.find(key, new Headers(), at).keyId !== '';
  } catch {
    return false; // The tests ask only whether.
  }
}

/** Makes a key; returns it and its id. */
async function add(name: string): Promise<{ key: string; id: string }> {
  const { code, out: key } = await keys(['add', '--name', name]);
  expect(code).toBe(0);
  return { key, id: key.split('-')[2] as string };
}

describe('keys add', () => {
  test('prints the key alone, once, and a notice on standard error', async () => {
    const { code, out, errors } = await keys(
      'add --name alice --rpm 60 --tpm 20000 --concurrent 2 --budget-tokens 1M/day --models a,b --weight 2 --priority interactive --expires 90d --user-header x-openwebui-user-id',
    );
    expect(code).toBe(0);
    expect(out).toMatch(/^sk-gw-[0-9a-f]{10}-[\w-]{43}$/);
    const [record] = world.accounts.keys();
    expect(errors).toBe(
      `This is the key of alice (${record?.id}), kept in memory. It is shown only this once.`,
    );
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
    const [entry] = world.accounts.audit(1);
    expect(entry).toMatchObject({ actor: 'cli', action: 'key_added', keyId: record?.id as string });
    for (const line of ['list', 'list --json', `show ${record?.id}`, 'show alice --json']) {
      const shown = await keys(line);
      expect(shown.code).toBe(0);
      expect(shown.out).toContain(record?.id as string);
      expect(shown.out).not.toContain(out);
      expect(shown.out).not.toContain(record?.digest as string);
    }
  });

  test('takes the name as a word too, and not twice', async () => {
    expect((await keys('add alice --rpm 60')).code).toBe(0);
    expect(world.accounts.keys()).toMatchObject([{ name: 'alice' }]);
    const { code, errors } = await keys('add alice --name bo');
    expect([code, errors.split('\n')[0]]).toEqual([
      2,
      'llm-gateway: the name is given twice: as a word and as --name',
    ]);
    expect((await keys('add alice bo')).errors).toContain('unexpected "bo"');
    expect(world.accounts.keys()).toHaveLength(1);
  });

  test('and every change of a key can be read as JSON, with a secret only where one is made', async () => {
    const read = async (line: string) => JSON.parse((await keys(line)).out);
    const added = await read('add alice --json');
    expect(added).toMatchObject({ name: 'alice', state: 'active' });
    expect(accepts(added.key)).toBeTrue();
    const edited = await read('edit alice --rpm 5 --json');
    expect(edited).toMatchObject({ id: added.id, limits: { requestsPerMinute: 5 } });
    expect(edited).not.toHaveProperty('key');
    const rotated = await read('rotate alice --json');
    expect(accepts(rotated.key)).toBeTrue();
    const revoked = await read('revoke alice --json');
    expect(revoked).toMatchObject({ id: added.id, state: 'revoked' });
    expect(revoked).not.toHaveProperty('key');
  });

  test('reports every problem and makes no key', async () => {
    const { code, out, errors } = await keys('add --rpm none --weight 0');
    expect(code).toBe(2);
    expect(out).toBe('');
    expect(errors.split('\n')).toEqual([
      'llm-gateway: --name: missing; allowed is 1 to 100 printable characters',
      'llm-gateway: --rpm: found "none"; allowed is a whole number from 1 up, or such as 20k',
      'llm-gateway: --weight: found "0"; allowed is a number from 0.01 to 100',
      'Try: llm-gateway keys add --help',
    ]);
    expect(world.accounts.keys()).toEqual([]);
  });
});

describe('keys list', () => {
  test('says how to make the first', async () => {
    const { code, out } = await keys('list');
    expect(code).toBe(0);
    expect(out).toBe('There are no keys. Make one: llm-gateway keys add NAME');
    expect(JSON.parse((await keys('list --json')).out)).toEqual({ data: [] });
  });

  test('is a table with a line a key, the oldest first', async () => {
    const bo = await add('Bo');
    const wide = await add('山田太郎');
    const budgets =
      'add --name eva --rpm 5 --budget-tokens 1M/day,2M/month --models m --expires 1h';
    await keys(budgets);
    await keys(`revoke ${bo.id}`);
    world.state.epoch += hourMs;
    const { out } = await keys('list');
    const id = world.accounts.keys()[2]?.id;
    expect(out.split('\n')).toEqual(
      [
        'id          name      state    limits                                                       models  expires',
        `${bo.id}  Bo        revoked  -                                                            all     never`,
        `${wide.id}  山田太郎  active   -                                                            all     never`,
        `${id}  eva       expired  5 requests/min, 1M/day, 2M/month                             m       2026-11-24T13:00:00.000Z`,
      ].map((line) => expect.stringMatching(new RegExp(line.replaceAll(/\s{2,}/g, ' {2,}')))),
    );
    const columns = out
      .split('\n')
      .map((line) => Bun.stringWidth(line.slice(0, line.search(/revoked|active|expired|state/))));
    expect(new Set(columns).size).toBe(1);
  });

  test('is JSON as the admin API has it', async () => {
    const { id } = await add('alice');
    const { out } = await keys('list --json');
    const view = { id, name: 'alice', state: 'active', models: null, expiresAt: null };
    expect(JSON.parse(out)).toMatchObject({ data: [view] });
  });

  test.each([
    ['999/day', '999/day'],
    ['1k/day', '1k/day'],
    ['1500/day', '1.5k/day'],
    ['1550/month', '1550/month'],
    ['1.1M/day,0.5g/month', '1.1M/day, 500M/month'],
    ['1234567/day', '1234567/day'],
    ['2500M/month', '2.5G/month'],
  ])('has a budget of %s as one would type it', async (given, shown) => {
    await keys(['add', '--name', 'alice', '--budget-tokens', given, '--tpm', '20000']);
    const { out } = await keys('list');
    expect(out).toContain(`  20k tokens/min, ${shown}  `);
    const [before] = world.accounts.keys();
    await keys(['edit', 'alice', '--budget-tokens', shown]);
    expect(world.accounts.keys()[0]?.limits).toEqual(before?.limits ?? {});
  });
});

describe('naming a key', () => {
  test('goes by its id or its name', async () => {
    const { id } = await add('alice');
    for (const named of [id, 'alice']) {
      const { code, out } = await keys(['show', named]);
      expect(code).toBe(0);
      expect(out).toMatch(new RegExp(`^id +${id}\nname +alice\n`));
      expect(out).toMatch(/\nmodels +all\n/);
      expect(out).toMatch(/\nlimits +-$/);
    }
  });

  test('asks for the id if several keys have the name', async () => {
    const [first, second] = [await add('alice'), await add('alice')];
    const { code, out, errors } = await keys('revoke alice');
    expect(code).toBe(1);
    expect(out).toBe('');
    expect(errors).toBe(
      `llm-gateway: several keys are called "alice"; name one by its id: ${first.id}, ${second.id}`,
    );
    expect(accepts(first.key)).toBeTrue();
  });

  test('prefers an active key to revoked ones', async () => {
    const [first, second] = [await add('alice'), await add('alice')];
    await keys(['revoke', first.id]);
    expect((await keys('revoke alice')).out).toBe(`The key of alice (${second.id}) is revoked.`);
    const { code, errors } = await keys('show alice');
    expect(code).toBe(1);
    expect(errors).toContain('several keys');
  });

  test('reports that no key has the name', async () => {
    for (const line of ['show x', 'edit x --rpm 5', 'rotate x', 'revoke x']) {
      const { code, errors } = await keys(line);
      expect(code).toBe(1);
      expect(errors).toBe('llm-gateway: no key is called "x"; llm-gateway keys list shows them');
    }
  });
});

describe('keys edit', () => {
  test('changes what is named, takes away by the word none, and leaves the rest', async () => {
    const { out: key } = await keys('add --name alice --rpm 60 --tpm 20k --models a,b --weight 2');
    const id = key.split('-')[2] as string;
    const { code, out, errors } = await keys(
      'edit alice --rpm 5 --tpm none --models none --budget-tokens 1M/day --expires 1h --name bo',
    );
    expect([code, out, errors]).toEqual([0, `The key of bo (${id}) is changed.`, '']);
    expect(world.accounts.keys()[0]).toMatchObject({
      id,
      name: 'bo',
      limits: { requestsPerMinute: 5, budgets: [{ tokens: 1_000_000, per: 'day' }] },
      weight: 2,
      expiresAt: epoch + hourMs,
    });
    expect(world.accounts.keys()[0]?.limits).not.toHaveProperty('tokensPerMinute');
    expect(world.accounts.keys()[0]?.models).toBeUndefined();
    expect(accepts(key)).toBeTrue();
    const [entry] = world.accounts.audit(1);
    expect(entry).toMatchObject({ actor: 'cli', action: 'key_changed', keyId: id, name: 'bo' });
    expect(JSON.parse(entry?.detail ?? '')).toMatchObject({ name: 'bo', models: null });
  });

  test('reports every problem and changes nothing', async () => {
    await keys('add --name alice --rpm 60');
    const before = world.accounts.keys();
    const { code, out, errors } = await keys('edit alice --rpm 0 --tpm 5 --weight x');
    expect([code, out]).toEqual([2, '']);
    expect(errors.split('\n')).toEqual([
      'llm-gateway: --rpm: found "0"; allowed is a whole number from 1 up, or such as 20k, or none',
      'llm-gateway: --weight: found "x"; allowed is a number from 0.01 to 100, or none',
      'Try: llm-gateway keys edit --help',
    ]);
    expect((await keys('edit alice')).errors).toStartWith('llm-gateway: no option says what');
    expect(world.accounts.keys()).toEqual(before);
    expect(world.accounts.audit(10)).toHaveLength(1);
  });
});

describe('keys rotate', () => {
  test('prints the new key and says how long the old one is accepted', async () => {
    const { key, id } = await add('alice');
    const { code, out, errors } = await keys('rotate alice --grace 24h');
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

  test('ends the old one at once if no grace is given', async () => {
    const { key } = await add('alice');
    const { out, errors } = await keys('rotate alice');
    expect(errors).toEndWith('The old one is accepted no more.');
    expect(accepts(key)).toBeFalse();
    expect(accepts(out)).toBeTrue();
  });

  test('does nothing if the grace is invalid', async () => {
    const { key } = await add('alice');
    const { code, errors } = await keys('rotate alice --grace soon');
    expect(code).toBe(2);
    expect(errors).toStartWith('llm-gateway: --grace: found "soon"; allowed is a duration');
    expect(accepts(key)).toBeTrue();
  });
});

describe('keys revoke', () => {
  test('ends a key for good', async () => {
    const { key, id } = await add('alice');
    const { code, out } = await keys('revoke alice');
    expect(code).toBe(0);
    expect(out).toBe(`The key of alice (${id}) is revoked.`);
    expect(accepts(key)).toBeFalse();
    for (const line of ['revoke alice', `rotate ${id}`, `edit ${id} --rpm 5`]) {
      const again = await keys(line);
      expect(again.code).toBe(1);
      expect(again.errors).toBe(`llm-gateway: the key of alice (${id}) is revoked already`);
    }
    const actions = world.accounts.audit(10).map(({ actor, action }) => `${actor} ${action}`);
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
    ['list --csv', 'there is no option --csv', 'keys list --help'],
    ['lst', 'keys has no command "lst"; did you mean list?', 'keys --help'],
    ['add --name', 'argument missing', 'keys add --help'],
    ['add --name a --rpm 5 --rpm=6', '--rpm: given twice', 'keys add --help'],
  ])('%s', async (line, message, help) => {
    const { code, out, errors } = await keys(line);
    expect(code).toBe(2);
    expect(out).toBe('');
    expect(errors).toStartWith('llm-gateway: ');
    expect(errors).toContain(message);
    expect(errors).toEndWith(`Try: llm-gateway ${help}`);
    expect(world.state.opened).toBe(0);
  });

  test('"keys" without a command lists the commands', async () => {
    const { code, errors } = await keys([]);
    expect(code).toBe(2);
    expect(errors).toStartWith('Usage: llm-gateway keys COMMAND');
  });
});

describe('help', () => {
  test.each(['add', 'list', 'show', 'edit', 'rotate', 'revoke'])('keys %s --help', async (name) => {
    const { code, out, errors } = await keys([name, '--help']);
    expect(code).toBe(0);
    expect(errors).toBe('');
    expect(out).toStartWith(`Usage: llm-gateway keys ${name}`);
    expect(world.state.opened).toBe(0);
  });

  test.each(['--help', '-h'])('keys %s', async (flag) => {
    const { code, out } = await keys(flag);
    expect(code).toBe(0);
    for (const name of ['add', 'list', 'show', 'edit', 'rotate', 'revoke'])
      expect(out).toContain(name);
  });
});
