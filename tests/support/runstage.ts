/**
 * The parts of a gateway without its server, in front of an engine of raw bytes: a test starts runs by hand, with a
 * reader of its own, and sees how each was settled.
 */
import pino from 'pino';
import { loadConfig } from '../../src/config/load.ts';
import { Secrets } from '../../src/config/secrets.ts';
import type { LimitStore } from '../../src/accounts/limits.ts';
import { makeParts, type Parts } from '../../src/gateway.ts';
import type { RequestInput } from '../../src/relay/exchange.ts';
import { Runs } from '../../src/relay/runs.ts';
import type { Caller } from '../../src/request/caller.ts';
import type { Abortable, Reader } from '../../src/request/reader.ts';
import type { Settlement } from '../../src/request/settlement.ts';
import { routes } from '../../src/wire/routes.ts';
import { startUpstream, type Answer, type Upstream } from './rawengine.ts';
import { caller } from './samples.ts';

/** What a reader was told about its run. */
type Heard = 'attend' | 'left' | 'holdOpen' | 'letGo';

/** A reader whose leaving a test controls. */
export interface TestReader extends Reader {
  hasLeft: boolean;
  readonly heard: Heard[];
  /** Leaves, like a client whose connection has ended. */
  leave(): void;
}

/** @param isMissed whether its request is aborted when it leaves, as a client's is */
export function readerThat(isMissed = true): TestReader {
  let run: Abortable | undefined;
  const heard: Heard[] = [];
  return {
    heard,
    hasLeft: false,
    attend(request) {
      heard.push('attend');
      run = request;
      if (this.hasLeft) this.left();
    },
    left() {
      heard.push('left');
      if (isMissed) run?.abort('client_closed_request');
    },
    holdOpen: () => void heard.push('holdOpen'),
    letGo: () => void heard.push('letGo'),
    leave() {
      this.hasLeft = true;
      this.left();
    },
  };
}

/** The input of a run; a body that is not a source is sent as JSON. */
export interface AskedRun {
  method?: 'GET' | 'POST' | 'HEAD';
  url?: string;
  headers?: Record<string, string>;
  body?: object | RequestInput['body'];
  caller?: Partial<Caller>;
  reader?: Reader;
}

export interface RunStage extends AsyncDisposable {
  engine: Upstream;
  parts: Parts;
  runs: Runs;
  /** How each request was settled, in their order, with the cause of its failure. */
  settled: { record: Settlement; cause: unknown }[];
  setDraining(): void;
  run(asked?: AskedRun): Promise<Response>;
}

let count = 0;

export function inputOf(asked: AskedRun): RequestInput {
  const { method = 'POST', url = '/v1/completions', headers = {}, body = { prompt: 'Hi' } } = asked;
  const [path = ''] = url.split('?');
  const route = routes.find((each) => {
    const isSame = each.path.endsWith('*')
      ? path.startsWith(each.path.slice(0, -1))
      : path === each.path;
    return isSame && each.method === (method === 'POST' ? 'POST' : 'GET');
  });
  if (route === undefined) throw new Error(`no route ${method} ${path}`);
  const source = 'bytes' in body ? body : new Response(JSON.stringify(body));
  const json = { 'content-type': 'application/json', ...headers };
  const id = `run-${++count}`;
  return {
    id,
    uniqueId: id,
    caller: { ...caller, ...asked.caller },
    route,
    method,
    url,
    headers: new Headers(json),
    body: source as RequestInput['body'],
  };
}

/**
 * Starts an engine, and the parts of a gateway with these settings; the engine is an OpenAI-like one unless they say more.
 * @param limitsOf makes the limits of the runs, of those in memory
 */
export async function startRuns(
  answer: Answer,
  env: Record<string, string> = {},
  limitsOf: (limits: LimitStore) => LimitStore = (limits) => limits,
): Promise<RunStage> {
  const engine = await startUpstream(answer);
  const config = loadConfig({
    env: {
      LLM_SERVER_URL: engine.url,
      LLM_SERVER_KIND: 'openai',
      ALLOWED_API_KEYS: 'sk-test-key-1',
      DATA_DIR: 'none',
      ...env,
    },
    readFile: (path) => {
      throw new Error(`no file ${path}`);
    },
  });
  let isDraining = false;
  const parts = await makeParts({
    config,
    version: '0.0.0',
    log: pino({ level: 'silent' }),
    secrets: new Secrets(config),
    isDraining: () => isDraining,
  });
  const settled: RunStage['settled'] = [];
  const observer = {
    started() {},
    isLong() {},
    settled: (record: Settlement, cause: unknown) => void settled.push({ record, cause }),
  };
  const runs = new Runs({ ...parts, limits: limitsOf(parts.limits), observer });
  parts.scheduler.start();
  return {
    engine,
    parts,
    runs,
    settled,
    setDraining: () => void (isDraining = true),
    run: (asked = {}) => runs.start(inputOf(asked), asked.reader ?? readerThat()),
    async [Symbol.asyncDispose]() {
      parts.live.abortAll('shutting_down');
      await parts.scheduler.close();
      await engine.stop();
    },
  };
}
