import Anthropic from '@anthropic-ai/sdk';
import { asked, parameters, perform } from './task.mjs';

const { baseUrl: baseURL, key: apiKey, model, prompt } = asked;
const client = new Anthropic({ baseURL, apiKey });
const body = { model, max_tokens: 200, messages: [{ role: 'user', content: prompt }] };

async function* stream(signal) {
  for await (const event of client.messages.stream(body, { signal })) {
    if (event.type === 'content_block_delta') yield event.delta.text;
  }
}

async function callTool() {
  const tools = [{ name: 'get_weather', input_schema: parameters }];
  const { content } = await client.messages.stream({ ...body, tools }).finalMessage();
  return content[0].input;
}

await perform({ stream, callTool });
