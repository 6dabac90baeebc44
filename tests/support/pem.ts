/** Certificates for tests, made by openssl. */

/** Makes a certificate for localhost and its private key; returns both as PEM texts. */
export function makePem(): { cert: string; key: string } {
  const options =
    'req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=localhost -keyout - -out -';
  const made = Bun.spawnSync(['openssl', ...options.split(' ')]);
  const texts = made.stdout.toString().match(/^-----BEGIN[^]*?^-----END.*$/gm) ?? [];
  const cert = texts.find((text) => text.includes(' CERTIFICATE'));
  const key = texts.find((text) => text.includes(' PRIVATE KEY'));
  if (!cert || !key) throw new Error(`openssl made no certificate: ${made.stderr}`);
  return { cert, key };
}
