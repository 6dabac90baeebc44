/**
 * `bun run setup:real`: installs what the tests against the real engine and the Python client need. What is there
 * already is left alone.
 */
import { pythonClient } from '../clients/python-client.ts';
import { setUpRealEngine } from './realengine.ts';

try {
  await setUpRealEngine(console.log);
  await pythonClient.setUp(console.log);
  console.log('installed: the real engine with its model, the Python client');
} catch (error) {
  console.error(error instanceof Error ? error.message : error);
  process.exit(1);
}
