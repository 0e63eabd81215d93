/**
 * Decides one op on one slot: a pure function of state, op and `now`. What it
 * changes it also appends to the entry, before anybody is told.
 *
 *            granted              released, expired, forced, its session ended
 *   free ────────────► held ─────────────────────────► free, token remembered
 *    ▲                  │ ▲                              │
 *    │                  └─┘ renewed                      ├─ somebody waits ─► held by them (queue.ts)
 *    └──────────────────────── delay over ◄── delayed ◄──┘ unless it was released
 *
 *   held:  unarmed  its grant or renewal has not been answered: never ends by time
 *          armed    ends at `freeAt`
 *          pending  part of an atomic batch that is not confirmed: nobody sees it
 *
 * A claim that is past its freeAt is ended before anything else is decided on
 * its key, so a timer that is late changes nothing. Reads do that too: what
 * they tell is then as durable as everything else of their round.
 *
 * Nearly all ops are about a lock with one exclusive holder and nothing else.
 * They are decided here, without anything that others need.
 */
import { LIMITS } from '../limits.ts';
import { Kind, type Op, OpFlag } from '../op.ts';
import { acquire } from './acquire.ts';
import { EFFECT_BYTES_MAX, type EffectWriter } from './effects.ts';
import { close, endHolder } from './endings.ts';
import { cancel, force, get, heldFor, release, renew, verify } from './holding.ts';
import { Outcome } from './outcome.ts';
import { finishDelay, giveUp, grantWaiting } from './queue.ts';
import { EndReason, RowKind } from './rows.ts';
import { decideSession } from './sessions.ts';
import type { Slot } from './slot.ts';
import { Turn } from './turn.ts';
import type { Witness } from './witness.ts';

export { heldFor, Outcome };

const MORE_FLAGS = OpFlag.keyed | OpFlag.resumed | OpFlag.events | OpFlag.newStub;

const turn = new Turn();

/**
 * Decides `op`, which is of this slot. `effects` has EFFECT_BYTES_MAX of room.
 * When `slot.hasWork` afterwards, `work` is to be called.
 *
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
  const { claims } = slot;
  let row = claims.find(op.bytes, op.keyAt, op.keyLength, op.hash | 0);
  if (
    op.kind > Kind.verify ||
    (op.flags & MORE_FLAGS) !== 0 ||
    (op.kind === Kind.acquire && !isBare(op)) ||
    (row !== 0 && !claims.isBare(row)) ||
    slot.isWatched
  )
    return decide(slot, row, op, now, effects, out, witness);
  // Neither op nor lock has anything but one exclusive claim, and nobody else is to hear of it.
  if (row !== 0 && claims.ownFreeAt(row) <= now) {
    endPlain(slot, row, EndReason.expired, now, effects);
    out.changed = true;
    row = 0;
  }
  switch (op.kind) {
    case Kind.acquire:
      return acquirePlain(slot, row, op, now, effects, out);
    case Kind.renew:
      return renewPlain(slot, row, op, effects, out);
    case Kind.release:
      return releasePlain(slot, row, op, now, effects, out);
    case Kind.get:
      out.status = 200;
      out.holders = row === 0 ? 0 : 1;
      if (row !== 0) out.tell(claims, row);
      return;
    default:
      return verifyPlain(slot, row, op, out);
  }
}

/** An acquire, by whomever, of nothing but an exclusive claim that need not wait. */
function isBare(op: Op): boolean {
  return (op.mode | op.limit | op.waitMs | op.lockDelayMs | op.sessionLength | op.batchLength) === 0;
}

/** The op shows the claim's token, and is its principal's. */
function isMine({ claims }: Slot, row: number, op: Op): boolean {
  return (
    row !== 0 &&
    claims.hasToken(row, op.bytes, op.tokenAt, op.tokenLength) &&
    claims.hasPrincipal(row, op.bytes, op.principalAt, op.principalLength)
  );
}

/** What may be more than that. */
function decide(
  slot: Slot,
  row: number,
  op: Op,
  now: number,
  effects: EffectWriter,
  out: Outcome,
  witness: Witness,
): void {
  const before = slot.counter;
  out.hasMore = true;
  turn.begin(slot, now, effects, witness);
  switch (op.kind) {
    case Kind.acquire:
      acquire(turn, row, op, out);
      break;
    case Kind.renew:
      renew(turn, row, op, out);
      break;
    case Kind.release:
      release(turn, row, op, out);
      break;
    case Kind.get:
      get(turn, row, op, out);
      break;
    case Kind.verify:
      verify(turn, row, op, out);
      break;
    case Kind.cancel:
      cancel(turn, row, op, out);
      break;
    case Kind.force:
      force(turn, row, op, out);
      break;
    default:
      if (op.kind < Kind.sessionOpen || op.kind > Kind.confirm)
        throw new RangeError(`the machine knows no op of kind ${op.kind}`);
      decideSession(turn, row, op, out);
  }
  out.changed = slot.counter !== before;
}

/**
 * The time of a row may be over: ends it if so. `effects` has EFFECT_BYTES_MAX
 * of room. When `slot.hasWork` afterwards, `work` is to be called.
 *
 * @returns when to look again (monotonic ms); 0 = it is gone, or `row` is no row
 *   any more; Infinity = unarmed, or on a stub: arming it, or the stub, tells a
 *   new time
 */
export function expire(
  slot: Slot,
  row: number,
  now: number,
  effects: EffectWriter,
  witness: Witness,
): number {
  const { claims } = slot;
  if (!claims.lives(row)) return 0;
  if (claims.isBare(row) && !slot.isWatched) {
    const freeAt = claims.ownFreeAt(row);
    if (freeAt > now) return freeAt;
    endPlain(slot, row, EndReason.expired, now, effects);
    return 0;
  }
  const kind = claims.kind(row);
  if (!claims.hasOwnTime(row) && kind !== RowKind.waiter) return Infinity;
  const freeAt = claims.freeAt(row);
  if (freeAt > now) return freeAt;
  turn.begin(slot, now, effects, witness);
  const crowd = slot.crowdOf(row);
  if (kind === RowKind.claim) endHolder(turn, row, EndReason.expired);
  else if (kind === RowKind.waiter) giveUp(turn, row);
  else if (kind === RowKind.delay) finishDelay(turn, row);
  else close(turn, row, EndReason.expired);
  if (crowd !== undefined) grantWaiting(turn, crowd, 0);
  return 0;
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
  let left = budget;
  turn.begin(slot, now, effects, witness);
  for (const crowd of slot.aside.backlog) {
    if (left-- <= 0 || effects.room() < EFFECT_BYTES_MAX) return true;
    grantWaiting(turn, crowd, 0);
    if (slot.aside.backlog.has(crowd)) return true;
  }
  return false;
}

/**
 * The far end of `connection` is gone: its waiters keep their places for
 * LIMITS.reattachMs, and are granted nothing unless they come back.
 */
export function detach(slot: Slot, connection: number, now: number, witness: Witness): void {
  if (!slot.hasAside) return;
  const until = now + LIMITS.reattachMs;
  for (const [row, waiter] of slot.aside.attached) {
    if (waiter.connection !== connection) continue;
    slot.aside.attached.delete(row);
    const sooner = Math.min(until, slot.claims.freeAt(row));
    slot.claims.setFreeAt(row, sooner);
    witness.due(slot, row, sooner);
  }
}

// ---- one exclusive holder and nothing else

function acquirePlain(
  slot: Slot,
  row: number,
  op: Op,
  now: number,
  effects: EffectWriter,
  out: Outcome,
): void {
  const { claims } = slot;
  if (row !== 0 && claims.hasToken(row, op.bytes, op.tokenAt, op.tokenLength)) {
    if (!claims.hasPrincipal(row, op.bytes, op.principalAt, op.principalLength))
      return out.refuse('idempotency_mismatch');
    out.status = 200;
    out.tell(claims, row);
    return;
  }
  if (slot.hasEnded(op.hash | 0, op.bytes, op.tokenAt, op.tokenLength, now)) return out.refuse('not_held');
  if (row !== 0) {
    out.refuse('lock_held');
    out.tell(claims, row);
    return;
  }
  if (slot.sizeBytes >= LIMITS.slotBytesMax) return out.refuse('overloaded');
  slot.counter++;
  const granted = claims.insert(op, slot.counter, op.ttlMs === 0 ? LIMITS.ttlMsDefault : op.ttlMs);
  claims.held++;
  claims.disarm(granted);
  effects.granted(slot, granted);
  out.status = 201;
  out.armable = true;
  out.changed = true;
  out.tell(claims, granted);
}

function renewPlain(slot: Slot, row: number, op: Op, effects: EffectWriter, out: Outcome): void {
  const { claims } = slot;
  if (!isMine(slot, row, op)) return out.refuse('not_held');
  const ttlMs = op.ttlMs === 0 ? claims.ttlMs(row) : op.ttlMs;
  const withMetadata = op.metadataLength > 0;
  if (withMetadata || ttlMs !== claims.ttlMs(row)) {
    claims.setTtlMs(row, ttlMs);
    if (withMetadata) claims.setMetadata(row, op.bytes, op.metadataAt, op.metadataLength);
    slot.counter++;
    effects.renewed(slot, row, withMetadata);
    out.changed = true;
  }
  claims.disarm(row);
  out.status = 200;
  out.armable = true;
  out.tell(claims, row);
}

function releasePlain(
  slot: Slot,
  row: number,
  op: Op,
  now: number,
  effects: EffectWriter,
  out: Outcome,
): void {
  if (!isMine(slot, row, op)) return out.refuse('not_held');
  out.heldMs = heldFor(slot, row, now);
  endPlain(slot, row, EndReason.released, now, effects);
  out.status = 204;
  out.changed = true;
}

function verifyPlain(slot: Slot, row: number, op: Op, out: Outcome): void {
  const { claims } = slot;
  out.status = 200;
  if (row === 0) return;
  out.current = op.fencingToken > 0 ? claims.fencingToken(row) === op.fencingToken : isMine(slot, row, op);
  if (out.current) out.tell(claims, row);
}

function endPlain(slot: Slot, row: number, reason: EndReason, now: number, effects: EffectWriter): void {
  const { claims } = slot;
  slot.counter++;
  effects.ended(slot, row, reason);
  slot.rememberToken(row, now);
  claims.held--;
  claims.remove(row);
}
