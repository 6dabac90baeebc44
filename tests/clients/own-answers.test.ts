/**
 * What the gateway writes itself (lists of models, errors, last events of streams) is valid by the models of the official
 * Python clients, strictly.
 */
import { describe, expect, setDefaultTimeout, test } from 'bun:test';
import { join } from 'node:path';
import { startDemoEngine } from '../../src/demo/engine.ts';
import { errorBody, errorFrame, errorTable, GatewayError } from '../../src/wire/errors.ts';
import type { ErrorCode } from '../../src/wire/errors.ts';
import { requireInstalled } from '../real/python.ts';
import { configFile, startWith } from '../support/configfile.ts';
import { untilUpstream } from '../support/gatewayhealth.ts';
import { key } from '../support/gatewayprocess.ts';
import { officialClients } from './python-client.ts';

setDefaultTimeout(90_000);

const isInstalled = requireInstalled(officialClients, 'strict checks by the Python clients');

interface Written {
  what: string;
  model: string;
  text: string;
}

/** Returns every error of the table as each family has it, alone and as the last event of a stream. */
function errors(): Written[] {
  return (Object.keys(errorTable) as ErrorCode[]).flatMap((code) => {
    const error = new GatewayError(code, { param: 'model' });
    const data = (family: 'openai' | 'anthropic' | 'responses') =>
      errorFrame(error, family, 7).replace(/^(event: .*\n)?data: /, '');
    return [
      { what: `${code}, openai`, model: 'openai error', text: errorBody(error, 'openai') },
      { what: `${code}, anthropic`, model: 'anthropic error', text: errorBody(error, 'anthropic') },
      { what: `${code}, openai's last event`, model: 'openai error', text: data('openai') },
      {
        what: `${code}, anthropic's last event`,
        model: 'anthropic error',
        text: data('anthropic'),
      },
      { what: `${code}, responses' last event`, model: 'responses error', text: data('responses') },
    ];
  });
}

describe.skipIf(!isInstalled)('what the gateway writes itself', () => {
  test('is valid by the models of the official Python clients, strictly', async () => {
    // The entries of engines are theirs; these are the gateway's.
    const engine = startDemoEngine({ models: ['listed'] });
    using file = configFile({
      upstreams: [
        { id: 'a', url: engine.url, models: ['listed'], aliases: { alias: 'listed' } },
        { id: 'b', url: 'http://127.0.0.1:1', models: ['given', 'given-too'] },
      ],
    });
    await using gateway = await startWith(file);
    await untilUpstream(gateway, 'a', { state: 'up' });

    async function get(path: string, model: string, headers = {}): Promise<Written> {
      const authorization = `Bearer ${key}`;
      const answer = await fetch(gateway.url + path, { headers: { authorization, ...headers } });
      return { what: `GET ${path} as ${model}`, model, text: await answer.text() };
    }
    const anthropic = { 'anthropic-version': '2023-06-01' };
    const bodies = [
      ...errors(),
      await get('/v1/models', 'openai list'),
      await get('/v1/models/alias', 'openai model'),
      await get('/v1/models/given', 'openai model'),
      await get('/v1/models/none', 'openai error'),
      await get('/v1/v1/files', 'openai error'),
      await get('/v1/models', 'openai error', { authorization: 'Bearer sk-wrong' }),
      await get('/v1/models', 'anthropic list', anthropic),
      await get('/v1/models?limit=2', 'anthropic list', anthropic),
      await get('/v1/models/alias', 'anthropic model', anthropic),
      await get('/v1/models/listed', 'anthropic model', anthropic),
      await get('/v1/models/none', 'anthropic error', anthropic),
      await get('/v1/models', 'anthropic error', {
        ...anthropic,
        authorization: 'Bearer sk-wrong',
      }),
    ];
    const script = join(import.meta.dir, 'own_answers.py');
    const child = Bun.spawn([officialClients.python, script], {
      stdin: Buffer.from(JSON.stringify({ url: gateway.url, key, model: 'alias', bodies })),
      stdout: 'pipe',
    });
    const said = await new Response(child.stdout).text();
    expect(JSON.parse(said)).toEqual({ checked: bodies.length + 4, failures: [] });
    await engine.stop();
  });
});
