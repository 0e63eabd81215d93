/**
 * Ops that wait, undecided, for a shard that is in doubt or for room in the
 * next round: records in a FIFO of chunks. Nothing has happened for them yet,
 * so they can be refused honestly when their time is up.
 */
import { LIMITS } from '../limits.ts';
import { Kind, Op } from '../op.ts';
import type { Buffers } from './buffers.ts';
import { BatchBytes, kindAt, readRecord, receivedAtAt, recordBytes, sizeAt, writeRecord } from './record.ts';

export class Parked {
  count = 0;
  private readonly chunks: BatchBytes[] = [];
  /** Where the oldest record ends, once `peek` has read it. */
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
    if (chunk === undefined || chunk.length + recordBytes(op) > chunk.bytes.length) {
      chunk = new BatchBytes(this.buffers.take(LIMITS.batchSealBytes));
      this.chunks.push(chunk);
    }
    writeRecord(chunk, op);
    this.count++;
    this.note(op.receivedAt);
    return true;
  }

  private note(receivedAt: number): void {
    if (receivedAt < this.newest) this.oldestBehind = Math.min(this.oldestBehind, receivedAt);
    else this.newest = receivedAt;
  }

  /**
   * Takes over what stands in `batch` from `at` on, bytes and all, and is then
   * whose buffer it is. False when there are too many, or a listing among them.
   */
  adopt(batch: BatchBytes, at: number): boolean {
    let records = 0;
    for (let next = at; next < batch.length; next += sizeAt(batch, next)) {
      if (kindAt(batch, next) === Kind.list) return false;
      records++;
    }
    if (this.count + records > LIMITS.parkedOpsMax) return false;
    for (let next = at; next < batch.length; next += sizeAt(batch, next))
      this.note(receivedAtAt(batch, next));
    batch.at = at;
    this.chunks.push(batch);
    this.count += records;
    return true;
  }

  /** The oldest op, or undefined; valid until the next call. */
  peek(): Op | undefined {
    if (this.count === 0) return undefined;
    this.next = readRecord(this.chunks[0], this.chunks[0].at, this.head);
    return this.head;
  }

  /** Drops the op that peek has just shown. */
  shift(): void {
    const chunk = this.chunks[0];
    chunk.at = this.next;
    this.count--;
    if (chunk.at < chunk.length) return;
    this.chunks.shift();
    this.buffers.give(chunk.bytes.buffer as ArrayBuffer);
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
    this.empty();
    for (const chunk of chunks) {
      while (chunk.at < chunk.length) {
        chunk.at = readRecord(chunk, chunk.at, this.head);
        if (leave(this.head)) give(this.head);
        else this.add(this.head);
      }
      this.buffers.give(chunk.bytes.buffer as ArrayBuffer);
    }
  }

  /** Hands over all records, oldest first, and is empty afterwards. */
  takeAll(give: (chunk: BatchBytes) => void): void {
    for (const chunk of this.chunks) give(chunk);
    this.chunks.length = 0;
    this.empty();
  }

  private empty(): void {
    this.count = 0;
    this.newest = -Infinity;
    this.oldestBehind = Infinity;
  }
}
