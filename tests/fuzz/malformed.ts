/**
 * Requests that are not quite HTTP, on bare sockets: mutated heads, lengths and chunks, cut anywhere, in pieces. The
 * gateway may refuse or close, in time, and in the shape that it documents; the engine sees nothing but whole requests.
 */
import { startDemoEngine, type DemoEngine } from '../../src/demo/engine.ts';
import { errorTable } from '../../src/wire/errors.ts';
import { routes } from '../../src/wire/routes.ts';
import { randomFrom, type Random } from '../support/random.ts';
import { RawAnswer, RawClient } from '../support/rawclient.ts';
import { soon } from '../support/wait.ts';
import { malformedCase, type MalformedCase } from './malformedtexts.ts';
import type { FuzzOptions, Tally } from './tally.ts';
import { clientKey, startTarget } from './target.ts';

/** How many connections are open at once. */
const senders = 24;
/** A client that has nothing more to say waits so long for more of an answer before it half-closes. */
const patienceMs = 150;
/** The connection of a client that has half-closed must be over by then. */
const closesWithinMs = 30_000;

/** What the runtime answers by itself, without a body. */
const bare = [400, 413, 431, 505];
const statuses = new Set([
  200,
  204,
  404,
  ...bare,
  ...Object.values(errorTable).map((row) => row.status),
]);

/** Returns what is wrong with the bytes that a client got, `undefined` when they are answers as documented. */
function wrongIn(received: string): string | undefined {
  let rest = Buffer.from(received, 'latin1');
  while (rest.length > 0) {
    // Behind the head of an answer to HEAD comes the next answer: no body begins like that.
    const hasBody = !/^(?:[^\r]|\r(?!\n\r\n))*\r\n\r\nHTTP\/1\.1 /.test(rest.toString('latin1'));
    const answer = new RawAnswer(hasBody);
    rest = Buffer.from(answer.read(rest));
    if (answer.head === '') return `not HTTP: ${JSON.stringify(received.slice(0, 200))}`;
    if (!/^HTTP\/1\.1 \d{3}( |$)/.test(answer.head)) return `the head is ${answer.head}`;
    const reason = wrongWith(answer, hasBody);
    if (reason !== undefined) return reason;
    // The answer to HEAD, or one that is not whole because the client left.
    if (!answer.isWhole) return undefined;
  }
  return undefined;
}

function wrongWith(answer: RawAnswer, hasBody: boolean): string | undefined {
  const { status, text } = answer;
  if (status === 100) return undefined;
  const code = answer.header('x-gateway-error');
  if (status === 500 || code === 'internal_error') return `status ${status}: ${text}`;
  if (!statuses.has(status)) return `status ${status}`;
  if (status < 400 || !hasBody || !answer.isWhole) return undefined;
  if (text === '') return bare.includes(status) ? undefined : `status ${status} without a body`;
  if (code === undefined) return undefined;
  const row = (errorTable as Record<string, { status: number } | undefined>)[code];
  if (row?.status !== status) return `status ${status} with the code ${code}`;
  try {
    const { error } = JSON.parse(text) as { error: { message: unknown } };
    return typeof error.message === 'string' ? undefined : `no message in ${text}`;
  } catch {
    return `no JSON: ${text}`;
  }
}

/** Sends a case, and returns what is wrong with how it ended. */
async function send(url: string, { pieces, leaves }: MalformedCase): Promise<string | undefined> {
  using client = await RawClient.open(url);
  for (const piece of pieces) {
    await client.write(piece);
    if (pieces.length > 1) await Bun.sleep(0);
  }
  let before = -1;
  const isOver = client.closed.then(() => true);
  if (leaves === 'patient') {
    while (client.received.length > before) {
      before = client.received.length;
      if (await Promise.race([isOver, Bun.sleep(patienceMs).then(() => false)])) break;
    }
  }
  if (leaves === 'reset') client.leaveByReset();
  else client.leaveByFin();
  await soon('the end of the connection', client.closed, closesWithinMs);
  return wrongIn(client.received);
}

/** Returns what an engine should never have got. */
function wrongAtEngine({ requests }: DemoEngine): string[] {
  const wrong: string[] = [];
  for (const { method, path, headers, body } of requests) {
    const [plain = ''] = path.split('?');
    const isKnown = routes.some((route) => {
      const isSame = route.path.endsWith('*')
        ? plain.startsWith(route.path.slice(0, -1))
        : plain === route.path;
      return isSame && (method === route.method || method === 'HEAD');
    });
    const shown = `${method} ${path}`;
    if (!isKnown) wrong.push(`the engine got ${shown}`);
    if (headers['x-request-id'] === undefined) wrong.push(`the engine got ${shown} without an id`);
    if (JSON.stringify(headers).includes(clientKey)) wrong.push(`the engine got a key, ${shown}`);
    if (method === 'POST' && !isJson(body)) wrong.push(`the engine got no JSON, ${shown}`);
  }
  return wrong;
}

function isJson(body: Uint8Array): boolean {
  try {
    JSON.parse(Buffer.from(body).toString());
    return true;
  } catch {
    return false;
  }
}

/** Sends `cases` of them, and now and then asks whether all is well inside. */
export async function fuzzMalformed(
  tally: Tally,
  { cases, seed, log }: FuzzOptions,
): Promise<void> {
  const engine = startDemoEngine({ slots: 8 });
  try {
    await using target = await startTarget(engine.url);
    const { url } = target.gateway;
    let answered = 0;
    let next = 0;
    async function sendSome(until: number): Promise<void> {
      for (let i = next++; i < until; i = next++) {
        const random: Random = randomFrom(seed + i);
        const each = malformedCase(random);
        const reason = await send(url, each).catch((error: unknown) => String(error));
        const shown = reason && `${reason}; sent ${JSON.stringify(each.pieces.map(latin1))}`;
        tally.judge(`request ${i} of seed ${seed + i}`, shown);
      }
      next = until;
    }
    const batch = 2_000;
    for (let from = 0; from < cases; from += batch) {
      next = from;
      const until = Math.min(from + batch, cases);
      await Promise.all(Array.from({ length: senders }, () => sendSome(until)));
      for (const trouble of await target.troubles()) tally.fail(trouble);
      for (const wrong of wrongAtEngine(engine)) tally.fail(wrong);
      answered += engine.requests.length;
      engine.requests.length = 0;
    }
    if (answered === 0) tally.fail('no request of all was good enough for the engine');
    log(`${answered} of ${cases} requests reached the engine`);
  } finally {
    await engine.stop();
  }
}

function latin1(piece: Uint8Array): string {
  const text = Buffer.from(piece).toString('latin1');
  return text.length > 600 ? `${text.slice(0, 600)}… (${text.length})` : text;
}
