/**
 * One rung of the ladder: a proxy of plain requests that has the layers of the gateway up to one of them. The lower rungs
 * put the gateway's own functions together by hand; the upper ones are the gateway with some observers left out.
 *
 *   ladder-server RUNG PORT ENGINE_URL
 *
 * `GET /allocated` answers how many bytes of objects have been allocated, if the collector is off (BUN_JSC_useGC=0).
 */
import { heapStats } from 'bun:jsc';
import { Ledger } from '../../src/accounts/ledger.ts';
import { loadConfig } from '../../src/config/load.ts';
import { Secrets } from '../../src/config/secrets.ts';
import { makeParts } from '../../src/gateway.ts';
import { createApp } from '../../src/http/app.ts';
import { idsOf, presentedKeys } from '../../src/http/auth.ts';
import { Client } from '../../src/http/client.ts';
import { createLog, LineSink } from '../../src/log/log.ts';
import { accessLog } from '../../src/observe/accesslog.ts';
import { attempt } from '../../src/relay/attempt.ts';
import { Runs } from '../../src/relay/runs.ts';
import { BatchedObserver } from '../../src/request/batched.ts';
import { inspect, readBody, readJson } from '../../src/request/body.ts';
import type { Caller } from '../../src/request/caller.ts';
import { jobOf } from '../../src/request/job.ts';
import { LiveRequest } from '../../src/request/live.ts';
import { observedBy, type RequestObserver } from '../../src/request/observer.ts';
import { failureInAnswer } from '../../src/wire/failures.ts';
import { answerHeaders, upstreamHeaders } from '../../src/wire/headers.ts';
import { readTokens } from '../../src/wire/tokens.ts';
import { routes, type Route } from '../../src/wire/routes.ts';
import { key } from '../support/gatewayprocess.ts';
import { plainAnswer } from './frames.ts';
import { rungs, type Rung } from './ladder-rungs.ts';

const [name, port, engine = ''] = process.argv.slice(2);
const level = rungs.findIndex((rung) => rung.name === name);
if (level < 0) throw new Error(`no rung "${name}"`);

/** Whether this server has the layer of that rung. */
function has(rung: Rung): boolean {
  return level >= rungs.findIndex((other) => other.name === rung);
}

const path = '/v1/completions';
const route = routes.find((each) => each.path === path) as Route;
const config = loadConfig({
  env: {
    ALLOWED_API_KEYS: key,
    LLM_SERVER_URL: engine,
    LLM_SERVER_KIND: 'openai',
    DATA_DIR: process.env['DATA_DIR'],
  },
  readFile: () => '',
});
const sink = new LineSink(1, new Secrets(config).mask);
const log = await createLog({ level: 'INFO', isPretty: false, sink });
const parts = await makeParts({
  config,
  version: '0',
  log,
  secrets: new Secrets(config),
  isDraining: () => false,
});
const { keys, live, pool, fleet, bodyMemory, now, epochNow } = parts;
parts.scheduler.start();
while (fleet.models().length === 0) await Bun.sleep(5);
if (has('limits')) giveLimits();

/** Gives the key limits that refuse nothing. */
function giveLimits(): void {
  const most = 1e9;
  const limits = { requestsPerMinute: most, tokensPerMinute: most, concurrentRequests: most };
  const limited: Caller = { ...keys.find(key, new Headers(), epochNow()), limits };
  const find = keys.find.bind(keys);
  keys.find = (...asked) => find(...asked) && limited;
}

const observers: RequestObserver[] = [
  ...(has('log') ? [accessLog(log, (model) => fleet.hasName(model))] : []),
  ...(has('ledger') ? [new Ledger({ ...parts, store: parts.usage, retentionDays: 0 })] : []),
  ...(has('metrics') ? [parts.metrics] : []),
];
const observer = observedBy(parts.accountSync, new BatchedObserver(...observers));
const runs = new Runs({ ...parts, observer });

type Handler = (request: Request) => Response | Promise<Response>;

const answerBytes = Buffer.from(plainAnswer);
const json = { 'content-type': 'application/json' };

type Bytes = Uint8Array<ArrayBuffer>;

function bytesOf(message: Request | Response): Promise<Bytes> {
  return message.bytes() as Promise<Bytes>;
}

/** Up to the rung "headers": no gateway yet. */
async function passOn(request: Request): Promise<Response> {
  const body = await bytesOf(request);
  if (!has('fetch')) return new Response(answerBytes, { headers: json });
  const ids = { uniqueId: 'bench', traceparent: undefined };
  const headers = has('headers') ? upstreamHeaders(request.headers, ids, undefined) : json;
  const answer = await fetch(engine + path, { ...asks, headers, body });
  const bytes = await bytesOf(answer);
  const { status } = answer;
  return new Response(bytes, {
    status,
    headers: has('headers') ? answerHeaders(answer) : json,
  });
}

const asks = { method: 'POST', decompress: false, redirect: 'manual', timeout: false } as const;

/** From the rung "key" to the rung "lease". */
async function pass(request: Request): Promise<Response> {
  const [presented = ''] = presentedKeys(request);
  const caller = keys.find(presented, request.headers, epochNow());
  const { requestId, uniqueId } = idsOf(request);
  if (!has('abort')) return await send(request, await bytesOf(request), { uniqueId });
  const asked = new LiveRequest(requestId, route, caller, now(), uniqueId);
  live.add(asked);
  asked.readBy(new Client(request, () => null, 75));
  try {
    const answer = await passLive(request, asked);
    answer.headers.set('x-request-id', requestId);
    return answer;
  } finally {
    bodyMemory.giveBack(caller.keyId, asked.bodyHeld);
    live.remove(asked);
  }
}

async function passLive(request: Request, asked: LiveRequest): Promise<Response> {
  const { signal } = asked;
  const bounds = { maxBytes: config.maxBodyBytes, memory: bodyMemory };
  const body = has('body')
    ? await readBody(request, request.headers, asked, bounds)
    : await bytesOf(request);
  if (!has('parse')) return await send(request, body, { uniqueId: asked.uniqueId, signal });
  const reading = readJson(body, asked);
  const fields = reading instanceof Promise ? await reading : reading;
  inspect(route, fields, asked);
  const job = jobOf(asked, request.headers, body, fields, false);
  if (!has('lease')) return await send(request, body, { uniqueId: asked.uniqueId, signal });
  const leasing = pool.lease(job, signal, false);
  const lease = leasing instanceof Promise ? await leasing : leasing;
  const { headers } = request;
  const one = { lease, request: asked, search: '', headers, body, json: fields };
  const answer = await attempt({ ...one, edits: lease.edits, isRead: false });
  const bytes = await bytesOf(answer);
  const tokens = readTokens(bytes);
  lease.release({ outcome: 'done', tokens, firstByteMs: 1 });
  failureInAnswer(bytes);
  return new Response(bytes, {
    status: answer.status,
    headers: answerHeaders(answer),
  });
}

async function send(
  request: Request,
  body: Bytes,
  { uniqueId, signal }: { uniqueId: string; signal?: AbortSignal },
): Promise<Response> {
  const headers = upstreamHeaders(request.headers, { uniqueId, traceparent: undefined }, undefined);
  const more = signal === undefined ? {} : { signal };
  const answer = await fetch(engine + path, { ...asks, ...more, headers, body });
  const bytes = await bytesOf(answer);
  if (has('tokens')) {
    readTokens(bytes);
    failureInAnswer(bytes);
  }
  return new Response(bytes, {
    status: answer.status,
    headers: answerHeaders(answer),
  });
}

/** From the rung "run" to the rung "metrics". */
function run(request: Request): Promise<Response> {
  const [presented = ''] = presentedKeys(request);
  const { headers, method, url } = request;
  const caller = keys.find(presented, headers, epochNow());
  const { requestId: id, uniqueId } = idsOf(request);
  const input = { id, uniqueId, caller, route, method, url, headers, body: request };
  return runs.start(input, new Client(request, () => null, 75));
}

function handler(): Handler {
  if (has('routing')) return createApp(parts).fetch;
  if (has('run')) return run;
  return has('key') ? pass : passOn;
}

const handle = handler();
Bun.serve({
  hostname: '127.0.0.1',
  port: Number(port),
  reusePort: false,
  idleTimeout: 0,
  fetch(request) {
    if (request.method === 'POST') return handle(request);
    return new Response(String(heapStats().heapCapacity));
  },
});
