/**
 * Sessions at their own slot, and what other slots know of them and of atomic
 * batches.
 *
 *   at its own slot    opened ── renewed … ──► ended, expired
 *     each slot with locks of it:  pending (joined) ──► active
 *   stub at a slot     made with the first claim ── renewed … ──► ended, expired, and all claims with it
 *   stub of a batch    made with the first pending claim ──► confirmed, or ended, expired
 *
 * Stubs are ops between processes: who sends them has asked the session first.
 */
import { LIMITS } from '../limits.ts';
import { Kind, type Op } from '../op.ts';
import { close } from './endings.ts';
import { renewRow } from './holding.ts';
import { type Outcome, SessionSlot } from './outcome.ts';
import { EndReason, RowKind } from './rows.ts';
import { confirmBatch, openStub, setSessionSlot } from './transitions.ts';
import type { Turn } from './turn.ts';

export function decideSession(turn: Turn, found: number, op: Op, out: Outcome): void {
  if (op.kind >= Kind.stubRenew) return decideStub(turn, op, out);
  const { slot } = turn;
  const row = standing(turn, found);
  if (op.kind === Kind.sessionOpen) return open(turn, row, op, out);
  if (row === 0 || !isMine(turn, row, op)) return out.refuse('session_ended');
  out.status = 200;
  out.tell(slot.claims, row);
  switch (op.kind) {
    case Kind.sessionRenew:
      out.sessionSlots = slot.aside.sessionSlots.get(row);
      slot.claims.disarm(row);
      out.armable = true;
      return;
    case Kind.sessionGet:
      out.sessionSlots = slot.aside.sessionSlots.get(row);
      return;
    case Kind.sessionEnd:
      out.sessionSlots = slot.aside.sessionSlots.get(row);
      close(turn, row, EndReason.released);
      return;
    case Kind.sessionJoin:
      out.slotState = slot.aside.sessionSlots.get(row)!.get(op.fencingToken) ?? SessionSlot.pending;
      return join(turn, row, op.fencingToken, SessionSlot.pending);
    default:
      return join(turn, row, op.fencingToken, SessionSlot.active);
  }
}

function open(turn: Turn, found: number, op: Op, out: Outcome): void {
  const { slot, effects } = turn;
  const { claims } = slot;
  if (found !== 0) {
    if (!isMine(turn, found, op)) return out.refuse('idempotency_mismatch');
    out.status = 200;
    return out.tell(claims, found);
  }
  if (slot.hasEndedStub(op.bytes, op.keyAt, op.keyLength, turn.now)) return out.refuse('session_ended');
  if (slot.sizeBytes >= LIMITS.slotBytesMax) return out.refuse('overloaded');
  const ttlMs = op.ttlMs === 0 ? LIMITS.ttlMsDefault : op.ttlMs;
  const row = openStub(slot, op, RowKind.session, turn.count(), ttlMs);
  effects.opened(slot, row);
  claims.disarm(row);
  out.status = 201;
  out.armable = true;
  out.tell(claims, row);
}

/** Never from active back to pending. */
function join(turn: Turn, row: number, of: number, state: SessionSlot): void {
  const { slot, effects } = turn;
  const before = slot.aside.sessionSlots.get(row)!.get(of);
  if (before === SessionSlot.active || before === state) return;
  turn.count();
  effects.joined(slot, row, of, state);
  setSessionSlot(slot, row, of, state);
}

// ---- stubs

function decideStub(turn: Turn, op: Op, out: Outcome): void {
  const { slot } = turn;
  const row = standing(turn, slot.findStub(op.bytes, op.keyAt, op.keyLength));
  if (op.kind === Kind.stubEnd) {
    out.status = 200;
    if (row !== 0) out.released = close(turn, row, EndReason.released);
    return;
  }
  if (op.kind === Kind.confirm) return confirm(turn, row, op, out);
  if (row === 0) return out.refuse('session_ended');
  renewRow(turn, row, op);
  slot.claims.disarm(row);
  out.status = 200;
  out.armable = true;
  out.tell(slot.claims, row);
}

/** All that the batch has here become real, or none. */
function confirm(turn: Turn, row: number, op: Op, out: Outcome): void {
  const { slot, effects, witness } = turn;
  const { claims } = slot;
  if (row === 0) return out.refuse('not_held');
  if (slot.aside.onStub.get(row)!.size !== op.fencingToken) {
    close(turn, row, EndReason.released);
    return out.refuse('not_held');
  }
  turn.count();
  effects.confirmed(slot, row);
  confirmBatch(slot, row, (claim) => {
    turn.changed(claim);
    if (!claims.hasOwnTime(claim)) return;
    claims.disarm(claim);
    witness.begins(slot, claim);
  });
  out.status = 200;
}

/** The session or stub, unless its time is over: then it ends. */
function standing(turn: Turn, row: number): number {
  const { claims } = turn.slot;
  if (row === 0 || claims.freeAt(row) > turn.now) return row;
  close(turn, row, EndReason.expired);
  return 0;
}

function isMine({ slot }: Turn, row: number, op: Op): boolean {
  return slot.claims.hasPrincipal(row, op.bytes, op.principalAt, op.principalLength);
}
