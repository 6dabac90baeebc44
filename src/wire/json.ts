/**
 * Reads and edits JSON in its bytes. A body that is passed on must not be parsed and stringified: that turns 1.0 into 1
 * and rounds large integers. The scanner does not check the syntax, which `parseObject` or the engine does; on bytes
 * that are not JSON it ends at the last byte and never throws.
 */
import { decode, lastIndexOfText } from './bytes.ts';
import { GatewayError } from './errors.ts';

/** One member of an object or element of an array, as byte offsets `[start, end)` of its value. */
export interface Span {
  key: string;
  start: number;
  end: number;
}

/** A byte order mark in UTF-8. RFC 8259 section 8.1 lets a parser ignore one, and llama.cpp does. */
const byteOrderMark = [0xef, 0xbb, 0xbf];
const QUOTE = 0x22;
const COMMA = 0x2c;
const COLON = 0x3a;
const OPEN_BRACKET = 0x5b;
const BACKSLASH = 0x5c;
const CLOSE_BRACKET = 0x5d;
const OPEN_BRACE = 0x7b;
const CLOSE_BRACE = 0x7d;

/** Returns the bytes `[start, end)` as text. */
export function textOf(bytes: Uint8Array, start = 0, end = bytes.length): string {
  return decode(bytes, 'utf8', start, end);
}

/** Returns the offset at which the JSON begins: 3 after a byte order mark, else 0. */
export function startOf(bytes: Uint8Array): number {
  return byteOrderMark.every((byte, i) => bytes[i] === byte) ? byteOrderMark.length : 0;
}

/** The members of a JSON object. */
export type Fields = Readonly<Record<string, unknown>>;

/** Parses a body that must be one JSON object; throws `invalid_json` for anything else. */
export function parseObject(bytes: Uint8Array): Record<string, unknown> {
  let value: unknown;
  try {
    value = JSON.parse(textOf(bytes, startOf(bytes)));
  } catch (cause) {
    // The parser's own message quotes the body, so it must not go into the answer or the log.
    throw invalidJson(bytes, cause);
  }
  if (!isRecord(value)) throw bodyIsNoObject();
  return value;
}

/** Returns the error for a body that is no JSON. */
export function invalidJson(bytes: Uint8Array, cause?: unknown): GatewayError {
  const message =
    bytes.length === 0
      ? 'The body is empty. It must be one JSON object, such as {"prompt": "Hello"}.'
      : 'The body is not valid JSON. Check quotes and commas, and send it as UTF-8. A compressed body needs its Content-Encoding header.';
  return new GatewayError('invalid_json', { message, cause });
}

/** Returns the error for a body that is JSON, but no object. */
export function bodyIsNoObject(): GatewayError {
  return new GatewayError('invalid_json', {
    message: 'The body must be one JSON object, such as {"prompt": "Hello"}.',
  });
}

function isSpace(byte: number | undefined): boolean {
  return byte === 0x20 || byte === 0x0a || byte === 0x0d || byte === 0x09;
}

function skipSpace(bytes: Uint8Array, offset: number): number {
  while (isSpace(bytes[offset])) offset++;
  return offset;
}

/** Returns the offset after the string that opens at `offset`. */
function skipString(bytes: Uint8Array, offset: number): number {
  for (
    let end = bytes.indexOf(QUOTE, offset + 1);
    end !== -1;
    end = bytes.indexOf(QUOTE, end + 1)
  ) {
    let backslashes = 0;
    while (bytes[end - 1 - backslashes] === BACKSLASH) backslashes++;
    if (backslashes % 2 === 0) return end + 1;
  }
  return bytes.length;
}

/** Returns the offset after the value that begins at `offset`. */
function skipValue(bytes: Uint8Array, offset: number): number {
  let depth = 0;
  for (let i = offset; i < bytes.length;) {
    const byte = bytes[i];
    if (byte === QUOTE) {
      i = skipString(bytes, i);
      if (depth === 0) return i;
      continue;
    }
    if (byte === OPEN_BRACE || byte === OPEN_BRACKET) depth++;
    else if (byte === CLOSE_BRACE || byte === CLOSE_BRACKET) {
      if (depth === 0) return i;
      if (--depth === 0) return i + 1;
    } else if (depth === 0 && (byte === COMMA || isSpace(byte))) return i;
    i++;
  }
  return bytes.length;
}

/** Returns the members of the object, or the elements of the array, that begins at or after `offset`, in order. */
export function spans(bytes: Uint8Array, offset = startOf(bytes)): Span[] {
  const found: Span[] = [];
  let i = skipSpace(bytes, offset);
  const isObject = bytes[i] === OPEN_BRACE;
  if (!isObject && bytes[i] !== OPEN_BRACKET) return found;
  i = skipSpace(bytes, i + 1);
  while (i < bytes.length && bytes[i] !== CLOSE_BRACE && bytes[i] !== CLOSE_BRACKET) {
    let key = String(found.length);
    if (isObject) {
      const keyEnd = skipString(bytes, i);
      key = unquote(textOf(bytes, i, keyEnd));
      i = skipSpace(bytes, keyEnd);
      if (bytes[i] !== COLON) return found;
      i = skipSpace(bytes, i + 1);
    }
    const end = skipValue(bytes, i);
    found.push({ key, start: i, end });
    i = skipSpace(bytes, end);
    if (bytes[i] !== COMMA) return found;
    i = skipSpace(bytes, i + 1);
  }
  return found;
}

/** Returns the text of a JSON string; the same text if it is none. */
export function unquote(quoted: string): string {
  try {
    return String(JSON.parse(quoted));
  } catch {
    return quoted; // Not a JSON string, so it matches no key that is looked for.
  }
}

/**
 * Returns the object with some top-level members set to new values, inserted at their byte offsets; every other byte is
 * unchanged. A key that occurs twice is replaced twice, because parsers differ in which one wins. A missing key becomes
 * the first member. The result is a list of parts, so that a large body need not be copied.
 */
export function editJson(
  { bytes, members }: { bytes: Uint8Array; members: readonly Span[] },
  edits: Record<string, unknown>,
): Uint8Array[] {
  const parts: Uint8Array[] = [];
  const opening = bytes.indexOf(OPEN_BRACE) + 1;
  const missing = Object.keys(edits).filter((key) => !members.some((member) => member.key === key));
  const added = missing.map((key) => `${JSON.stringify(key)}:${JSON.stringify(edits[key])}`);
  const separator = added.length > 0 && members.length > 0 ? ',' : '';
  parts.push(bytes.subarray(0, opening), Buffer.from(added.join(',') + separator));
  let from = opening;
  for (const { key, start, end } of members) {
    if (!Object.hasOwn(edits, key)) continue;
    parts.push(bytes.subarray(from, start), Buffer.from(JSON.stringify(edits[key])));
    from = end;
  }
  parts.push(bytes.subarray(from));
  return parts.filter(({ length }) => length > 0);
}

/** Returns whether the bytes begin with `[`. */
export function isList(bytes: Uint8Array): boolean {
  return bytes[0] === OPEN_BRACKET;
}

/** Returns the parsed value of the last `"key":` in the bytes, at any depth; `undefined` if there is none. */
export function lastValueOf(bytes: Uint8Array, key: string): unknown {
  const quoted = `"${key}"`;
  for (
    let at = lastIndexOfText(bytes, quoted);
    at !== -1;
    at = at === 0 ? -1 : lastIndexOfText(bytes, quoted, at - 1)
  ) {
    const colon = skipSpace(bytes, at + quoted.length);
    // A quote after a backslash is part of a string's content.
    const isKey = bytes[colon] === COLON && bytes[at - 1] !== BACKSLASH;
    if (!isKey) continue;
    const start = skipSpace(bytes, colon + 1);
    try {
      return JSON.parse(textOf(bytes, start, skipValue(bytes, start)));
    } catch {
      return undefined; // The value is cut off or malformed, so it is unknown.
    }
  }
  return undefined;
}

/** Returns whether the value is an object that is neither `null` nor an array. */
export function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
