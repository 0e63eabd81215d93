/**
 * The protobuf wire format, as much of it as Holdfast's own calls to etcd need:
 * varints, length-delimited fields, and skipping what is not asked for.
 *
 *   message := field*
 *   field   := tag varint | tag 8 bytes | tag length bytes | tag 4 bytes
 *   tag     := varint (number << 3 | type)       type 0 varint, 1 = 8 bytes, 2 = length-delimited, 5 = 4 bytes
 *
 * Numbers are int64 in etcd and safe integers here: a revision past 2^53 is refused.
 */

export const WireType = { varint: 0, fixed64: 1, bytes: 2, fixed32: 5 } as const;

/** Thrown for bytes that are not a message. */
export class WireError extends Error {
  constructor(detail: string) {
    super(`malformed protobuf: ${detail}`);
    this.name = 'WireError';
  }
}

/** Bytes that `value` (an integer, 0 … 2^53−1) takes as a varint. */
export function varintBytes(value: number): number {
  let bytes = 1;
  while (value >= 128) {
    value = Math.floor(value / 128);
    bytes++;
  }
  return bytes;
}

/** Bytes of a length-delimited field with a one-byte tag. */
export function fieldBytes(length: number): number {
  return 1 + varintBytes(length) + length;
}

/** Writes forward into bytes whose size was computed before. */
export class WireWriter {
  readonly bytes: Uint8Array;
  at: number;

  constructor(bytes: Uint8Array, at = 0) {
    this.bytes = bytes;
    this.at = at;
  }

  varint(value: number): void {
    while (value >= 128) {
      this.bytes[this.at++] = (value % 128) | 128;
      value = Math.floor(value / 128);
    }
    this.bytes[this.at++] = value;
  }

  /** A field's tag (one byte) and a number. */
  number(tag: number, value: number): void {
    this.bytes[this.at++] = tag;
    this.varint(value);
  }

  /** A field's tag (one byte) and the length of what the caller writes next. */
  head(tag: number, length: number): void {
    this.bytes[this.at++] = tag;
    this.varint(length);
  }

  field(tag: number, value: Uint8Array): void {
    this.head(tag, value.length);
    this.bytes.set(value, this.at);
    this.at += value.length;
  }
}

/** Walks over the fields of one message. */
export class WireReader {
  readonly bytes: Uint8Array;
  at: number;
  readonly end: number;
  /** The field the last `next` stands on. */
  number = 0;
  type = 0;

  constructor(bytes: Uint8Array, at = 0, end = bytes.length) {
    this.bytes = bytes;
    this.at = at;
    this.end = end;
  }

  /** Moves to the next field; false at the end. The caller reads or skips its value. */
  next(): boolean {
    if (this.at >= this.end) return false;
    const tag = this.varint();
    this.number = Math.floor(tag / 8);
    this.type = tag % 8;
    if (this.number === 0) throw new WireError('field number 0');
    return true;
  }

  /** An unsigned varint. */
  varint(): number {
    let value = 0;
    let scale = 1;
    for (let i = 0; i < 10; i++) {
      if (this.at >= this.end) throw new WireError('cut varint');
      const byte = this.bytes[this.at++];
      value += (byte & 127) * scale;
      if (byte < 128) {
        if (!Number.isSafeInteger(value)) throw new WireError('number past 2^53');
        return value;
      }
      scale *= 128;
    }
    throw new WireError('varint of more than 10 bytes');
  }

  /** A length-delimited value: where it begins. The reader stands behind it afterwards. */
  span(): { at: number; end: number } {
    if (this.type !== WireType.bytes) throw new WireError(`field ${this.number} is not length-delimited`);
    const length = this.varint();
    const at = this.at;
    if (length > this.end - at) throw new WireError('cut field');
    this.at = at + length;
    return { at, end: this.at };
  }

  /** A reader over a nested message. */
  message(): WireReader {
    const { at, end } = this.span();
    return new WireReader(this.bytes, at, end);
  }

  value(): Uint8Array {
    const { at, end } = this.span();
    return this.bytes.subarray(at, end);
  }

  int(): number {
    if (this.type !== WireType.varint) throw new WireError(`field ${this.number} is not a number`);
    return this.varint();
  }

  skip(): void {
    if (this.type === WireType.varint) this.#skipVarint();
    else if (this.type === WireType.bytes) this.span();
    else if (this.type === WireType.fixed64) this.#forward(8);
    else if (this.type === WireType.fixed32) this.#forward(4);
    else throw new WireError(`unknown wire type ${this.type}`);
  }

  /** Not `varint`: member and cluster ids are full 64-bit numbers. */
  #skipVarint(): void {
    for (let i = 0; i < 10; i++) {
      if (this.at >= this.end) throw new WireError('cut varint');
      if (this.bytes[this.at++] < 128) return;
    }
    throw new WireError('varint of more than 10 bytes');
  }

  #forward(bytes: number): void {
    if (bytes > this.end - this.at) throw new WireError('cut field');
    this.at += bytes;
  }
}
