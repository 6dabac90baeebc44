/**
 * The specification of the places where a key may stand: those of clients, and the fewer ones of the operator.
 */
import type { OpenAPIV3 } from 'openapi-types';

type Schemes = Record<string, OpenAPIV3.SecuritySchemeObject>;

const operatorSchemes: Schemes = {
  bearer: { type: 'http', scheme: 'bearer', description: 'Your key for this gateway.' },
  apiKey: {
    type: 'apiKey',
    in: 'header',
    name: 'x-api-key',
    description: 'The same key, as Anthropic’s clients send it.',
  },
};

export const securitySchemes: Schemes = {
  ...operatorSchemes,
  azureKey: {
    type: 'apiKey',
    in: 'header',
    name: 'api-key',
    description: 'The same key, as clients of Azure send it.',
  },
  googleKey: {
    type: 'apiKey',
    in: 'header',
    name: 'x-goog-api-key',
    description: 'The same key, as clients of Gemini send it.',
  },
  queryKey: {
    type: 'apiKey',
    in: 'query',
    name: 'key',
    description:
      'The same key in the URL, for clients of Gemini. Prefer a header: proxies on the way may log URLs.',
  },
};

function anyOf(schemes: Schemes): OpenAPIV3.SecurityRequirementObject[] {
  return Object.keys(schemes).map((name) => ({ [name]: [] }));
}

/** Any one place of a client's key. */
export const clientSecurity = anyOf(securitySchemes);
/** Any one place of the operator's key. */
export const operatorSecurity = anyOf(operatorSchemes);
