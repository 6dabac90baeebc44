import { ChatOpenAI } from '@langchain/openai';
import { performWith } from './langchain.mjs';
import { asked } from './task.mjs';

const { baseUrl: baseURL, key: apiKey, model } = asked;
await performWith(new ChatOpenAI({ model, apiKey, configuration: { baseURL } }));
