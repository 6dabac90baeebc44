/**
 * The routes of the simulated engine that take a slot: how to read prompts from their bodies, the shape of their
 * answers, and the answers themselves: plain, streamed, or huge on demand.
 */
import { messages, responses } from './events.ts';
import type { Faults } from './faults.ts';
import type { Requester } from './generate.ts';
import { generate, hugePlain, hugeStream, merge, partsOf } from './generate.ts';
import type { Reading } from './lookups.ts';
import type { Engine } from './prompts.ts';
import * as prompts from './prompts.ts';
import type { Json, Prompt, Run, Shape } from './run.ts';
import { chat, completions, native, transcriptions } from './shapes.ts';
import type { Answer, Part } from './wire.ts';
import { jsonAnswer, jsonHeaders, linesAnswer, streamAnswer, untilGone } from './wire.ts';
import type { Workshop } from './workshop.ts';

export interface Generating {
  shape: Shape;
  /** Whether the body is multipart instead of JSON. */
  isForm?: boolean;
  /** Whether its streams are lines of JSON instead of events. */
  hasLines?: boolean;
  prompts(body: Json): Prompt[];
}

const toComplete = { shape: completions, prompts: prompts.promptsFromCompletion };
const toCompleteNatively = { shape: native, prompts: prompts.promptsFromCompletion };
const toFillIn = { shape: native, prompts: prompts.promptsFromInfill };
const toChat = {
  shape: chat,
  prompts: (body: Json) => [prompts.promptFromChat(body['messages'])],
};
const toRespond = {
  shape: responses,
  prompts: (body: Json) => [prompts.promptFromChat(prompts.responsesMessages(body))],
};
const toMessage = {
  shape: messages,
  prompts: (body: Json) => [prompts.promptFromChat(prompts.anthropicMessages(body))],
};
const toTranscribe = {
  shape: transcriptions,
  isForm: true,
  prompts: (body: Json) => prompts.promptsFrom(body['audio']),
};

/** The routes by path; the method is always POST. */
export const generatings: Readonly<Record<string, Generating>> = {
  '/v1/completions': toComplete,
  '/completion': toCompleteNatively,
  '/completions': toCompleteNatively,
  '/infill': toFillIn,
  '/v1/chat/completions': toChat,
  '/chat/completions': toChat,
  '/v1/responses': toRespond,
  '/responses': toRespond,
  '/v1/messages': toMessage,
  '/v1/audio/transcriptions': toTranscribe,
  '/v1/audio/translations': toTranscribe,
  '/audio/transcriptions': toTranscribe,
};

/** What an answer needs in addition to the body. */
export interface Setting {
  engine: Engine;
  workshop: Workshop;
  requester: Requester;
  asked: Faults;
}

/** Runs to the end and discards the output. With the fault `hang` it holds its slot until the client leaves. */
async function occupy(run: Run, { workshop, requester, asked }: Setting): Promise<void> {
  for await (const _position of generate(run, workshop, requester)) {
    if (asked.has('hang')) await untilGone(requester.signal);
  }
}

/** Computes the prompt, then yields the parts while it holds the slot. */
async function* inSlot(run: Run, { workshop, requester }: Setting, parts: AsyncIterable<Part>) {
  for await (const _position of generate({ ...run, output: [] }, workshop, requester)) yield* parts;
}

async function* streamOf(
  runs: readonly Run[],
  shape: Shape,
  isUsageWanted: boolean,
  setting: Setting,
): AsyncGenerator<Part> {
  const { workshop, requester, asked } = setting;
  const hugeBytes = asked.get('huge');
  const streams = runs.map((run) => {
    if (hugeBytes === undefined) return partsOf(run, shape, generate(run, workshop, requester));
    return inSlot(run, setting, hugeStream(run, shape, hugeBytes, requester.signal));
  });
  yield* merge(streams);
  const ending = shape.ending(runs, isUsageWanted);
  if (ending !== '') yield { kind: 'closing', bytes: Buffer.from(ending) };
}

/** Answers a route that generates. Throws the engine's 400 for a body that it cannot use. */
export async function answerWith(
  { shape, prompts: promptsOf, hasLines = false }: Generating,
  body: Json,
  setting: Setting,
): Promise<Answer> {
  const { engine, requester, asked } = setting;
  const runs = prompts.runsOf(promptsOf(body), body, engine);
  const isStream = body['stream'] === true || body['stream'] === 'true';
  const lengthBytes = asked.get('huge');
  if (isStream && !asked.has('hang')) {
    const options = body['stream_options'];
    const isUsageWanted = prompts.isObject(options) && options['include_usage'] === true;
    const parts = streamOf(runs, shape, isUsageWanted, setting);
    return hasLines ? linesAnswer(parts) : streamAnswer(parts);
  }
  if (lengthBytes !== undefined) {
    const parts = inSlot(runs[0] as Run, setting, hugePlain(lengthBytes, requester.signal));
    return { status: 200, headers: jsonHeaders, body: parts, lengthBytes };
  }
  await Promise.all(runs.map((run) => occupy(run, setting)));
  return jsonAnswer(shape.plain(runs));
}

/** Answers a route that reads its input in one slot and generates nothing. */
export async function answerReading(
  reading: Reading,
  body: Json,
  setting: Setting,
): Promise<Answer> {
  const tokens = prompts.promptsFrom(reading.input(body)).flatMap((prompt) => prompt.tokens);
  const run = prompts.runOf({ tokens, subject: '' }, body, setting.engine);
  await occupy({ ...run, output: [] }, setting);
  const value = reading.answer(body, run.model, tokens.length);
  if (!(value instanceof Uint8Array)) return jsonAnswer(value);
  return { status: 200, headers: { 'Content-Type': 'audio/wav' }, body: value };
}
