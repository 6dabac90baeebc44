/** Which address a health check asks, and which answers are those of a living gateway. */
import { describe, expect, test } from 'bun:test';
import { healthProblem, healthUrl } from '../../../src/cli/healthcheck.ts';

const address = { host: '127.0.0.1', port: 8080, isHttps: false };

test.each([
  ['0.0.0.0', false, 'http://127.0.0.1:8080/health'],
  ['::', false, 'http://[::1]:8080/health'],
  ['fe80::2', true, 'https://[fe80::2]:8080/health'],
  ['gateway.lan', true, 'https://gateway.lan:8080/health'],
])('HOST %s with HTTPS %p is asked at its own address', (host, isHttps, url) => {
  expect(healthUrl({ host, port: 8080, isHttps })).toBe(url);
});

describe('a gateway', () => {
  test('that answers 200 lives, whatever its certificate says', async () => {
    let asked: [string, BunFetchRequestInit] | undefined;
    const problem = await healthProblem(address, async (...given) => {
      asked = given;
      return new Response('{}');
    });
    expect(problem).toBeUndefined();
    expect(asked?.[0]).toBe('http://127.0.0.1:8080/health');
    expect(asked?.[1]).toMatchObject({ redirect: 'manual', tls: { rejectUnauthorized: false } });
  });

  test.each([302, 404, 503])('that answers %d does not', async (status) => {
    const problem = await healthProblem(address, async () => new Response(null, { status }));
    expect(problem).toBe(`http://127.0.0.1:8080/health answers ${status}`);
  });

  test('that does not answer does not, and why is told', async () => {
    const refuse = async () => {
      throw new Error('Unable to connect');
    };
    expect(await healthProblem(address, refuse)).toBe(
      'http://127.0.0.1:8080/health does not answer: Unable to connect',
    );
    const never = (_url: string, { signal }: BunFetchRequestInit) =>
      new Promise<Response>((_, reject) => {
        signal?.addEventListener('abort', () => reject(signal.reason));
      });
    expect(await healthProblem(address, never, 1)).toContain('timed out');
  });

  test('on any free port cannot be found', async () => {
    const never = () => Promise.reject(new Error('asked'));
    expect(await healthProblem({ ...address, port: 0 }, never)).toContain('--port');
  });
});
