/**
 * The shapes of Anthropic messages and OpenAI responses, whose streams are made of named events. Pure, like
 * demo/shapes.ts, which has the other shapes.
 */
import { detokenize } from './model.ts';
import type { Json, Run, Shape } from './run.ts';
import { countsOf, created, first, frame, none } from './run.ts';

/** Returns a frame whose event name is its `type`, as Anthropic and Responses send them. */
function event(data: { type: string } & Json): string {
  return `event: ${data.type}\n${frame(data)}`;
}

function message(run: Run, more: Json): Json {
  const id = `msg_${run.id}`;
  return { id, type: 'message', role: 'assistant', model: run.model, stop_sequence: null, ...more };
}

function anthropicUsage(run: Run, output_tokens: number): Json {
  const input_tokens = run.prompt.tokens.length - run.cachedTokens;
  return { cache_read_input_tokens: run.cachedTokens, input_tokens, output_tokens };
}

function stopReason(run: Run): string {
  return run.finish === 'length' ? 'max_tokens' : 'end_turn';
}

export const messages: Shape = {
  plain(runs) {
    const run = first(runs);
    const content = [{ type: 'text', text: detokenize(run.output) }];
    const usage = anthropicUsage(run, run.output.length);
    return message(run, { content, stop_reason: stopReason(run), usage });
  },
  opening(run) {
    const start = { content: [], stop_reason: null, usage: anthropicUsage(run, 0) };
    const content_block = { type: 'text', text: '' };
    return (
      event({ type: 'message_start', message: message(run, start) }) +
      event({ type: 'content_block_start', index: 0, content_block })
    );
  },
  token(_run, text) {
    return event({ type: 'content_block_delta', index: 0, delta: { type: 'text_delta', text } });
  },
  closing(run) {
    const delta = { stop_reason: stopReason(run), stop_sequence: null };
    const usage = { output_tokens: run.output.length };
    return (
      event({ type: 'content_block_stop', index: 0 }) +
      event({ type: 'message_delta', delta, usage })
    );
  },
  ending: () => event({ type: 'message_stop' }),
};

function response(run: Run, status: string, more: Json = {}): Json {
  const head = { id: `resp_${run.id}`, object: 'response', created_at: created, status };
  return { ...head, model: run.model, output: [], ...more };
}

function completedResponse(run: Run): Json {
  const { completion, prompt, cached, total: total_tokens } = countsOf([run]);
  const input_tokens_details = { cached_tokens: cached };
  const counts = { input_tokens: prompt, output_tokens: completion, total_tokens };
  const usage = { ...counts, input_tokens_details };
  return response(run, 'completed', { output: [outputItem(run)], usage });
}

function outputText(run: Run): Json {
  return { type: 'output_text', annotations: [], logprobs: [], text: detokenize(run.output) };
}

function outputItem(run: Run): Json {
  const id = `msg_${run.id}`;
  return {
    type: 'message',
    status: 'completed',
    id,
    content: [outputText(run)],
    role: 'assistant',
  };
}

/** Returns the members that say to which item an event of a Responses stream belongs. */
function placeOf(run: Run) {
  return { item_id: `msg_${run.id}`, output_index: 0, content_index: 0 };
}

/** The number of events in `opening`, so the sequence number of the first token. */
const responseOpeningEvents = 4;

export const responses: Shape = {
  plain: (runs) => completedResponse(first(runs)),
  opening(run) {
    const begun = { response: response(run, 'in_progress') };
    const item = { ...outputItem(run), status: 'in_progress', content: [] };
    const part = { type: 'output_text', annotations: [], logprobs: [], text: '' };
    return (
      event({ type: 'response.created', ...begun, sequence_number: 0 }) +
      event({ type: 'response.in_progress', ...begun, sequence_number: 1 }) +
      event({ type: 'response.output_item.added', output_index: 0, item, sequence_number: 2 }) +
      event({ type: 'response.content_part.added', ...placeOf(run), part, sequence_number: 3 })
    );
  },
  token(run, delta, position) {
    const type = 'response.output_text.delta';
    const sequence_number = responseOpeningEvents + position;
    return event({ type, ...placeOf(run), delta, logprobs: [], sequence_number });
  },
  closing(run) {
    const next = responseOpeningEvents + run.output.length;
    const { text } = outputText(run);
    const place = placeOf(run);
    const item = outputItem(run);
    const part = outputText(run);
    return (
      event({
        type: 'response.output_text.done',
        ...place,
        text,
        logprobs: [],
        sequence_number: next,
      }) +
      event({ type: 'response.content_part.done', ...place, part, sequence_number: next + 1 }) +
      event({
        type: 'response.output_item.done',
        output_index: 0,
        item,
        sequence_number: next + 2,
      }) +
      event({
        type: 'response.completed',
        response: completedResponse(run),
        sequence_number: next + 3,
      })
    );
  },
  ending: none,
};
