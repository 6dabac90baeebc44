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
  if (run.tool !== undefined) return 'tool_use';
  return run.finish === 'length' ? 'max_tokens' : 'end_turn';
}

/** Returns the block of a tool's call as it begins, without arguments. */
function toolUse({ id, tool: name }: Run): Json {
  return { type: 'tool_use', id: `toolu_${id}`, name, input: {} };
}

export const messages: Shape = {
  plain(runs) {
    const run = first(runs);
    const text = detokenize(run.output);
    const said = { type: 'text', text };
    const content = [run.tool === undefined ? said : { ...toolUse(run), input: JSON.parse(text) }];
    const usage = anthropicUsage(run, run.output.length);
    return message(run, { content, stop_reason: stopReason(run), usage });
  },
  opening(run) {
    const start = { content: [], stop_reason: null, usage: anthropicUsage(run, 0) };
    const content_block = run.tool === undefined ? { type: 'text', text: '' } : toolUse(run);
    return (
      event({ type: 'message_start', message: message(run, start) }) +
      event({ type: 'content_block_start', index: 0, content_block })
    );
  },
  token({ tool }, text) {
    const said = { type: 'text_delta', text };
    const delta = tool === undefined ? said : { type: 'input_json_delta', partial_json: text };
    return event({ type: 'content_block_delta', index: 0, delta });
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

/** Returns the item of a tool's call with its arguments so far. */
function callItem({ id, tool: name }: Run, args: string, status: string): Json {
  const call = { name, arguments: args, call_id: `call_${id}` };
  return { type: 'function_call', id: `fc_${id}`, status, ...call };
}

function outputItem(run: Run): Json {
  if (run.tool !== undefined) return callItem(run, detokenize(run.output), 'completed');
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

/** Returns the number of events in `opening`, which is the sequence number of the first token. */
function openingEvents({ tool }: Run): number {
  return tool === undefined ? 4 : 3;
}

/** Returns the events that end a stream, whose first has this sequence number. */
function endOfResponse(run: Run, sequence_number: number): string {
  const response = completedResponse(run);
  const item = outputItem(run);
  return (
    event({ type: 'response.output_item.done', output_index: 0, item, sequence_number }) +
    event({ type: 'response.completed', response, sequence_number: sequence_number + 1 })
  );
}

/** Returns the members that say to which call of a tool an event of a stream belongs. */
function placeOfCall({ id }: Run) {
  return { item_id: `fc_${id}`, output_index: 0 };
}

export const responses: Shape = {
  plain: (runs) => completedResponse(first(runs)),
  opening(run) {
    const begun = { response: response(run, 'in_progress') };
    const head =
      event({ type: 'response.created', ...begun, sequence_number: 0 }) +
      event({ type: 'response.in_progress', ...begun, sequence_number: 1 });
    const said = { ...outputItem(run), status: 'in_progress', content: [] };
    const item = run.tool === undefined ? said : callItem(run, '', 'in_progress');
    const added = { type: 'response.output_item.added', output_index: 0, item, sequence_number: 2 };
    if (run.tool !== undefined) return head + event(added);
    const part = { type: 'output_text', annotations: [], logprobs: [], text: '' };
    const partAdded = { type: 'response.content_part.added', ...placeOf(run), part };
    return head + event(added) + event({ ...partAdded, sequence_number: 3 });
  },
  token(run, delta, position) {
    const sequence_number = openingEvents(run) + position;
    if (run.tool !== undefined) {
      const type = 'response.function_call_arguments.delta';
      return event({ type, ...placeOfCall(run), delta, sequence_number });
    }
    const type = 'response.output_text.delta';
    return event({ type, ...placeOf(run), delta, logprobs: [], sequence_number });
  },
  closing(run) {
    const next = openingEvents(run) + run.output.length;
    const text = detokenize(run.output);
    if (run.tool !== undefined) {
      const done = { type: 'response.function_call_arguments.done', arguments: text };
      const named = { ...done, name: run.tool, ...placeOfCall(run), sequence_number: next };
      return event(named) + endOfResponse(run, next + 1);
    }
    const place = placeOf(run);
    const part = outputText(run);
    const textDone = { type: 'response.output_text.done', ...place, text, logprobs: [] };
    return (
      event({ ...textDone, sequence_number: next }) +
      event({ type: 'response.content_part.done', ...place, part, sequence_number: next + 1 }) +
      endOfResponse(run, next + 2)
    );
  },
  ending: none,
};
