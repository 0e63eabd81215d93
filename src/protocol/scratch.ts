/**
 * Bytes that an op's texts are put together in, where they did not come in one
 * piece: used again for each op.
 */
import { LIMITS } from '../limits.ts';
import { copyBytes } from './bytes.ts';
import { packToken, UUID_BYTES } from './words.ts';

/** All texts of an op at their largest, each checked before it is kept; and one that is not. */
const SCRATCH_BYTES = 8_192;

export class Scratch {
  readonly bytes = Buffer.alloc(SCRATCH_BYTES);
  length = 0;

  append(bytes: Uint8Array): void {
    this.length = copyBytes(bytes, 0, bytes.length, this.bytes, this.length);
  }

  appendByte(byte: number): void {
    this.bytes[this.length++] = byte;
  }

  /** Appends a text; its bytes, or -1: no string, longer than `bytesMax`, or with half a surrogate pair. */
  put(value: unknown, bytesMax: number): number {
    if (typeof value !== 'string' || value.length > bytesMax) return -1;
    const written = this.bytes.write(value, this.length, 'utf8');
    if (written > bytesMax || (written !== value.length && /\p{Surrogate}/u.test(value))) return -1;
    this.length += written;
    return written;
  }

  /** Appends a token in its stored form; its bytes, or -1: it can be none. */
  putToken(value: unknown): number {
    const at = this.length;
    const length = this.put(value, LIMITS.tokenBytesMax);
    // Sixteen characters are not a UUID's sixteen bytes.
    if (length < 0 || length === UUID_BYTES) return -1;
    const packed = packToken(this.bytes, at, length);
    this.length = at + packed;
    return packed;
  }
}
