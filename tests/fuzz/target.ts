/**
 * The gateway that is fuzzed: a process of its own with an operator and keys on disk, so that a crash is seen and all
 * that it logs is read.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { untilIdle } from '../support/gatewayhealth.ts';
import { startGateway, type Gateway } from '../support/gatewayprocess.ts';
import { until } from '../support/wait.ts';

export { key as clientKey } from '../support/gatewayprocess.ts';
export const operatorKey = 'sk-admin-of-these-tests';

export interface Target extends AsyncDisposable {
  gateway: Gateway;
  /** Returns what went wrong inside since the last call: an end of the process, an unexpected error, a leak. */
  troubles(): Promise<string[]>;
}

/** Starts a gateway in front of an engine, and resolves when the gateway knows it. */
export async function startTarget(
  engineUrl: string,
  env: Record<string, string> = {},
): Promise<Target> {
  const stack = new AsyncDisposableStack();
  const folder = mkdtempSync(join(tmpdir(), 'llm-gateway-fuzz-'));
  stack.defer(() => rmSync(folder, { recursive: true, force: true }));
  const gateway = stack.use(
    await startGateway({
      LLM_SERVER_URL: engineUrl,
      ADMIN_API_KEY: operatorKey,
      DATA_DIR: folder,
      REQUEST_BODY_TIMEOUT_MS: '5000',
      ...env,
    }),
  );
  let exitCode: number | undefined;
  void gateway.exited.then((code) => (exitCode = code));
  let read = 0;
  let printed = 0;

  async function troubles(): Promise<string[]> {
    const found = gateway.logs
      .slice(read)
      .filter((line) => line['code'] === 'internal_error' || line['level'] === 'FATAL')
      .map((line) => `the log has ${JSON.stringify(line)}`);
    read = gateway.logs.length;
    found.push(...gateway.output.slice(printed).map((line) => `it printed ${line}`));
    printed = gateway.output.length;
    if (exitCode !== undefined) return [...found, `it ended with code ${exitCode}`];
    const left = await untilIdle(gateway).then(
      () => [],
      (error: unknown) => [`something is left: ${String(error)}`],
    );
    return [...found, ...left];
  }

  await until('the engine is known', async () => {
    const health = await fetch(`${gateway.url}/ready`);
    return health.ok;
  });
  return { gateway, troubles, [Symbol.asyncDispose]: () => stack.disposeAsync() };
}
