/**
 * An acquire that may be more than one plain claim: modes, waits, sessions,
 * batches, principals. In this order: what is over is ended; a token that is
 * known is a repeat; an ended one is refused; what is in use otherwise is
 * refused; and then it is granted, queued or refused.
 */
import { LIMITS } from '../limits.ts';
import { type Op, OpFlag, STUB_KEY } from '../op.ts';

import { lookForHangs, makeHangs, mayHang, stubKey } from './hangs.ts';
import { oldestHolder } from './lock-view.ts';
import type { Outcome } from './outcome.ts';
import { grantWaiting, isGrantable, positionOf } from './queue.ts';
import { RowKind } from './rows.ts';
import { settle } from './settle.ts';
import { addRow, findToken, mayJoin } from './transitions.ts';
import type { Turn } from './turn.ts';

export function acquire(turn: Turn, found: number, op: Op, out: Outcome): void {
  const { slot, now } = turn;
  const first = lookForHangs(turn, op)
    ? slot.claims.find(op.bytes, op.keyAt, op.keyLength, op.hash | 0)
    : found;
  const row = settle(turn, first, op);
  const known = findToken(slot, row, op.bytes, op.tokenAt, op.tokenLength);
  if (known !== 0) return repeat(turn, known, op, out);
  if (slot.hasEnded(op.hash | 0, op.bytes, op.tokenAt, op.tokenLength, now)) return out.refuse('not_held');
  const crowd = slot.crowdOf(row);
  const isUsed = row !== 0 && (crowd?.isUsed ?? true);
  if (isUsed && !mayJoin(slot, crowd?.eldest() ?? row, op.mode, op.limit)) {
    out.refuse('mode_conflict');
    return tellLock(turn, row, out);
  }
  if (!mayHang(turn, op, out)) return;
  if (isGrantable(slot, row, op)) {
    if ((crowd?.holders.size ?? 0) >= LIMITS.holdersMax) return out.refuse('quota_exceeded');
    if (slot.sizeBytes >= LIMITS.slotBytesMax) return out.refuse('overloaded');
    return grantNew(turn, op, out);
  }
  if (op.waitMs > 0 && op.batchLength === 0) return queueNew(turn, row, op, out);
  out.refuse('lock_held');
  tellLock(turn, row, out);
}

/** What is in force, who holds it and how many wait. */
export function tellLock({ slot, now }: Turn, row: number, out: Outcome): void {
  if (row === 0) return;
  const { claims } = slot;
  const crowd = slot.crowdOf(row);
  const oldest = oldestHolder(slot, row);
  if (oldest !== 0) out.tell(claims, oldest);
  out.queueLength = crowd?.waiters.size ?? 0;
  if (crowd !== undefined && crowd.delay !== 0)
    out.retryAfterMs = Math.max(0, Math.ceil(claims.freeAt(crowd.delay) - now));
  if (crowd !== undefined && !crowd.isUsed) return;
  const eldest = oldest || (crowd?.eldest() ?? row);
  out.mode = claims.mode(eldest);
  out.limit = claims.limit(eldest);
}

/** The token is that of a holder or a waiter. */
function repeat(turn: Turn, row: number, op: Op, out: Outcome): void {
  const { slot } = turn;
  const { claims } = slot;
  if (
    !claims.hasPrincipal(row, op.bytes, op.principalAt, op.principalLength) ||
    claims.mode(row) !== op.mode ||
    claims.limit(row) !== op.limit ||
    !isOfSession(turn, row, op)
  )
    return out.refuse('idempotency_mismatch');
  if (claims.kind(row) === RowKind.waiter) {
    if (op.waitMs > 0) return attachAgain(turn, row, op, out);
  } else if (!claims.isPending(row)) {
    turn.listen(row, op);
    out.status = 200;
    return out.tell(claims, row);
  }
  out.refuse('lock_held');
  tellLock(turn, row, out);
}

function isOfSession({ slot }: Turn, row: number, op: Op): boolean {
  const { claims } = slot;
  const stub = claims.stub(row);
  if (stub === 0) return op.sessionLength === 0;
  const source = stubKey(op, STUB_KEY, op.sessionAt, op.sessionLength);
  return claims.hasKey(stub, source.bytes, 0, source.keyLength);
}

/** A waiter comes back, or somebody else comes for its token. It may be granted what it could not have without. */
function attachAgain(turn: Turn, row: number, op: Op, out: Outcome): void {
  const { slot, witness } = turn;
  const { claims } = slot;
  const before = slot.aside.attached.get(row);
  if (before !== undefined && (before.connection !== op.connection || before.attempt !== op.attempt))
    witness.refused(slot, before, 'cancelled', row);
  wait(turn, row, op);
  turn.self = row;
  const crowd = slot.aside.crowds.get(row)!;
  grantWaiting(turn, crowd, 0);
  if (claims.kind(row) === RowKind.waiter) {
    out.queued = positionOf(crowd, row);
    return;
  }
  out.status = 201;
  out.armable = claims.hasOwnTime(row);
  out.tell(claims, row);
}

function wait(turn: Turn, row: number, op: Op): void {
  const { connection, attempt, id, flags, origin, receivedAt, waitMs } = op;
  const until = receivedAt + waitMs;
  turn.attach(row, { connection, attempt, id, flags, origin, receivedAt });
  turn.slot.claims.setFreeAt(row, until);
  turn.witness.due(turn.slot, row, until);
}

function grantNew(turn: Turn, op: Op, out: Outcome): void {
  const { slot, effects } = turn;
  const { claims } = slot;
  const row = addNew(turn, op, RowKind.claim);
  effects.granted(slot, row);
  out.armable = claims.hasOwnTime(row);
  if (out.armable) claims.disarm(row);
  turn.listen(row, op);
  turn.changed(row);
  out.status = 201;
  out.tell(claims, row);
}

function queueNew(turn: Turn, lock: number, op: Op, out: Outcome): void {
  const { slot, effects, witness } = turn;
  const waiters = slot.crowdOf(lock)?.waiters.size ?? 0;
  if (waiters >= LIMITS.waitersMax) {
    out.refuse('queue_full');
    return tellLock(turn, lock, out);
  }
  if (slot.sizeBytes >= LIMITS.slotBytesMax) return out.refuse('overloaded');
  const row = addNew(turn, op, RowKind.waiter);
  effects.queued(slot, row);
  wait(turn, row, op);
  turn.changed(row);
  out.queued = waiters + 1;
  if (slot.aside.listeners.size === 0) return;
  for (const holder of slot.aside.crowds.get(row)!.holders) {
    const listener = slot.aside.listeners.get(holder);
    if (listener !== undefined) witness.contended(slot, holder, listener);
  }
}

/** The row, behind what it hangs on if that is still to be made. */
function addNew(turn: Turn, op: Op, kind: typeof RowKind.claim | typeof RowKind.waiter): number {
  const { slot } = turn;
  const { claims } = slot;
  const ownMs = op.ttlMs === 0 ? LIMITS.ttlMsDefault : op.ttlMs;
  const { stub, batch } = makeHangs(turn, op, ownMs);
  const ttlMs = stub === 0 ? ownMs : claims.ttlMs(stub);
  const keyed = (op.flags & OpFlag.keyed) !== 0;
  return addRow(slot, op, { kind, number: turn.count(), ttlMs }, { keyed, stub, batch });
}
