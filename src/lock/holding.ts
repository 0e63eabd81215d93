/**
 * Ops on claims that are there, in all their forms: renew, release, get, verify,
 * cancel and force. A token counts only together with its principal.
 */
import type { Op } from '../op.ts';
import { tellLock } from './acquire.ts';
import { endHolder, endOver, endTold } from './endings.ts';
import { countHolders, holdersOf } from './lock-view.ts';
import type { Outcome } from './outcome.ts';
import { grantWaiting, leaveQueue } from './queue.ts';
import { EndReason, RowKind, WithdrawReason } from './rows.ts';
import { settle } from './settle.ts';
import type { Slot } from './slot.ts';
import { findToken } from './transitions.ts';
import type { Turn } from './turn.ts';

export function renew(turn: Turn, found: number, op: Op, out: Outcome): void {
  const { claims } = turn.slot;
  const row = mine(turn, found, op);
  if (row === 0 || claims.kind(row) !== RowKind.claim || claims.isPending(row)) return out.refuse('not_held');
  if (claims.stub(row) !== 0) return out.refuse('session_bound');
  renewRow(turn, row, op);
  if (op.metadataLength > 0) turn.changed(row);
  claims.disarm(row);
  turn.listen(row, op);
  out.status = 200;
  out.armable = true;
  out.tell(claims, row);
}

/** Another TTL, and metadata if the op has some: an effect only if something is different. */
export function renewRow(turn: Turn, row: number, op: Op): void {
  const { slot, effects } = turn;
  const { claims } = slot;
  const ttlMs = op.ttlMs === 0 ? claims.ttlMs(row) : op.ttlMs;
  const withMetadata = op.metadataLength > 0;
  if (!withMetadata && ttlMs === claims.ttlMs(row)) return;
  claims.setTtlMs(row, ttlMs);
  if (withMetadata) claims.setMetadata(row, op.bytes, op.metadataAt, op.metadataLength);
  turn.count();
  effects.renewed(slot, row, withMetadata);
}

/** Of a waiter: it leaves the queue. */
export function release(turn: Turn, found: number, op: Op, out: Outcome): void {
  const { slot, now } = turn;
  const { claims } = slot;
  const row = mine(turn, found, op);
  if (row === 0 || claims.isPending(row)) return out.refuse('not_held');
  const crowd = slot.crowdOf(row);
  if (claims.kind(row) === RowKind.waiter) {
    out.heldMs = 0;
    leaveQueue(turn, row, WithdrawReason.released, 'cancelled');
  } else {
    out.heldMs = heldFor(slot, row, now);
    endHolder(turn, row, EndReason.released);
  }
  if (crowd !== undefined) grantWaiting(turn, crowd, 0);
  out.status = 204;
}

export function get(turn: Turn, found: number, op: Op, out: Outcome): void {
  const row = settle(turn, found, op);
  out.status = 200;
  tellLock(turn, row, out);
  out.holders = countHolders(turn.slot, row);
}

export function verify(turn: Turn, found: number, op: Op, out: Outcome): void {
  const { slot } = turn;
  const { claims } = slot;
  const row = op.fencingToken > 0 ? fenced(turn, found, op) : mine(turn, found, op);
  out.status = 200;
  if (row === 0 || claims.kind(row) !== RowKind.claim || claims.isPending(row)) return;
  out.current = true;
  out.tell(claims, row);
}

/** Ends the wait of this attachment, or one that nobody is attached to; never a grant. */
export function cancel(turn: Turn, found: number, op: Op, out: Outcome): void {
  const { slot } = turn;
  const row = mine(turn, found, op);
  if (row === 0 || slot.claims.kind(row) !== RowKind.waiter) return out.refuse('not_held');
  const waiter = slot.aside.attached.get(row);
  if (waiter !== undefined && (waiter.connection !== op.connection || waiter.attempt !== op.attempt))
    return out.refuse('not_held');
  const crowd = slot.aside.crowds.get(row)!;
  leaveQueue(turn, row, WithdrawReason.cancelled, 'cancelled');
  grantWaiting(turn, crowd, 0);
  out.status = 200;
}

/** Ends all holders, or the one that is meant; who waits is granted next. */
export function force(turn: Turn, found: number, op: Op, out: Outcome): void {
  const { slot, effects } = turn;
  const onlyOne = op.fencingToken > 0;
  const row = onlyOne ? fenced(turn, found, op) : settle(turn, found, op);
  const rows = onlyOne ? shownOnly(slot, row) : [...holdersOf(slot, row)];
  if (rows.length === 0 && onlyOne) return out.refuse('not_held');
  out.status = 200;
  out.released = rows.length;
  if (rows.length === 0) return;
  const crowd = slot.crowdOf(row);
  turn.count();
  effects.cleared(slot, rows[0], onlyOne, op);
  for (const holder of rows) endTold(turn, holder, EndReason.forced);
  if (crowd !== undefined) grantWaiting(turn, crowd, 0);
}

function shownOnly({ claims }: Slot, row: number): number[] {
  return row !== 0 && claims.kind(row) === RowKind.claim && !claims.isPending(row) ? [row] : [];
}

/** For how long a claim has been held (ms); 0 while its grant is under way. */
export function heldFor(slot: Slot, row: number, now: number): number {
  const since = slot.claims.grantedAt(row);
  return since === 0 ? 0 : Math.max(0, now - since);
}

/** The row with the op's token, a holder's or a waiter's, whose time is not over; 0 = none. */
function mine(turn: Turn, found: number, op: Op): number {
  const { slot } = turn;
  const lock = settle(turn, found, op);
  const row = findToken(slot, lock, op.bytes, op.tokenAt, op.tokenLength);
  if (row === 0 || !slot.claims.hasPrincipal(row, op.bytes, op.principalAt, op.principalLength)) return 0;
  return stands(turn, row);
}

/** The row with the op's fencing token, 0 = none. */
function fenced(turn: Turn, found: number, op: Op): number {
  const { claims } = turn.slot;
  settle(turn, found, op);
  const row = claims.findFenced(op.hash | 0, op.fencingToken);
  if (row === 0 || !claims.hasKey(row, op.bytes, op.keyAt, op.keyLength)) return 0;
  return stands(turn, row);
}

/** Of very many holders `settle` does not look at all. */
function stands(turn: Turn, row: number): number {
  const { slot, now } = turn;
  if (slot.claims.kind(row) !== RowKind.claim || slot.claims.freeAt(row) > now) return row;
  const crowd = slot.crowdOf(row);
  endOver(turn, row);
  if (crowd !== undefined) grantWaiting(turn, crowd, 0);
  return 0;
}
