/** What holds the work of the simulated engine up while it is frozen. It knows no time. */
export class Gate {
  #opening: PromiseWithResolvers<void> | undefined;

  get isOpen(): boolean {
    return this.#opening === undefined;
  }

  set(isOpen: boolean): void {
    if (isOpen === this.isOpen) return;
    this.#opening?.resolve();
    this.#opening = isOpen ? undefined : Promise.withResolvers();
  }

  /** Resolves once it is open; rejects with the signal's reason when that comes first. */
  passed(signal: AbortSignal): Promise<void> {
    const opening = this.#opening;
    if (opening === undefined) return Promise.resolve();
    if (signal.aborted) return Promise.reject(signal.reason);
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const leave = (): void => reject(signal.reason);
    signal.addEventListener('abort', leave, { once: true });
    void opening.promise.then(() => {
      signal.removeEventListener('abort', leave);
      resolve();
    });
    return promise;
  }
}
