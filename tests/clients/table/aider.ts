/** The aider command: chat completions by way of litellm. It offers no tools. */
import { join } from 'node:path';
import type { Adapter } from './adapter.ts';
import { installed } from './adapter.ts';

const quiet = [
  '--no-git',
  '--yes-always',
  '--no-check-update',
  '--no-analytics',
  '--no-show-model-warnings',
  '--no-show-release-notes',
  '--no-pretty',
  '--map-tokens=0',
];

export const aider: Adapter = {
  name: 'aider',
  suffix: '/v1',
  toolPrompt: undefined,
  runsTools: false,
  async command({ baseUrl, key, model, prompt }) {
    const at = ['--model', `openai/${model}`, '--openai-api-base', baseUrl];
    const keyed = ['--openai-api-key', key];
    const command = [join(installed, 'aider/bin/aider'), ...at, ...keyed, ...quiet];
    return {
      command: [...command, '--message', prompt],
      env: { LITELLM_LOCAL_MODEL_COST_MAP: 'True' },
    };
  },
};
