/**
 * The model of a form, found and replaced in its bytes. Forms are built together with the expected result, so that no
 * second parser has to be trusted.
 */
import { describe, expect, test } from 'bun:test';
import { isStrictForm, modelPart, replaceModel } from '../../../src/wire/multipart.ts';
import { forSeeds, type Random } from '../../support/random.ts';

const type = 'multipart/form-data; boundary=B';
const named = 'Content-Disposition: form-data; name="model"';

function bytes(text: string): Buffer {
  return Buffer.from(text, 'latin1');
}

/** A form whose only part has these header lines. */
function form(headers: string, value = 'whisper-1'): string {
  return `--B\r\n${headers}\r\n\r\n${value}\r\n--B--\r\n`;
}

function valueOf(text: string, contentType = type): string | undefined {
  return modelPart(bytes(text), contentType)?.value;
}

function replaced(text: string, contentType = type): string {
  return Buffer.concat(replaceModel(bytes(text), contentType, 'new')).toString('latin1');
}

describe('the boundary', () => {
  test.each([
    'multipart/form-data; boundary=B',
    'Multipart/Form-Data;Boundary=B',
    'multipart/form-data; charset=utf-8; boundary="B"',
    'multipart/form-data; x="; boundary=A"; boundary=B; y=z',
    String.raw`multipart/form-data; boundary="\B"`,
    ' multipart/form-data ; boundary = B ;',
  ])('is read from %j', (contentType) => {
    expect(valueOf(form(named), contentType)).toBe('whisper-1');
    expect(replaced(form(named), contentType)).toBe(form(named, 'new'));
  });

  test.each([
    '',
    'application/json',
    'multipart/mixed; boundary=B',
    'multipart/form-data',
    'multipart/form-data; boundary=',
    'multipart/form-data; boundary=""',
    'multipart/form-data; boundary="B',
    'multipart/form-data; boundary=A',
    'multipart/form-data; x="boundary=B"',
    'boundary=B',
    'text/plain; a=multipart/form-data; boundary=B',
  ])('is not found in %j', (contentType) => {
    expect(valueOf(form(named), contentType)).toBeUndefined();
    expect(replaced(form(named), contentType)).toBe(form(named));
  });

  test('that is not named is no word of its own', () => {
    const text = form(named).replaceAll('--B', '--undefined');
    expect(valueOf(text, 'multipart/form-data')).toBeUndefined();
    expect(isStrictForm(bytes(text), 'multipart/form-data')).toBe(false);
  });

  test('may contain a space when quoted, and characters that are special in a pattern', () => {
    const text = form(named).replaceAll('--B', '--a b.*+(c)');
    expect(valueOf(text, 'multipart/form-data; boundary="a b.*+(c)"')).toBe('whisper-1');
  });

  test('does not end a part when content has a longer word that begins with it, or has it within a line', () => {
    const value = 'a\r\n--Bc\r\nx --B\r\n--B-\r\n--Bx-\r\ny';
    expect(valueOf(form(named, value))).toBe(value);
  });

  test('may be followed by white space, and text may come before the first one', () => {
    const text = `text\r\n--B \t\r\n${named}\r\n\r\nx\r\n--B--`;
    expect(valueOf(text)).toBe('x');
    expect(replaced(text)).toBe(text.replace('\r\nx', '\r\nnew'));
  });
});

describe('the part', () => {
  test.each([
    named,
    'content-disposition:form-data;name=model',
    'Content-Disposition : form-data ; name="model"',
    'CONTENT-DISPOSITION: Form-Data; Name="model"',
    'Content-Type: text/plain\r\nContent-Disposition: form-data; name="model"',
    'Content-Disposition: form-data; filename="a;b.txt"; name="model"\r\nContent-Type: x/y',
    'Content-Disposition: form-data; filename="; name=\\"file"; name="model"',
  ])('is found by %j', (headers) => {
    expect(valueOf(form(headers))).toBe('whisper-1');
    expect(replaced(form(headers))).toBe(form(headers, 'new'));
  });

  test.each([
    'Content-Disposition: form-data; name="models"',
    'Content-Disposition: form-data; name="Model"',
    'Content-Disposition: form-data; filename="; name=model"',
    'Content-Disposition: form-data; filename="model"',
    'Content-Disposition: attachment; name="model"',
    'X-Content-Disposition: form-data; name="model"',
    'Content-DispositionX: form-data; name="model"',
    'Content-Type: form-data; name="model"',
    `X-Long: ${'x'.repeat(9_000)}\r\n${named}`,
  ])('is not found by %j', (headers) => {
    expect(valueOf(form(headers))).toBeUndefined();
  });

  test('may have 8 KiB of headers, but not more', () => {
    const long = (more: number) => `${named}\r\nX-Long: ${'x'.repeat(more)}`;
    // Counted from the line break in front of them.
    const most = 8_192 - long(0).length - 2;
    expect(valueOf(form(long(most)))).toBe('whisper-1');
    expect(valueOf(form(long(most + 1)))).toBeUndefined();
  });

  test('without headers has no name, whatever its content looks like', () => {
    expect(valueOf(`--B\r\n\r\n${named}\r\n\r\nx\r\n--B--`)).toBeUndefined();
  });

  test('inside the content of another part is ignored', () => {
    const file = 'Content-Disposition: form-data; name="file"; filename="a"';
    const text = form(file, `${named}\r\n\r\nx\r\n--C\r\n${named}\r\n\r\ny`);
    expect(valueOf(text)).toBeUndefined();
  });

  test('is returned with its offsets in the body, and its value as UTF-8', () => {
    const body = Buffer.from(form(named, 'модель'));
    const part = modelPart(body, type);
    expect(part?.value).toBe('модель');
    expect(body.subarray(part?.start, part?.end).toString()).toBe('модель');
  });

  test('may be empty, and may have 1000 bytes, but not more', () => {
    expect(valueOf(form(named, ''))).toBe('');
    expect(valueOf(form(named, 'x'.repeat(1_000)))).toBe('x'.repeat(1_000));
    expect(valueOf(form(named, 'x'.repeat(1_001)))).toBeUndefined();
  });

  test('counts only when its end has arrived', () => {
    expect(valueOf(`--B\r\n${named}\r\n\r\nx`)).toBeUndefined();
    expect(valueOf(`--B\r\n${named}\r\n\r\nx\r\n`)).toBeUndefined();
    expect(valueOf(`--B\r\n${named}\r\n\r\n--B--`)).toBeUndefined();
    expect(valueOf(`--B--\r\n${form(named)}`)).toBeUndefined();
  });

  test('is the first of several, and all of them are replaced', () => {
    const twice = (one: string, two: string) =>
      `--B\r\n${named}\r\n\r\n${one}\r\n--B\r\n${named}\r\n\r\n${two}\r\n--B--`;
    expect(valueOf(twice('one', 'two'))).toBe('one');
    expect(replaced(twice('one', 'two'))).toBe(twice('new', 'new'));
  });
});

describe('a form without a model', () => {
  const added = `--B\r\n${named}\r\n\r\nnew\r\n`;

  test.each([
    ['', form('Content-Disposition: form-data; name="file"')],
    ['', '--B--\r\n'],
    ['text\r\n', '--B--'],
    ['\r\n', '--B\r\n\r\n\r\n--B--'],
  ])('gets one as its first part: %j %j', (front, rest) => {
    expect(replaced(front + rest)).toBe(front + added + rest);
    expect(valueOf(replaced(front + rest))).toBe('new');
  });

  test.each(['', 'no form', '--A--', 'x--B--', '--B'])(
    'is not changed if it is not a form: %j',
    (text) => {
      expect(replaced(text)).toBe(text);
    },
  );
});

function noise(random: Random): string {
  const pieces = [
    '\r\n',
    '\r',
    '\n',
    '-',
    '--',
    '--b',
    '"',
    ';',
    named,
    'model',
    '\x00',
    '\xff',
    '🙂',
  ];
  const words = Array.from({ length: random.below(12) }, () => random.pick(pieces));
  return Buffer.from(words.join('')).toString('latin1');
}

test('in random forms the value is found and only its bytes change', async () => {
  await forSeeds(2_000, (random) => {
    const boundary = random.pick(['B', 'x.y+z', '----WebKitFormBoundary7MA4YWxk', "a'b(c)"]);
    const contentType = `multipart/form-data; boundary="${boundary}"`;
    const parts = Array.from({ length: random.below(5) }, (_, i) => {
      const name = `name="${random.pick(['file', 'prompt', 'models', `f${i}`])}"`;
      const filename = random.oneIn(2) ? '; filename="model.wav"\r\nContent-Type: audio/wav' : '';
      return `Content-Disposition: form-data; ${name}${filename}\r\n\r\n${noise(random)}`;
    });
    const place = random.below(parts.length + 1);
    const value = random.pick(['whisper-1', '', 'org/name:Q4', '--', '\r\n', ...parts.slice(0, 1)]);
    const body = (model: string) => {
      const all = parts.toSpliced(place, 0, `${named}\r\n\r\n${model}`);
      return `${all.map((part) => `--${boundary}\r\n${part}\r\n`).join('')}--${boundary}--\r\n`;
    };
    const found = modelPart(bytes(body(value)), contentType);
    expect(body(value).slice(found?.start, found?.end)).toBe(value);
    expect(replaced(body(value), contentType)).toBe(body('new'));
  });
});

test('garbage loses no bytes except those of a model', async () => {
  await forSeeds(2_000, (random) => {
    const whole = form(named, noise(random)) + form('x', noise(random));
    const from = random.below(whole.length);
    const text =
      noise(random) + whole.slice(from, from + random.below(whole.length)) + noise(random);
    const found = modelPart(bytes(text), type);
    const after = replaced(text);
    // A value that was found is between two line breaks, as the format requires; otherwise nothing was removed.
    if (found !== undefined) {
      expect(text.slice(found.start - 4, found.start)).toBe('\r\n\r\n');
      expect(text.slice(found.end, found.end + 5)).toBe('\r\n--B');
      expect(after.slice(0, found.start)).toBe(text.slice(0, found.start));
    } else if (after !== text) {
      const added = `--B\r\n${named}\r\n\r\nnew\r\n`;
      expect(after.replace(added, '')).toBe(text);
    }
  });
});

test('looks at 10,000 boundaries and no more', () => {
  // Two of them are those of the form itself, of which the second must be seen.
  const body = (times: number) => `${'--Bx'.repeat(times)}\r\n${form(named)}`;
  expect(valueOf(body(9_998))).toBe('whisper-1');
  expect(valueOf(body(9_999))).toBeUndefined();
});

test('gives up on a form that was made to be slow to read', () => {
  const body = (times: number) => `--B\r\n${'\r\n--B\r\n'.repeat(times)}\r\n${form(named)}`;
  expect(valueOf(body(1_000))).toBe('whisper-1');
  expect(valueOf(body(20_000))).toBeUndefined();
});

describe('isStrictForm', () => {
  const strict = (text: string, contentType = type) => isStrictForm(bytes(text), contentType);
  const file = 'Content-Disposition: form-data; name="file"; filename="a.wav"';

  test.each([
    ['a browser', `${named}\r\n\r\na\r\n--B\r\n${file}\r\nContent-Type: audio/wav\r\n\r\nRIFF`],
    [
      '.NET',
      'Content-Type: text/plain; charset=utf-8\r\nContent-Disposition: form-data; name=model\r\n\r\na\r\n' +
        "--B\r\nContent-Disposition: form-data; name=file; filename=a.wav; filename*=utf-8''a.wav\r\n\r\nRIFF",
    ],
    [
      'Java',
      `content-disposition: form-data; name="model"\r\nContent-Transfer-Encoding: 8bit\r\nContent-Length: 1\r\n\r\na`,
    ],
    ['one with a list', 'Content-Disposition: form-data; name="timestamps[]"\r\n\r\nword'],
    [
      'one with a name of a file in UTF-8',
      `${file.replace('a.wav', 'ü %22;'.slice(0, 5))}\r\n\r\n`,
    ],
    ['one with content of every kind', `${file}\r\n\r\n\r\n\r\n--b\n--\r${named}\r\n\x00\xff`],
  ])('is true for a form of %s', (_, parts) => {
    expect(strict(`--B\r\n${parts}\r\n--B--\r\n`)).toBe(true);
    expect(strict(`--B\r\n${parts}\r\n--B--`)).toBe(true);
  });

  test.each(['multipart/form-data;boundary=B', 'Multipart/Form-Data; charset=UTF-8; boundary="B"'])(
    'is true for %j',
    (contentType) => {
      expect(strict(form(named), contentType)).toBe(true);
    },
  );

  test.each([
    '',
    'text/plain',
    'multipart/form-data',
    'multipart/form-data; boundary=A; boundary=B',
    'multipart/form-data; boundary=B; boundary=A',
    'multipart/form-data; boundary=B, multipart/form-data; boundary=A',
    'multipart/form-data; boundary="B',
    'multipart/form-data; charset=utf-16; boundary=B',
    'multipart/form-data; boundary=B; x=y',
    'multipart/form-data; ; boundary=B',
    'multipart/form-data ; boundary=B',
  ])('is false for %j', (contentType) => {
    expect(strict(form(named), contentType)).toBe(false);
  });

  test.each([
    ['another disposition', 'Content-Disposition: attachment; name="model"'],
    ['a parameter twice', 'Content-Disposition: form-data; name="x"; name="model"'],
    ['an empty parameter', 'Content-Disposition: form-data; ; name="model"'],
    ['a parameter that is encoded', "Content-Disposition: form-data; name*=utf-8''model"],
    ['an unknown parameter', 'Content-Disposition: form-data; name="x"; size=3'],
    ['a parameter in other letters', 'Content-Disposition: form-data; Name="model"'],
    ['a parameter behind white space', 'Content-Disposition: form-data;\tname="model"'],
    ['the name behind the file', 'Content-Disposition: form-data; filename="a"; name="model"'],
    ['an escape in a name', String.raw`Content-Disposition: form-data; name="mo\del"`],
    ['a semicolon in quotes', 'Content-Disposition: form-data; name="x"; filename="; name=model"'],
    ['a quote in quotes', String.raw`Content-Disposition: form-data; name="x"; filename="\"a"`],
    ['the header twice', `Content-Disposition: form-data; name="x"\r\n${named}`],
    ['no such header', 'Content-Type: text/plain'],
    ['a folded header', 'Content-Disposition: form-data;\r\n name="model"'],
    ['white space before a colon', 'Content-Disposition : form-data; name="model"'],
    ['a bare LF in its headers', `X: y\n${named}`],
    ['a bare CR in its headers', `X: y\r${named}`],
    ['an encoding', `${named}\r\nContent-Transfer-Encoding: quoted-printable`],
    ['too long headers', `X: ${'x'.repeat(9_000)}\r\n${named}`],
    ['the model in other letters', 'Content-Disposition: form-data; name="Model"'],
    ['models as a list', 'Content-Disposition: form-data; name="model[]"'],
    ['a model as a file', `${named}; filename="a"`],
  ])('is false for a part with %s', (_, headers) => {
    expect(strict(form(headers))).toBe(false);
    expect(strict(`--B\r\n${named}\r\n\r\na\r\n${form(headers)}`)).toBe(false);
  });

  test.each([
    ['lines that end in LF alone', form(named).replaceAll('\r\n', '\n')],
    ['a boundary behind an LF', form(named, 'a\n--B\nb')],
    ['a boundary behind a CR', form(named, 'a\r--B\r\nb')],
    ['a boundary in front of a CR', form(named, 'a\r\n--B\rb')],
    ['two boundaries that share a line break', form(named, 'a\r\n--B')],
    ['a boundary in the middle of a line', form(named, 'a--B')],
    ['a longer word that begins with it', form(named, 'a\r\n--Bc\r\nb')],
    ['white space behind it', form(named).replace('--B\r\n', '--B \r\n')],
    ['text before it', `text\r\n${form(named)}`],
    ['a line break before it', `\r\n${form(named)}`],
    ['more behind its end', `${form(named)}${form(named)}`],
    ['text behind its end', `${form(named)}x`],
    ['no end', `--B\r\n${named}\r\n\r\na\r\n`],
    ['a part without headers', `--B\r\n\r\n${named}\r\n\r\na\r\n--B--`],
    ['a part without content', `--B\r\n${named}\r\n--B--`],
    ['nothing but its end', '--B--\r\n'],
    ['a model of more than 1000 bytes', form(named, 'x'.repeat(1_001))],
    ['more than 1000 parts', `--B\r\n${named}\r\n\r\na\r\n`.repeat(1_001) + form(named)],
    ['no boundary', 'a'],
    ['nothing', ''],
  ])('is false for a form with %s', (_, text) => {
    expect(strict(text)).toBe(false);
  });
});

test('a field is found behind a thousand others, and not behind headers that are slow to read', () => {
  const field = (name: string, more = '') =>
    `--B\r\n${more}Content-Disposition: form-data; name="${name}"\r\n\r\nx\r\n`;
  expect(valueOf(`${field('other').repeat(1_000)}${field('model')}--B--\r\n`)).toBe('x');
  const long = field('other', 'a: b\r\n'.repeat(1_000));
  expect(valueOf(`${long.repeat(50)}${field('model')}--B--\r\n`)).toBeUndefined();
});

describe('isStrictForm, at its bounds', () => {
  const strict = (text: string, contentType = type) => isStrictForm(bytes(text), contentType);
  const other = 'Content-Disposition: form-data; name="a"';
  const part = `--B\r\n${other}\r\n\r\nx\r\n`;

  test.each([
    ['a type without spaces', form(named), 'multipart/form-data;charset=utf-8;boundary=B'],
    [
      'a boundary of 70 characters',
      form(named).replaceAll('--B', `--${'b'.repeat(70)}`),
      `multipart/form-data; boundary=${'b'.repeat(70)}`,
    ],
    [
      'a quoted boundary of 70',
      form(named).replaceAll('--B', `--${'b'.repeat(70)}`),
      `multipart/form-data; boundary="${'b'.repeat(70)}"`,
    ],
    ['headers without spaces', form('Content-Disposition:form-data;name="model"'), type],
    [
      'names of a file without spaces',
      form("Content-Disposition: form-data;name=a;filename=b;filename*=utf-8''b"),
      type,
    ],
    ['an empty value', form(named, ''), type],
    [
      '16 lines of headers',
      form([other, ...Array.from({ length: 15 }, (_, i) => `X-${i}: y`)].join('\r\n')),
      type,
    ],
    ['1,000 parts', `${part.repeat(1_000)}--B--\r\n`, type],
  ])('is true for %s', (_, text, contentType) => {
    expect(strict(text, contentType)).toBe(true);
  });

  test.each([
    ['text before the type', form(named), 'x multipart/form-data; boundary=B'],
    [
      'a boundary of 71 characters',
      form(named).replaceAll('--B', `--${'b'.repeat(71)}`),
      `multipart/form-data; boundary=${'b'.repeat(71)}`,
    ],
    ['text before a header', form(`\x01${named}`), type],
    ['a header with a control character', form(`${other}\r\nX-A: b\x01`), type],
    ['a disposition behind other text', form('Content-Disposition: x form-data; name="a"'), type],
    [
      'an encoding that only begins as 8bit',
      form(`${other}\r\nContent-Transfer-Encoding: 8bitx`),
      type,
    ],
    [
      'an encoding that only ends as 8bit',
      form(`${other}\r\nContent-Transfer-Encoding: x8bit`),
      type,
    ],
    [
      'headers without an end',
      '--B\r\nContent-Disposition: form-data; name="a"\r\n--B--\r\n',
      type,
    ],
    [
      '17 lines of headers',
      form([other, ...Array.from({ length: 16 }, (_, i) => `X-${i}: y`)].join('\r\n')),
      type,
    ],
    ['1,001 parts', `${part.repeat(1_001)}--B--\r\n`, type],
    ['no part', '--B--\r\n', type],
    ['one dash at its end', `${part}--B-\r\n`, type],
    ['a dash in place of a line break', `${part}--B-x${other}\r\n\r\nx\r\n--B--\r\n`, type],
    ['another end of line behind a boundary', `--B\n\n${other}\r\n\r\nx\r\n--B--\r\n`, type],
    ['a carriage return alone behind a boundary', `--B\rx${other}\r\n\r\nx\r\n--B--\r\n`, type],
    ['a line feed alone before a boundary', `--B\r\n${other}\r\n\r\nx\n\n--B--\r\n`, type],
    ['a carriage return alone before a boundary', `--B\r\n${other}\r\n\r\nx\r\r--B--\r\n`, type],
    ['a boundary right behind another', `--B--B--\r\n`, type],
    ['text behind its end', `${part}--B--\r\nx`, type],
    ['a part that does not end', `--B\r\n${other}\r\n\r\nx`, type],
  ])('is false for %s', (_, text, contentType) => {
    expect(strict(text, contentType)).toBe(false);
  });

  test('other headers that only look like the disposition do not count as one', () => {
    expect(strict(form(`${other}\r\nContent-Disposition-X: y`))).toBe(true);
    expect(strict(form(`${other}\r\nX-Content-Disposition: y`))).toBe(true);
    expect(strict(form(`${other}\r\nContent-Transfer-Encoding-X: base64`))).toBe(true);
    expect(strict(form(`${other}\r\nX-Content-Transfer-Encoding: base64`))).toBe(true);
  });
});
