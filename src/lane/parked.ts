/**
 * Ops that wait, undecided, for a shard that is in doubt or for room in the
 * next round: records in a FIFO of chunks. Nothing has happened for them yet,
 * so they can be refused honestly when their time is up.
 */
import { LIMITS } from '../limits.ts';
import { Op } from '../op.ts';
import type { Buffers } from './buffers.ts';
import { BatchBytes, readRecord, recordBytes, writeRecord } from './record.ts';

export class Parked {
  count = 0;
  private readonly chunks: BatchBytes[] = [];
  /** Where the oldest record begins in the first chunk. */
  private at = 0;
  private readonly head = new Op();
  private readonly buffers: Buffers;

  constructor(buffers: Buffers) {
    this.buffers = buffers;
  }

  /** False when it is full. */
  add(op: Op): boolean {
    if (this.count >= LIMITS.parkedOpsMax) return false;
    let chunk = this.chunks[this.chunks.length - 1];
    if (chunk === undefined || chunk.length + recordBytes(op) > LIMITS.batchSealBytes) {
      chunk = new BatchBytes(this.buffers.take(LIMITS.batchSealBytes));
      this.chunks.push(chunk);
    }
    writeRecord(chunk, op);
    this.count++;
    return true;
  }

  /** The oldest op, or undefined; valid until the next call. */
  peek(): Op | undefined {
    if (this.count === 0) return undefined;
    readRecord(this.chunks[0], this.at, this.head);
    return this.head;
  }

  /** Drops the op that peek shows. */
  shift(): void {
    this.at = readRecord(this.chunks[0], this.at, this.head);
    this.count--;
    if (this.at === this.chunks[0].length) {
      this.buffers.give(this.chunks.shift()!.bytes.buffer as ArrayBuffer);
      this.at = 0;
    }
  }

  /** Hands over all records, oldest first, and is empty afterwards. */
  takeAll(give: (chunk: BatchBytes, at: number) => void): void {
    for (const [i, chunk] of this.chunks.entries()) give(chunk, i === 0 ? this.at : 0);
    this.chunks.length = 0;
    this.count = 0;
    this.at = 0;
  }
}
