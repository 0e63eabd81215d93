/**
 * Ops that other processes forwarded here and that have to wait. They go to the
 * lane that serves their slot under the term that they were sent to, or back to
 * their sender; never to a later term of this process: the sender may have given
 * them up with the earlier one, and younger ops of the same client may have been
 * answered elsewhere since.
 *
 *   waiting ─ the lane says that it serves the slot under that term ─► gone
 *      └─ the slot was lost, an op came back from a lane, or one for another
 *         term came: all of the slot are outdated ─ nothing older can come back
 *         any more ─► refused, in order
 */
import type { Op } from '../op.ts';
import { Parked } from './parked.ts';

export class Guests extends Parked {
  /** By slot: the term that the ops were sent to. */
  private readonly terms = new Map<number, string>();
  private readonly outdatedSlots = new Set<number>();

  /** False when there is no room for it. */
  wait(op: Op, term: string): boolean {
    if (!this.has(op.slot)) this.forget(op.slot);
    if (!this.terms.has(op.slot)) this.terms.set(op.slot, term);
    else if (this.terms.get(op.slot) !== term) this.outdate(op.slot);
    return this.add(op);
  }

  /** An op that a lane sent back; false when there is no room for it. */
  cameBack(op: Op): boolean {
    if (!this.has(op.slot)) this.forget(op.slot);
    this.outdatedSlots.add(op.slot);
    return this.addReturned(op);
  }

  /** No op that waits for the slot may go to a lane any more. */
  outdate(slot: number): void {
    if (this.has(slot)) this.outdatedSlots.add(slot);
  }

  isOutdated(slot: number): boolean {
    return this.outdatedSlots.has(slot);
  }

  /** The term that the ops of the slot were sent to, unless they are outdated. */
  termOf(slot: number): string | undefined {
    return this.terms.get(slot);
  }

  private forget(slot: number): void {
    this.terms.delete(slot);
    this.outdatedSlots.delete(slot);
  }
}
