/**
 * Lifts two limits of the runtime that only its start-up environment can: fetch runs 256 requests at a time unless
 * BUN_CONFIG_MAX_HTTP_REQUESTS says more, and it obeys proxy variables even for loopback, so that keys could leave
 * through an ambient proxy. Importing this file, before anything else, replaces the process once where needed.
 */
const proxyVariables = [
  'http_proxy',
  'https_proxy',
  'all_proxy',
  'HTTP_PROXY',
  'HTTPS_PROXY',
  'ALL_PROXY',
];
const maxRequests = 'BUN_CONFIG_MAX_HTTP_REQUESTS';

const { env, execPath, execArgv, argv } = process;
const hasProxy = proxyVariables.some((name) => env[name]);

if (process.execve !== undefined && (hasProxy || env[maxRequests] === undefined)) {
  const isCompiled = argv[1]?.startsWith('/$bunfs/') ?? false;
  const args = isCompiled ? argv.slice(2) : [...execArgv, ...argv.slice(1)];
  process.execve(execPath, [execPath, ...args], {
    NODE_ENV: 'production',
    ...env,
    // Empty and not absent: what stands in .env does not come back over a variable that is set.
    ...Object.fromEntries(proxyVariables.map((name) => [name, ''])),
    [maxRequests]: env[maxRequests] ?? '65535',
  });
}
