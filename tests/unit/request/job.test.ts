/**
 * The job that a request becomes for the scheduler.
 */
import { describe, expect, test } from 'bun:test';
import { jobOf } from '../../../src/request/job.ts';
import type { Caller } from '../../../src/request/caller.ts';
import { LiveRequest } from '../../../src/request/live.ts';
import { JsonBody } from '../../../src/wire/jsonbody.ts';
import { routes } from '../../../src/wire/routes.ts';
import { caller } from '../../support/samples.ts';

interface Asked {
  path?: string;
  headers?: Record<string, string>;
  fields?: Record<string, unknown>;
  form?: string;
  hasChoice?: boolean;
  who?: Partial<Caller>;
}

function make(asked: Asked = {}) {
  const { path = '/v1/completions', headers = {}, fields, form, hasChoice = true } = asked;
  const route = routes.find((each) => each.path === path);
  if (route === undefined) throw new Error(`no route ${path}`);
  const request = new LiveRequest('id', route, { ...caller, ...asked.who }, 0);
  const text = form ?? (fields && JSON.stringify(fields));
  const body = text === undefined ? undefined : Buffer.from(text);
  if (fields !== undefined) request.asks(fields['model'] as string, fields['stream'] === true);
  if (body !== undefined) request.bodyCounted(body.length);
  const json = body && fields && JsonBody.parse(body);
  return { request, job: jobOf(request, new Headers(headers), body, json, hasChoice) };
}

const prompt = 'word '.repeat(2_000);

describe('its class', () => {
  test.each([
    ['interactive', undefined, 'interactive'],
    ['interactive', 'batch', 'batch'],
    ['batch', undefined, 'batch'],
    ['batch', 'interactive', 'batch'],
  ] as const)('of a key that is %s, asked for %p, is %s', (priority, asked, expected) => {
    const headers: Record<string, string> = asked ? { 'x-priority': asked } : {};
    expect(make({ headers, who: { priority }, fields: { prompt } }).job.priority).toBe(expected);
  });
});

describe('its size', () => {
  test('is a slot for each answer of a route that generates', () => {
    expect(make({ fields: { prompt } }).job).toMatchObject({ units: 1, needsModel: true });
    expect(make({ fields: { prompt, n: 3 } }).job.units).toBe(3);
    expect(make({ path: '/tokenize', fields: { content: 'x' } }).job).toMatchObject({
      units: 0,
      needsModel: false,
    });
  });

  test('is that of its prompt where it is located, else that of its body', () => {
    const located = make({ fields: { prompt, padding: 'x'.repeat(1_000) } }).job;
    expect(located.promptBytes).toBeGreaterThanOrEqual(prompt.length);
    expect(located.promptBytes).toBeLessThan(located.bytes);
    const one = make({ fields: { prompt }, hasChoice: false }).job;
    expect(one.promptBytes).toBe(one.bytes);
    expect(make({ path: '/tokenize', fields: { content: 'x' } }).job.promptBytes).toBe(0);
  });

  test('is nothing without a body', () => {
    expect(make({ path: '/v1/models' }).job).toMatchObject({ bytes: 0, promptBytes: 0, units: 0 });
  });
});

describe('where its prompt may be cached', () => {
  const headers = { 'x-session-id': 's'.repeat(300) };

  test('matters among several engines', () => {
    const { job } = make({ fields: { prompt }, headers });
    expect(job.chain?.length).toBeGreaterThan(0);
    expect(job.conversation).toBe('s'.repeat(200));
    expect(
      make({ fields: { prompt }, headers: { 'x-session-id': '' } }).job.conversation,
    ).toBeUndefined();
  });

  test('does not matter with one', () => {
    const { job } = make({ fields: { prompt }, headers, hasChoice: false });
    expect([job.chain, job.conversation]).toEqual([undefined, undefined]);
  });
});

describe('the model of a form', () => {
  const path = '/v1/audio/transcriptions';
  const headers = { 'content-type': 'multipart/form-data; boundary=b' };
  const form = '--b\r\nContent-Disposition: form-data; name="model"\r\n\r\nwhisper\r\n--b--\r\n';

  test('is found in it', () => {
    const { request, job } = make({ path, headers, form });
    expect([request.model, job.model]).toEqual(['whisper', 'whisper']);
  });

  test('must be unambiguous if the key may not use every model', () => {
    const odd = form.replaceAll('\r\n', '\n');
    const who = { models: ['whisper'] };
    expect(() => make({ path, headers, form: odd, who })).toThrow(
      expect.objectContaining({ code: 'invalid_field' }),
    );
    expect(make({ path, headers, form, who }).job.model).toBe('whisper');
    expect(() => make({ path, headers, form: odd })).not.toThrow();
  });
});

test('the served tokens of a stream are counted while it runs, those of a plain answer at its end', () => {
  const stream = make({ fields: { prompt, stream: true } });
  expect(stream.job.served()).toBe(0);
  stream.request.counted(7);
  expect(stream.job.served()).toBe(7);
  expect(make({ fields: { prompt } }).job.served()).toBeUndefined();
});
