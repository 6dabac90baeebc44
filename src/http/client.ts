/**
 * The client that sent an HTTP request, as the reader of its answer. Nobody else wants what it asked for: when it leaves,
 * its request is aborted. This is the only place that says so.
 */
import type { Abortable, Reader } from '../request/reader.ts';

/** The part of Bun's server that is used here. */
export interface TimeoutSetter {
  timeout(request: Request, seconds: number): void;
}

/** It listens to the client's signal itself, and so needs no new function for each request. */
export class Client implements Reader, EventListenerObject {
  #reads: Abortable | undefined;
  #isHeldOpen = false;

  /**
   * @param server returns what has the connection; `null` while nothing listens
   * @param idleSeconds after which Bun closes a connection; while a request is open the gateway's deadlines decide instead
   */
  constructor(
    private readonly request: Request,
    private readonly server: () => TimeoutSetter | null,
    private readonly idleSeconds: number,
  ) {}

  get hasLeft(): boolean {
    return this.request.signal.aborted;
  }

  attend(request: Abortable): void {
    this.#reads = request;
    const { signal } = this.request;
    if (signal.aborted) this.left();
    else signal.addEventListener('abort', this);
  }

  /** Hears that the signal of the client's request fired. */
  handleEvent(): void {
    this.left();
  }

  left(): void {
    this.#reads?.abort('client_closed_request');
  }

  holdOpen(): void {
    this.#isHeldOpen = true;
    this.server()?.timeout(this.request, 0);
  }

  letGo(): void {
    // After the answer has ended it has no effect, and the kept-alive connection would never time out.
    if (this.#isHeldOpen) this.server()?.timeout(this.request, this.idleSeconds);
  }
}
