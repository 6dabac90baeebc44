/**
 * Requests with mistakes, made from good ones: each has one to three changes to its bytes, is sent in one or several
 * pieces, and its client leaves early or waits.
 */
import { requestBytes } from '../support/rawclient.ts';
import type { Random } from '../support/random.ts';

export interface MalformedCase {
  pieces: Buffer[];
  /** `patient`: after the answers; `early`: by FIN at once; `reset`: by a reset at once. */
  leaves: 'patient' | 'early' | 'reset';
}

const bodies = [
  { prompt: 'Hi', max_tokens: 2 },
  { prompt: 'Hi', max_tokens: 2, stream: true },
  { messages: [{ role: 'user', content: 'Hi' }], max_tokens: 2 },
];
const paths = ['/v1/completions', '/v1/chat/completions', '/v1/messages', '/tokenize', '/usage'];
const getPaths = ['/', '/health', '/v1/models', '/v1/models/demo', '/usage', '/openapi.json'];

function goodRequest(random: Random): string {
  if (random.oneIn(4)) {
    const method = random.oneIn(3) ? random.pick(['HEAD', 'OPTIONS', 'DELETE']) : 'GET';
    return text(requestBytes({ method, path: random.pick(getPaths) }));
  }
  const path = random.pick(paths);
  const body = random.pick(bodies);
  if (random.oneIn(2)) return text(requestBytes({ path, body }));
  const json = JSON.stringify(body);
  const at = 1 + random.below(json.length - 1);
  const chunks = [json.slice(0, at), json.slice(at), ''].map(
    (each) => `${each.length.toString(16)}\r\n${each}\r\n`,
  );
  const headers = { 'Content-Length': undefined, 'Transfer-Encoding': 'chunked' };
  return text(requestBytes({ path, body: chunks.join(''), headers }));
}

function text(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('latin1');
}

const methods = ['get', 'PO ST', 'POST\0', 'BREW', 'PRI', 'CONNECT', '', 'G', 'PUT', 'TRACE'];
const targets = [
  '*',
  '//',
  '/../admin/keys',
  '/v1/%2e%2e/admin/keys',
  '/v1/completions%00',
  '/v1//completions',
  '/%',
  '/v1/completions?key=%ff&key=,,,',
  'http://other/v1/completions',
  'http://[::1',
  'other:80',
  '/\xff\xfe',
  '/v1/models/%2F..%2F',
  '',
  `/${'a'.repeat(20_000)}`,
];
const versions = ['HTTP/1.0', 'HTTP/0.9', 'HTTP/2.0', 'HTTP/1.11', 'http/1.1', 'HTTP/1.1 ', ''];
const lines = [
  'Content-Length: 5',
  'Content-Length: 0',
  'Content-Length: -1',
  'Content-Length: +5',
  'Content-Length: 0x10',
  'Content-Length: 99999999999999999999999',
  'Content-Length: 5, 5',
  'Content-Length: ',
  'Content-Length : 5',
  'Content-Length: 31457281',
  'Transfer-Encoding: chunked',
  'Transfer-Encoding: identity',
  'Transfer-Encoding: gzip, chunked',
  'Transfer-Encoding: chunked, identity',
  'Transfer-Encoding: xchunked',
  'Transfer-Encoding:\tchunked',
  'Transfer-Encoding: "chunked"',
  'Transfer-Encoding : chunked',
  'Transfer-Encoding\0: chunked',
  ' folded: line',
  '\tfolded',
  'Host: other',
  'Host: ',
  'Host: a b',
  'Host: a/b?c#d',
  'Host: [::1',
  'Expect: 100-continue',
  'Expect: nothing',
  'Connection: close',
  'Connection: keep-alive, upgrade, content-length',
  'Upgrade: h2c',
  'Upgrade: websocket',
  'HTTP2-Settings: AAMAAABkAAQAAP__',
  'Authorization: Bearer ',
  'Authorization: \xff\xff',
  'Authorization: Basic Og==',
  'X-Api-Key: ,,,,,,,,,,',
  'X-Request-Id: \x01',
  `X-Request-Id: ${'a'.repeat(300)}`,
  'X-Priority: urgent',
  'X-Queue-Feedback: true',
  'X-Session-Id: \xe9',
  'Accept: text/event-stream',
  'Content-Type: multipart/form-data; boundary=',
  'Content-Type: \0',
  'Content-Encoding: gzip',
  'Content-Encoding: identity',
  'Range: bytes=0-1',
  'If-None-Match: *',
  'Origin: null',
  'Access-Control-Request-Method: POST',
  'Trailer: X',
  'TE: trailers',
  ': no name',
  'no colon',
  'A\x7fB: c',
  'Ключ: значение',
  '__proto__: x',
  'constructor: x',
  `X-Long: ${'x'.repeat(17_000)}`,
  Array.from({ length: 300 }, (_, i) => `X-${i}: y`).join('\r\n'),
];
const chunkSizes = [
  '-1',
  '0x5',
  'ffffffffffffffffff',
  '5;a=b',
  '5 ',
  ' 5',
  '+5',
  'g',
  '',
  '7fffffff',
  '00000005',
  '5\r',
  '5\n',
];

type Change = (request: string, random: Random) => string;

function partsOf(request: string): { start: string; headers: string[]; body: string } {
  const at = request.indexOf('\r\n\r\n');
  const [start = '', ...headers] = request.slice(0, at === -1 ? undefined : at).split('\r\n');
  return { start, headers, body: at === -1 ? '' : request.slice(at + 4) };
}

function joined(start: string, headers: readonly string[], body: string): string {
  return `${[start, ...headers].join('\r\n')}\r\n\r\n${body}`;
}

function changeStart(change: (words: string[], random: Random) => void): Change {
  return (request, random) => {
    const { start, headers, body } = partsOf(request);
    const words = start.split(' ');
    change(words, random);
    return joined(words.join(' '), headers, body);
  };
}

const changes: readonly Change[] = [
  changeStart((words, random) => (words[0] = random.pick(methods))),
  changeStart((words, random) => (words[1] = random.pick(targets))),
  changeStart((words, random) => (words[2] = random.pick(versions))),
  changeStart((words, random) => words.splice(random.below(4), 0, random.pick(['', 'x', '\t']))),
  // A header more, several times as likely as the others: most mistakes are there.
  ...Array.from({ length: 6 }, () => addHeader),
  function dropHeader(request, random) {
    const { start, headers, body } = partsOf(request);
    headers.splice(random.below(headers.length + 1), 1);
    return joined(start, headers, body);
  },
  function doubleHeader(request, random) {
    const { start, headers, body } = partsOf(request);
    if (headers.length > 0) headers.push(random.pick(headers));
    return joined(start, headers, body);
  },
  function changeChunkSize(request, random) {
    return request.replace(/\r\n[0-9a-f]+\r\n/, () => `\r\n${random.pick(chunkSizes)}\r\n`);
  },
  function changeBytes(request, random) {
    const bytes = Buffer.from(request, 'latin1');
    for (let i = 1 + random.below(4); i > 0; i--) {
      bytes[random.below(bytes.length)] = random.oneIn(3) ? random.below(256) : random.below(33);
    }
    return text(bytes);
  },
  function cutOut(request, random) {
    const at = random.below(request.length);
    return request.slice(0, at) + request.slice(at + 1 + random.below(20));
  },
  function cutOff(request, random) {
    return request.slice(0, random.below(request.length));
  },
  function putIn(request, random) {
    const at = random.below(request.length);
    const more = random.pick(['\r\n', '\n', '\r', '\0', ' ', '\r\n\r\n', '\xff', ':', '%']);
    return request.slice(0, at) + more + request.slice(at);
  },
  function otherLineEnds(request, random) {
    const at = request.indexOf('\r\n\r\n');
    const end = random.pick(['\n', '\r', '\r\r\n', '\n\r']);
    return request.slice(0, at).replaceAll('\r\n', end) + request.slice(at);
  },
  function addBehind(request, random) {
    return request + random.pick([request, '\r\n', 'GET / HTTP/1.1\r\n\r\n', '0\r\n\r\n', '\0\0']);
  },
  function putInFront(request, random) {
    return (
      random.pick([
        '\r\n',
        '\n',
        ' ',
        '\x16\x03\x01\x02\0\x01',
        'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n',
      ]) + request
    );
  },
];

function addHeader(request: string, random: Random): string {
  const { start, headers, body } = partsOf(request);
  headers.splice(random.below(headers.length + 1), 0, random.pick(lines));
  return joined(start, headers, body);
}

/** Returns one of them; one in fifteen has no mistake. The key in it is good. */
export function malformedCase(random: Random): MalformedCase {
  let request = goodRequest(random);
  const count = random.oneIn(15) ? 0 : 1 + random.below(3);
  for (let i = 0; i < count; i++) request = random.pick(changes)(request, random);
  const bytes = Buffer.from(request, 'latin1');
  const pieces: Buffer[] = [];
  let from = 0;
  for (let i = random.oneIn(3) ? random.below(4) : 0; i > 0 && from < bytes.length; i--) {
    const to = from + 1 + random.below(bytes.length - from);
    pieces.push(bytes.subarray(from, to));
    from = to;
  }
  if (from < bytes.length || pieces.length === 0) pieces.push(bytes.subarray(from));
  const leaves = random.oneIn(8) ? random.pick(['early', 'reset'] as const) : 'patient';
  return { pieces, leaves };
}
