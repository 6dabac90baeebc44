/**
 * The smallest proxy that Bun can be: `Bun.serve` and `fetch`, the body passed through. It checks no key, logs nothing and
 * handles no failure: it is what the runtime itself costs.
 *
 *   bare PORT ENGINE_URL
 */
const [port, engine] = process.argv.slice(2);

Bun.serve({
  hostname: '127.0.0.1',
  port: Number(port),
  reusePort: false,
  idleTimeout: 0,
  async fetch(request) {
    const path = request.url.slice(request.url.indexOf('/', 8));
    if (path === '/health') return new Response('{"status":"ok"}');
    const answer = await fetch(engine + path, {
      method: request.method,
      headers: { 'content-type': request.headers.get('content-type') ?? '' },
      ...(request.method === 'POST' ? { body: await request.bytes() } : {}),
      signal: request.signal,
      decompress: false,
      redirect: 'manual',
      timeout: false,
    } as RequestInit);
    return new Response(answer.body, {
      status: answer.status,
      headers: { 'content-type': answer.headers.get('content-type') ?? '' },
    });
  },
});
