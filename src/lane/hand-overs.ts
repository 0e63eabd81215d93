/**
 * The slots of one shard that this lane gives to other terms.
 *
 *   planned ─ a commit has room ─► frozen ─ its record says «next» ─► handed ─ claimed ─► forgotten
 *      └─ the plan changed                  (in that commit)            └─ `next` is over: its heir claims
 *
 * Only so many are handed and not yet claimed: more would wait, unserved, for
 * the new owner to come round to them.
 */
import { LIMITS } from '../limits.ts';
import type { SlotRecord } from '../slots/records.ts';

export class HandOvers {
  /** Slot → term that should own it. */
  private planned = new Map<number, string>();
  /** Frozen or handed, slot → term. */
  private readonly open = new Map<number, string>();

  /** Replaces the plan. Slots that are frozen already stay so. */
  plan(moves: Map<number, string>): void {
    this.planned = moves;
  }

  /** There is a slot to be frozen and a place for it. */
  get due(): boolean {
    return this.planned.size > 0 && this.open.size < LIMITS.handoversOpenMax;
  }

  /** Handed and not known to be claimed, or about to be. */
  get openCount(): number {
    return this.open.size;
  }

  /** The next slot to freeze, with its new term. */
  take(): { slot: number; next: string } | undefined {
    if (!this.due) return undefined;
    for (const [slot, next] of this.planned) {
      this.planned.delete(slot);
      this.open.set(slot, next);
      return { slot, next };
    }
    return undefined;
  }

  /** The slot is being handed over: this lane neither serves it nor has lost it yet. */
  isOpen(slot: number): boolean {
    return this.open.has(slot);
  }

  /** A record as it is in the shard. True when a place became free. */
  heard(slot: number, { owner, next }: SlotRecord, me: string): boolean {
    const to = this.open.get(slot);
    if (to === undefined || owner === me || (owner === null && next === to)) return false;
    this.open.delete(slot);
    return true;
  }

  /** The slot came back to this term. */
  forget(slot: number): void {
    this.open.delete(slot);
  }

  /** `stays` tells those that are not handed yet, or to a term that lives; the others are anybody's. */
  forgetDead(stays: (slot: number, next: string) => boolean): void {
    for (const [slot, next] of this.open) if (!stays(slot, next)) this.open.delete(slot);
  }

  clear(): void {
    this.planned = new Map();
    this.open.clear();
  }
}
