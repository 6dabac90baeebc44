/**
 * Another client of the gateway, in a thread of its own: it asks for /health all the time and reads a stream. It tells how
 * long the slowest answer and the slowest token took since it was last asked.
 */
declare const self: Worker;

const pauseMs = 2;
let health = 0;
let token = 0;

async function askHealth(url: string): Promise<never> {
  for (;;) {
    const askedAt = performance.now();
    await (await fetch(`${url}/health`)).bytes();
    health = Math.max(health, performance.now() - askedAt);
    await Bun.sleep(pauseMs);
  }
}

async function readStream(url: string, key: string): Promise<void> {
  const answer = await fetch(`${url}/v1/completions`, {
    method: 'POST',
    headers: { authorization: `Bearer ${key}`, 'content-type': 'application/json' },
    body: '{"stream":true,"prompt":"x"}',
  });
  const decoder = new TextDecoder();
  for await (const bytes of answer.body ?? []) {
    const at = performance.timeOrigin + performance.now();
    for (const [, sentAt] of decoder.decode(bytes).matchAll(/"sentAt":([\d.]+)/g)) {
      token = Math.max(token, at - Number(sentAt));
    }
  }
  throw new Error('the stream has ended');
}

self.onmessage = ({ data }: MessageEvent<{ url: string; key: string } | 'tell'>) => {
  if (data === 'tell') {
    self.postMessage({ health, token });
    health = 0;
    token = 0;
    return;
  }
  void askHealth(data.url);
  void readStream(data.url, data.key);
};
