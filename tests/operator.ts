/**
 * What the operator of a gateway does in tests: makes keys over HTTP, where they count at once.
 */
import { expect } from 'bun:test';
import { ask } from './exchange.ts';
import type { Gateway } from './gateway.ts';

export interface Issued {
  id: string;
  key: string;
}

export function bearer(secret: string): { Authorization: string } {
  return { Authorization: `Bearer ${secret}` };
}

/** Makes a key with that policy. */
export async function issueKey(
  gateway: Gateway,
  adminKey: string,
  policy: object,
): Promise<Issued> {
  const headers = bearer(adminKey);
  const made = await ask(gateway.url, { path: '/admin/keys', headers, body: policy });
  expect(made.status).toBe(201);
  return JSON.parse(made.text) as Issued;
}
