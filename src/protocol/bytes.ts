/**
 * What every codec of the protocol stands on: bytes that can be read as
 * numbers and as text, and the one fault that malformed bytes raise.
 */

/** The same bytes as numbers and as text; what counts ends at `length`. */
export interface ByteSource {
  readonly bytes: Uint8Array;
  readonly view: DataView;
  readonly length: number;
}

/** The bytes are not what the grammar says. The message tells where and what was expected. */
export class ProtocolError extends Error {
  override readonly name = 'ProtocolError';
}

const FIRST_CAPACITY = 4_096;

/** Bytes that grow while they are written. `bytes` and `view` are others after `ensure` grew them. */
export class GrowingBytes implements ByteSource {
  bytes: Uint8Array<ArrayBuffer>;
  view: DataView<ArrayBuffer>;
  length: number;

  /** Empty, or over bytes that exist already. */
  constructor(buffer?: ArrayBuffer, length = 0) {
    const start = buffer ?? new ArrayBuffer(FIRST_CAPACITY);
    this.bytes = new Uint8Array(start);
    this.view = new DataView(start);
    this.length = length;
  }

  /** Makes room for `more` bytes behind `length`. */
  ensure(more: number): void {
    const needed = this.length + more;
    if (needed <= this.bytes.length) return;
    const buffer = new ArrayBuffer(Math.max(needed, this.bytes.length * 2));
    const larger = new Uint8Array(buffer);
    larger.set(this.bytes.subarray(0, this.length));
    this.bytes = larger;
    this.view = new DataView(buffer);
  }

  reset(): void {
    this.length = 0;
  }
}

/** A loop, not `set` of a `subarray`: for the few bytes of a name or token it is several times faster. */
export function copyBytes(
  from: Uint8Array,
  at: number,
  length: number,
  to: Uint8Array,
  toAt: number,
): number {
  for (let i = 0; i < length; i++) to[toAt + i] = from[at + i];
  return toAt + length;
}

/** A copy of bytes[at, end) in a buffer of its own. `slice` is none: of a Buffer it is a view of the same bytes. */
export function copyOf(bytes: Uint8Array, at: number, end: number): Uint8Array<ArrayBuffer> {
  const copy = new Uint8Array(end - at);
  copy.set(bytes.subarray(at, end));
  return copy;
}

/** A u64 that is a JavaScript integer; without BigInt, which would be an object per call. */
export function writeU64(view: DataView, at: number, value: number): void {
  view.setUint32(at, value >>> 0, true);
  view.setUint32(at + 4, Math.floor(value / 4_294_967_296), true);
}

/** Above 2^53 − 1: Infinity, so that a check of the range refuses it. */
export function readU64(view: DataView, at: number): number {
  const high = view.getUint32(at + 4, true);
  return high > 0x1f_ffff ? Infinity : high * 4_294_967_296 + view.getUint32(at, true);
}

/** The offset `length` bytes after `from`. @throws ProtocolError when it is past `end` */
export function need(from: number, length: number, end: number): number {
  if (from + length > end)
    throw new ProtocolError(`${length} bytes expected at ${from}, ${end - from} are left`);
  return from + length;
}

/** A u64 of at most 2^53 − 1. @throws ProtocolError when it is more */
export function integerAt(view: DataView, at: number): number {
  const value = readU64(view, at);
  if (value > Number.MAX_SAFE_INTEGER) throw new ProtocolError(`the number at ${at} is above 2^53 − 1`);
  return value;
}

/** @throws ProtocolError when the byte is neither 0 nor 1 */
export function flagAt(view: DataView, at: number): boolean {
  const flag = view.getUint8(at);
  if (flag > 1) throw new ProtocolError(`${flag} at ${at} where 0 or 1 is expected`);
  return flag === 1;
}
