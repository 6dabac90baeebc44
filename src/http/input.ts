/**
 * What the gateway's own routes read of a request: a small body and the parameters of a query. What is wrong with them is
 * the client's to hear.
 */
import { GatewayError } from '../wire/errors.ts';
import { InputError } from '../config/problems.ts';
import { codingOf, decodedParts, type Coding } from '../request/coding.ts';
import { parseObject } from '../wire/json.ts';
import { searchOf } from '../wire/routes.ts';

/** Runs a function that reads input; an InputError of it becomes `invalid_field`. */
export function reading<T>(work: () => T): T {
  try {
    return work();
  } catch (error) {
    if (!(error instanceof InputError)) throw error;
    throw new GatewayError('invalid_field', { message: `${error.problems.join('; ')}.` });
  }
}

/** Returns the error that ends a request: `client_closed_request` if the client has left, else `cause`. */
export function endOf(request: Request, cause: unknown): unknown {
  return request.signal.aborted ? new GatewayError('client_closed_request', { cause }) : cause;
}

const maxBodyBytes = 65_536;

/** Reads a small body whole, decoded. */
export async function readSmall(request: Request): Promise<Uint8Array> {
  const parts: Uint8Array[] = [];
  let length = 0;
  const coding = codingOf(request.headers.get('content-encoding'));
  try {
    for await (const part of decoded(request.body ?? [], coding)) {
      length += part.length;
      if (length > maxBodyBytes) break;
      parts.push(part);
    }
  } catch (cause) {
    throw endOf(request, cause);
  }
  if (length <= maxBodyBytes) return Buffer.concat(parts);
  throw tooLarge();
}

function decoded(
  parts: AsyncIterable<Uint8Array> | Iterable<Uint8Array>,
  coding: Coding | undefined,
): AsyncIterable<Uint8Array> | Iterable<Uint8Array> {
  if (coding === undefined) return parts;
  return decodedParts(parts, coding, { maxBytes: maxBodyBytes, error: tooLarge });
}

function tooLarge(): GatewayError {
  return new GatewayError('body_too_large', {
    message: `The body is larger than ${maxBodyBytes} bytes, the most that this route takes. Send a smaller one.`,
  });
}

export async function readObject(request: Request): Promise<Record<string, unknown>> {
  return parseObject(await readSmall(request));
}

/** Returns the parameters of a URL's query; one that is unknown or given twice is refused. */
export function parametersOf(url: string, known: readonly string[]): Record<string, string> {
  const given = [...new URLSearchParams(searchOf(url))];
  const problems = given.flatMap(([name], index) => {
    if (!known.includes(name)) return `no such parameter; there are ${known.join(', ')}`;
    const isAgain = given.findIndex(([other]) => other === name) < index;
    return isAgain ? `${name}: given twice` : [];
  });
  return reading(() => {
    if (problems.length > 0) throw new InputError(problems);
    return Object.fromEntries(given);
  });
}
