/**
 * Runs the gateway with limits that answer late, like those that several gateways share. For a user called `no-admit` or
 * `no-settle` that call fails.
 */
import '../../src/runtime.ts';
import { readFileSync } from 'node:fs';
import { loadConfig } from '../../src/config/load.ts';
import { serve } from '../../src/serve.ts';
import { openStores } from '../../src/stores/open.ts';
import { LateLimits } from '../contracts/latelimits.ts';

const readFile = (path: string) => readFileSync(path, 'utf8');
const config = loadConfig({ env: process.env, overrides: {}, readFile });
const open: typeof openStores = async (dir, calendar) => {
  const stores = await openStores(dir, calendar);
  const isFailing = (call: string, principal = '') => principal.endsWith(`/no-${call}`);
  return { ...stores, limits: new LateLimits(stores.limits, isFailing) };
};
const { ended } = await serve(config, 'test', undefined, undefined, open);
process.exit(await ended);
