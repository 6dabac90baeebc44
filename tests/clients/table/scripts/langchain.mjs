/** What the two chat models of LangChain have in common: how one streams, and how it calls the tool. */
import { asked, parameters, perform } from './task.mjs';

/** Does the task with a chat model, and prints what came of it. */
export async function performWith(chat) {
  const { prompt } = asked;

  async function* stream(signal) {
    for await (const { text } of await chat.stream(prompt, { signal })) yield text;
  }

  async function callTool() {
    const description = 'Tells the weather.';
    const tools = [{ name: 'get_weather', description, schema: parameters }];
    const { tool_calls: calls } = await chat.bindTools(tools).invoke(prompt);
    return calls[0].args;
  }

  await perform({ stream, callTool });
}
