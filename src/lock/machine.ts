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
import { CODES, type ErrorCode } from '../errors.ts';
import { LIMITS } from '../limits.ts';
import { Kind, type Op } from '../op.ts';
import { type EffectWriter, EndReason } from './effects.ts';
import type { Slot } from './slot.ts';

/** What was decided. One object, reused. */
export class Outcome {
  /** HTTP status. */
  status = 0;
  /** The code's number in errors.ts, 0 = it succeeded. */
  code = 0;
  /** The claim that was granted, renewed or repeated; of a refusal with lock_held, get and verify: the holder's; 0 = none. */
  row = 0;
  /** Of the claim in `row`, 0 = none. */
  fencingToken = 0;
  ttlMs = 0;
  /** A grant or renewal: the claim is to be armed when the round has returned. */
  armable = false;
  /** Verify: the token that was shown is the holder's. */
  current = false;
  /** Release: for how long the claim was held (ms). */
  heldMs = 0;
  /** Effects were written. */
  changed = false;
}

/**
 * Decides `op`, which is of this slot. `effects` has EFFECT_BYTES_MAX of room.
 * @param now monotonic ms, never less than in an earlier call
 */
export function apply(slot: Slot, op: Op, now: number, effects: EffectWriter, out: Outcome): void {
  out.code = 0;
  out.row = 0;
  out.fencingToken = 0;
  out.ttlMs = 0;
  out.armable = false;
  out.current = false;
  out.changed = false;
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
      if (row !== 0) tell(slot, row, out);
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
export function expire(slot: Slot, row: number, now: number, effects: EffectWriter): number {
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
    tell(slot, row, out);
    return;
  }
  if (slot.ended.has(op.hash | 0, op.bytes, op.tokenAt, op.tokenLength, now)) return refuse('not_held', out);
  if (row !== 0) {
    refuse('lock_held', out);
    tell(slot, row, out);
    return;
  }
  if (slot.bytes >= LIMITS.slotBytesMax) return refuse('overloaded', out);
  slot.counter++;
  const granted = claims.insert(op, slot.counter, op.ttlMs === 0 ? LIMITS.ttlMsDefault : op.ttlMs);
  claims.disarm(granted);
  effects.granted(slot.number, claims, granted);
  out.status = 201;
  out.armable = true;
  out.changed = true;
  tell(slot, granted, out);
}

function renew(slot: Slot, row: number, op: Op, effects: EffectWriter, out: Outcome): void {
  const { claims } = slot;
  if (row === 0 || !claims.hasToken(row, op.bytes, op.tokenAt, op.tokenLength))
    return refuse('not_held', out);
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
  tell(slot, row, out);
}

function release(slot: Slot, row: number, op: Op, now: number, effects: EffectWriter, out: Outcome): void {
  if (row === 0 || !slot.claims.hasToken(row, op.bytes, op.tokenAt, op.tokenLength))
    return refuse('not_held', out);
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
  if (out.current) tell(slot, row, out);
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

function tell(slot: Slot, row: number, out: Outcome): void {
  out.row = row;
  out.fencingToken = slot.claims.fencingToken(row);
  out.ttlMs = slot.claims.ttlMs(row);
}

function refuse(code: ErrorCode, out: Outcome): void {
  out.code = CODES[code].wire;
  out.status = CODES[code].status;
}
