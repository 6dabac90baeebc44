/**
 * What a thrown error of `fetch`, or of the body of an answer, shows of an engine. Pure: it reads the error's code alone,
 * since the messages of the runtime can hold addresses.
 */

/**
 * `unreachable`: no connection was made, so the engine has seen nothing. `certificate`: its TLS is not trusted. `reset`:
 * the connection broke. `slow`: the time limit of `fetch` passed. `malformed`: the answer is no HTTP, or anything else.
 */
export type EngineFailure = 'unreachable' | 'certificate' | 'reset' | 'slow' | 'malformed';

/** What `fetch` calls a connection that was never made. */
const unreachable = new Set([
  'ECONNREFUSED',
  'ConnectionRefused',
  'ENOTFOUND',
  'EAI_AGAIN',
  'EHOSTUNREACH',
  'ENETUNREACH',
  'EADDRNOTAVAIL',
  'FailedToOpenSocket',
]);
const badCertificate = /CERT|TLS|SSL|SIGNATURE/;

/** Returns what the error shows. */
export function failureOf(thrown: unknown): EngineFailure {
  if (!(thrown instanceof Error)) return 'malformed';
  const code = 'code' in thrown ? String(thrown.code) : '';
  if (unreachable.has(code)) return 'unreachable';
  if (code === 'ECONNRESET' || code === 'EPIPE') return 'reset';
  if (thrown.name === 'TimeoutError') return 'slow';
  return badCertificate.test(code) ? 'certificate' : 'malformed';
}
