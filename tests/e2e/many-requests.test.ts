/**
 * More requests at a time than the 256 that the runtime's client allows by default: all reach the engine together.
 */
import { expect, setDefaultTimeout, test } from 'bun:test';
import { send } from '../support/rawclient.ts';
import { startGateway } from '../support/gatewayprocess.ts';
import { chunk, lastChunk, startUpstream, streamHead, type Wire } from '../support/rawengine.ts';
import { until } from '../support/wait.ts';

setDefaultTimeout(60_000);

const count = 600;
const first = 'data: {"choices":[{"text":"a"}]}\n\n';
const done = 'data: [DONE]\n\n';

for (const kind of ['llama.cpp', 'openai']) {
  test(`${count} streams of ${kind} have their first token while all are open`, async () => {
    const wires: Wire[] = [];
    await using engine = await startUpstream((_request, wire) => {
      wires.push(wire);
      wire.write(streamHead);
      wire.write(chunk(first));
    });
    await using gateway = await startGateway({ LLM_SERVER_URL: engine.url, LLM_SERVER_KIND: kind });
    const asked = { body: { prompt: 'x', stream: true } };
    const streams = await Promise.all(
      Array.from({ length: count }, () => send(gateway.url, asked)),
    );
    await until('all have their first token', () => streams.every(({ length }) => length > 0));
    expect(streams.filter(({ ending }) => ending === 'open')).toHaveLength(count);
    const health = (await (await fetch(`${gateway.url}/health`)).json()) as { inFlight: number };
    expect(health.inFlight).toBe(count);

    for (const wire of wires) {
      wire.write(chunk(done));
      wire.write(lastChunk);
    }
    for (const stream of streams) await stream.ended();
    const answers = streams.map(({ status, ending, text }) => `${status} ${ending} ${text}`);
    expect(new Set(answers)).toEqual(new Set([`200 whole ${first}${done}`]));
    expect(engine.requests).toHaveLength(count);
    const ended = () => gateway.logs.filter(({ msg }) => msg === 'request ended');
    await until('all are in the log', () => ended().length === count);
    expect(new Set(ended().map(({ outcome }) => outcome))).toEqual(new Set(['done']));
    expect(gateway.logs.filter(({ level }) => level !== 'INFO')).toEqual([]);
  });
}
