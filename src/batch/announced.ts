/**
 * What the lanes of this process announced, by slot.
 *
 *   nobody's ─ owned ─► a lane's ─ lost ─► settling ─ settled ─► nobody's
 *                          │ another lane says that it owns it: the first one
 *                          └ has lost it, and its word to that effect comes yet
 *
 * Settling: batches that were sealed before the loss was heard of may still
 * hold ops of the slot, and these come back. Until they have, no op of the slot
 * goes to anybody.
 */
import type { LaneOwnership } from '../lane/messages.ts';

export const NOBODY = -1;

interface Successor {
  readonly lane: number;
  readonly shard: number;
  readonly term: string;
}

export class Announced {
  /** The lane that serves the slot. */
  readonly laneOf: Int16Array;
  /** The last shard that each slot was announced for, also while nobody owns it. */
  readonly shardOf: Int16Array;
  /** Slots that some lane serves. */
  count = 0;
  private readonly termOf: (string | undefined)[];
  /** By term of this process: 1 for each slot that it lost and was not given again. */
  private readonly losses = new Map<string, Uint8Array>();
  private readonly settlingLane: Int16Array;
  private readonly settlingFrom: Float64Array;
  private readonly successors = new Map<number, Successor>();

  constructor(slots: number) {
    this.laneOf = new Int16Array(slots).fill(NOBODY);
    this.shardOf = new Int16Array(slots).fill(NOBODY);
    this.settlingLane = new Int16Array(slots).fill(NOBODY);
    this.settlingFrom = new Float64Array(slots);
    this.termOf = new Array<string | undefined>(slots).fill(undefined);
  }

  owned(lane: number, shard: number, slot: number, term: string): void {
    this.recordSays(slot, term, true);
    const before = this.laneOf[slot];
    if (before !== NOBODY && before !== lane) {
      this.successors.set(slot, { lane, shard, term });
      return;
    }
    if (before === NOBODY) this.count++;
    this.laneOf[slot] = lane;
    this.shardOf[slot] = shard;
    this.termOf[slot] = term;
  }

  /** False: another lane's word is waited for, and until then the slot stays that one's. */
  lost(lane: number, shard: number, slot: number, { term, announcement }: LaneOwnership): boolean {
    this.recordSays(slot, term, false);
    const successor = this.successors.get(slot);
    if (successor?.lane === lane && successor.term === term) this.successors.delete(slot);
    if (this.laneOf[slot] !== lane || this.shardOf[slot] !== shard) return false;
    this.count--;
    this.laneOf[slot] = NOBODY;
    this.termOf[slot] = undefined;
    if (this.settlingLane[slot] === NOBODY) {
      this.settlingLane[slot] = lane;
      this.settlingFrom[slot] = announcement;
    }
    if (successor === undefined || successor.lane === lane) return true;
    this.successors.delete(slot);
    this.owned(successor.lane, successor.shard, slot, successor.term);
    return true;
  }

  /** Returns the slots that are settled by that. */
  settled(lane: number, announcement: number): number[] {
    const slots: number[] = [];
    for (let slot = 0; slot < this.settlingLane.length; slot++) {
      if (this.settlingLane[slot] !== lane || this.settlingFrom[slot] > announcement) continue;
      this.settlingLane[slot] = NOBODY;
      slots.push(slot);
    }
    return slots;
  }

  isSettling(slot: number): boolean {
    return this.settlingLane[slot] !== NOBODY;
  }

  /** Ops of the slot may go to its lane, or on to another process. */
  isClear(slot: number): boolean {
    return this.settlingLane[slot] === NOBODY && !this.successors.has(slot);
  }

  /** The term under which a lane serves the slot. */
  servedUnder(slot: number): string | undefined {
    return this.termOf[slot];
  }

  /** The term had the slot, lost it, and was not given it again. */
  hasLost(slot: number, term: string): boolean {
    return this.losses.get(term)?.[slot] === 1;
  }

  /** The slot's record says that it is no longer this term's, or is so again. */
  recordSays(slot: number, term: string, owns: boolean): void {
    let losses = this.losses.get(term);
    if (losses === undefined) {
      if (owns) return;
      losses = new Uint8Array(this.laneOf.length);
      this.losses.set(term, losses);
    }
    losses[slot] = owns ? 0 : 1;
  }

  /** Nobody asks for it any more. */
  over(term: string): void {
    this.losses.delete(term);
  }
}
