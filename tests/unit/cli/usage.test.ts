/**
 * The command `usage`: its sums, printed as a table, CSV and JSON.
 */
import { afterEach, beforeEach, describe, expect, test } from 'bun:test';
import { runUsage } from '../../../src/cli/usage.ts';
import { usageColumns, type UsageRow } from '../../../src/accounts/usage.ts';
import { usageRow } from '../../support/samples.ts';
import { epoch, openTerminal } from '../../support/terminal.ts';

const hourMs = 3_600_000;

let world: ReturnType<typeof openTerminal>;
beforeEach(() => {
  world = openTerminal();
});
afterEach(() => world.end());

/** Runs `llm-gateway usage …`. */
const usage = (line: string | string[]) => world.run(runUsage, line);

/** A row of the ledger, an hour old. */
function row(fields: Partial<UsageRow>): UsageRow {
  return usageRow({
    at: epoch - hourMs,
    model: 'small',
    engineMs: 1_500,
    promptTokens: 10,
    completionTokens: 20,
    ...fields,
  });
}

describe('usage', () => {
  beforeEach(() => {
    world.usage.insertUsage([
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
    const { code, out } = await usage([]);
    expect(code).toBe(0);
    const [head = '', ...lines] = out.split('\n');
    expect(head).toMatch(
      /^key +name +requests +refused +failed .* first ms p50 +p95 +queued ms p50 +p95$/,
    );
    expect(lines).toHaveLength(2);
    expect(lines[0]).toMatch(/^k1 +alice +2 +0 +0 +0 +0 +20 +8 +7020 +0 +3 +80 +80 +5 +5$/);
    expect(lines[1]).toMatch(/^k2 +=1\+1 +1 .* - +- +5 +5$/);
    for (const line of lines) expect(line).toHaveLength(head.length);
  });

  test('has the columns and the time that are asked for', async () => {
    const { out } = await usage('--by model --since 30d --until 7d');
    expect(out.split('\n')).toHaveLength(2);
    expect(out).toMatch(/\nsmall +1 /);
    const all = await usage('--by= --since 30d');
    expect(all.out).toMatch(/^requests .*\n +4 /);
  });

  test('has no control characters', async () => {
    world.usage.insertUsage([row({ model: 'x\u001b[2J\u202Ey' })]);
    const { out } = await usage('--by model');
    expect(out).toContain('x\uFFFD[2J\uFFFDy');
    expect(out).toContain('a,"b"\uFFFD');
    expect(out).not.toContain('\u001b');
  });

  test('is CSV that a spreadsheet does not take for a formula', async () => {
    const { code, out } = await usage('--by key,model --csv');
    expect(code).toBe(0);
    const figures =
      'requests,refused,failed,cancelled,cacheHits,promptTokens,cachedTokens,completionTokens,estimated,engineSeconds,firstTokenMsP50,firstTokenMsP95,queuedMsP50,queuedMsP95';
    expect(out.split('\r\n')).toEqual([
      `key,name,model,${figures}`,
      'k1,alice,large,1,0,0,0,0,10,4,7000,0,1.5,80,80,5,5',
      'k1,alice,small,1,0,0,0,0,10,4,20,0,1.5,80,80,5,5',
      `k2,'=1+1,"a,""b""\uFFFD",1,0,0,0,0,10,4,5,0,1.5,,,5,5\r`,
    ]);
  });

  test('is only a head if nothing was used', async () => {
    const range = '--since 2020-01-01 --until 2020-02-01';
    expect((await usage(`${range} --csv --by model`)).out).toStartWith('model,requests,');
    expect((await usage(`${range} --csv`)).out).not.toContain('\n');
    expect((await usage(range)).out).toBe('No requests in that time.');
    expect(JSON.parse((await usage(`${range} --json`)).out).data).toEqual([]);
  });

  test('is JSON as the admin API has it', async () => {
    const { out } = await usage('--by model --json');
    const { since, until, data } = JSON.parse(out);
    expect([since, until]).toEqual(['2026-11-17T12:00:00.000Z', '2026-11-24T12:00:00.000Z']);
    expect(data).toHaveLength(3);
    expect(data[0]).toMatchObject({ model: 'large', completionTokens: 7_000 });
  });

  test.each<[string, string]>([
    ['--by color', '--by: found "color"; allowed are key, principal,'],
    ['--since yesterday', '--since: found "yesterday"'],
    ['--since 1d --until 2d', '--since: not before --until'],
    ['--by key --by model', '--by: given twice'],
    ['--json --csv', '--json and --csv exclude each other'],
    ['key', 'unexpected "key"'],
  ])('is not asked by %s', async (line, message) => {
    const { code, out, errors } = await usage(line);
    expect(code).toBe(2);
    expect(out).toBe('');
    expect(errors).toStartWith(`llm-gateway: ${message}`);
    expect(errors).toEndWith('Try: llm-gateway usage --help');
  });

  test('has a help that names every column', async () => {
    const { code, out } = await usage('--help');
    expect(code).toBe(0);
    for (const column of usageColumns) expect(out).toContain(column);
    expect(world.state.opened).toBe(0);
  });
});
