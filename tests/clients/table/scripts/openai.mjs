import OpenAI from 'openai';
import { asked, parameters, perform } from './task.mjs';

const { baseUrl: baseURL, key: apiKey, model, prompt } = asked;
const client = new OpenAI({ baseURL, apiKey });
const messages = [{ role: 'user', content: prompt }];

async function* stream(signal) {
  const chunks = await client.chat.completions.create(
    { model, messages, stream: true },
    { signal },
  );
  for await (const { choices } of chunks) yield choices[0]?.delta.content;
}

async function callTool() {
  const tools = [{ type: 'function', function: { name: 'get_weather', parameters } }];
  const answer = client.chat.completions.stream({ model, messages, tools });
  const { choices } = await answer.finalChatCompletion();
  return JSON.parse(choices[0].message.tool_calls[0].function.arguments);
}

await perform({ stream, callTool });
