/**
 * Types and short forms with which the specification is written: schemas, examples and event streams. Pure; it contains
 * no route and no wire format.
 */
import type { OpenAPIV3 } from 'openapi-types';

export type Schema = OpenAPIV3.SchemaObject | OpenAPIV3.ReferenceObject;
export type Content = Record<string, OpenAPIV3.MediaTypeObject>;

/** The documentation of one proxied path, in addition to its row in wire/routes.ts. */
export interface RouteDoc {
  tag: string;
  description?: string;
  parameters?: OpenAPIV3.ParameterObject[];
  /** The body of the request by content type; absent if the route takes none. */
  body?: Content;
  /** The answer with status 200 by content type. */
  answer: Content;
}

const scalar =
  (type: OpenAPIV3.NonArraySchemaObjectType) =>
  (description?: string, more: Partial<OpenAPIV3.NonArraySchemaObject> = {}): Schema => ({
    type,
    ...(description === undefined ? {} : { description }),
    ...more,
  });

export const string = scalar('string');
export const integer = scalar('integer');
export const number = scalar('number');
export const boolean = scalar('boolean');
/** An object whose properties are not described. */
export const anyObject = scalar('object');

/** Returns a reference to a named schema of the specification. */
export function ref(name: string): OpenAPIV3.ReferenceObject {
  return { $ref: `#/components/schemas/${name}` };
}

export function arrayOf(items: Schema, description?: string): Schema {
  return { type: 'array', items, ...(description === undefined ? {} : { description }) };
}

/** Returns a list with one item at least. */
export function someOf(items: Schema): Schema {
  return { ...arrayOf(items), minItems: 1 };
}

/** Returns a schema that allows any of several shapes. */
export function anyOf(description: string, ...shapes: Schema[]): Schema {
  return { description, anyOf: shapes };
}

/** Returns an object schema that allows unknown fields, because engines have more fields. */
export function object(
  properties: Record<string, Schema>,
  required: string[] = [],
  description?: string,
): OpenAPIV3.NonArraySchemaObject {
  return {
    type: 'object',
    ...(description === undefined ? {} : { description }),
    properties,
    ...(required.length > 0 ? { required } : {}),
    additionalProperties: true,
  };
}

/** Returns a JSON body with the named schema and examples by title. */
export function json(schema: string, examples: Record<string, unknown>): Content {
  return { 'application/json': { schema: ref(schema), examples: titled(examples) } };
}

/** Returns a JSON body that has one of two schemas, with examples by title. */
export function eitherJson(
  description: string,
  schemas: readonly [string, string],
  examples: Record<string, unknown>,
): Content {
  const schema = anyOf(description, ...schemas.map(ref));
  return { 'application/json': { schema, examples: titled(examples) } };
}

/**
 * Returns a form body with the named schema and examples by title. In an example, a file's name is in place of its
 * content.
 */
export function form(schema: string, examples: Record<string, unknown>): Content {
  return { 'multipart/form-data': { schema: ref(schema), examples: titled(examples) } };
}

/** Returns an event stream body with one example, made of `frames`. */
export function eventStream(description: string, frames: string[]): Content {
  return {
    'text/event-stream': {
      schema: { type: 'string', description },
      examples: titled({ 'A complete stream': frames.join('') }),
    },
  };
}

/** Returns the frames of a stream whose events have no names, as OpenAI's completions and llama.cpp send them. */
export function dataFrames(...events: (object | '[DONE]')[]): string[] {
  return events.map((event) => `data: ${event === '[DONE]' ? event : JSON.stringify(event)}\n\n`);
}

/** Returns the frames of a stream whose events are named by their `type`, as Anthropic and Responses send them. */
export function namedFrames(...events: { type: string; [field: string]: unknown }[]): string[] {
  return events.map((event) => `event: ${event.type}\ndata: ${JSON.stringify(event)}\n\n`);
}

function titled(examples: Record<string, unknown>): Record<string, OpenAPIV3.ExampleObject> {
  return Object.fromEntries(
    Object.entries(examples).map(([title, value], index) => [
      `example${index + 1}`,
      { summary: title, value },
    ]),
  );
}
