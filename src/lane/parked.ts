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
  /** Where the oldest record begins in the first chunk, and ends once `peek` has read it. */
  private at = 0;
  private next = 0;
  /** When the newest op was received, and the oldest of those that were parked behind a newer one. */
  private newest = -Infinity;
  private oldestBehind = Infinity;
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
    if (op.receivedAt < this.newest) this.oldestBehind = Math.min(this.oldestBehind, op.receivedAt);
    else this.newest = op.receivedAt;
    return true;
  }

  /** The oldest op, or undefined; valid until the next call. */
  peek(): Op | undefined {
    if (this.count === 0) return undefined;
    this.next = readRecord(this.chunks[0], this.at, this.head);
    return this.head;
  }

  /** Drops the op that peek has just shown. */
  shift(): void {
    this.at = this.next;
    this.count--;
    if (this.at === this.chunks[0].length) {
      this.buffers.give(this.chunks.shift()!.bytes.buffer as ArrayBuffer);
      this.at = 0;
    }
  }

  /**
   * Hands over the ops that were received at or before `before`. They mostly are
   * the first; ops that came by detours may stand behind newer ones.
   */
  expire(before: number, give: (op: Op) => void): void {
    for (let op = this.peek(); op !== undefined && op.receivedAt <= before; op = this.peek()) {
      give(op);
      this.shift();
    }
    if (this.oldestBehind <= before) this.takeOf((op) => op.receivedAt <= before, give);
  }

  /** Hands over the ops that `leave`, in their order; the rest stays as it is. */
  takeOf(leave: (op: Op) => boolean, give: (op: Op) => void): void {
    if (this.count === 0) return;
    const chunks = this.chunks.splice(0);
    let { at } = this;
    this.empty();
    for (const chunk of chunks) {
      while (at < chunk.length) {
        at = readRecord(chunk, at, this.head);
        if (leave(this.head)) give(this.head);
        else this.add(this.head);
      }
      this.buffers.give(chunk.bytes.buffer as ArrayBuffer);
      at = 0;
    }
  }

  /** Hands over all records, oldest first, and is empty afterwards. */
  takeAll(give: (chunk: BatchBytes, at: number) => void): void {
    for (const [i, chunk] of this.chunks.entries()) give(chunk, i === 0 ? this.at : 0);
    this.chunks.length = 0;
    this.empty();
  }

  private empty(): void {
    this.count = 0;
    this.at = 0;
    this.newest = -Infinity;
    this.oldestBehind = Infinity;
  }
}
