/**
 * The frames of a zstd body (RFC 8878 section 3.1), followed without decoding them: the runtime's decoder does not tell a
 * body that was cut short from one that is whole.
 */

const frameMagic = 0xfd2fb528;
/** The last four bits of a skippable frame's number are free. */
const skippableMagic = 0x184d2a50;
const skippableMask = 0xfffffff0;

/** Sizes of the fields of a frame header, by the bits that stand for them. */
const dictionaryBytes = [0, 1, 2, 4];
const contentSizeBytes = [0, 2, 4, 8];
const checksumBytes = 4;
/** A block of this type is one byte, repeated. */
const repeatedType = 1;

type Field = 'magic' | 'skippable' | 'descriptor' | 'block' | 'none';
const fieldBytes = { magic: 4, skippable: 4, descriptor: 1, block: 3, none: Infinity };

/** Follows the frames of one body; it gets the parts as they arrive. */
export class ZstdFrames {
  /** What is read next, after the bytes that are skipped. */
  #field: Field = 'magic';
  #skipped = 0;
  /** The little-endian number that has been read of the field so far, and from how many bytes. */
  #number = 0;
  #read = 0;
  #hasChecksum = false;
  #hasFrame = false;

  /** Whether there was a frame, and the last one has ended. */
  get isWhole(): boolean {
    return this.#hasFrame && this.#field === 'magic' && this.#skipped === 0 && this.#read === 0;
  }

  push(part: Uint8Array): void {
    let at = 0;
    while (at < part.length && this.#field !== 'none') {
      if (this.#skipped > 0) {
        const skipped = Math.min(this.#skipped, part.length - at);
        this.#skipped -= skipped;
        at += skipped;
      } else {
        this.#number += (part[at++] as number) * 2 ** (8 * this.#read++);
        if (this.#read === fieldBytes[this.#field]) this.#take();
      }
    }
  }

  /** Learns from a field what follows it. */
  #take(): void {
    const number = this.#number;
    const field = this.#field;
    this.#number = 0;
    this.#read = 0;
    if (field === 'magic') this.#field = fieldAfter(number);
    else if (field === 'skippable') this.#next('magic', number);
    else if (field === 'descriptor') this.#next('block', this.#headerBytes(number));
    else {
      const isLast = (number & 1) === 1;
      const size = ((number >> 1) & 3) === repeatedType ? 1 : number >> 3;
      const checksum = isLast && this.#hasChecksum ? checksumBytes : 0;
      this.#next(isLast ? 'magic' : 'block', size + checksum);
    }
  }

  #next(field: Field, skipped: number): void {
    this.#hasFrame ||= field === 'magic';
    this.#field = field;
    this.#skipped = skipped;
  }

  /** Returns how many bytes of the frame header follow its descriptor. */
  #headerBytes(descriptor: number): number {
    this.#hasChecksum = (descriptor & 4) !== 0;
    const isSingleSegment = (descriptor & 32) !== 0;
    const contentSize = contentSizeBytes[descriptor >> 6] as number;
    const windowOrSize = isSingleSegment ? Math.max(contentSize, 1) : contentSize + 1;
    return windowOrSize + (dictionaryBytes[descriptor & 3] as number);
  }
}

function fieldAfter(magic: number): Field {
  if (magic === frameMagic) return 'descriptor';
  return (magic & skippableMask) === skippableMagic ? 'skippable' : 'none';
}
