/**
 * A real Prometheus scrapes the gateway as deploy/prometheus.yml says, reports no problem, and understands
 * every expression of the dashboard.
 */
import { describe, expect, setDefaultTimeout, test } from 'bun:test';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import dashboard from '../../deploy/grafana/llm-gateway.json';
import { startDemoEngine } from '../../src/demo/engine.ts';
import { cleanEnvironment, startGateway } from '../support/gatewayprocess.ts';
import { holdPort } from '../support/heldport.ts';
import { soon, until } from '../support/wait.ts';
import { get, post } from './plainclient.ts';

setDefaultTimeout(300_000);

const example = readFileSync(join(import.meta.dir, '../../deploy/prometheus.yml'), 'utf8');
const token = 'a-token-for-the-scraper';
/** Longer than any machine takes to start and to scrape twice. */
const withinMs = 60_000;

function requirePrometheus(): boolean {
  if (Bun.which('prometheus') !== null && Bun.which('promtool') !== null) return true;
  const message = 'skipped: tests with Prometheus, get it with: apt-get install prometheus';
  if (process.env['CI'] === 'true') throw new Error(message);
  console.log(message);
  return false;
}

/** Runs promtool and returns its exit code and its output. */
async function promtool(args: string[], input = ''): Promise<{ code: number; said: string }> {
  const child = Bun.spawn(['promtool', ...args], {
    stdin: Buffer.from(input),
    stdout: 'pipe',
    stderr: 'pipe',
    env: cleanEnvironment(),
  });
  const [out, err] = await Promise.all([
    new Response(child.stdout).text(),
    new Response(child.stderr).text(),
  ]);
  return { code: await child.exited, said: out + err };
}

interface Prometheus {
  /** Returns the series that an instant query finds; throws with Prometheus' reason when it does not take it. */
  query(expr: string): Promise<{ metric: Record<string, string>; value: [number, string] }[]>;
  targets(): Promise<{ health: string; lastError: string }[]>;
  config: string;
  [Symbol.asyncDispose](): Promise<void>;
}

/** Starts Prometheus with the example, pointed at this gateway, in a directory that goes with it. */
async function startPrometheus(gatewayUrl: string): Promise<Prometheus> {
  const directory = mkdtempSync(join(tmpdir(), 'llm-gateway-prometheus-'));
  const config = join(directory, 'prometheus.yml');
  const text = example
    .replace('127.0.0.1:12000', new URL(gatewayUrl).host)
    .replace('scrape_interval: 15s', 'scrape_interval: 1s\n    scrape_timeout: 1s');
  writeFileSync(config, text);
  writeFileSync(join(directory, 'metrics-token'), token);
  const held = holdPort();
  const { url } = held;
  const child = Bun.spawn(
    [
      'prometheus',
      `--config.file=${config}`,
      `--storage.tsdb.path=${join(directory, 'data')}`,
      `--web.listen-address=${new URL(url).host}`,
      '--log.level=error',
    ],
    {
      cwd: directory,
      stdin: 'ignore',
      stdout: 'ignore',
      stderr: Bun.file(join(directory, 'log')),
      env: cleanEnvironment(),
    },
  );

  async function dispose(): Promise<void> {
    child.kill('SIGKILL');
    await child.exited;
    held[Symbol.dispose]();
    rmSync(directory, { recursive: true });
  }

  async function data<T>(path: string): Promise<T> {
    const answer = (await (await get(url + path)).json()) as { data: T; error?: string };
    if (answer.error !== undefined) throw new Error(answer.error);
    return answer.data;
  }

  async function isReady(): Promise<boolean> {
    if (child.exitCode !== null) throw new Error(readFileSync(join(directory, 'log'), 'utf8'));
    return get(`${url}/-/ready`).then(
      ({ ok }) => ok,
      () => false, // It does not listen yet.
    );
  }

  try {
    await until('Prometheus is ready', isReady, withinMs);
  } catch (error) {
    await dispose();
    throw error;
  }
  return {
    config,
    query: async (expr) => {
      const path = `/api/v1/query?query=${encodeURIComponent(expr)}`;
      const { result } = await data<{ result: Awaited<ReturnType<Prometheus['query']>> }>(path);
      return result;
    },
    targets: async () => {
      const path = '/api/v1/targets?state=active';
      type Targets = { activeTargets: Awaited<ReturnType<Prometheus['targets']>> };
      return (await data<Targets>(path)).activeTargets;
    },
    [Symbol.asyncDispose]: dispose,
  };
}

describe.skipIf(!requirePrometheus())('a real Prometheus', () => {
  test('scrapes the gateway, reports no problem, and can draw the dashboard', async () => {
    const engine = startDemoEngine({ slots: 2 });
    await using gateway = await startGateway({
      LLM_SERVER_URL: engine.url,
      METRICS_TOKEN: token,
      DATA_DIR: 'none',
    });
    await using prometheus = await startPrometheus(gateway.url);
    const completion = `${gateway.url}/v1/completions`;
    const body = { prompt: 'Once', max_tokens: 4, ignore_eos: true };
    for (const stream of [true, false]) {
      const answer = await post(completion, { ...body, stream });
      expect(answer.status).toBe(200);
      await answer.bytes();
    }
    await (await post(completion, '{')).bytes();
    await (await post(completion, body, { 'x-demo-fault': 'error-500' })).bytes();

    const total = 'sum by (status, code) (llm_gateway_requests_total)';
    await until(
      'all four are in Prometheus',
      async () => {
        const found = await prometheus.query('sum(llm_gateway_requests_total)');
        return found[0]?.value[1] === '4';
      },
      withinMs,
    );
    const byStatus = (await prometheus.query(total)).map(({ metric, value }) => {
      return [metric['status'], metric['code'], value[1]];
    });
    expect(byStatus.toSorted()).toEqual([
      ['200', 'none', '2'],
      ['400', 'invalid_json', '1'],
      ['500', 'none', '1'],
    ]);
    const [tokens] = await prometheus.query('sum(llm_gateway_completion_tokens_total)');
    expect(tokens?.value[1]).toBe('8');
    const [target, ...others] = await prometheus.targets();
    expect(others).toEqual([]);
    expect(target).toMatchObject({ health: 'up', lastError: '' });

    // Events that have not happened here have no series.
    const isAbsent = /rate_limited|store_/;
    for (const { title, targets } of dashboard.panels) {
      for (const { expr } of targets) {
        const query = expr.replaceAll('$__rate_interval', '5m');
        // An expression that Prometheus does not take is thrown; a rate takes two scrapes.
        const count = async () => (await prometheus.query(query)).length;
        if (isAbsent.test(expr)) await count();
        else await until(`${title} has data`, async () => (await count()) > 0, withinMs);
      }
    }

    const scraped = await fetch(`${gateway.url}/metrics`, {
      headers: { authorization: `Bearer ${token}` },
    });
    expect(await promtool(['check', 'metrics'], await scraped.text())).toEqual({
      code: 0,
      said: '',
    });
    const checked = await soon('promtool', promtool(['check', 'config', prometheus.config]));
    expect(checked).toMatchObject({ code: 0, said: expect.stringContaining('SUCCESS') });
    await engine.stop();
  });
});
