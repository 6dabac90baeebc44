/**
 * Forms that a key with one model sends: what the gateway lets through to the engine is read by Starlette and by Go as
 * well, and neither may find another model in it. The gateway's own reading is not asked for: what it forwards counts.
 */
import { formCase, allowed, type FormCase } from './formtexts.ts';
import { operatorKey, startTarget } from './target.ts';
import { buildGoReader, fuzzTools, missingPython } from './tools.ts';
import { join } from 'node:path';
import { randomFrom } from '../support/random.ts';
import { RawClient } from '../support/rawclient.ts';
import { plain, startUpstream, type Received } from '../support/rawengine.ts';
import { clientIdOf } from '../support/requestid.ts';
import type { FuzzOptions, Tally } from './tally.ts';

const paths = ['/v1/audio/transcriptions', '/v1/audio/translations', '/audio/transcriptions'];
/** How many forms are under way at once. */
const senders = 8;

interface Forwarded {
  name: string;
  contentType: string;
  query: string;
  body: Buffer;
}

/** A reader of forms: returns the values of "model" for each form, in their order. */
interface FormReader {
  name: string;
  readsForms: boolean;
  read(forms: readonly Forwarded[]): Promise<string[][]>;
}

/** Returns a reader that is a program: a JSON line in, a JSON line out, for each form. */
function programReader(name: string, command: string[]): FormReader {
  async function read(forms: readonly Forwarded[]): Promise<string[][]> {
    const lines = forms.map(({ contentType, body }) =>
      JSON.stringify({ contentType, body: body.toString('base64') }),
    );
    const child = Bun.spawn(command, {
      stdin: new Blob([`${lines.join('\n')}\n`]),
      stdout: 'pipe',
      stderr: 'inherit',
    });
    const [text, code] = await Promise.all([child.stdout.text(), child.exited]);
    const answers = text.trim() === '' ? [] : text.trim().split('\n');
    if (code !== 0 || answers.length !== forms.length) {
      throw new Error(
        `${name} read ${answers.length} of ${forms.length} forms and ended with ${code}`,
      );
    }
    return answers.map((line) => JSON.parse(line) as string[]);
  }
  return { name, readsForms: true, read };
}

/** What an engine may read that looks at no form: the query, and JSON whatever the content type. */
const otherReader: FormReader = {
  name: 'a reader of queries and JSON',
  readsForms: false,
  read: async (forms) =>
    forms.map(({ query, body }) => [...queryModels(query), ...jsonModels(body)]),
};

function queryModels(query: string): string[] {
  return new URLSearchParams(query).getAll('model');
}

function jsonModels(body: Buffer): string[] {
  try {
    const value = JSON.parse(body.toString()) as Record<string, unknown> | null;
    return Object.entries(value ?? {})
      .filter(([name, model]) => /^model$/i.test(name) && typeof model === 'string')
      .map(([, model]) => model as string);
  } catch {
    return []; // It is no JSON, as most forms.
  }
}

async function issueLimitedKey(url: string): Promise<string> {
  const answer = await fetch(`${url}/admin/keys`, {
    method: 'POST',
    headers: { authorization: `Bearer ${operatorKey}` },
    body: JSON.stringify({ name: 'limited', models: [allowed] }),
  });
  if (answer.status !== 201) throw new Error(`no key: ${answer.status} ${await answer.text()}`);
  return ((await answer.json()) as { key: string }).key;
}

/** Returns a form as it goes over the wire. */
function requestOf(form: FormCase, path: string, key: string, id: string): Buffer {
  const head = [
    `POST ${path}${form.query} HTTP/1.1`,
    'Host: gateway',
    `Authorization: Bearer ${key}`,
    `X-Request-Id: ${id}`,
    'Connection: close',
    `Content-Length: ${form.body.length}`,
    ...form.contentTypes.map((type) => `Content-Type: ${type}`),
  ];
  return Buffer.concat([Buffer.from(`${head.join('\r\n')}\r\n\r\n`, 'latin1'), form.body]);
}

function forwardedOf({ headers, path, body }: Received, name: string): Forwarded {
  const at = path.indexOf('?');
  return {
    name,
    contentType: headers['content-type'] ?? '',
    query: at === -1 ? '' : path.slice(at),
    body,
  };
}

/** Returns the readers that this machine can have. */
async function readersOf(tally: Tally, stack: DisposableStack, log: (line: string) => void) {
  const readers: FormReader[] = [otherReader];
  const why = await missingPython(log);
  if (why === undefined) {
    const script = join(import.meta.dir, 'readers/readforms.py');
    readers.push(programReader('Starlette', [fuzzTools.python, script]));
  } else tally.skip(`forms read by Starlette: ${why}`);
  const go = await buildGoReader(stack);
  if ('path' in go) readers.push(programReader('Go', [go.path]));
  else tally.skip(`forms read by Go: ${go.why}`);
  return readers;
}

/** Sends `cases` forms and judges what came through. */
export async function fuzzForms(tally: Tally, { cases, seed, log }: FuzzOptions): Promise<void> {
  using tools = new DisposableStack();
  const readers = await readersOf(tally, tools, log);
  const lookups = {
    '/v1/models': { object: 'list', data: [{ id: 'alpha' }, { id: 'beta' }] },
    '/health': { status: 'ok' },
  };
  await using engine = await startUpstream((_, wire) => wire.write(plain('{"text":"x"}')), {
    lookups,
  });
  await using target = await startTarget(engine.url, { DEFAULT_MODEL: 'beta' });
  const { url } = target.gateway;
  const key = await issueLimitedKey(url);
  const forms = Array.from({ length: cases }, (_, i) => formCase(randomFrom(seed + i)));
  /** What is wrong with a form, by its number. */
  const reasons = new Map<number, string>();

  async function send(number: number): Promise<void> {
    const form = forms[number] as FormCase;
    const path = paths[number % paths.length] as string;
    using client = await RawClient.open(url);
    void client.write(requestOf(form, path, key, `form-${number}`));
    await client.ended();
    const { status, ending, text } = client;
    if (ending !== 'whole') reasons.set(number, `the answer ends with ${ending}`);
    else if (status === 500) reasons.set(number, `500: ${text}`);
    else if (form.isPlain && status !== 200)
      reasons.set(number, `a plain form got ${status}: ${text}`);
  }

  let next = 0;
  async function sendSome(): Promise<void> {
    for (let number = next++; number < cases; number = next++) {
      await send(number).catch((error: unknown) => reasons.set(number, String(error)));
    }
  }
  await Promise.all(Array.from({ length: senders }, sendSome));

  const forwarded = engine.requests.map((request) =>
    forwardedOf(request, clientIdOf(request.headers) ?? ''),
  );
  for (const { name, read, readsForms } of readers) {
    const models = await read(forwarded);
    for (const [i, found] of models.entries()) {
      const number = Number(forwarded[i]?.name.slice('form-'.length));
      const form = forms[number] as FormCase;
      const shown = JSON.stringify({ ...form, body: form.body.toString('latin1') });
      const other = found.find((model) => model.trim() !== allowed && model !== '');
      if (other !== undefined) {
        reasons.set(number, `${name} reads ${JSON.stringify(other)} in ${shown}`);
      } else if (form.isPlain && found.length === 0 && readsForms) {
        // A reader that reads nothing would find nothing wrong.
        reasons.set(number, `${name} reads no model in ${shown}`);
      }
    }
  }
  for (let i = 0; i < cases; i++) tally.judge(`form ${i} of seed ${seed + i}`, reasons.get(i));
  for (const trouble of await target.troubles()) tally.fail(trouble);
  log(`${forwarded.length} of ${cases} forms were let through`);
}
