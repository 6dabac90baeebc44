/**
 * The shapes of answers in OpenAI's formats and llama.cpp's native format, plain and streamed. Pure. Ids and dates
 * depend on the prompt only, so that the same request always has the same answer.
 */
import { detokenize } from './model.ts';
import type { Json, Run, Shape } from './run.ts';
import { countsOf, created, first, frame, none } from './run.ts';

const system_fingerprint = 'simulated';

function usageOf(runs: readonly Run[]): Json {
  const counts = countsOf(runs);
  return {
    completion_tokens: counts.completion,
    prompt_tokens: counts.prompt,
    total_tokens: counts.total,
    prompt_tokens_details: { cached_tokens: counts.cached },
  };
}

function perSecond(count: number, ms: number): number {
  return ms > 0 ? (count * 1000) / ms : 0;
}

/** The times are the simulated ones, not measured. */
function timingsOf(run: Run): Json {
  const computed = run.prompt.tokens.length - run.cachedTokens;
  return {
    cache_n: run.cachedTokens,
    prompt_n: computed,
    prompt_ms: run.promptMs,
    prompt_per_second: perSecond(computed, run.promptMs),
    predicted_n: run.output.length,
    predicted_ms: run.predictedMs,
    predicted_per_second: perSecond(run.output.length, run.predictedMs),
  };
}

const done = (): string => 'data: [DONE]\n\n';

function completionChunk(run: Run, text: string, finish_reason: string | null, more: Json = {}) {
  const { index, model } = run;
  const choices = [{ text, index, logprobs: null, finish_reason }];
  const head = { choices, created, model, system_fingerprint, object: 'text_completion' };
  return { ...head, ...more, id: `chatcmpl-${run.id}` };
}

export const completions: Shape = {
  plain(runs) {
    const choices = runs.map(({ output, index, finish }) => {
      return { text: detokenize(output), index, logprobs: null, finish_reason: finish };
    });
    const usage = usageOf(runs);
    const timings = timingsOf(first(runs));
    return { ...completionChunk(first(runs), '', null, { usage }), choices, timings };
  },
  opening: none,
  token: (run, piece) => frame(completionChunk(run, piece, null)),
  closing(run) {
    const more = { usage: usageOf([run]), timings: timingsOf(run) };
    return frame(completionChunk(run, '', run.finish, more));
  },
  ending: done,
};

function chatChunk(run: Run, delta: Json, finish_reason: string | null = null): Json {
  const { index, model } = run;
  const choices = [{ finish_reason, index, delta }];
  const object = 'chat.completion.chunk';
  return { choices, created, id: `chatcmpl-${run.id}`, model, system_fingerprint, object };
}

/** Returns the calls of tools of a message, or of a delta with the next piece of the arguments. */
function toolCalls({ id, tool: name }: Run, args: string): Json[] {
  return [{ index: 0, id: `call_${id}`, type: 'function', function: { name, arguments: args } }];
}

function chatFinish({ tool, finish }: Run): string {
  return tool === undefined ? finish : 'tool_calls';
}

export const chat: Shape = {
  plain(runs) {
    const choices = runs.map((run) => {
      const text = detokenize(run.output);
      const said = { role: 'assistant', content: text };
      const called = { role: 'assistant', content: null, tool_calls: toolCalls(run, text) };
      const message = run.tool === undefined ? said : called;
      return { finish_reason: chatFinish(run), index: run.index, message };
    });
    const head = { ...chatChunk(first(runs), {}), choices, object: 'chat.completion' };
    return { ...head, usage: usageOf(runs), timings: timingsOf(first(runs)) };
  },
  opening(run) {
    const calls = run.tool === undefined ? {} : { tool_calls: toolCalls(run, '') };
    return frame(chatChunk(run, { role: 'assistant', content: null, ...calls }));
  },
  token(run, content) {
    if (run.tool === undefined) return frame(chatChunk(run, { content }));
    const next = { index: 0, function: { arguments: content } };
    return frame(chatChunk(run, { tool_calls: [next] }));
  },
  closing: (run) => frame({ ...chatChunk(run, {}, chatFinish(run)), timings: timingsOf(run) }),
  ending(runs, includeUsage) {
    if (!includeUsage) return done();
    const usage = usageOf(runs);
    const last = { ...chatChunk(first(runs), {}), choices: [], usage };
    return frame({ ...last, timings: timingsOf(first(runs)) }) + done();
  },
};

function nativeResult(run: Run, content: string): Json {
  return {
    index: run.index,
    content,
    tokens: [],
    stop: true,
    model: run.model,
    tokens_predicted: run.output.length,
    tokens_evaluated: run.prompt.tokens.length,
    truncated: false,
    stop_type: run.finish === 'length' ? 'limit' : 'eos',
    stopping_word: '',
    tokens_cached: run.prompt.tokens.length + run.output.length,
    timings: timingsOf(run),
  };
}

/** llama.cpp's native format of `/completion` and `/infill`. */
export const native: Shape = {
  plain(runs) {
    const results = runs.map((run) => nativeResult(run, detokenize(run.output)));
    return results.length === 1 ? results[0] : results;
  },
  opening: none,
  token({ index, output, prompt }, content, position) {
    const tokens = [output[position]];
    const counts = { tokens_predicted: position + 1, tokens_evaluated: prompt.tokens.length };
    return frame({ index, content, tokens, stop: false, id_slot: -1, ...counts });
  },
  closing: (run) => frame(nativeResult(run, '')),
  ending: none,
};

/** `/v1/audio/transcriptions` and `/v1/audio/translations`. */
export const transcriptions: Shape = {
  plain: (runs) => ({ text: detokenize(first(runs).output), usage: audioUsage(first(runs)) }),
  opening: none,
  token: (_run, delta) => frame({ type: 'transcript.text.delta', delta }),
  closing(run) {
    const text = detokenize(run.output);
    return frame({ type: 'transcript.text.done', text, usage: audioUsage(run) });
  },
  ending: none,
};

function audioUsage(run: Run): Json {
  const { prompt, completion, total: total_tokens } = countsOf([run]);
  return { type: 'tokens', input_tokens: prompt, output_tokens: completion, total_tokens };
}
