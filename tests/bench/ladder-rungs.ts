/**
 * The rungs of the ladder, from the bare runtime to the whole gateway: each has all layers of those before it and one more.
 */
export const rungs = [
  { name: 'serve', adds: 'Bun.serve: reads the body, answers from memory' },
  { name: 'fetch', adds: 'fetch: asks the engine, reads its answer' },
  { name: 'headers', adds: 'headers, both ways' },
  { name: 'key', adds: 'key: found, hashed, compared; ids' },
  { name: 'abort', adds: 'request object: abort signal, client that may leave' },
  { name: 'body', adds: 'body: bounded, counted in memory' },
  { name: 'parse', adds: 'parse: JSON, model, job' },
  { name: 'tokens', adds: 'tokens and failures read from the answer' },
  { name: 'lease', adds: 'lease: queue, slots, shares, session' },
  { name: 'run', adds: 'run: deadlines, phases, retries, settlement' },
  { name: 'log', adds: 'log' },
  { name: 'ledger', adds: 'ledger: SQLite' },
  { name: 'metrics', adds: 'metrics' },
  { name: 'routing', adds: 'routing: Elysia, all plugins: the gateway' },
  { name: 'limits', adds: 'limits on the key' },
] as const;

export type Rung = (typeof rungs)[number]['name'];
