/**
 * Checks a certificate and its private key before the gateway listens with them. It reads no file and quotes nothing.
 */

/** A text in PEM form; `label` names its place in messages. */
export interface Pem {
  label: string;
  text: string;
}

/** Returns what is wrong with each, and with both as a pair; one that is absent is not checked. */
export function certificateProblems(cert: Pem | undefined, key: Pem | undefined): string[] {
  const problems: string[] = [];
  if (cert && !isUsable({ cert: cert.text })) {
    problems.push(`${cert.label}: found no usable certificate; allowed is a chain in PEM form`);
  }
  if (key && !isUsable({ key: key.text })) {
    const allowed = 'a private key in PEM form without a passphrase';
    problems.push(`${key.label}: found no usable private key; allowed is ${allowed}`);
  }
  if (cert && key && problems.length === 0 && !isUsable({ cert: cert.text, key: key.text })) {
    problems.push(`${key.label}: found a private key that does not belong to the certificate`);
  }
  return problems;
}

/**
 * Returns why clients will not trust a usable certificate at that time; `undefined` if its dates are in order. A gateway
 * serves it all the same: that is less of an outage than none.
 * @param now epoch milliseconds
 */
export function dateProblem(cert: string, now: number): string | undefined {
  const { X509Certificate } = process.getBuiltinModule('node:crypto');
  const { validFrom, validTo } = new X509Certificate(cert);
  if (now > Date.parse(validTo)) return `it expired on ${validTo}`;
  return now < Date.parse(validFrom) ? `it is not valid before ${validFrom}` : undefined;
}

/** Returns whether a server could use it. */
function isUsable(options: { cert?: string; key?: string }): boolean {
  // Loaded only here: it costs a third of the start-up time, and only HTTPS needs it.
  const tls = process.getBuiltinModule('node:tls');
  try {
    tls.createSecureContext(options);
    return true;
  } catch {
    return false; // OpenSSL's reason names its own functions, which help nobody.
  }
}
