/**
 * Random forms that try to say one model to one reader and another model to another: odd headers of parts, odd
 * boundaries, odd line ends, encodings. Some are plain, so that a gateway that refuses everything is noticed.
 */
import type { Random } from '../support/random.ts';

export interface FormCase {
  /** The lines of Content-Type as they are sent; two of them are two headers. */
  contentTypes: string[];
  /** With its question mark, or empty. */
  query: string;
  body: Buffer;
  /** Whether it is a form as browsers and SDKs write it, with the allowed model, once. */
  isPlain: boolean;
}

/** What the limited key may use, and what it may not. */
export const allowed = 'alpha';
export const forbidden = 'beta';

const file =
  'Content-Disposition: form-data; name="file"; filename="a.wav"\r\nContent-Type: audio/wav';

/** Header lines of a part that some reader takes for the field "model". */
const namings = [
  'Content-Disposition: form-data; name="model"',
  'content-disposition:form-data;name=model',
  'CONTENT-DISPOSITION: FORM-DATA; NAME="model"',
  'Content-Disposition: attachment; name="model"',
  'Content-Disposition: inline; name="model"',
  'Content-Disposition: ; name="model"',
  'Content-Disposition: name="model"',
  'Content-Disposition: form-data name="model"',
  'Content-Disposition: form-data, name="model"',
  'Content-Disposition: form-data; ; name="model"',
  'Content-Disposition: form-data; x; name="model"',
  'Content-Disposition: form-data; name="x"; name="model"',
  'Content-Disposition: form-data; name="model"; name="x"',
  'Content-Disposition: form-data; name="model";',
  'Content-Disposition: form-data; name="model"; charset=utf-8',
  `Content-Disposition: form-data; name*=utf-8''model`,
  `Content-Disposition: form-data; name="x"; name*=utf-8''model`,
  `Content-Disposition: form-data; name*0="mo"; name*1="del"`,
  String.raw`Content-Disposition: form-data; name="mo\del"`,
  String.raw`Content-Disposition: form-data; name="\"; name="model"`,
  String.raw`Content-Disposition: form-data; x="\"; name=model; y="\""`,
  'Content-Disposition: form-data; name="model',
  "Content-Disposition: form-data; name='model'",
  'Content-Disposition: form-data; name=" model "',
  'Content-Disposition: form-data; name = "model"',
  'Content-Disposition: form-data; name=model"',
  'Content-Disposition: form-data; name="model"\tx',
  'Content-Disposition: form-data; name="mo%64el"',
  'Content-Disposition: form-data; name="model\0"',
  'Content-Disposition: form-data; name="+AG0-odel"',
  'Content-Disposition: form-data; name="model"; filename=""',
  'Content-Disposition: form-data; name="model"; filename="b.txt"',
  'Content-Disposition:\r\n form-data; name="model"',
  'Content-Disposition: form-data;\r\n name="model"',
  'Content-Disposition: form-data; name="x"\r\nContent-Disposition: form-data; name="model"',
  'Content-Disposition: form-data; name="model"\r\nContent-Disposition: form-data; name="x"',
  'Content-Disposition : form-data; name="model"',
  ' Content-Disposition: form-data; name="model"',
  'X: y\nContent-Disposition: form-data; name="model"',
  'X: y\rContent-Disposition: form-data; name="model"',
  'Content-Disposition: form-data; name="model"\r\nContent-Transfer-Encoding: base64',
  'Content-Disposition: form-data; name="model"\r\nContent-Transfer-Encoding: quoted-printable',
  'Content-Disposition: form-data; name="model"\r\nContent-Type: text/plain; charset=utf-7',
  'Content-Disposition: form-data; name="model[]"',
  'Content-Disposition: form-data; name="Model"',
] as const;

/** Spellings of the forbidden model. */
const forbiddenValues = [
  forbidden,
  forbidden,
  `${forbidden}\r\n`,
  ` ${forbidden}`,
  '=62eta',
  '+AGI-eta',
  'be=\r\nta',
  'YmV0YQ==',
  'b\0e\0t\0a\0',
  '\\x62eta',
];

/** Content types of a form with the boundary B; the last ones are for other boundaries as well. */
const contentTypes = [
  ['multipart/form-data; boundary=B'],
  ['multipart/form-data; boundary="B"'],
  ['Multipart/Form-Data; Boundary=B'],
  ['multipart/form-data;boundary=B;'],
  ['multipart/form-data; ; boundary=B'],
  ['multipart/form-data; boundary=B; charset=utf-7'],
  ['multipart/form-data; charset=utf-16-le; boundary=B'],
  ['multipart/form-data; charset=unicode_escape; boundary=B'],
  ['multipart/form-data; boundary=C; boundary=B'],
  ['multipart/form-data; boundary=B; boundary=C'],
  [`multipart/form-data; boundary*=utf-8''C; boundary=B`],
  [`multipart/form-data; boundary=C; boundary*=utf-8''B`],
  ['multipart/form-data; boundary*0="B"; boundary=C'],
  ['multipart/form-data; boundary=B, multipart/form-data; boundary=C'],
  ['multipart/form-data; boundary=B,C'],
  ['multipart/form-data, text/plain; boundary=B'],
  [String.raw`multipart/form-data; boundary="\B"`],
  [String.raw`multipart/form-data; x="\"; boundary=C; y="; boundary=B`],
  ['multipart/form-data; boundary="B'],
  ['multipart/form-data; boundary = B'],
  ['multipart/form-data boundary=B'],
  ['multipart/mixed; boundary=B'],
  ['multipart/form-data; boundary=B', 'multipart/form-data; boundary=C'],
  ['multipart/form-data; boundary=C', 'multipart/form-data; boundary=B'],
  ['text/plain', 'multipart/form-data; boundary=B'],
  ['application/x-www-form-urlencoded'],
  ['application/json'],
  ['text/plain'],
  [],
] as const;

const queries = [
  '',
  '',
  '',
  '',
  '?model=beta',
  '?x=1&model=alpha',
  '?mod%65l=beta',
  '?a=b;model=beta',
];
const bodies = [
  'model=beta',
  'model=alpha&model=beta',
  'x=1&mod%65l=beta',
  'a=;model=beta',
  '{"model":"beta"}',
  '{"model":"alpha","Model":"beta"}',
  '',
];

interface Part {
  headers: string;
  content: string;
}

function partOf(random: Random): Part {
  if (random.oneIn(5)) return { headers: file, content: noise(random) };
  const value = random.oneIn(3) ? allowed : random.pick(forbiddenValues);
  return { headers: random.pick(namings), content: value };
}

const pieces = [
  '\r\n',
  '\r',
  '\n',
  '--',
  '--B',
  '--B--',
  '--C\r\n',
  '\r\n--B',
  '\n--B\n',
  namings[0],
  'beta',
  '\0',
  '\r\n\r\n',
];

function noise(random: Random): string {
  return Array.from({ length: random.below(8) }, () => random.pick(pieces)).join('');
}

function textOf(parts: readonly Part[], random: Random, boundary: string): string {
  const odd = () => random.oneIn(12);
  const lineEnd = () => (odd() ? random.pick(['\n', '\r', '\n\r', ' \r\n', '\t\r\n']) : '\r\n');
  let text = odd() ? noise(random) : '';
  for (const { headers, content } of parts) {
    const mark = odd()
      ? random.pick(['--C', '--b', '-B', '---B', '--B ', '--B\0'])
      : `--${boundary}`;
    text += `${mark}${lineEnd()}${headers}${lineEnd()}${odd() ? '' : lineEnd()}${content}${lineEnd()}`;
  }
  text += odd() ? random.pick(['', '--C--', '--B', '--B-\r\n']) : `--${boundary}--\r\n`;
  if (odd()) text += textOf(parts, random, random.pick(['B', 'C']));
  return text;
}

function plainForm(random: Random): FormCase {
  const model = { headers: namings[0], content: allowed };
  const parts = [{ headers: file, content: 'RIFF' }, model];
  if (random.oneIn(2)) parts.reverse();
  const inside = parts.map(({ headers, content }) => `--B\r\n${headers}\r\n\r\n${content}\r\n`);
  return {
    contentTypes: [random.pick(contentTypes.slice(0, 2))[0] as string],
    query: '',
    body: Buffer.from(`${inside.join('')}--B--\r\n`),
    isPlain: true,
  };
}

/** Returns a plain form with one or two small changes, since a form with many is refused for any of them. */
function nearlyPlainForm(random: Random): FormCase {
  const plain = plainForm(random);
  const other = random.pick([
    'Content-Disposition: form-data; name="prompt"',
    'Content-Disposition: form-data; name="x"; filename="model"',
    'Content-Disposition: form-data; name="language"\r\nContent-Type: text/plain',
    ...namings.slice(0, 3),
  ]);
  const part = `--B\r\n${other}\r\n\r\n${random.pick([...forbiddenValues, noise(random)])}\r\n`;
  let text = plain.body.toString('latin1').replace('--B--', `${part}--B--`);
  for (let i = 1 + random.below(2); i > 0; i--) {
    const at = random.below(text.length);
    // Nothing is cut out, or some bytes behind the place.
    const behind = text.slice(at + (random.oneIn(2) ? 0 : random.below(4)));
    text = text.slice(0, at) + random.pick([...smallChanges, noise(random)]) + behind;
  }
  const types = random.oneIn(3) ? random.pick(contentTypes) : plain.contentTypes;
  return {
    contentTypes: [...types],
    query: random.oneIn(6) ? random.pick(queries) : '',
    body: Buffer.from(text, 'latin1'),
    isPlain: false,
  };
}

const smallChanges = [
  '',
  '',
  ' ',
  '\t',
  '\r\n',
  '\n',
  '\r',
  ';',
  '"',
  "'",
  '\\',
  '=',
  '*',
  '--',
  '-',
  '\0',
  '\x80',
  ':',
  ',',
  '; name="model"',
  '; name=model',
  forbidden,
];

/** Returns a random form. Its text is one byte a character. */
export function formCase(random: Random): FormCase {
  if (random.oneIn(10)) return plainForm(random);
  if (random.oneIn(2)) return nearlyPlainForm(random);
  const types = random.oneIn(2) ? contentTypes[0] : random.pick(contentTypes);
  const query = random.pick(queries);
  const isOther = random.oneIn(15);
  const parts = Array.from({ length: 1 + random.below(4) }, () => partOf(random));
  // An honest model beside the odd one, so that the gateway has something that it can allow.
  if (random.oneIn(2)) {
    parts.splice(random.below(parts.length + 1), 0, { headers: namings[0], content: allowed });
  }
  const text = isOther ? random.pick(bodies) : textOf(parts, random, 'B');
  return { contentTypes: [...types], query, body: Buffer.from(text, 'latin1'), isPlain: false };
}
