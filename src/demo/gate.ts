/** A gate that stops the simulated engine's work while it is closed, to simulate a frozen engine. */
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

  /** Resolves when the gate is open; rejects with the signal's reason if the signal fires first. */
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
