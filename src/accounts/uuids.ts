/**
 * The ids of the ledger's rows: UUIDs of version 7, which begin with the time and have a counter behind it (RFC 9562,
 * section 6.2, method 1). Each is higher than the one before, also if the clock is set back.
 */

/** A counter of 12 bits. */
const maxCount = 0xfff;

export class Uuids {
  #ms = 0;
  #count = maxCount;

  /**
   * @param epochNow epoch milliseconds
   * @param latest all are higher than this one
   */
  constructor(
    private readonly epochNow: () => number,
    latest?: string,
  ) {
    if (latest !== undefined)
      this.#ms = Number.parseInt(latest.slice(0, 8) + latest.slice(9, 13), 16);
  }

  next(): string {
    const ms = Math.floor(this.epochNow());
    if (ms > this.#ms) {
      this.#ms = ms;
      this.#count = 0;
    } else if (this.#count < maxCount) {
      this.#count++;
    } else {
      this.#ms++;
      this.#count = 0;
    }
    const time = this.#ms.toString(16).padStart(12, '0');
    const count = this.#count.toString(16).padStart(3, '0');
    // The rest is random: of a UUIDv4, which has the same variant.
    return `${time.slice(0, 8)}-${time.slice(8)}-7${count}-${crypto.randomUUID().slice(19)}`;
  }
}
