/**
 * One decision of the machine on one slot: what everything that takes part in
 * it is handed. Reused; `begin` turns it to the next.
 */
import { OpFlag } from '../op.ts';
import type { EffectWriter } from './effects.ts';
import { latin1 } from './latin1.ts';
import { RowFlag } from './rows.ts';
import type { Slot } from './slot.ts';
import type { Listener, Waiter } from './waiter.ts';
import type { Witness } from './witness.ts';

export class Turn {
  slot!: Slot;
  /** Monotonic ms. */
  now = 0;
  effects!: EffectWriter;
  witness!: Witness;
  /** The waiter whose own op this is: its grant is the op's answer, the witness does not hear of it. */
  self = 0;

  begin(slot: Slot, now: number, effects: EffectWriter, witness: Witness): void {
    this.slot = slot;
    this.now = now;
    this.effects = effects;
    this.witness = witness;
    this.self = 0;
  }

  /** Numbers the effect that is about to be written. */
  count(): number {
    return ++this.slot.counter;
  }

  /** A get of the lock of `row` shows something else from now on. */
  changed(row: number): void {
    const { slot } = this;
    if (!slot.isWatched) return;
    const { claims } = slot;
    const key = latin1(claims.bytes, claims.keyAt(row), claims.keyLength(row));
    if (slot.aside.watched.has(key)) this.witness.changed(slot, key);
  }

  /** Who sent the op, or waited, hears of what becomes of the claim, if it asked for that. */
  listen(row: number, from: Pick<Waiter, 'flags' | 'connection' | 'origin'>): void {
    if ((from.flags & OpFlag.events) === 0) return;
    const { connection, origin } = from;
    const listener: Listener = { connection, origin, forwarded: (from.flags & OpFlag.forwarded) !== 0 };
    this.slot.aside.listeners.set(row, listener);
    this.markAside(row);
  }

  attach(row: number, waiter: Waiter): void {
    this.slot.aside.attached.set(row, waiter);
    this.markAside(row);
  }

  private markAside(row: number): void {
    const { claims } = this.slot;
    claims.setFlags(row, claims.flags(row) | RowFlag.aside);
  }
}
