/**
 * Ops for slots that no lane of this process owns just now: they wait, in
 * order, until an owner is announced or their time is up. Nothing has happened
 * for them, so they can be refused honestly.
 */
import { BatchBytes, readRecord, recordBytes, writeRecord } from '../lane/record.ts';
import { LIMITS } from '../limits.ts';
import { Op } from '../op.ts';

const FIRST_BYTES = 1_024;
/** All parked records together. */
const BYTES_MAX = 64 * 1024 * 1024;

interface Line {
  batch: BatchBytes;
  /** Where the oldest record begins. */
  at: number;
}

export class Parked {
  count = 0;
  private bytes = 0;
  private readonly lines = new Map<number, Line>();
  private readonly op = new Op();

  /** False when there is no room for it. */
  add(op: Op): boolean {
    const size = recordBytes(op);
    if (this.count >= LIMITS.parkedOpsMax || this.bytes + size > BYTES_MAX) return false;
    let line = this.lines.get(op.slot);
    if (line === undefined) {
      line = { batch: new BatchBytes(new ArrayBuffer(FIRST_BYTES)), at: 0 };
      this.lines.set(op.slot, line);
    }
    makeRoom(line, size);
    writeRecord(line.batch, op);
    this.count++;
    this.bytes += size;
    return true;
  }

  /** Hands over the ops of `slot`, oldest first, and forgets them. */
  release(slot: number, give: (op: Op) => void): void {
    const line = this.lines.get(slot);
    if (line === undefined) return;
    this.lines.delete(slot);
    while (line.at < line.batch.length) give(this.take(line));
  }

  /** Hands over those that were received before `before`. */
  expire(before: number, give: (op: Op) => void): void {
    for (const [slot, line] of this.lines) {
      while (line.at < line.batch.length) {
        readRecord(line.batch, line.at, this.op);
        if (this.op.receivedAt >= before) break;
        give(this.take(line));
      }
      if (line.at === line.batch.length) this.lines.delete(slot);
    }
  }

  private take(line: Line): Op {
    const next = readRecord(line.batch, line.at, this.op);
    this.count--;
    this.bytes -= next - line.at;
    line.at = next;
    return this.op;
  }
}

/** Drops what was taken from the front, or grows. */
function makeRoom(line: Line, size: number): void {
  const { batch, at } = line;
  if (batch.length + size <= batch.bytes.length) return;
  const left = batch.length - at;
  const target =
    left + size <= batch.bytes.length / 2
      ? batch
      : new BatchBytes(new ArrayBuffer(Math.max(batch.bytes.length * 2, left + size)));
  target.bytes.set(batch.bytes.subarray(at, batch.length));
  target.length = left;
  line.batch = target;
  line.at = 0;
}
