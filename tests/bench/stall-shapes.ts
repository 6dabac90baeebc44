/**
 * What a client can send that is slow to read, within the bounds of a request.
 */

export interface Shape {
  name: string;
  path?: string;
  /** Lines that each end in CR LF. */
  headers?: string;
  body: Uint8Array;
  /** Whether the key may use every model; what it sends is then read less strictly. */
  isUnlimited?: boolean;
  /** How many requests are sent at once; 1 unless said. */
  atOnce?: number;
}

const bytesOf = 30_000_000;

/** Returns JSON for the model of the key, at temperature 0, which can be cached. */
function json(members: string): Buffer {
  return Buffer.from(`{"model":"m","temperature":0,${members}}`);
}

function repeated(text: string, bytes = bytesOf): string {
  return text.repeat(Math.floor(bytes / text.length));
}

function members(count: number): string {
  return Array.from({ length: count }, (_, i) => `"${i.toString(36).padStart(7, '0')}":1`).join();
}

function form(parts: string, boundary = 'b'): Pick<Shape, 'path' | 'headers' | 'body'> {
  const end = `\r\n--${boundary}\r\nContent-Disposition: form-data; name="model"\r\n\r\nm\r\n--${boundary}--\r\n`;
  return {
    path: '/v1/audio/transcriptions',
    headers: `Content-Type: multipart/form-data; boundary=${boundary}\r\n`,
    body: Buffer.from((parts + end).replace(/^\r\n--/, '--')),
  };
}

function chunked(body: Uint8Array, chunkBytes: number): Pick<Shape, 'headers' | 'body'> {
  const parts: Uint8Array[] = [];
  for (let at = 0; at < body.length; at += chunkBytes) {
    const chunk = body.subarray(at, at + chunkBytes);
    parts.push(Buffer.from(`${chunk.length.toString(16)}\r\n`), chunk, Buffer.from('\r\n'));
  }
  return {
    headers: 'Transfer-Encoding: chunked\r\n',
    body: Buffer.concat([...parts, Buffer.from('0\r\n\r\n')]),
  };
}

const deep = bytesOf / 2;
const part = (headers: string, content = '') => `\r\n--b\r\n${headers}\r\n\r\n${content}`;
const disposition = 'Content-Disposition: form-data; name="x"';

export const shapes: readonly Shape[] = [
  { name: 'nothing unusual', body: json('"prompt":"x"') },
  { name: 'nothing unusual, 300 at once', body: json('"prompt":"x"'), atOnce: 300 },
  { name: 'one text of 30 MB', body: json(`"prompt":"${repeated('word ')}"`) },
  { name: 'four texts of 30 MB at once', body: json(`"prompt":"${repeated('word ')}"`), atOnce: 4 },
  { name: '2 million members', body: json(`"prompt":"x",${members(2_000_000)}`) },
  { name: '2 million members, inside', body: json(`"prompt":{${members(2_000_000)}}`) },
  { name: '10 million empty lists', body: json(`"prompt":[${repeated('[],')}[]]`) },
  { name: '2 million objects', body: json(`"prompt":[${repeated('{"a":[{"b":1}]},')}1]`) },
  {
    name: '15 million lists, nested',
    body: json(`"prompt":${'['.repeat(deep)}${']'.repeat(deep)}`),
  },
  { name: '7 million numbers', body: json(`"prompt":[${repeated('101,')}1]`) },
  { name: 'escapes', body: json(`"prompt":"${repeated('\\u00e9\\\\\\"')}"`) },
  { name: 'white space', body: json(`"prompt":${repeated(' ')}"x"`) },
  { name: 'a name of 30 MB', body: json(`"prompt":"x","${repeated('name')}":1`) },
  { name: 'no JSON at its end', body: Buffer.from(`{"prompt":"${repeated('word ')}`) },
  {
    name: '300 bodies of 120 KB at once: members',
    body: json(`"prompt":"x",${members(9_000)}`),
    atOnce: 300,
  },
  {
    name: '300 bodies of 120 KB at once: nested',
    body: json(`"prompt":${'['.repeat(60_000)}${']'.repeat(60_000)}`),
    atOnce: 300,
  },
  {
    name: '30 bodies of 1 MB at once: objects',
    body: json(`"prompt":[${repeated('{"a":[{"b":1}]},', 1_000_000)}1]`),
    atOnce: 30,
  },
  { name: 'a file of 30 MB', ...form(part(disposition, repeated('audio'))) },
  { name: '300,000 parts', isUnlimited: true, ...form(repeated(part(disposition))) },
  {
    name: 'long headers in each part',
    isUnlimited: true,
    ...form(repeated(part(`${repeated('a: b\r\n', 2_900)}${disposition}`), 29_000_000)),
  },
  { name: 'almost the boundary, often', isUnlimited: true, ...form(repeated('\r\n-'), 'b') },
  { name: 'a boundary of dashes', isUnlimited: true, ...form(repeated('-'), `${'-'.repeat(60)}b`) },
  { name: 'chunks of one byte', ...chunked(json(`"prompt":"${repeated('x', 2_000_000)}"`), 1) },
  {
    name: '500 requests with 15 KB of headers',
    headers: repeated('a: b\r\n', 15_000),
    body: json('"prompt":"x"'),
    atOnce: 500,
  },
];
