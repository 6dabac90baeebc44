/** The check of a certificate and its private key: a text that no server could use is reported with its place. */
import { describe, expect, test } from 'bun:test';
import { certificateProblems, dateProblem } from '../../../src/config/certificate.ts';
import { makePem } from '../../support/pem.ts';

const own = makePem();
const other = makePem();
const cert = (text: string) => ({ label: 'CERT', text });
const key = (text: string) => ({ label: 'KEY', text });
const noCert = 'CERT: found no usable certificate; allowed is a chain in PEM form';
const noKey =
  'KEY: found no usable private key; allowed is a private key in PEM form without a passphrase';

describe('a certificate and its key', () => {
  test('are good as a pair, as a chain, and each alone', () => {
    expect(certificateProblems(cert(own.cert), key(own.key))).toEqual([]);
    expect(certificateProblems(cert(`${own.cert}\n${other.cert}`), key(own.key))).toEqual([]);
    expect(certificateProblems(cert(own.cert), undefined)).toEqual([]);
    expect(certificateProblems(undefined, key(own.key))).toEqual([]);
    expect(certificateProblems(undefined, undefined)).toEqual([]);
  });

  test('are both reported if neither is PEM, or if they are exchanged', () => {
    expect(certificateProblems(cert('x'), key('y'))).toEqual([noCert, noKey]);
    expect(certificateProblems(cert(own.key), key(own.cert))).toEqual([noCert, noKey]);
  });

  test('are judged to the end of the chain', () => {
    const broken = own.cert.replace(/\n[^-][^]*\n-/, '\nZ2FyYmFnZQ==\n-');
    expect(certificateProblems(cert(`${own.cert}\n${broken}`), key(own.key))).toEqual([noCert]);
  });

  test('with a passphrase are refused, since nobody could give it', () => {
    const made = Bun.spawnSync(['openssl', 'ec', '-aes128', '-passout', 'pass:sesame'], {
      stdin: Buffer.from(own.key),
    });
    const locked = made.stdout.toString();
    expect(locked).toContain('ENCRYPTED');
    expect(certificateProblems(cert(own.cert), key(locked))).toEqual([noKey]);
  });

  test('must belong together', () => {
    expect(certificateProblems(cert(own.cert), key(other.key))).toEqual([
      'KEY: found a private key that does not belong to the certificate',
    ]);
  });
});

test('a certificate out of its dates is told with the date', () => {
  const hour = 3_600_000;
  const now = Date.now();
  expect(dateProblem(own.cert, now + hour)).toBeUndefined();
  expect(dateProblem(own.cert, now + 72 * hour)).toMatch(/^it expired on .* \d{4} GMT$/);
  expect(dateProblem(own.cert, now - 72 * hour)).toMatch(/^it is not valid before .* \d{4} GMT$/);
});
