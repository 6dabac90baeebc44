/** The Claude Code CLI: Anthropic's messages. It may use one tool, and that one only reads a file of the run. */
import { join } from 'node:path';
import type { Adapter } from './adapter.ts';
import { installed } from './adapter.ts';

export const claude: Adapter = {
  name: 'Claude Code CLI',
  suffix: '',
  toolPrompt: 'Please call Read {"file_path":"note.txt"}',
  runsTools: true,
  async command({ baseUrl, key, model, prompt, folder }) {
    await Bun.write(join(folder, 'note.txt'), 'A note.\n');
    const options = ['--output-format', 'json', '--allowedTools', 'Read'];
    return {
      command: [join(installed, 'node_modules/.bin/claude'), '-p', prompt, ...options],
      env: {
        ANTHROPIC_BASE_URL: baseUrl,
        ANTHROPIC_AUTH_TOKEN: key,
        ANTHROPIC_MODEL: model,
        ANTHROPIC_SMALL_FAST_MODEL: model,
        CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC: '1',
        DISABLE_AUTOUPDATER: '1',
        DISABLE_ERROR_REPORTING: '1',
        DISABLE_TELEMETRY: '1',
      },
    };
  },
};
