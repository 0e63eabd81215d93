/**
 * Keeps the journal of a term short: copies slots out of it, oldest first, and
 * deletes what no slot needs any more. All of it rides along in commits.
 *
 *   effect on a slot ──► dirty, in the queue with its seq
 *   journal since the queue's head > budget ──► the head is frozen: its state at
 *     this entry becomes chunks; the slot record names them in the Txn of the
 *     last chunk, and loses the journal segments before
 *   entries older than every dirty slot ──► deleted
 *
 * Slots that leave come first, frozen for good: their record says in the Txn of
 * the last chunk that they are another term's. Then slots taken over, whatever
 * the journal's length: until their records name only this term, the journals
 * of the dead ones have to stay.
 */
import { LIMITS } from '../limits.ts';
import { encodeCheckpoint } from '../lock/checkpoint.ts';
import type { Change } from '../shard/store.ts';
import {
  checkpointKey,
  checkpointPrefix,
  encodeRecord,
  journalKey,
  slotKey,
  type Position,
  type SlotRecord,
} from '../slots/records.ts';
import { prefixEnd } from '../shard/store.ts';
import type { Hold } from './hold.ts';

/** Chunk put, record put and deletion of the old chunks, times the slots of one commit, stay under txnOpsMax. */
const CHANGES_MAX = 96;

/** A slot that goes to another term. */
export interface Leaving {
  readonly hold: Hold;
  readonly next: string;
}

interface Frozen {
  readonly hold: Hold;
  /** The term that it is handed to. */
  readonly next: string | undefined;
  readonly position: Position;
  readonly chunks: readonly Uint8Array[];
  readonly counter: number;
  chunksPut: number;
}

export class Checkpoints {
  private readonly term: string;
  private readonly nextLeaving: () => Leaving | undefined;
  private queue: Hold[] = [];
  private inherited: Hold[] = [];
  private frozen: Frozen | undefined;
  /** Bytes of all entries of the term, and of them at the last deletion. */
  private written = 0;
  private deletedTo = 1;
  private deletedAtBytes = 0;
  /** Sum of the last checkpoints of all slots. */
  private stateBytes = 0;

  /** @param nextLeaving freezes the next slot that is to leave: nothing changes it any more */
  constructor(term: string, nextLeaving: () => Leaving | undefined) {
    this.term = term;
    this.nextLeaving = nextLeaving;
  }

  adopt(hold: Hold): void {
    this.stateBytes += hold.checkpointBytes;
    if (hold.record.segments.every((segment) => segment.term === this.term)) return;
    hold.inherited = true;
    this.inherited.push(hold);
  }

  /** An effect of the slot was added to the entry `seq`. */
  touched(hold: Hold, seq: number): void {
    if (hold.dirtySince !== 0) return;
    hold.dirtySince = seq;
    hold.dirtyAtBytes = this.written;
    this.queue.push(hold);
  }

  /** True when a commit should be made for checkpoints alone. */
  get pressing(): boolean {
    return this.frozen !== undefined || this.inherited.length > 0;
  }

  /** A slot that leaves is only half written. */
  get leaving(): boolean {
    return this.frozen?.next !== undefined;
  }

  get inheritedLeft(): number {
    return this.inherited.length;
  }

  /**
   * What rides along with the entry `seq` of `entryBytes`, whose effects are
   * all in the slots by now. `left` gets the slots whose record now names
   * another term. To be called once per entry.
   */
  plan(seq: number, entryBytes: number, now: number, left: Hold[]): Change[] {
    this.written += entryBytes;
    const changes: Change[] = [];
    let room = LIMITS.commitBytesMax - entryBytes;
    let share = Math.min(room, Math.max(LIMITS.checkpointShareBytes, entryBytes));
    while (changes.length < CHANGES_MAX) {
      if (share > 0) this.frozen ??= this.freezeNext(seq, now);
      if (this.frozen === undefined) break;
      // A slot that leaves is not served: the sooner its chunks are through, the better.
      if ((this.frozen.next === undefined ? share : room) <= 0) break;
      const bytes = this.putNext(this.frozen, changes, left);
      share -= bytes;
      room -= bytes;
    }
    this.truncate(seq, changes);
    return changes;
  }

  private freezeNext(seq: number, now: number): Frozen | undefined {
    const leaving = this.nextLeaving();
    const hold = leaving?.hold ?? this.nextInherited() ?? this.nextDirty();
    if (hold === undefined) return undefined;
    const position = { term: this.term, seq };
    const { counter, claims } = hold.slot;
    hold.dirtySince = 0;
    hold.slot.forgetEnded(now);
    // Of a slot that leaves the times are written as well, if there is a claim to have one.
    const kept = counter === hold.checkpointCounter && (leaving === undefined || claims.count === 0);
    const handOverAt = leaving === undefined ? undefined : now;
    const chunks = kept ? [] : encodeCheckpoint(hold.slot, LIMITS.checkpointChunkBytes, handOverAt);
    return { hold, next: leaving?.next, position, chunks, counter, chunksPut: 0 };
  }

  private nextInherited(): Hold | undefined {
    for (;;) {
      const hold = this.inherited.pop();
      if (hold === undefined || hold.inherited) return hold;
    }
  }

  private nextDirty(): Hold | undefined {
    const budget = Math.max(LIMITS.journalBytesMax / 2, this.stateBytes);
    while (this.queue.length > 0) {
      const head = this.queue[0];
      if (head.dirtySince !== 0 && this.written - head.dirtyAtBytes < budget) return undefined;
      this.queue.shift();
      if (head.dirtySince !== 0) return head;
    }
    return undefined;
  }

  /** Puts the next chunk, and with the last one the slot's record. Returns the bytes it took. */
  private putNext(frozen: Frozen, changes: Change[], left: Hold[]): number {
    const { hold, position, chunks } = frozen;
    let bytes = 0;
    if (frozen.chunksPut < chunks.length) {
      const value = chunks[frozen.chunksPut];
      changes.push({ put: checkpointKey(hold.slot.number, position, frozen.chunksPut), value });
      bytes += value.length + 100;
      frozen.chunksPut++;
    }
    if (frozen.chunksPut < chunks.length) return bytes;
    const old = hold.record.checkpoint;
    hold.record = this.recordAfter(frozen);
    const value = encodeRecord(hold.record);
    changes.push({ put: slotKey(hold.slot.number), value });
    if (old !== null && chunks.length > 0) {
      const prefix = checkpointPrefix(hold.slot.number, old);
      changes.push({ delete: prefix, upTo: prefixEnd(prefix) });
    }
    this.account(frozen);
    if (frozen.next !== undefined) {
      this.stateBytes -= hold.checkpointBytes;
      left.push(hold);
    }
    this.frozen = undefined;
    return bytes + value.length + 100;
  }

  private recordAfter({ hold, next, position, chunks }: Frozen): SlotRecord {
    const checkpoint =
      chunks.length === 0
        ? hold.record.checkpoint
        : { ...position, chunks: chunks.length, bytes: bytesOf(chunks) };
    if (next !== undefined) return { ...hold.record, owner: null, next, checkpoint, segments: [] };
    return { ...hold.record, checkpoint, segments: [{ term: this.term, from: position.seq + 1, to: null }] };
  }

  private account(frozen: Frozen): void {
    const { hold, chunks } = frozen;
    hold.inherited = false;
    hold.checkpointCounter = frozen.counter;
    if (chunks.length === 0) return;
    const bytes = bytesOf(chunks);
    this.stateBytes += bytes - hold.checkpointBytes;
    hold.checkpointBytes = bytes;
  }

  /** Deletes the entries that no dirty slot needs; never the one that is being written. */
  private truncate(seq: number, changes: Change[]): void {
    if (this.written - this.deletedAtBytes < LIMITS.journalTrimBytes) return;
    this.deletedAtBytes = this.written;
    let bound = seq;
    if (this.frozen !== undefined) bound = Math.min(bound, this.deletedTo);
    for (const hold of this.queue) {
      if (hold.dirtySince !== 0) bound = Math.min(bound, hold.dirtySince);
    }
    if (bound <= this.deletedTo) return;
    changes.push({ delete: journalKey(this.term, this.deletedTo), upTo: journalKey(this.term, bound) });
    this.deletedTo = bound;
  }
}

function bytesOf(chunks: readonly Uint8Array[]): number {
  return chunks.reduce((sum, chunk) => sum + chunk.length, 0);
}
