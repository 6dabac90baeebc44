/** Runs of the simulated engine, with a clock on which nothing takes time. */
import { noFigures } from '../../src/demo/figures.ts';
import { Gate } from '../../src/demo/gate.ts';
import { detokenize, PrefixCache, Slots, tokenize } from '../../src/demo/model.ts';
import type { Run, Shape } from '../../src/demo/run.ts';
import type { Workshop } from '../../src/demo/workshop.ts';

/** A run of the prompt "Hello there" that has answered "one two". */
export function demoRun(fields: Partial<Run> = {}): Run {
  return {
    id: '00c0ffee',
    index: 0,
    model: 'demo',
    prompt: { tokens: tokenize('Hello there'), subject: 'Hello there' },
    cachedTokens: 1,
    output: tokenize('one two'),
    finish: 'length',
    promptMs: 100,
    predictedMs: 50,
    ...fields,
  };
}

export function demoWorkshop(slots = 1): Workshop {
  return {
    slots: new Slots(slots, () => {}),
    cache: new PrefixCache(10_000),
    speeds: { firstTokenMs: 0, prefillTokensPerSecond: 0, tokensPerSecond: 0 },
    figures: noFigures(),
    gate: new Gate(),
    abortLagMs: 0,
    stopped: new AbortController().signal,
  };
}

/** Returns the texts of a stream's `data:` lines, parsed if they are JSON. */
export function dataOf(stream: string): unknown[] {
  return stream
    .split('\n')
    .filter((line) => line.startsWith('data: '))
    .map((line) => line.slice('data: '.length))
    .map((text) => (text === '[DONE]' ? text : (JSON.parse(text) as unknown)));
}

/** Everything that a shape writes for one run, in the order of a stream. */
export function streamOf(shape: Shape, run: Run, includesUsage = false): string {
  const tokens = run.output.map((token, position) =>
    shape.token(run, detokenize([token]), position),
  );
  const parts = [shape.opening(run), ...tokens, shape.closing(run)];
  return parts.join('') + shape.ending([run], includesUsage);
}
