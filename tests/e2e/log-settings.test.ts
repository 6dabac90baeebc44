/**
 * LOG_LEVEL and LOG_FORMAT: what of the log is printed, and in which form.
 */
import { afterAll, describe, expect, test } from 'bun:test';
import { startDemoEngine } from '../../src/demo/engine.ts';
import { key, spawnCommand } from '../support/gatewayprocess.ts';
import { holdPort } from '../support/heldport.ts';
import { until } from '../support/wait.ts';

const engine = startDemoEngine();
afterAll(() => engine.stop());

/** Runs a gateway until `work` is done, also one that logs nothing at its start; returns everything that it printed. */
async function printedBy(
  env: Record<string, string>,
  work: (url: string) => Promise<void>,
): Promise<string> {
  // Without a line in the log its port is unknown.
  using held = holdPort();
  const child = spawnCommand([], {
    HOST: '127.0.0.1',
    PORT: String(held.port),
    ALLOWED_API_KEYS: key,
    LLM_SERVER_URL: engine.url,
    ...env,
  });
  const printed = Promise.all([child.stdout.text(), child.stderr.text()]);
  try {
    await until('the gateway answers', () =>
      fetch(`${held.url}/health`).then(
        (answer) => answer.ok,
        () => false,
      ),
    );
    await work(held.url);
  } finally {
    child.kill('SIGTERM');
    await child.exited;
  }
  return (await printed).join('');
}

async function askAndRefuse(url: string): Promise<void> {
  const body = '{"prompt":"a","max_tokens":1}';
  const headers = { authorization: `Bearer ${key}` };
  await (await fetch(`${url}/v1/completions`, { method: 'POST', headers, body })).text();
  await (await fetch(`${url}/v1/completions`, { method: 'POST', body })).text();
}

describe('LOG_LEVEL', () => {
  const levelsOf = (printed: string) =>
    printed
      .split('\n')
      .filter(Boolean)
      .map((line) => (JSON.parse(line) as Record<string, unknown>)['level']);

  test('is read in any case, and nothing below it is printed', async () => {
    const [warning, error, info] = await Promise.all([
      printedBy({ LOG_LEVEL: 'Warning' }, askAndRefuse),
      printedBy({ LOG_LEVEL: 'error' }, askAndRefuse),
      printedBy({ LOG_LEVEL: 'INFO' }, askAndRefuse),
    ]);
    expect(levelsOf(warning)).toEqual(['WARNING']);
    expect(levelsOf(error)).toEqual([]);
    expect(levelsOf(info)).toContain('INFO');
    expect(levelsOf(info)).toContain('WARNING');
    expect(levelsOf(info)).not.toContain('DEBUG');
  });
});

describe('LOG_FORMAT=pretty', () => {
  test('prints lines for people, keys masked', async () => {
    const printed = await printedBy({ LOG_FORMAT: 'pretty' }, async (url) => {
      await askAndRefuse(url);
      const headers = { authorization: `Bearer ${key}` };
      await (await fetch(`${url}/v1/models/${key}`, { headers })).text();
      await (await fetch(`${url}/keys/${key}`, { headers })).text();
    });
    const lines = Bun.stripANSI(printed).split('\n').filter(Boolean);
    expect(lines.filter((line) => line.startsWith('{'))).toEqual([]);
    const one = (text: string) => lines.filter((line) => line.includes(text));
    expect(one('listening')[0]).toMatch(/\d\d:\d\d:\d\d.*INFO.*listening.*http:\/\/127\.0\.0\.1/);
    expect(one('request ended')[0]).toMatch(/INFO.*\/v1\/completions.*200/);
    expect(one('refused')[0]).toMatch(/WARN.*missing_api_key/);
    expect(printed).not.toContain(key);
  });
});
