/** The Codex CLI: the Responses API, with a provider of its own. It runs tools in a sandbox that only reads. */
import { join } from 'node:path';
import type { Adapter } from './adapter.ts';
import { installed } from './adapter.ts';

export const codex: Adapter = {
  name: 'Codex CLI',
  suffix: '/v1',
  toolPrompt: 'Please call exec_command {"cmd":"pwd"}',
  runsTools: true,
  async command({ baseUrl, key, model, prompt, folder }) {
    const settings = `
model = "${model}"
model_provider = "gateway"
check_for_update_on_startup = false
[analytics]
enabled = false
[model_providers.gateway]
name = "gateway"
base_url = "${baseUrl}"
env_key = "GATEWAY_KEY"
wire_api = "responses"
`;
    await Bun.write(join(folder, '.codex/config.toml'), settings);
    const options = ['--skip-git-repo-check', '--sandbox', 'read-only', '--json'];
    const command = [join(installed, 'node_modules/.bin/codex'), 'exec', ...options, prompt];
    return { command, env: { GATEWAY_KEY: key } };
  },
};
