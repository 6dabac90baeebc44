/**
 * A JSON body, looked at once: the values of its top-level members, and where they stand in its bytes. What needs
 * either has it from here. A large body is not parsed: its large values stand here as what they are, without content.
 */
import { parseObject, spans, textOf, type Fields, type Span } from './json.ts';
import type { Member } from './jsonscan.ts';

/** A value that was too large to be parsed. */
export class Unread {
  constructor(
    readonly kind: 'text' | 'list' | 'object',
    /** How many elements a list has, and how many of those are numbers; else 0. */
    readonly items: number,
    readonly numbers: number,
  ) {}
}

export class JsonBody {
  #members: readonly Span[] | undefined;

  /**
   * @param fields values by name; of two members with one name the last, as JSON.parse has it
   * @param members if they have been found already
   */
  constructor(
    readonly bytes: Uint8Array,
    readonly fields: Fields,
    members?: readonly Span[],
  ) {
    this.#members = members;
  }

  /** Parses a body. Throws `invalid_json`. */
  static parse(bytes: Uint8Array): JsonBody {
    return new JsonBody(bytes, parseObject(bytes));
  }

  /** The members in the order of the bytes, those with the same name too. */
  get members(): readonly Span[] {
    return (this.#members ??= spans(this.bytes));
  }
}

/** Values of a large body that are longer than this are not parsed; all that is read of them is shorter. */
export const maxParsedBytes = 4 * 1024;
/** What kinds of tools there are decides about the response cache, and there may be many. */
export const maxToolsBytes = 64 * 1024;

/** Returns the value of a member of a large body, parsed unless it is large. Its syntax must have been checked. */
export function valueOf(bytes: Uint8Array, { key, start, end, items, numbers }: Member): unknown {
  if (end - start <= (key === 'tools' ? maxToolsBytes : maxParsedBytes))
    return JSON.parse(textOf(bytes, start, end));
  switch (String.fromCharCode(bytes[start] as number)) {
    case '"':
      return new Unread('text', 0, 0);
    case '[':
      return new Unread('list', items, numbers);
    case '{':
      return new Unread('object', 0, 0);
    default:
      return Number.NaN; // No figure of 4 KiB means anything.
  }
}

/** Returns whether a value is a text. */
export function isText(value: unknown): boolean {
  return typeof value === 'string' || (value instanceof Unread && value.kind === 'text');
}

/** Returns how many elements a list has, and how many of those are numbers; `undefined` if the value is no list. */
export function listFacts(value: unknown): { items: number; numbers: number } | undefined {
  if (value instanceof Unread) return value.kind === 'list' ? value : undefined;
  if (!Array.isArray(value)) return undefined;
  let numbers = 0;
  for (const item of value) if (typeof item === 'number') numbers++;
  return { items: value.length, numbers };
}
