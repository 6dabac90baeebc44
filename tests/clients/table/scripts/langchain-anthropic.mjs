import { ChatAnthropic } from '@langchain/anthropic';
import { asked, parameters, perform } from './task.mjs';

const { baseUrl: baseURL, key: apiKey, model, prompt } = asked;
const chat = new ChatAnthropic({ model, apiKey, anthropicApiUrl: baseURL, maxTokens: 200 });

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
