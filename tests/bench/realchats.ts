/**
 * How much of the prompts of conversations two real llama.cpp servers find in their caches: dealt in turn, through the
 * gateway, and with a separate server for each conversation, which is the best possible. It judges nothing.
 */
import { randomFrom } from '../support/random.ts';

export interface RealChats {
  label: string;
  /** Cached of all prompt tokens, as the servers say. */
  share: number;
  /** Of all turns, in milliseconds: until the first token is computed, waits in a server left out. */
  promptMs: number[];
}

export interface RealChatsPlan {
  engineUrls: readonly string[];
  gatewayUrl: string;
  key: string;
  chats: number;
  turns: number;
  tokens: number;
  /** Another seed makes other conversations. */
  seed: number;
}

interface Answer {
  choices: { message: { content: string } }[];
  timings: { cache_n: number; prompt_n: number; prompt_ms: number };
}

/** Runs the conversations, each in its own pace; `urlOf` says where a turn goes. */
async function converse(
  label: string,
  plan: RealChatsPlan,
  urlOf: (chat: number) => string,
): Promise<RealChats> {
  const random = randomFrom(plan.seed);
  const word = () => `${label.slice(0, 2)}${random.below(1_000)}`;
  let [cached, prompt] = [0, 0];
  const promptMs: number[] = [];
  const headers = { authorization: `Bearer ${plan.key}`, 'content-type': 'application/json' };
  await Promise.all(
    Array.from({ length: plan.chats }, async (_, chat) => {
      const messages: { role: string; content: string }[] = [];
      for (let turn = 0; turn < plan.turns; turn++) {
        messages.push({ role: 'user', content: Array.from({ length: 25 }, word).join(' ') });
        const body = JSON.stringify({ messages, max_tokens: plan.tokens, ignore_eos: true });
        const init = { method: 'POST', headers, body, keepalive: false };
        const answer = await fetch(`${urlOf(chat)}/v1/chat/completions`, init);
        if (answer.status !== 200) throw new Error(await answer.text());
        const { choices, timings } = (await answer.json()) as Answer;
        cached += timings.cache_n;
        prompt += timings.cache_n + timings.prompt_n;
        promptMs.push(timings.prompt_ms);
        messages.push({ role: 'assistant', content: choices[0]?.message.content ?? '' });
        await Bun.sleep(50 + random.below(300));
      }
    }),
  );
  return { label, share: cached / prompt, promptMs };
}

/** Measures the three, one after the other, with their own conversations. */
export async function realChats(plan: RealChatsPlan): Promise<RealChats[]> {
  const { engineUrls, gatewayUrl } = plan;
  let turn = 0;
  const at = (index: number) => engineUrls[index % engineUrls.length] ?? '';
  return [
    await converse('round robin', plan, () => at(turn++)),
    await converse('affinity', plan, () => gatewayUrl),
    await converse('best possible', plan, at),
  ];
}
