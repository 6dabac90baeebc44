import { createOpenAICompatible } from '@ai-sdk/openai-compatible';
import { jsonSchema, streamText, tool } from 'ai';
import { asked, parameters, perform } from './task.mjs';

const { baseUrl: baseURL, key: apiKey, prompt } = asked;
const model = createOpenAICompatible({ name: 'gateway', baseURL, apiKey })(asked.model);

async function* stream(abortSignal) {
  let failure;
  const onError = ({ error }) => (failure = error);
  yield* streamText({ model, prompt, abortSignal, onError }).textStream;
  if (failure) throw failure;
}

async function callTool() {
  const tools = { get_weather: tool({ inputSchema: jsonSchema(parameters) }) };
  const [call] = await streamText({ model, prompt, tools }).toolCalls;
  return call.input;
}

await perform({ stream, callTool });
