/**
 * `bun run setup:real`: installs what the tests against the real engine and the Python clients need. What is there
 * already is left alone.
 */
import { officialClients, pythonClient } from '../clients/python-client.ts';
import { setUpRealEngine } from './realengine.ts';

try {
  await setUpRealEngine(console.log);
  await pythonClient.setUp(console.log);
  await officialClients.setUp(console.log);
  console.log('installed: the real engine with its model, the Python clients');
} catch (error) {
  console.error(error instanceof Error ? error.message : error);
  process.exit(1);
}
