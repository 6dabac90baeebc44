/** The client libraries: for each a script that does what it is asked with the library as it is. */
import { library } from './adapter.ts';

export const libraries = [
  library('openai (npm)', 'openai.mjs', '/v1'),
  library('@anthropic-ai/sdk (npm)', 'anthropic.mjs', ''),
  library('ai (npm)', 'ai-sdk.mjs', '/v1'),
  library('@langchain/openai (npm)', 'langchain-openai.mjs', '/v1'),
  library('@langchain/anthropic (npm)', 'langchain-anthropic.mjs', ''),
  library('openai (PyPI)', 'openai_client.py', '/v1'),
  library('anthropic (PyPI)', 'anthropic_client.py', ''),
  library('langchain-openai (PyPI)', 'langchain_openai_client.py', '/v1'),
  library('langchain-anthropic (PyPI)', 'langchain_anthropic_client.py', ''),
];
