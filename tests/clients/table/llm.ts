/** The `llm` command: chat completions, with a model of its own in a file of settings. */
import { join } from 'node:path';
import type { Adapter } from './adapter.ts';
import { installed } from './adapter.ts';

export const llm: Adapter = {
  name: 'llm',
  suffix: '/v1',
  toolPrompt: 'Please call llm_version {}',
  runsTools: true,
  async command({ task, baseUrl, key, model, prompt, folder }) {
    const settings = [
      {
        model_id: 'gateway',
        model_name: model,
        api_base: baseUrl,
        api_key_name: 'gateway',
        supports_tools: true,
      },
    ];
    // JSON is YAML, too.
    await Bun.write(join(folder, 'extra-openai-models.yaml'), JSON.stringify(settings));
    const options = ['-m', 'gateway', '--key', key];
    if (task === 'tools') options.push('-T', 'llm_version');
    const command = [join(installed, 'python/bin/llm'), ...options, prompt];
    return { command, env: { LLM_USER_PATH: folder } };
  },
};
