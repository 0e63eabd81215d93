/**
 * Decides one op on one slot: a pure function of state, op and `now`. What it
 * changes it also appends to the entry, before anybody is told.
 *
 *            granted              released, expired
 *   free ────────────► held ─────────────────────────► free, token remembered
 *                       │ ▲
 *                       └─┘ renewed
 *
 *   held:  unarmed  its grant or renewal has not been answered: never ends by time
 *          armed    ends at `freeAt`
 *
 * A claim that is past its freeAt is ended before anything else is decided on
 * its key, so a timer that is late changes nothing. Reads do that too: what
 * they tell is then as durable as everything else of their round.
 */
import { LIMITS } from '../limits.ts';
import { Kind, type Op } from '../op.ts';
import { type EffectWriter, EndReason } from './effects.ts';
import { Outcome } from './outcome.ts';
import type { Slot } from './slot.ts';
import type { Witness } from './witness.ts';

export { Outcome };

/**
 * Decides `op`, which is of this slot. `effects` has EFFECT_BYTES_MAX of room.
 * @param now monotonic ms, never less than in an earlier call
 */
export function apply(
  slot: Slot,
  op: Op,
  now: number,
  effects: EffectWriter,
  out: Outcome,
  witness: Witness,
): void {
  out.reset();
  void witness;
  const { claims } = slot;
  let row = claims.find(op.bytes, op.keyAt, op.keyLength, op.hash | 0);
  if (row !== 0 && claims.freeAt(row) <= now) {
    end(slot, row, EndReason.expired, now, effects);
    out.changed = true;
    row = 0;
  }
  switch (op.kind) {
    case Kind.acquire:
      return acquire(slot, row, op, now, effects, out);
    case Kind.renew:
      return renew(slot, row, op, effects, out);
    case Kind.release:
      return release(slot, row, op, now, effects, out);
    case Kind.get:
      out.status = 200;
      if (row !== 0) out.tell(claims, row);
      return;
    case Kind.verify:
      return verify(slot, row, op, out);
    default:
      throw new RangeError(`the machine knows no op of kind ${op.kind}`);
  }
}

/**
 * The time of a claim may be over: ends it if so.
 *
 * @returns when to look again (monotonic ms); 0 = it is gone, or `row` is no
 *   claim any more; Infinity = unarmed, arming it tells a new time
 */
export function expire(
  slot: Slot,
  row: number,
  now: number,
  effects: EffectWriter,
  witness: Witness,
): number {
  void witness;
  const { claims } = slot;
  if (!claims.lives(row)) return 0;
  const freeAt = claims.freeAt(row);
  if (freeAt > now) return freeAt;
  end(slot, row, EndReason.expired, now, effects);
  return 0;
}

function acquire(slot: Slot, row: number, op: Op, now: number, effects: EffectWriter, out: Outcome): void {
  const { claims } = slot;
  if (row !== 0 && claims.hasToken(row, op.bytes, op.tokenAt, op.tokenLength)) {
    out.status = 200;
    out.tell(claims, row);
    return;
  }
  if (slot.ended.has(op.hash | 0, op.bytes, op.tokenAt, op.tokenLength, now)) return out.refuse('not_held');
  if (row !== 0) {
    out.refuse('lock_held');
    out.tell(claims, row);
    return;
  }
  if (slot.bytes >= LIMITS.slotBytesMax) return out.refuse('overloaded');
  slot.counter++;
  const granted = claims.insert(op, slot.counter, op.ttlMs === 0 ? LIMITS.ttlMsDefault : op.ttlMs);
  claims.disarm(granted);
  effects.granted(slot.number, claims, granted);
  out.status = 201;
  out.armable = true;
  out.changed = true;
  out.tell(claims, granted);
}

function renew(slot: Slot, row: number, op: Op, effects: EffectWriter, out: Outcome): void {
  const { claims } = slot;
  if (row === 0 || !claims.hasToken(row, op.bytes, op.tokenAt, op.tokenLength)) return out.refuse('not_held');
  const ttlMs = op.ttlMs === 0 ? claims.ttlMs(row) : op.ttlMs;
  const withMetadata = op.metadataLength > 0;
  if (withMetadata || ttlMs !== claims.ttlMs(row)) {
    claims.setTtlMs(row, ttlMs);
    if (withMetadata) claims.setMetadata(row, op.bytes, op.metadataAt, op.metadataLength);
    slot.counter++;
    effects.renewed(slot.number, slot.counter, claims, row, withMetadata);
    out.changed = true;
  }
  claims.disarm(row);
  out.status = 200;
  out.armable = true;
  out.tell(claims, row);
}

function release(slot: Slot, row: number, op: Op, now: number, effects: EffectWriter, out: Outcome): void {
  if (row === 0 || !slot.claims.hasToken(row, op.bytes, op.tokenAt, op.tokenLength))
    return out.refuse('not_held');
  out.heldMs = heldFor(slot, row, now);
  end(slot, row, EndReason.released, now, effects);
  out.status = 204;
  out.changed = true;
}

function verify(slot: Slot, row: number, op: Op, out: Outcome): void {
  const { claims } = slot;
  out.status = 200;
  if (row === 0) return;
  out.current =
    op.fencingToken > 0
      ? claims.fencingToken(row) === op.fencingToken
      : claims.hasToken(row, op.bytes, op.tokenAt, op.tokenLength);
  if (out.current) out.tell(claims, row);
}

function end(slot: Slot, row: number, reason: EndReason, now: number, effects: EffectWriter): void {
  const { claims } = slot;
  slot.counter++;
  effects.ended(slot.number, slot.counter, claims.hash(row), claims.fencingToken(row), reason);
  slot.ended.add(claims.hash(row), claims.bytes, claims.tokenAt(row), claims.tokenLength(row), now);
  claims.remove(row);
}

/** For how long a claim has been held (ms); 0 while its grant is under way. */
export function heldFor(slot: Slot, row: number, now: number): number {
  const since = slot.claims.grantedAt(row);
  return since === 0 ? 0 : Math.max(0, now - since);
}

/**
 * Grants what was put off when an entry was full, or when a session took many
 * locks with it. To be called while `slot.hasWork`, when there is room again.
 *
 * @param budget locks to be looked at, ≥ 1
 * @returns true when there is more to do
 */
export function work(
  slot: Slot,
  now: number,
  effects: EffectWriter,
  witness: Witness,
  budget: number,
): boolean {
  void now;
  void effects;
  void witness;
  void budget;
  return slot.hasWork;
}

/**
 * The far end of `connection` is gone: its waiters keep their places for
 * LIMITS.reattachMs, and are granted nothing unless they come back.
 */
export function detach(slot: Slot, connection: number, now: number, witness: Witness): void {
  void slot;
  void connection;
  void now;
  void witness;
}
