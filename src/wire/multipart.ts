/**
 * The `model` field of a form (RFC 7578), found and replaced in the form's bytes. Every other byte stays as it is, and
 * what is no form is left alone.
 */
import { viewOf } from './bytes.ts';

/** A part's field name, and its content as byte offsets `[start, end)`. */
interface Part {
  name: string | undefined;
  start: number;
  end: number;
}

/** A line between two parts, as byte offsets: its own line break before it, its text, what is behind it. */
interface Delimiter {
  start: number;
  text: number;
  end: number;
}

/** No model has a longer name, and no part longer headers. */
const maxValueBytes = 1_000;
const maxHeaderBytes = 8_192;
/** Engines take about a thousand parts; a form made to be slow to read must not hold the others up. */
const maxBoundaries = 10_000;

const lineBreak = '\r\n';
const blankLine = lineBreak + lineBreak;
const TAB = 0x09;
const LF = 0x0a;
const CR = 0x0d;
const SPACE = 0x20;
const DASH = 0x2d;

/** Gives the value of the field `model`, with its place in the body; `undefined` where there is none. */
export function modelPart(
  body: Uint8Array,
  contentType: string,
): { start: number; end: number; value: string } | undefined {
  const bytes = viewOf(body);
  for (const { name, start, end } of partsOf(bytes, boundaryOf(contentType))) {
    if (name !== 'model') continue;
    if (end - start > maxValueBytes) return undefined;
    return { start, end, value: bytes.toString('utf8', start, end) };
  }
  return undefined;
}

/**
 * Gives the form with that model in place of the one it names. A field that stands twice is replaced twice, since
 * parsers differ in which one wins; one that is missing becomes the first part.
 */
export function replaceModel(body: Uint8Array, contentType: string, model: string): Uint8Array {
  const bytes = viewOf(body);
  const boundary = boundaryOf(contentType);
  const value = Buffer.from(model);
  const pieces: Uint8Array[] = [];
  let from = 0;
  for (const { name, start, end } of partsOf(bytes, boundary)) {
    if (name !== 'model') continue;
    pieces.push(bytes.subarray(from, start), value);
    from = end;
  }
  if (pieces.length === 0) return withModel(bytes, boundary, value);
  return Buffer.concat([...pieces, bytes.subarray(from)]);
}

/**
 * Says whether every parser finds the same parts in a form: each boundary in it is a delimiter by RFC 2046, with CR LF.
 * A lenient parser may find more in any other.
 */
export function isPlainForm(body: Uint8Array, contentType: string): boolean {
  const boundary = boundaryOf(contentType);
  if (boundary === undefined) return false;
  const bytes = viewOf(body);
  const delimiters = new Set(Array.from(delimitersOf(bytes, boundary), ({ text }) => text));
  const dashed = Buffer.from(`--${boundary}`, 'latin1');
  for (let at = bytes.indexOf(dashed); at !== -1; at = bytes.indexOf(dashed, at + 1)) {
    if (!delimiters.has(at)) return false;
  }
  return delimiters.size > 1;
}

/** Gives the form with a first part for the model; the same bytes where they are no form. */
function withModel(bytes: Buffer, boundary: string | undefined, value: Buffer): Uint8Array {
  const [first] = delimitersOf(bytes, boundary);
  if (first === undefined) return bytes;
  const head = `--${boundary}${lineBreak}Content-Disposition: form-data; name="model"${blankLine}`;
  return Buffer.concat([
    bytes.subarray(0, first.text),
    Buffer.from(head, 'latin1'),
    value,
    Buffer.from(lineBreak),
    bytes.subarray(first.text),
  ]);
}

function boundaryOf(contentType: string): string | undefined {
  if (!/^\s*multipart\/form-data\s*;/i.test(contentType)) return undefined;
  return parameterOf(contentType, 'boundary') || undefined;
}

/** Gives the parts whose delimiters are whole, in their order. */
function* partsOf(bytes: Buffer, boundary: string | undefined): Generator<Part> {
  let before: Delimiter | undefined;
  for (const after of delimitersOf(bytes, boundary)) {
    const part = before && partBetween(bytes, before, after);
    if (part !== undefined) yield part;
    before = after;
  }
}

function partBetween(bytes: Buffer, before: Delimiter, after: Delimiter): Part | undefined {
  // A part without headers begins with the blank line, whose first half is the delimiter's own line break.
  const from = before.end - lineBreak.length;
  const headerBytes = bytes.subarray(from, after.start).indexOf(blankLine);
  if (headerBytes === -1 || headerBytes > maxHeaderBytes) return undefined;
  const headers = bytes.toString('latin1', before.end, from + headerBytes);
  const start = from + headerBytes + blankLine.length;
  return { name: fieldName(headers), start, end: after.start };
}

/** Gives the lines that are `--boundary`, up to the last, which has `--` behind it. */
function* delimitersOf(bytes: Buffer, boundary: string | undefined): Generator<Delimiter> {
  if (boundary === undefined) return;
  const dashed = Buffer.from(`--${boundary}`, 'latin1');
  let from = 0;
  let count = 0;
  for (let text = bytes.indexOf(dashed); text !== -1; text = bytes.indexOf(dashed, text + 1)) {
    if (++count > maxBoundaries) return;
    const start = text === 0 ? 0 : text - lineBreak.length;
    if (start < from || (text > 0 && !isLineBreak(bytes, start))) continue;
    let end = text + dashed.length;
    const isLast = bytes[end] === DASH && bytes[end + 1] === DASH;
    while (!isLast && (bytes[end] === SPACE || bytes[end] === TAB)) end++;
    // Otherwise it is a longer word that begins like the boundary: content.
    if (!isLast && !isLineBreak(bytes, end)) continue;
    from = end + lineBreak.length;
    yield { start, text, end: from };
    if (isLast) return;
  }
}

function isLineBreak(bytes: Uint8Array, at: number): boolean {
  return bytes[at] === CR && bytes[at + 1] === LF;
}

function fieldName(headers: string): string | undefined {
  const lines = headers.split(lineBreak);
  const disposition = lines.find((line) => /^content-disposition[ \t]*:/i.test(line));
  if (disposition === undefined || !/:\s*form-data\s*;/i.test(disposition)) return undefined;
  return parameterOf(disposition, 'name');
}

/** Gives the value of a header's parameter, `; key=value` or `; key="value"`. */
function parameterOf(header: string, wanted: string): string | undefined {
  const parameter = /;\s*([^\s=;"]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s;"]*))\s*/y;
  parameter.lastIndex = header.indexOf(';');
  for (;;) {
    const match = parameter.exec(header);
    if (match === null) return undefined;
    const [, key = '', quoted, token] = match;
    if (key.toLowerCase() === wanted) return quoted?.replace(/\\(.)/g, '$1') ?? token;
  }
}
