/** The id under which a client knows a request that an engine got. */

/** Returns the `x-request-id` of a request at the engine as its client sent it: without the gateway's suffix. */
export function clientIdOf(headers: Readonly<Record<string, string>>): string | undefined {
  return headers['x-request-id']?.replace(/-[0-9a-f]{8}$/, '');
}
