/** What was decided of an op: one object, reused. */
import { CODES, type ErrorCode } from '../errors.ts';
import type { ClaimTable } from './claims.ts';

/** State of a slot in the eyes of a session that has, or is about to have, locks in it. */
export const SessionSlot = { pending: 0, active: 1 } as const;
export type SessionSlot = (typeof SessionSlot)[keyof typeof SessionSlot];

export class Outcome {
  /** HTTP status. Of no meaning while `queued` is not 0: there is no final answer yet. */
  status = 0;
  /** The code's number in errors.ts, 0 = it succeeded. */
  code = 0;
  /**
   * The claim that was granted, renewed or repeated; of a refusal with lock_held
   * or mode_conflict, of get and verify: the oldest holder, or the one that was
   * meant; of ops on sessions and stubs: its row. 0 = none.
   */
  row = 0;
  /** Of the claim in `row`, 0 = none. */
  fencingToken = 0;
  ttlMs = 0;
  /** `row` is to be armed when the round has returned. */
  armable = false;
  /** Verify: the token that was shown is a holder's. */
  current = false;
  /** Release: for how long the claim was held (ms). */
  heldMs = 0;
  /** Effects were written. */
  changed = false;

  /** Some of what follows may be set. */
  hasMore = false;
  /** Acquire: it waits, in this place of the queue (1 = next); 0 = it does not. */
  queued = 0;
  /** Force, stubEnd: how many claims ended. */
  released = 0;
  /** Get, lock_held, mode_conflict: holders that may be shown, the waiters, and what is in force. */
  holders = 0;
  queueLength = 0;
  mode = 0;
  limit = 0;
  /** lock_held: what is left of a lock delay, 0 = none: the default. */
  retryAfterMs = 0;
  /** sessionRenew, sessionGet, sessionEnd: the session's slots. Valid until the next op. */
  sessionSlots: ReadonlyMap<number, SessionSlot> | undefined;
  /** sessionJoin: the state that the slot had; pending also when it is new. */
  slotState: SessionSlot = SessionSlot.pending;

  reset(): void {
    this.status = 0;
    this.code = 0;
    this.row = 0;
    this.fencingToken = 0;
    this.ttlMs = 0;
    this.armable = false;
    this.current = false;
    this.changed = false;
    if (this.hasMore) this.resetMore();
  }

  /** What plain ops on plain locks do not have. */
  private resetMore(): void {
    this.hasMore = false;
    this.queued = 0;
    this.released = 0;
    this.holders = 0;
    this.queueLength = 0;
    this.mode = 0;
    this.limit = 0;
    this.retryAfterMs = 0;
    this.sessionSlots = undefined;
    this.slotState = SessionSlot.pending;
  }

  refuse(code: ErrorCode): void {
    this.code = CODES[code].wire;
    this.status = CODES[code].status;
  }

  tell(claims: ClaimTable, row: number): void {
    this.row = row;
    this.fencingToken = claims.fencingToken(row);
    this.ttlMs = claims.ttlMs(row);
  }
}
