/**
 * The specification of the routes that need no key: facts about the gateway, health, readiness, and the pages of the
 * documentation.
 */
import type { OpenAPIV3 } from 'openapi-types';
import { arrayOf, integer, json, object, ref, string } from './parts.ts';
import type { Content, Schema } from './parts.ts';

export const publicSchemas: Record<string, Schema> = {
  Gateway: object(
    {
      name: string(),
      version: string(),
      endpoints: arrayOf(
        object({ method: string(), path: string(), summary: string() }, [
          'method',
          'path',
          'summary',
        ]),
      ),
      links: object(
        Object.fromEntries(
          ['docs', 'redoc', 'openapi', 'health', 'ready'].map((name) => [name, string()]),
        ),
      ),
    },
    ['name', 'version', 'endpoints', 'links'],
  ),
  Health: object(
    {
      status: string(undefined, { enum: ['ok'] }),
      version: string(),
      uptimeSeconds: integer(),
      inFlight: integer('The number of open requests.'),
      upstreams: arrayOf(ref('UpstreamHealth')),
    },
    ['status', 'version', 'uptimeSeconds', 'inFlight', 'upstreams'],
  ),
  UpstreamHealth: object(
    {
      id: string(),
      kind: string('The detected kind of engine, for instance `llama.cpp` or `vllm`.'),
      state: string('The last known state, for instance `up` or `away`.'),
      slots: integer('How many requests it runs at once; absent if it does not report it.'),
    },
    ['id', 'kind', 'state'],
  ),
  Readiness: object({ status: string(undefined, { enum: ['ready', 'draining', 'no_upstream'] }) }, [
    'status',
  ]),
};

const html: Content = { 'text/html': { schema: { type: 'string' } } };

function operation(
  path: string,
  summary: string,
  content: Content,
  more: { description?: string; responses?: OpenAPIV3.ResponsesObject } = {},
) {
  const { responses, ...rest } = more;
  return {
    method: 'GET' as const,
    path,
    operation: {
      tags: ['Gateway'],
      summary,
      ...rest,
      responses: { 200: { description: summary, content }, ...responses },
      security: [],
    },
  };
}

export const publicOperations = [
  operation(
    '/',
    'Describe this gateway and list its routes',
    json('Gateway', {
      'In short': {
        name: 'LLM Gateway',
        version: '0.1.0',
        endpoints: [{ method: 'POST', path: '/v1/completions', summary: 'Complete a prompt' }],
        links: { docs: '/docs', redoc: '/redoc', openapi: '/openapi.json' },
      },
    }),
  ),
  operation(
    '/health',
    'Tell whether the gateway is running',
    json('Health', {
      'One engine': {
        status: 'ok',
        version: '0.1.0',
        uptimeSeconds: 60,
        inFlight: 1,
        upstreams: [{ id: 'default', kind: 'llama.cpp', state: 'up', slots: 4 }],
      },
    }),
    { description: 'Succeeds even if no engine is available.' },
  ),
  operation(
    '/ready',
    'Tell whether the gateway can take requests',
    json('Readiness', { Ready: { status: 'ready' } }),
    {
      responses: {
        503: {
          description: 'The gateway is shutting down, or no engine is available.',
          content: json('Readiness', {
            'Shutting down': { status: 'draining' },
            'No engine': { status: 'no_upstream' },
          }),
        },
      },
    },
  ),
  operation('/docs', 'This description as Swagger UI', html),
  operation('/redoc', 'This description as ReDoc', html),
  operation('/openapi.json', 'This description as OpenAPI 3.0', {
    'application/json': { schema: { type: 'object' } },
  }),
];
