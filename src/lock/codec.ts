/**
 * The words that entries and checkpoints are made of (docs/journal.md):
 * integers of fixed width (little-endian) and varints. What is made of them, a
 * claim and the like, is in records.ts.
 *
 * A reader trusts nothing: whatever the bytes are, it either returns values
 * within the bounds of the format or throws a JournalError.
 */

/** Seven bits a byte: 2^53 − 1 takes eight. */
const VARINT_BYTES_MAX = 8;

/** Bytes of a journal or a checkpoint that do not follow the grammar, or contradict the state. */
export class JournalError extends Error {
  override readonly name = 'JournalError';
  /** Offset of the byte that is wrong, from where the reader was started. */
  readonly offset: number;

  constructor(detail: string, offset: number) {
    super(`${detail} (at byte ${offset})`);
    this.offset = offset;
  }
}

/** Appends to `bytes`, which the caller made large enough. */
export class ByteWriter {
  readonly bytes: Uint8Array;
  at: number;

  constructor(bytes: Uint8Array, at: number) {
    this.bytes = bytes;
    this.at = at;
  }

  u8(value: number): void {
    this.bytes[this.at++] = value;
  }

  u32(value: number): void {
    const { bytes, at } = this;
    bytes[at] = value;
    bytes[at + 1] = value >>> 8;
    bytes[at + 2] = value >>> 16;
    bytes[at + 3] = value >>> 24;
    this.at = at + 4;
  }

  /** An integer from 0 to 2^53 − 1. */
  varint(value: number): void {
    const { bytes } = this;
    let at = this.at;
    let rest = value;
    while (rest > 0x7fff_ffff) {
      bytes[at++] = (rest % 128) | 0x80;
      rest = Math.floor(rest / 128);
    }
    while (rest > 0x7f) {
      bytes[at++] = rest | 0x80;
      rest >>>= 7;
    }
    bytes[at++] = rest;
    this.at = at;
  }

  copy(from: Uint8Array, fromAt: number, length: number): void {
    const { bytes, at } = this;
    for (let i = 0; i < length; i++) bytes[at + i] = from[fromAt + i];
    this.at = at + length;
  }
}

export class ByteReader {
  bytes: Uint8Array;
  at: number;
  end: number;

  constructor(bytes: Uint8Array, at: number, end: number) {
    this.bytes = bytes;
    this.at = at;
    this.end = end;
  }

  get done(): boolean {
    return this.at >= this.end;
  }

  fail(detail: string, offset = this.at): never {
    throw new JournalError(detail, offset);
  }

  u8(): number {
    if (this.at >= this.end) this.fail('the bytes end early');
    return this.bytes[this.at++];
  }

  u32(): number {
    const at = this.skip(4);
    const { bytes } = this;
    return (bytes[at] | (bytes[at + 1] << 8) | (bytes[at + 2] << 16) | (bytes[at + 3] << 24)) >>> 0;
  }

  /** An integer from `min` to `max`, written with the fewest bytes. */
  varint(what: string, min: number, max: number): number {
    const from = this.at;
    let value = 0;
    let scale = 1;
    for (let i = 0; i < VARINT_BYTES_MAX; i++) {
      const byte = this.u8();
      value += (byte & 0x7f) * scale;
      if (byte < 0x80) {
        if (byte === 0 && i > 0) this.fail(`${what} is longer than need be`, from);
        if (value < min || value > max) this.fail(`${what} is ${value}, not ${min} to ${max}`, from);
        return value;
      }
      scale *= 128;
    }
    return this.fail(`${what} is not a varint up to 2^53 - 1`, from);
  }

  /** Moves past `length` bytes and returns where they begin. */
  skip(length: number): number {
    const from = this.at;
    if (length > this.end - from) this.fail('the bytes end early');
    this.at = from + length;
    return from;
  }
}
