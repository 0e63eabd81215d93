/**
 * Buffers that go round between the threads: a batch's buffer carries a round's
 * answers back, and theirs carries another batch. New ones for each would be a
 * hundred megabytes a second that only a full garbage collection gives back.
 */
import { LIMITS } from '../limits.ts';

const KEPT = 4;
const NONE: ArrayBuffer[] = [];

export class Buffers {
  private readonly spare: ArrayBuffer[] = [];

  /** A buffer of at least `bytes`; what it holds is left from its last use. */
  take(bytes: number): ArrayBuffer {
    if (bytes > LIMITS.batchSealBytes) return new ArrayBuffer(bytes);
    return this.spare.pop() ?? new ArrayBuffer(LIMITS.batchSealBytes);
  }

  /** What is to spare beyond a few: for the other thread, which fills more buffers than come back to it. */
  surplus(): ArrayBuffer[] {
    return this.spare.length > KEPT ? this.spare.splice(KEPT) : NONE;
  }

  /** Nobody reads it any more. One of another size is left to the garbage collector. */
  give(buffer: ArrayBuffer): void {
    if (buffer.byteLength === LIMITS.batchSealBytes && this.spare.length < LIMITS.spareBuffersMax)
      this.spare.push(buffer);
  }
}
