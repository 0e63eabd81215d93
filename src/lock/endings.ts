/**
 * How claims end: by their time, by a release, by force, or with the session or
 * the batch that they hang on. Who gets what that lets go, queue.ts tells.
 */
import { EndReason, RowKind } from './rows.ts';
import { closeStub, endClaim, endOnStub, lockDelayMs } from './transitions.ts';
import type { Turn } from './turn.ts';
import { LostEvent } from './witness.ts';

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
  const listener = slot.aside.listeners.get(row);
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
    if (crowd !== undefined && crowd.waiters.size > 0) slot.aside.backlog.add(crowd);
  });
  return ended;
}

function endWaiter(turn: Turn, row: number): void {
  const { slot, witness, now } = turn;
  const waiter = slot.aside.attached.get(row);
  turn.changed(row);
  if (waiter !== undefined) witness.refused(slot, waiter, 'session_ended', row);
  endOnStub(slot, row, now);
}
