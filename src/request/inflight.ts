/**
 * All requests in flight: who they are, how many each principal has, how all are ended, and when none is left.
 */
import { Bag } from './bag.ts';
import type { ErrorCode } from '../wire/errors.ts';
import type { LiveRequest } from './live.ts';

/** Every request in flight, in no order. */
export class LiveRequests implements Iterable<LiveRequest> {
  readonly #requests = new Bag<LiveRequest>();
  readonly #openOf = new Map<string, number>();
  #whenEmpty: (() => void)[] = [];

  get size(): number {
    return this.#requests.size;
  }

  [Symbol.iterator](): Iterator<LiveRequest> {
    return this.#requests[Symbol.iterator]();
  }

  has(request: LiveRequest): boolean {
    return this.#requests.has(request);
  }

  /** How many requests of a principal are in flight. */
  openOf(principal: string): number {
    return this.#openOf.get(principal) ?? 0;
  }

  add(request: LiveRequest): void {
    this.#requests.add(request);
    this.#count(request, 1);
  }

  #count({ caller: { principal } }: LiveRequest, change: 1 | -1): void {
    const open = this.openOf(principal) + change;
    if (open > 0) this.#openOf.set(principal, open);
    else this.#openOf.delete(principal);
  }

  /** Takes a request out. Returns `false` when it was out already, so that each is ended once. */
  remove(request: LiveRequest): boolean {
    const wasIn = this.#requests.delete(request);
    if (wasIn) this.#count(request, -1);
    if (this.#requests.size === 0) {
      for (const resolve of this.#whenEmpty) resolve();
      this.#whenEmpty = [];
    }
    return wasIn;
  }

  abortAll(code: ErrorCode): void {
    for (const request of this.#requests) request.abort(code);
  }

  /** Resolves when no request is in flight. */
  async empty(): Promise<void> {
    if (this.#requests.size > 0)
      await new Promise<void>((resolve) => this.#whenEmpty.push(resolve));
  }
}
