/**
 * The OpenAPI 3.0 description of the gateway, made from the tables in wire/routes.ts and wire/errors.ts, so that no
 * route and no error can be forgotten. Pure data and pure functions; pages/docs.ts serves it.
 */
import type { OpenAPIV3 } from 'openapi-types';
import { errorFrame, GatewayError } from '../wire/errors.ts';
import {
  operatorOperations,
  operatorSchemas,
  ownOperations,
  usageSchemas,
} from './openapi/accounts.ts';
import { anthropicDocs, anthropicSchemas } from './openapi/anthropic.ts';
import { audioDocs, audioSchemas } from './openapi/audio.ts';
import { engineDocs, engineSchemas } from './openapi/engines.ts';
import {
  commonHeaders,
  errorSchemas,
  ErrorResponses,
  errorTableText,
  responseHeaders,
} from './openapi/errors.ts';
import { imageDocs, imageSchemas } from './openapi/images.ts';
import { ollamaDocs, ollamaSchemas } from './openapi/ollama.ts';
import { openaiDocs, openaiSchemas } from './openapi/openai.ts';
import type { RouteDoc } from './openapi/parts.ts';
import { publicOperations, publicSchemas } from './openapi/public.ts';
import { responsesDocs, responsesSchemas } from './openapi/responses.ts';
import { clientSecurity, securitySchemes } from './openapi/security.ts';
import { routes, type Route } from '../wire/routes.ts';

/** An operation with an id. */
export interface Operation extends OpenAPIV3.OperationObject {
  operationId: string;
}

export interface Described {
  method: 'GET' | 'POST' | 'PATCH' | 'DELETE';
  path: string;
  operation: Operation;
}

const docs: Record<string, RouteDoc> = {
  ...openaiDocs,
  ...audioDocs,
  ...imageDocs,
  ...responsesDocs,
  ...anthropicDocs,
  ...engineDocs,
  ...ollamaDocs,
};

/** Returns the documentation of a path. Some paths are served without `/v1` too, with the same bodies. */
function docOf(path: string): RouteDoc {
  const doc = docs[path];
  if (doc !== undefined) return doc;
  const same = docs[`/v1${path}`];
  if (same === undefined) throw new Error(`openapi: no documentation for ${path}`);
  return { ...same, description: `The same as \`/v1${path}\`.` };
}

/** Returns `getV1ModelsId` for `GET /v1/models/{id}`. */
function operationId(method: string, path: string): string {
  const words = path.split(/[^A-Za-z0-9]+/).filter(Boolean);
  return (
    method.toLowerCase() +
    words.map((word) => word.charAt(0).toUpperCase() + word.slice(1)).join('')
  );
}

function describeRoute(route: Route, errors: ErrorResponses): Described {
  const { method, summary, family } = route;
  const path = route.path.replace('/*', '/{id}');
  const { tag, description, parameters, body, answer } = docOf(route.path);
  const headers = { ...commonHeaders(family), 'x-gateway-queue-ms': queueHeader };
  const operation: Operation = {
    operationId: operationId(method, path),
    tags: [tag],
    summary,
    ...textOf(description, route),
    ...(parameters === undefined ? {} : { parameters }),
    ...(body === undefined ? {} : { requestBody: { required: true, content: body } }),
    responses: {
      200: { description: 'The answer of the engine, unchanged.', headers, content: answer },
      ...errors.of(route),
    },
    security: clientSecurity,
  };
  return { method, path, operation };
}

/** Returns the description of a route, with the kinds of engine that serve it where not any may. */
function textOf(description: string | undefined, { kinds }: Route): { description?: string } {
  const served = kinds === undefined ? [] : [`Served by engines of kind ${kinds.join(', ')}.`];
  const texts = [...(description === undefined ? [] : [description]), ...served];
  return texts.length === 0 ? {} : { description: texts.join(' ') };
}

const queueHeader = { $ref: '#/components/headers/x-gateway-queue-ms' };

function introduction(): string {
  const frame = errorFrame(new GatewayError('upstream_reset'), 'openai').trim();
  return `A gateway in front of self-hosted inference servers. It checks keys and passes bytes on unchanged, in both directions.

A request needs a key: \`Authorization: Bearer <key>\`, \`x-api-key: <key>\`, or, as clients of Azure and Gemini send it, \`api-key: <key>\`, \`x-goog-api-key: <key>\` or \`?key=<key>\`. The first of at most five keys that is accepted counts. No key is passed on. On [/docs](/docs), press **Authorize** to enter your key and try the routes from the page.

Each route is forwarded to the path under which the engine serves it; that of an engine's own format works with engines of that kind alone. Slashes doubled or at the end, \`/v1\` given twice or left out, \`/openai/v1\` and Azure's \`/openai/deployments/{model}\` are other spellings of these paths. Fields that are not listed here are passed to the engine unchanged.

You may send your own \`x-request-id\`, 1 to 128 of \`[A-Za-z0-9._-]\`. The gateway returns it with the answer; the engine gets it with a suffix that makes it unique.

## Streams
With \`stream: true\` the answer is an event stream; on Ollama's own routes it is lines of JSON unless \`stream\` is \`false\`. If the engine fails after the stream has begun, the last frame is an error in the format of the wire family, without the frame that ends a complete answer; or the connection is reset:

\`\`\`
${frame}
\`\`\`

## Errors
An error of the gateway itself has the header \`x-gateway-error\`; an error without it comes from the engine, unchanged. A key that is not accepted is 403, or 401 where the operator has set \`INVALID_KEY_STATUS=401\`.

<details>
<summary>All codes</summary>

${errorTableText()}

</details>
`;
}

const tags: OpenAPIV3.TagObject[] = [
  { name: 'OpenAI', description: 'OpenAI’s wire format.' },
  { name: 'Anthropic', description: 'Anthropic’s wire format, including errors.' },
  { name: 'Ranking and scoring', description: 'Rank documents for a query, score pairs of texts.' },
  { name: 'llama.cpp', description: 'Native routes and formats of llama.cpp.' },
  { name: 'Ollama', description: 'Ollama’s own routes and formats, including errors.' },
  { name: 'Usage', description: 'The usage of your key.' },
  { name: 'Gateway', description: 'The gateway itself. No key needed.' },
];

const operatorTag = { name: 'Operator', description: 'These routes need `ADMIN_API_KEY`.' };

/**
 * Returns all operations, and the document without its paths.
 * @param hasOperator whether to include the operator's routes
 */
export function specification(
  version: string,
  hasOperator = false,
): {
  operations: Described[];
  document: Omit<OpenAPIV3.Document, 'openapi' | 'paths'>;
} {
  const errors = new ErrorResponses();
  const operations = [
    ...routes.map((route) => describeRoute(route, errors)),
    ...[...ownOperations, ...(hasOperator ? operatorOperations : []), ...publicOperations].map(
      ({ method, path, operation }) => ({
        method,
        path,
        operation: {
          ...operation,
          operationId: operationId(method, path),
          responses: { ...errors.ofAnyPath(), ...operation.responses },
        },
      }),
    ),
  ];
  return {
    operations,
    document: {
      info: {
        title: 'LLM Gateway',
        version,
        description: introduction(),
      },
      servers: [{ url: '/', description: 'This gateway' }],
      tags: hasOperator ? [...tags, operatorTag] : tags,
      security: clientSecurity,
      components: {
        securitySchemes,
        headers: responseHeaders,
        responses: errors.components,
        schemas: {
          ...openaiSchemas,
          ...audioSchemas,
          ...imageSchemas,
          ...responsesSchemas,
          ...anthropicSchemas,
          ...engineSchemas,
          ...ollamaSchemas,
          ...usageSchemas,
          ...(hasOperator ? operatorSchemas : {}),
          ...publicSchemas,
          ...errorSchemas,
        },
      },
    },
  };
}
