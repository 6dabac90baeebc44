/**
 * The browser of the tests: Debian's Chromium, which can reach nothing but this machine.
 */
import { existsSync } from 'node:fs';

const executablePath = '/usr/bin/chromium';
const isMissing = !existsSync(executablePath);
/** In CI everything is installed before, so there a missing browser is a failure, not a reason to skip. */
export const isSkipped = isMissing && process.env['CI'] !== 'true';
if (isSkipped) console.log('skipped: browser tests, get it with: apt-get install chromium');

/** Long, for machines that are busy with other tests. */
export const timeoutMs = 120_000;

/** The options to launch the browser with. */
export const launching = {
  executablePath,
  args: [
    '--headless',
    '--no-sandbox',
    '--disable-gpu',
    '--disable-quic',
    '--no-first-run',
    '--disable-background-networking',
    '--disable-component-update',
    '--disable-sync',
    '--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1',
  ],
};
