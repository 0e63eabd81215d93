/**
 * What a row of a slot's table can be. Flags are the high half of the word at
 * offset 52 (claims.ts); 0 is what nearly all rows are: an exclusive claim
 * without anything else.
 */

export const RowKind = {
  claim: 0,
  /** Stands in the queue of its lock. */
  waiter: 1,
  /** A session, at its own slot. */
  session: 2,
  /** What a slot knows of a session, or of an atomic batch, that has claims in it: they end with it. */
  stub: 3,
  batch: 4,
  /** What is left of a claim that ended: nobody gets the lock for a while. */
  delay: 5,
} as const;
export type RowKind = (typeof RowKind)[keyof typeof RowKind];

export const RowFlag = {
  kind: 0x0007,
  /** The mode, of op.ts, in units of MODE_UNIT. */
  mode: 0x0018,
  /** Its end is remembered among the keyed tokens. */
  keyed: 0x0020,
  principal: 0x0040,
  /** It has an entry in one of the slot's maps by row. */
  aside: 0x0080,
  /** Found by its number, not by its key: not the first row of its lock, or a stub. */
  byNumber: 0x0100,
  /** Its lock has a Crowd. */
  crowd: 0x0200,
  /** It hangs on a session's stub, */
  onStub: 0x4000,
  /** on that of an atomic batch: it is pending. The two highest bits: times are those of the stub. */
  pending: 0x8000,
} as const;

export const MODE_UNIT = 0x0008;

/** Why a claim ended, or a session or stub: these only by the first two. */
export const EndReason = { released: 1, expired: 2, forced: 3, sessionEnded: 4 } as const;
export type EndReason = (typeof EndReason)[keyof typeof EndReason];

/** Why a waiter left the queue; `lost`: its client did not come back after a take-over. */
export const WithdrawReason = { released: 1, cancelled: 2, timedOut: 3, lost: 4 } as const;
export type WithdrawReason = (typeof WithdrawReason)[keyof typeof WithdrawReason];
