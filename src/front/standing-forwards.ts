/**
 * Waits and watches that another process forwarded over one socket: they stand
 * with lanes of this process. When the socket is over, the lanes are told, or
 * they would grant locks to clients that nobody can tell.
 */
import { BatchBytes, readRecord, recordBytes, writeRecord } from '../lane/record.ts';
import { LIMITS } from '../limits.ts';
import { Kind, type Op, OpFlag } from '../op.ts';
import { Event, FINAL_STATUS_MIN } from '../protocol/answer.ts';

interface Forward {
  readonly record: BatchBytes;
  /** That it was sent to. */
  readonly term: string;
  /** It has had an answer. */
  isSettled: boolean;
}

export class StandingForwards {
  private readonly byId = new Map<number, Forward>();

  get size(): number {
    return this.byId.size;
  }

  /** False: there are too many. */
  add(op: Op, term: string): boolean {
    if (this.byId.size >= LIMITS.standingMax) return false;
    const record = new BatchBytes(new ArrayBuffer(recordBytes(op)));
    writeRecord(record, op);
    this.byId.set(op.id, { record, term, isSettled: false });
    return true;
  }

  forget(id: number): void {
    this.byId.delete(id);
  }

  /** An answer with this status leaves, or word of a claim. True when it is the first one to a request. */
  settles(id: number, status: number): boolean {
    // Its id is no forward's.
    if (status > Event.changed && status < FINAL_STATUS_MIN) return false;
    const forward = this.byId.get(id);
    // Its place may come behind its last answer, when that was given for want of time.
    if (forward === undefined) return status >= FINAL_STATUS_MIN;
    const isFirst = !forward.isSettled;
    forward.isSettled = true;
    if (status >= FINAL_STATUS_MIN) this.byId.delete(id);
    return isFirst;
  }

  /**
   * The way to their clients is cut. Gives `submit` an op for each, made with
   * `op`, that says so to its lane: who waits keeps its place for a while, for
   * its front may be back over another socket.
   */
  cut(op: Op, now: number, submit: (op: Op, term: string) => void): void {
    for (const { record, term } of this.byId.values()) {
      readRecord(record, 0, op);
      op.kind = Kind.cancel;
      op.flags = OpFlag.resumed;
      op.receivedAt = now;
      op.ttlMs = 0;
      op.mode = 0;
      op.limit = 0;
      op.waitMs = 0;
      op.lockDelayMs = 0;
      op.origin = 0;
      op.sessionLength = 0;
      op.ownerLength = 0;
      op.metadataLength = 0;
      submit(op, term);
    }
    this.byId.clear();
  }
}
