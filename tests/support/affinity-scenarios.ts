/**
 * People who chat with engines, for the simulation in affinity-world.ts and for the benchmark with real sockets:
 * their messages and their times depend on the seed alone. It runs nothing.
 */
import { randomFrom, type Random } from './random.ts';

/** Both ends are included. */
export type Range = readonly [least: number, most: number];

/** Times in milliseconds, lengths in tokens. */
export interface Scenario {
  seed: number;
  engines: number;
  slots: number;
  /** Tokens that one engine caches. */
  cacheTokens: number;
  /** The part of an engine's time to the first token that does not depend on the prompt. */
  firstTokenMs: number;
  prefillPerMs: number;
  decodeMs: number;
  /** Time on the network, added to that. */
  wayMs: number;
  people: number;
  /** How many answers all people get together, one chat after the other; 0 for one chat each. */
  answers: number;
  arrivalMs: Range;
  turns: Range;
  messageTokens: Range;
  answerTokens: Range;
  /** The pause between an answer and the next message. */
  thinkMs: Range;
  /** One pause in so many is ten times as long; 0 for never. */
  longThinkOneIn: number;
  /** The common beginning of all chats. */
  systemTokens: number;
  /** One in so many people is busier; the factors are relative to the others. */
  busy: { oneIn: number; turns: number; tokens: number; thinking: number } | undefined;
  /** Whether all people send the same messages. */
  isOnePrompt: boolean;
  /** After which share of the answers the first engine starts anew; 0 for never. */
  restartsAfter: number;
  /** Whether the gateway notices the restart. */
  isRestartSeen: boolean;
  /** After which share of the answers the other engines start; answers before that are not counted. */
  othersComeAfter: number;
}

/** A message, after which an answer comes. */
export interface Turn {
  /** Whether this message begins a chat. */
  isFirst: boolean;
  /** The pause since the previous answer. */
  afterMs: number;
  messageTokens: number;
  answerTokens: number;
}

function within(random: Random, [least, most]: Range): number {
  return least + random.below(most - least + 1);
}

/** Returns the messages of a person; endless if one chat follows the other. */
export function* turnsOf(scenario: Scenario, person: number): Generator<Turn> {
  const { seed, busy, longThinkOneIn, answers } = scenario;
  const random = randomFrom(seed * 1_000 + person);
  const isBusy = busy !== undefined && person % busy.oneIn === 0;
  const factors = isBusy ? busy : { turns: 1, tokens: 1, thinking: 1 };
  let afterMs = within(random, scenario.arrivalMs);
  do {
    const turns = Math.round(within(random, scenario.turns) * factors.turns);
    for (let turn = 0; turn < turns; turn++) {
      const messageTokens = within(random, scenario.messageTokens) * factors.tokens;
      const answerTokens = within(random, scenario.answerTokens);
      yield { isFirst: turn === 0, afterMs, messageTokens, answerTokens };
      const isLong = longThinkOneIn > 0 && random.oneIn(longThinkOneIn);
      afterMs = within(random, scenario.thinkMs) * factors.thinking * (isLong ? 10 : 1);
    }
  } while (answers > 0);
}

/** Small enough for real time: people read and write in a twentieth of the time, as the engines are that much faster. */
const quick: Scenario = {
  seed: 1,
  engines: 4,
  slots: 2,
  cacheTokens: 40_000,
  firstTokenMs: 2,
  prefillPerMs: 20,
  decodeMs: 1,
  wayMs: 4,
  people: 24,
  answers: 0,
  arrivalMs: [0, 0],
  turns: [8, 8],
  messageTokens: [140, 140],
  answerTokens: [24, 24],
  thinkMs: [100, 500],
  longThinkOneIn: 0,
  systemTokens: 0,
  busy: undefined,
  isOnePrompt: false,
  restartsAfter: 0,
  isRestartSeen: true,
  othersComeAfter: 0,
};

/** The scenarios that the benchmark runs, too. */
export const quickScenarios: Readonly<Record<string, Scenario>> = {
  '12 chats': { ...quick, people: 12 },
  'skewed chats': {
    ...quick,
    turns: [3, 3],
    busy: { oneIn: 4, turns: 8 / 3, tokens: 1, thinking: 1 },
  },
  'a common system prompt': { ...quick, systemTokens: 1_600 },
  'more chats than cache': { ...quick, people: 48, cacheTokens: 12_000 },
  'an engine restarted midway': { ...quick, restartsAfter: 0.5 },
};

/** Hours of people with real engines: long prompts and pauses, and chats that end and begin all the time. */
const long: Scenario = {
  ...quick,
  cacheTokens: 150_000,
  firstTokenMs: 0,
  prefillPerMs: 2,
  decodeMs: 15,
  wayMs: 0,
  answers: 1_500,
  arrivalMs: [0, 8_000],
  turns: [10, 29],
  messageTokens: [50, 349],
  answerTokens: [30, 279],
  thinkMs: [4_000, 12_000],
  longThinkOneIn: 10,
};

export const longScenarios: Readonly<Record<string, Scenario>> = {
  '12 chats': { ...long, people: 12 },
  'skewed chats': {
    ...long,
    people: 20,
    busy: { oneIn: 5, turns: 2, tokens: 4, thinking: 0.1 },
  },
  'a common system prompt': { ...long, systemTokens: 2_000 },
  'more chats than cache': {
    ...long,
    people: 60,
    thinkMs: [20_000, 60_000],
    cacheTokens: 60_000,
  },
  'an engine restarted midway': { ...long, restartsAfter: 0.5 },
  'an engine restarted midway, unnoticed': { ...long, restartsAfter: 0.5, isRestartSeen: false },
  'more requests than slots at all times': { ...long, people: 60, thinkMs: [2_000, 6_000] },
};

/** Scenarios that affinity must not make worse. */
export const harshScenarios = {
  /** The caches hold a fraction of the chats that people continue. */
  tinyCaches: { ...long, people: 60, thinkMs: [20_000, 60_000], cacheTokens: 30_000 },
  onePromptAtOnce: {
    ...long,
    people: 64,
    answers: 0,
    arrivalMs: [0, 0],
    turns: [1, 1],
    messageTokens: [8_000, 8_000],
    isOnePrompt: true,
  },
  onePromptAllTheTime: {
    ...long,
    people: 128,
    answers: 0,
    arrivalMs: [0, 60_000],
    turns: [1, 1],
    messageTokens: [8_000, 8_000],
    isOnePrompt: true,
  },
  /** All chats begin on one engine; the others start when it is overloaded. */
  enginesAdded: { ...long, people: 20, answers: 800, othersComeAfter: 0.25 },
} as const satisfies Record<string, Scenario>;
