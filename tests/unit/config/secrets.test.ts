/** The secrets of a configuration: which texts of it are masked, and for how long. */
import { describe, expect, test } from 'bun:test';
import { Secrets, tracingHeaders } from '../../../src/config/secrets.ts';
import { configOf } from '../../support/gatewayparts.ts';

const all = {
  ALLOWED_API_KEYS: 'word-of-a-client',
  ADMIN_API_KEY: 'word-of-the-operator',
  METRICS_TOKEN: 'word-of-the-scraper',
  LLM_SERVER_API_KEY: 'word-of-the-engine',
  OTEL_EXPORTER_OTLP_HEADERS: 'authorization=Basic%20word-of-the-collector',
};
const values = [
  'word-of-a-client',
  'word-of-the-operator',
  'word-of-the-scraper',
  'word-of-the-engine',
  'Basic word-of-the-collector',
];

test('every secret of the configuration is masked', () => {
  const secrets = new Secrets(configOf(all));
  for (const value of values) expect(secrets.mask(`a ${value} b`)).toBe('a *** b');
});

test('only keys of people are masked where an engine’s key may be an ordinary word', () => {
  const secrets = new Secrets(configOf(all));
  const [client, operator, scraper, engine, collector] = values.map((value) =>
    secrets.maskKeys(value),
  );
  expect([client, operator, scraper]).toEqual(['***', '***', '***']);
  expect([engine, collector]).toEqual(values.slice(3));
});

test('after a reload the previous secrets are still masked, after the next one no longer', () => {
  const secrets = new Secrets(configOf({ ALLOWED_API_KEYS: 'first-word' }));
  const { mask, maskKeys } = secrets;
  secrets.replace(configOf({ ALLOWED_API_KEYS: 'second-word' }));
  for (const each of [mask, maskKeys]) expect(each('first-word second-word')).toBe('*** ***');
  secrets.replace(configOf({ ALLOWED_API_KEYS: 'third-word' }));
  for (const each of [mask, maskKeys]) {
    expect(each('first-word second-word third-word')).toBe('first-word *** ***');
  }
});

describe('the headers of the collector', () => {
  const of = (text: string) => tracingHeaders(configOf({ OTEL_EXPORTER_OTLP_HEADERS: text }));

  test.each([
    ['', []],
    [
      'a=1,b=2',
      [
        ['a', '1'],
        ['b', '2'],
      ],
    ],
    ['authorization=Basic%20eDp5%3D', [['authorization', 'Basic eDp5=']]],
    ['a= x=y', [['a', 'x=y']]],
    ['a=100%', [['a', '100%']]],
  ])('in %j are %j', (text, expected) => {
    expect(of(text)).toEqual(expected as [string, string][]);
  });
});
