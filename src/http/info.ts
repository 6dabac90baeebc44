/**
 * What anybody may ask without a key: what this is, whether it lives, whether it can be given requests. Liveness never
 * fails because an engine is away; readiness does.
 */
import { Elysia } from 'elysia';
import { answering, type CorsHeaders } from '../wire/cors.ts';
import type { LiveRequests } from '../request/inflight.ts';
import type { Scheduler } from '../scheduling/scheduler.ts';
import { routes } from '../wire/routes.ts';

export interface InfoOptions extends Pick<Scheduler, 'fleet' | 'pool'> {
  version: string;
  live: LiveRequests;
  corsHeaders: CorsHeaders;
  isDraining: () => boolean;
  /** Seconds since the start. */
  uptimeSeconds: () => number;
}

const links = {
  docs: '/docs',
  redoc: '/redoc',
  openapi: '/openapi.json',
  health: '/health',
  ready: '/ready',
};

const endpoints = routes.map(({ method, path, summary }) => ({
  method,
  path: path.replace('/*', '/{id}'),
  summary,
}));

/** The plugin with `/`, `/health` and `/ready`. */
export function info(options: InfoOptions) {
  const { version, live, fleet, pool, isDraining, uptimeSeconds } = options;
  const answer = answering(options.corsHeaders);

  return new Elysia({ name: 'info' })
    .get('/', function describe({ request }) {
      return answer(request, { name: 'LLM Gateway', version, endpoints, links });
    })
    .get('/health', function reportHealth({ request }) {
      return answer(request, {
        status: 'ok',
        version,
        uptimeSeconds: Math.floor(uptimeSeconds()),
        inFlight: live.size,
        queued: pool.queued,
        upstreams: fleet.upstreams.map(({ id, kind, state, occupancy }) => {
          return { id, kind, state, slots: occupancy.capacity, usedSlots: occupancy.used };
        }),
      });
    })
    .get('/ready', function reportReadiness({ request }) {
      if (isDraining()) return answer(request, { status: 'draining' }, 503);
      if (!fleet.isUsable) return answer(request, { status: 'no_upstream' }, 503);
      return answer(request, { status: 'ready' });
    });
}
