/**
 * Who is granted what has come free: waiters in the order in which they came.
 *
 *   queued ──► attached ──────────── grantable ──► holds the lock
 *                │  ▲                              (its effect's number is the fencing token)
 *     take-over, │  │ it comes back
 *   its link cut ▼  │
 *              detached ── grace over ──► withdrawn
 *
 * A waiter conflicts with an earlier one unless both are shared, or both are of
 * one semaphore that has places for both. One that is detached keeps its place,
 * and what comes behind it waits unless it does not conflict.
 */
import type { ErrorCode } from '../errors.ts';
import { LIMITS } from '../limits.ts';
import { Mode, type Op } from '../op.ts';
import type { Crowd } from './crowd.ts';
import { SHORT_EFFECT_BYTES_MAX } from './effects.ts';
import { close } from './endings.ts';
import { EndReason, WithdrawReason } from './rows.ts';
import type { Slot } from './slot.ts';
import { endDelay, promote, withdraw } from './transitions.ts';
import type { Turn } from './turn.ts';

/** Whether `op` can be granted now, behind all who hold and wait. `row`: any of the lock's, 0 = it has none. */
export function isGrantable({ claims, aside }: Slot, row: number, op: Op): boolean {
  if (row === 0) return true;
  const crowd = claims.isInCrowd(row) ? aside.crowds.get(row)! : undefined;
  if (crowd === undefined) return isBeside(claims.mode(row), 1, op);
  if (crowd.delay !== 0) return false;
  let reserved = 0;
  for (const waiter of crowd.waiters) {
    if (op.mode === Mode.exclusive || aside.attached.has(waiter) || claims.mode(waiter) === Mode.exclusive)
      return false;
    reserved++;
  }
  if (op.mode === Mode.semaphore) return crowd.holders.size + reserved < op.limit;
  return crowd.holders.size === 0 || isBeside(claims.mode(crowd.eldest()), crowd.holders.size, op);
}

/** Whether `op` goes together with holders of this mode, of which there are `held` ≥ 1. */
function isBeside(mode: number, held: number, op: Op): boolean {
  if (op.mode === Mode.semaphore) return held < op.limit;
  return op.mode === Mode.shared && mode === Mode.shared;
}

/** Place in the queue, 1 = next. */
export function positionOf(crowd: Crowd, row: number): number {
  let position = 1;
  for (const waiter of crowd.waiters) {
    if (waiter === row) break;
    position++;
  }
  return position;
}

/**
 * Grants what can be granted to those who wait, while more than `reserve` bytes
 * of room are left. The rest is put off to `work`.
 */
export function grantWaiting(turn: Turn, crowd: Crowd, reserve: number): void {
  const { slot, effects, now } = turn;
  const { claims } = slot;
  const { backlog } = slot.aside;
  backlog.delete(crowd);
  if (crowd.waiters.size === 0) return;
  if (crowd.delay !== 0) {
    if (claims.freeAt(crowd.delay) > now) return;
    if (effects.room() < reserve + SHORT_EFFECT_BYTES_MAX) backlog.add(crowd);
    else finishDelay(turn, crowd.delay);
  }
  let passed = 0;
  for (const row of crowd.waiters) {
    if (effects.room() < reserve + SHORT_EFFECT_BYTES_MAX) {
      backlog.add(crowd);
      return;
    }
    if (claims.freeAt(row) <= now && row !== turn.self) {
      giveUp(turn, row);
      continue;
    }
    const stub = claims.stub(row);
    if (stub !== 0 && claims.freeAt(stub) <= now) {
      close(turn, stub, EndReason.expired);
      continue;
    }
    const verdict = look(slot, crowd, row, passed);
    if (verdict === STAYS) return;
    if (verdict === GRANTED) grant(turn, row);
    else passed++;
  }
}

const STAYS = 0;
/** It is detached, and who comes behind it may go. */
const PASSED = 1;
const GRANTED = 2;

function look({ claims, aside }: Slot, crowd: Crowd, row: number, passed: number): number {
  const held = crowd.holders.size;
  const isAttached = aside.attached.has(row);
  switch (claims.mode(row)) {
    case Mode.exclusive:
      return isAttached && held + passed === 0 ? GRANTED : STAYS;
    case Mode.shared:
      if (held >= LIMITS.holdersMax || (held > 0 && claims.mode(crowd.eldest()) !== Mode.shared))
        return STAYS;
      return isAttached ? GRANTED : PASSED;
    default:
      if (held + passed >= claims.limit(row)) return STAYS;
      return isAttached ? GRANTED : PASSED;
  }
}

function grant(turn: Turn, row: number): void {
  const { slot, effects, witness } = turn;
  const waiter = slot.aside.attached.get(row)!;
  const number = turn.count();
  effects.promoted(slot, row);
  promote(slot, row, number);
  slot.aside.attached.delete(row);
  if (slot.claims.hasOwnTime(row)) slot.claims.disarm(row);
  turn.listen(row, waiter);
  turn.changed(row);
  if (row !== turn.self) witness.granted(slot, row, waiter);
}

/** A waiter's time is over: that of its wait, or the grace of one that is detached. */
export function giveUp(turn: Turn, row: number): void {
  if (turn.slot.aside.attached.has(row)) leaveQueue(turn, row, WithdrawReason.timedOut, 'wait_timeout');
  else leaveQueue(turn, row, WithdrawReason.lost, 'wait_timeout');
}

export function leaveQueue(turn: Turn, row: number, reason: WithdrawReason, code: ErrorCode): void {
  const { slot, effects, witness, now } = turn;
  const waiter = slot.aside.attached.get(row);
  turn.count();
  effects.withdrawn(slot, row, reason);
  turn.changed(row);
  if (waiter !== undefined) witness.refused(slot, waiter, code, row);
  withdraw(slot, row, reason === WithdrawReason.released, now);
}

export function finishDelay(turn: Turn, row: number): void {
  turn.count();
  turn.effects.ended(turn.slot, row, EndReason.expired);
  endDelay(turn.slot, row);
}
