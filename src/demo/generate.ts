/**
 * Runs generations of the simulated engine in its slots, at the configured speeds, and yields the parts of their
 * streams. It waits in real time. HTTP is in demo/http.ts.
 */
import type { Task } from './model.ts';
import { detokenize } from './model.ts';
import type { Run, Shape } from './run.ts';
import type { Part } from './wire.ts';
import { pause } from './wire.ts';
import type { Workshop } from './workshop.ts';
import { Pace, takeSlot } from './workshop.ts';

/** The request that a run belongs to. */
export interface Requester {
  /** Aborted when the client has left. */
  signal: AbortSignal;
  /** Called each time one of the request's runs gets its slot. */
  started(): void;
}

/** When no speed is set, this many tokens are generated before the event loop handles its sockets. */
const tokensInARow = 32;

function durationMs(count: number, perSecond: number): number {
  return perSecond > 0 ? (count * 1000) / perSecond : 0;
}

/** How often the counters of `/slots` are updated during prefill. */
const prefillStepMs = 50;

/**
 * Takes a slot, computes the prompt, yields `-1` when that is done, and then yields the position of each token as it is
 * decoded. Releases the slot when it returns, throws or is closed. Fills in `cachedTokens`, `promptMs` and
 * `predictedMs` of the run.
 */
export async function* generate(
  run: Run,
  workshop: Workshop,
  { signal, started }: Requester,
): AsyncGenerator<number> {
  const { cache, speeds, figures, gate } = workshop;
  const prompt = run.prompt.tokens;
  const task: Task = {
    promptTokens: prompt.length,
    cachedTokens: 0,
    computedTokens: 0,
    decodedTokens: 0,
  };
  const free = await takeSlot(task, workshop, signal);
  try {
    started();
    // An engine always computes at least the last token of a prompt: it needs its result to generate the next.
    run.cachedTokens = Math.max(0, Math.min(cache.lengthOf(prompt), prompt.length - 1));
    task.cachedTokens = run.cachedTokens;
    const toCompute = prompt.length - run.cachedTokens;
    run.promptMs = speeds.firstTokenMs + durationMs(toCompute, speeds.prefillTokensPerSecond);
    run.predictedMs = durationMs(run.output.length, speeds.tokensPerSecond);
    const prefill = new Pace(gate, signal);
    const steps = Math.max(1, Math.ceil(run.promptMs / prefillStepMs));
    for (let step = 1; step <= steps; step++) {
      await prefill.until((run.promptMs * step) / steps);
      task.computedTokens = Math.floor((toCompute * step) / steps);
    }
    figures.promptTokens += prompt.length;
    figures.cachedTokens += run.cachedTokens;
    cache.hold(prompt);
    yield -1;

    const decode = new Pace(gate, signal);
    for (let position = 0; position < run.output.length; position++) {
      const dueMs = durationMs(position, speeds.tokensPerSecond);
      if (!decode.isDue(dueMs)) await decode.until(dueMs);
      else if (position % tokensInARow === tokensInARow - 1) await pause(0, signal);
      task.decodedTokens++;
      yield position;
    }
    cache.hold([...prompt, ...run.output]);
  } finally {
    free();
  }
}

/** Yields the parts of one run's stream, without the part that ends the whole answer. */
export async function* partsOf(
  run: Run,
  shape: Shape,
  positions: AsyncIterable<number>,
): AsyncGenerator<Part> {
  for await (const position of positions) {
    if (position >= 0) {
      const piece = detokenize([run.output[position] as number]);
      yield { kind: 'token', bytes: Buffer.from(shape.token(run, piece, position)) };
      continue;
    }
    const opening = shape.opening(run);
    if (opening !== '') yield { kind: 'opening', bytes: Buffer.from(opening) };
  }
  yield { kind: 'closing', bytes: Buffer.from(shape.closing(run)) };
}

/** Yields the values of several generators in the order in which they arrive; closes all of them when it is closed. */
export async function* merge<T>(generators: readonly AsyncGenerator<T>[]): AsyncGenerator<T> {
  const [only] = generators;
  if (only !== undefined && generators.length === 1) return yield* only;
  async function next(generator: AsyncGenerator<T>) {
    return { generator, result: await generator.next() };
  }
  const pending = new Map<AsyncGenerator<T>, ReturnType<typeof next>>();
  function advance(generator: AsyncGenerator<T>): void {
    const promise = next(generator);
    // The promise is awaited in the next round; a rejection before that must not count as unhandled.
    promise.catch(() => {});
    pending.set(generator, promise);
  }
  generators.forEach(advance);
  try {
    while (pending.size > 0) {
      const { generator, result } = await Promise.race(pending.values());
      if (result.done) {
        pending.delete(generator);
        continue;
      }
      advance(generator);
      yield result.value;
    }
  } finally {
    const left = generators.map((generator) => generator.return(undefined));
    await Promise.allSettled([...left, ...pending.values()]);
  }
}

const hugeFrameBytes = 64 * 1024;
const hugeFramesInARow = 16;

/** Yields the parts of a stream of at least `bytes` bytes; all tokens are equal. */
export async function* hugeStream(
  run: Run,
  shape: Shape,
  bytes: number,
  signal: AbortSignal,
): AsyncGenerator<Part> {
  const frame = Buffer.from(shape.token(run, 'x'.repeat(hugeFrameBytes), 0));
  for (let count = 0; count * frame.length < bytes; count++) {
    if (count % hugeFramesInARow === 0) await pause(0, signal);
    yield { kind: 'token', bytes: frame };
  }
  yield { kind: 'closing', bytes: Buffer.from(shape.closing(run)) };
}

/** Yields the parts of one JSON string of `bytes` bytes, including its quotes. */
export async function* hugePlain(bytes: number, signal: AbortSignal): AsyncGenerator<Part> {
  const piece = Buffer.alloc(hugeFrameBytes, 'x');
  const quote: Part = { kind: 'closing', bytes: Buffer.from('"') };
  yield quote;
  let left = bytes - 2;
  for (let count = 0; left > 0; count++, left -= piece.length) {
    if (count % hugeFramesInARow === 0) await pause(0, signal);
    yield { kind: 'token', bytes: piece.subarray(0, left) };
  }
  yield quote;
}
