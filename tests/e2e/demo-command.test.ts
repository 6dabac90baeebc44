/**
 * `llm-gateway demo`: an engine and a gateway to try, with the commands for it, whatever is configured.
 */
import { describe, expect, test } from 'bun:test';
import {
  cleanEnvironment,
  key,
  runCommand,
  spawnCommand,
  startGateway,
} from '../support/gatewayprocess.ts';
import { until } from '../support/wait.ts';

describe('demo', () => {
  test('prints an address, a key and curl commands that answer, plain and streamed', async () => {
    const child = spawnCommand(['demo', '--port', '0']);
    let printed = '';
    const collected = (async () => {
      const decoder = new TextDecoder();
      for await (const chunk of child.stdout) printed += decoder.decode(chunk, { stream: true });
    })();
    try {
      await until('the demo has printed how to try it', () => printed.includes('Ctrl-C'));
      expect(/address\s+(http:\/\/127\.0\.0\.1:\d+)/.exec(printed)).not.toBeNull();
      expect(/key\s+(sk-\S+)/.exec(printed)).not.toBeNull();
      // A command may go on in the next line, behind a backslash.
      const commands = printed.replaceAll('\\\n', ' ').match(/curl .*'$/gm) ?? [];
      const answers = await Promise.all(
        commands.map((command) =>
          Bun.spawn(['sh', '-c', command], {
            env: cleanEnvironment(),
            stdout: 'pipe',
            stderr: 'ignore',
          }).stdout.text(),
        ),
      );
      expect(answers).toHaveLength(2);
      const [plain = '', streamed = ''] = answers;
      expect(JSON.parse(plain)).toMatchObject({
        object: 'text_completion',
        choices: [{ text: expect.stringContaining('simulated') }],
      });
      expect(streamed.match(/^data: \{/gm)?.length).toBeGreaterThan(2);
      expect(streamed).toEndWith('data: [DONE]\n\n');
    } finally {
      child.kill('SIGTERM');
    }
    expect(await child.exited).toBe(0);
    await collected;
    expect(await child.stderr.text()).toBe('');
  });

  test('says how to choose another port if its own is taken', async () => {
    await using gateway = await startGateway({ PORT: '0' }, ['demo']);
    const { port } = new URL(gateway.url);
    const { stdout, code } = await runCommand(['demo', '--port', port]);
    expect(code).toBe(1);
    expect(stdout).toContain('choose another port with --port or PORT');
  });

  test('ignores the settings of another engine', async () => {
    const env = {
      LLM_SERVER_URL: 'http://127.0.0.1:9',
      LLM_SERVER_API_KEY: 'of-another',
      PORT: '0',
    };
    await using gateway = await startGateway(env, ['demo']);
    const headers = { authorization: `Bearer ${key}` };
    expect((await fetch(`${gateway.url}/v1/models`, { headers })).status).toBe(200);
  });
});
