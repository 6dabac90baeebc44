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

/** A line between two parts, as byte offsets `[start, end)`; the line break before it is its own. */
interface Delimiter {
  start: number;
  end: number;
  isLast: boolean;
}

/** No model has a longer name, and no part longer headers. */
const maxValueBytes = 1_000;
const maxHeaderBytes = 8_192;

const lineBreak = '\r\n';
const blankLine = lineBreak + lineBreak;
const dashes = '--';

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

/** Gives the form with a first part for the model; the same bytes where they are no form. */
function withModel(bytes: Buffer, boundary: string | undefined, value: Buffer): Uint8Array {
  if (boundary === undefined) return bytes;
  const first = nextDelimiter(bytes, dashes + boundary, 0);
  if (first === undefined) return bytes;
  const head = `${dashes}${boundary}${lineBreak}Content-Disposition: form-data; name="model"${blankLine}`;
  // The line break before the first delimiter ends whatever stands in front of the form.
  const at = first.start === 0 ? 0 : first.start + lineBreak.length;
  return Buffer.concat([
    bytes.subarray(0, at),
    Buffer.from(head, 'latin1'),
    value,
    Buffer.from(lineBreak),
    bytes.subarray(at),
  ]);
}

function boundaryOf(contentType: string): string | undefined {
  if (!/^\s*multipart\/form-data\s*;/i.test(contentType)) return undefined;
  return parameterOf(contentType, 'boundary') || undefined;
}

/** Gives the parts whose delimiters are whole, in their order. */
function* partsOf(bytes: Buffer, boundary: string | undefined): Generator<Part> {
  if (boundary === undefined) return;
  let before = nextDelimiter(bytes, dashes + boundary, 0);
  while (before !== undefined && !before.isLast) {
    const after = nextDelimiter(bytes, dashes + boundary, before.end);
    if (after === undefined) return;
    // A part without headers begins with the blank line, whose first half is the delimiter's own line break.
    const headersEnd = bytes.indexOf(blankLine, before.end - lineBreak.length, 'latin1');
    const start = headersEnd + blankLine.length;
    if (headersEnd !== -1 && start <= after.start) {
      yield { name: fieldName(bytes, before.end, headersEnd), start, end: after.start };
    }
    before = after;
  }
}

/** Finds the next line that is `--boundary`, with `--` behind it where it is the last. */
function nextDelimiter(bytes: Buffer, opening: string, from: number): Delimiter | undefined {
  for (
    let at = bytes.indexOf(opening, from, 'latin1');
    at !== -1;
    at = bytes.indexOf(opening, at + 1, 'latin1')
  ) {
    const start = at === 0 ? 0 : at - lineBreak.length;
    if (start < from || (at > 0 && !hasText(bytes, start, lineBreak))) continue;
    let end = at + opening.length;
    const isLast = hasText(bytes, end, dashes);
    if (isLast) return { start, end: end + dashes.length, isLast };
    while (bytes[end] === 0x20 || bytes[end] === 0x09) end++;
    // Otherwise a longer word that begins like the boundary: content.
    if (hasText(bytes, end, lineBreak)) return { start, end: end + lineBreak.length, isLast };
  }
  return undefined;
}

function hasText(bytes: Buffer, at: number, text: string): boolean {
  return bytes.toString('latin1', at, at + text.length) === text;
}

/** Gives the field that the headers between these offsets name. */
function fieldName(bytes: Buffer, start: number, end: number): string | undefined {
  if (end - start > maxHeaderBytes) return undefined;
  const headers = start < end ? bytes.toString('latin1', start, end).split(lineBreak) : [];
  const disposition = headers.find((line) => /^content-disposition[ \t]*:/i.test(line));
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
