import { ChatAnthropic } from '@langchain/anthropic';
import { performWith } from './langchain.mjs';
import { asked } from './task.mjs';

const { baseUrl: baseURL, key: apiKey, model } = asked;
await performWith(new ChatAnthropic({ model, apiKey, anthropicApiUrl: baseURL, maxTokens: 200 }));
