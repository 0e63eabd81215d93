/**
 * How claims end: by their time, by a release, by force, or with the session or
 * the batch that they hang on. What that lets go is granted at once, as far as
 * the entry has room.
 */
import type { Op } from '../op.ts';
import { OWN_BYTES_MAX, SHORT_EFFECT_BYTES_MAX } from './effects.ts';
import { finishDelay, grantWaiting } from './queue.ts';
import { EndReason, RowKind } from './rows.ts';
import { closeStub, endClaim, endOnStub, lockDelayMs } from './transitions.ts';
import type { Turn } from './turn.ts';
import { LostEvent } from './witness.ts';

/** Holders that one op looks through for some that are over; timers find the rest, a lane tick later. */
const HOLDERS_LOOKED_AT_MAX = 64;

/**
 * Ends what is over on the lock of `row`, the lock of `op`, and grants what has
 * come free. Leaves the room that the op needs itself. Returns a row of the lock
 * as it is then, 0 = it has none.
 */
export function settle(turn: Turn, row: number, op: Op): number {
  const { slot, now, effects } = turn;
  const { claims } = slot;
  if (row === 0) return 0;
  const crowd = slot.crowdOf(row);
  if (crowd === undefined) {
    if (claims.freeAt(row) > now) return row;
    endOver(turn, row);
  } else {
    const room = OWN_BYTES_MAX + 2 * SHORT_EFFECT_BYTES_MAX;
    let looked = 0;
    for (const holder of crowd.holders) {
      if (++looked > HOLDERS_LOOKED_AT_MAX || effects.room() < room) break;
      // A stub takes others with it, of which the last one stood alone when it went.
      if (claims.lives(holder) && claims.freeAt(holder) <= now) endOver(turn, holder);
    }
    grantWaiting(turn, crowd, OWN_BYTES_MAX);
    if (crowd.delay !== 0 && claims.freeAt(crowd.delay) <= now && effects.room() >= room)
      finishDelay(turn, crowd.delay);
  }
  return claims.find(op.bytes, op.keyAt, op.keyLength, op.hash | 0);
}

/** The time of this claim, its session's or its batch's is over. */
export function endOver(turn: Turn, row: number): void {
  const timeRow = turn.slot.claims.timeRow(row);
  if (timeRow === row) endHolder(turn, row, EndReason.expired);
  else close(turn, timeRow, EndReason.expired);
}

/** One claim ends by itself: with an effect of its own. */
export function endHolder(turn: Turn, row: number, reason: EndReason): void {
  turn.count();
  turn.effects.ended(turn.slot, row, reason);
  endTold(turn, row, reason);
}

/** The effect has been written: the state follows, and who listens hears. */
export function endTold(turn: Turn, row: number, reason: EndReason): void {
  const { slot, now, witness } = turn;
  const { claims } = slot;
  const listener = slot.listeners.get(row);
  if (listener !== undefined && reason !== EndReason.released && !claims.isPending(row))
    witness.lost(slot, row, listener, eventOf(reason));
  turn.changed(row);
  const before = slot.crowdOf(row)?.delay ?? 0;
  const until = before === 0 ? 0 : claims.freeAt(before);
  const delayMs = lockDelayMs(slot, row);
  const delay = endClaim(slot, row, reason, now);
  if (delay === 0) return;
  const freeAt = Math.max(until, now + delayMs);
  claims.setFreeAt(delay, freeAt);
  witness.due(slot, delay, freeAt);
}

function eventOf(reason: EndReason): LostEvent {
  if (reason === EndReason.forced) return LostEvent.forced;
  return reason === EndReason.expired ? LostEvent.expired : LostEvent.sessionEnded;
}

/**
 * A session or stub is over, and what hangs on it. Who waits for one of its
 * locks is granted it by `work`. Returns how many claims ended.
 */
export function close(turn: Turn, stub: number, reason: EndReason): number {
  const { slot, effects, now } = turn;
  let ended = 0;
  turn.count();
  effects.closed(slot, stub, reason);
  closeStub(slot, stub, now, (row) => {
    const crowd = slot.crowdOf(row);
    if (slot.claims.kind(row) === RowKind.waiter) {
      endWaiter(turn, row);
    } else {
      ended++;
      endTold(turn, row, EndReason.sessionEnded);
    }
    if (crowd !== undefined && crowd.waiters.size > 0) slot.backlog.add(crowd);
  });
  return ended;
}

function endWaiter(turn: Turn, row: number): void {
  const { slot, witness, now } = turn;
  const waiter = slot.attached.get(row);
  turn.changed(row);
  if (waiter !== undefined) witness.refused(slot, waiter, 'session_ended', row);
  endOnStub(slot, row, now);
}
