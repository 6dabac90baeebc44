/**
 * Finds and replaces the `model` field of a form (RFC 7578) in the form's bytes. Every other byte is unchanged, and a
 * body that is not a form is not touched.
 */
import { viewOf } from './bytes.ts';
import { namesModelElsewhere } from './modelnames.ts';

/** A part's field name, and its content as byte offsets `[start, end)`. */
interface Part {
  name: string | undefined;
  start: number;
  end: number;
}

/** A delimiter line as byte offsets: the line break before it, its text, and the first byte after its line. */
interface Delimiter {
  start: number;
  text: number;
  end: number;
}

/** Limits of a model's name and of a part's headers; longer ones are ignored. */
const maxValueBytes = 1_000;
const maxHeaderBytes = 8_192;
/** Of all parts together; what follows is ignored, since it takes long to read. A thousand usual parts have less. */
const maxHeaderBytesOfForm = 256 * 1024;
/** Engines accept about 1,000 parts. The limit stops a form that was made to be slow to read. */
const maxBoundaries = 10_000;

const lineBreak = '\r\n';
const blankLine = lineBreak + lineBreak;
const TAB = 0x09;
const LF = 0x0a;
const CR = 0x0d;
const SPACE = 0x20;
const DASH = 0x2d;

/** Returns the value of the field `model` and its byte offsets in the body; `undefined` if there is no such field. */
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
 * Returns the form with its `model` field set to the given model. A field that occurs twice is replaced twice, because
 * parsers differ in which one wins. A missing field becomes the first part. The result is a list of pieces, so that a
 * large form need not be copied.
 */
export function replaceModel(body: Uint8Array, contentType: string, model: string): Uint8Array[] {
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
  return [...pieces, bytes.subarray(from)];
}

/**
 * Returns whether the form keeps to a grammar so narrow that every parser finds the same fields in it. Parsers differ in
 * lenient line ends, text around the parts, repeated parameters and headers, escapes in quotes, and transfer encodings:
 * none of these may occur. A form as browsers, SDKs and curl send it passes.
 */
export function isStrictForm(body: Uint8Array, contentType: string): boolean {
  const [, quoted, token] = strictType.exec(contentType) ?? [];
  const boundary = quoted ?? token;
  if (boundary === undefined) return false;
  const bytes = viewOf(body);
  const dashed = Buffer.from(`--${boundary}`, 'latin1');
  let text = bytes.indexOf(dashed);
  if (text !== 0) return false;
  for (let parts = 0; parts <= maxStrictParts; parts++) {
    const end = text + dashed.length;
    if (bytes[end] === DASH && bytes[end + 1] === DASH) {
      return parts > 0 && ['', lineBreak].includes(bytes.toString('latin1', end + 2));
    }
    text = bytes.indexOf(dashed, end);
    const start = end + lineBreak.length;
    const isWhole = isLineBreak(bytes, end) && text >= start && isLineBreak(bytes, text - 2);
    if (!isWhole || !isStrictPart(bytes.subarray(start, text - lineBreak.length))) return false;
  }
  return false;
}

/** @param part its headers and its content, without the delimiters */
function isStrictPart(part: Buffer): boolean {
  const headerBytes = part.subarray(0, maxHeaderBytes).indexOf(blankLine);
  if (headerBytes === -1) return false;
  let disposition: string | undefined;
  const lines = part.toString('latin1', 0, headerBytes).split(lineBreak, maxStrictLines + 1);
  if (lines.length > maxStrictLines) return false;
  for (const line of lines) {
    const [, name = '', value = ''] = strictHeader.exec(line) ?? [];
    if (name === '') return false;
    if (/^content-transfer-encoding$/i.test(name) && !/^(7bit|8bit|binary)$/i.test(value)) {
      return false;
    }
    if (!/^content-disposition$/i.test(name)) continue;
    if (disposition !== undefined) return false;
    disposition = value;
  }
  const [, quoted, token, filename] = strictDisposition.exec(disposition ?? '') ?? [];
  const name = quoted ?? token;
  if (name === undefined || namesModelElsewhere(name)) return false;
  const isShort = part.length - headerBytes - blankLine.length <= maxValueBytes;
  return name !== 'model' || (filename === '' && isShort);
}

/** Starlette reads so many. */
const maxStrictParts = 1_000;
/** Header lines of a part; more are slow to read. */
const maxStrictLines = 16;
const strictType =
  /^multipart\/form-data; ?(?:charset="?utf-8"?; ?)?boundary=(?:"([\w'()+,./:=?-]{1,70})"|([\w'+.-]{1,70}))$/i;
const strictHeader = /^([A-Za-z0-9-]+): ?([ -~\x80-\xff]*)$/;
/** A file's name has no quote, backslash or semicolon, at which parsers split differently. */
const strictDisposition =
  /^form-data; ?name=(?:"([\w.[\]-]+)"|([\w.-]+))((?:; ?filename=(?:"[^"\\;]*"|[\w.-]+))?(?:; ?filename\*=[\w.%'-]+)?)$/;

/** Returns the form with a new first part for the model; the same bytes if they are not a form. */
function withModel(bytes: Buffer, boundary: string | undefined, value: Buffer): Uint8Array[] {
  const [first] = delimitersOf(bytes, boundary);
  if (first === undefined) return [bytes];
  const head = `--${boundary}${lineBreak}Content-Disposition: form-data; name="model"${blankLine}`;
  return [
    bytes.subarray(0, first.text),
    Buffer.from(head, 'latin1'),
    value,
    Buffer.from(lineBreak),
    bytes.subarray(first.text),
  ].filter(({ length }) => length > 0);
}

function boundaryOf(contentType: string): string | undefined {
  if (!/^\s*multipart\/form-data\s*;/i.test(contentType)) return undefined;
  return parameterOf(contentType, 'boundary') || undefined;
}

/** Yields the parts that have a complete delimiter on both sides, in order. */
function* partsOf(bytes: Buffer, boundary: string | undefined): Generator<Part> {
  let before: Delimiter | undefined;
  let headerBytes = 0;
  for (const after of delimitersOf(bytes, boundary)) {
    const part = before && partBetween(bytes, before, after);
    headerBytes += part === undefined || before === undefined ? 0 : part.start - before.end;
    if (headerBytes > maxHeaderBytesOfForm) return;
    if (part !== undefined) yield part;
    before = after;
  }
}

function partBetween(bytes: Buffer, before: Delimiter, after: Delimiter): Part | undefined {
  // A part without headers begins with a blank line, of which the first CR LF belongs to the delimiter.
  const from = before.end - lineBreak.length;
  const headerBytes = bytes.subarray(from, after.start).indexOf(blankLine);
  if (headerBytes === -1 || headerBytes > maxHeaderBytes) return undefined;
  const headers = bytes.toString('latin1', before.end, from + headerBytes);
  const start = from + headerBytes + blankLine.length;
  return { name: fieldName(headers), start, end: after.start };
}

/** Yields the lines that are `--boundary`, up to and including the last, `--boundary--`. */
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
    // Otherwise it is content: a longer word that begins like the boundary.
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

/** Returns the value of a header's parameter, `; key=value` or `; key="value"`. */
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
