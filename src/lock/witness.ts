/**
 * What the lane hears while the machine decides. The machine tells of everything
 * that concerns somebody other than who sent the op: it is called synchronously,
 * in the order of the decisions, and must not be called back into.
 */
import type { ErrorCode } from '../errors.ts';
import type { Slot } from './slot.ts';
import type { Listener, Waiter } from './waiter.ts';

export type { Listener, Waiter };

/** Status of the events that `lost` and `contended` stand for on the wire. */
export const LostEvent = { expired: 102, forced: 103, sessionEnded: 104 } as const;
export type LostEvent = (typeof LostEvent)[keyof typeof LostEvent];

export interface Witness {
  /**
   * A waiter holds its claim now. Its times start with the round that is open:
   * unless it hangs on a session (`claims.hasOwnTime(row)` tells) it is to be
   * armed when that has returned, as after an op with `armable`.
   */
  granted(slot: Slot, row: number, waiter: Waiter): void;
  /** A wait is over without a grant. Called before its `row` goes. */
  refused(slot: Slot, waiter: Waiter, code: ErrorCode, row: number): void;
  /** A claim ends against its holder's will. Called before the row goes, only for claims with a listener. */
  lost(slot: Slot, row: number, listener: Listener, event: LostEvent): void;
  /** Somebody began to wait: once for each holder that has a listener. */
  contended(slot: Slot, row: number, listener: Listener): void;
  /** What a get would show of this key has changed. Only while `slot.aside.watched` has the key. */
  changed(slot: Slot, key: string): void;
  /**
   * Beside the op's own row: the times of this one start with the round that is
   * open (a stub was made, or a claim of an atomic batch was confirmed). To be
   * armed like a grant, with `claims.ttlMs(row)` and before the round's answers
   * get their times.
   */
  begins(slot: Slot, row: number): void;
  /** `expire` is to be called for this row at `at` (monotonic ms): a waiter or a lock delay. */
  due(slot: Slot, row: number, at: number): void;
}
