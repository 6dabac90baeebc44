/**
 * What the operator of a gateway does in tests: asks its administration over HTTP, and makes keys, which count at once.
 */
import { expect } from 'bun:test';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ask, type Asked } from './rawclient.ts';
import type { Gateway } from './gatewayprocess.ts';
import { startStage, type Stage } from './stage.ts';

/** The ADMIN_API_KEY of the gateways that have an operator. */
export const adminKey = 'sk-admin-of-these-tests';

export interface Issued {
  id: string;
  key: string;
}

/** Returns the header of a key; `undefined` leaves it out. */
export function bearer(secret: string | undefined): { Authorization: string | undefined } {
  return { Authorization: secret === undefined ? undefined : `Bearer ${secret}` };
}

/** Sends a request of the operator: `DELETE /admin/keys/…`. No such request may end in a 5xx. */
export async function admin(gateway: Gateway, asked: string, body?: Asked['body']) {
  const [method, path] = asked.split(' ') as [string, string];
  const headers = bearer(adminKey);
  const answer = await ask(gateway.url, {
    method,
    path,
    headers,
    ...(body !== undefined && { body }),
  });
  const { status, text } = answer;
  expect(status, text).toBeLessThan(500);
  const json = (text.startsWith('{') ? JSON.parse(text) : {}) as Record<string, unknown>;
  return { status, code: answer.header('x-gateway-error'), json, answer };
}

/** Makes a key with that policy. */
export async function issueKey(gateway: Gateway, policy: object): Promise<Issued> {
  const { status, json } = await admin(gateway, 'POST /admin/keys', policy);
  expect(status).toBe(201);
  return json as unknown as Issued;
}

/** A stage with an operator, whose gateway keeps its data in a folder. */
export interface Operated extends Stage {
  folder: string;
}

/** Starts one, with so many slots; its folder is removed with it. */
export async function startOperated(slots: number): Promise<Operated> {
  const stack = new AsyncDisposableStack();
  const folder = mkdtempSync(join(tmpdir(), 'llm-gateway-test-'));
  stack.defer(() => rmSync(folder, { recursive: true }));
  const env = { DATA_DIR: folder, ADMIN_API_KEY: adminKey, LOG_LEVEL: 'DEBUG' };
  const stage = stack.use(await startStage(env, { slots }));
  return { ...stage, folder, [Symbol.asyncDispose]: () => stack.disposeAsync() };
}
