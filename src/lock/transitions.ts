/**
 * The changes of a slot's state, each as one effect tells it. The machine makes
 * them when it has decided, replay when it reads the effect: so a state that is
 * read back is the one that was. Times are the machine's alone.
 */
import { BATCH_KEY, Mode, SESSION_KEY, STUB_KEY } from '../op.ts';
import type { ClaimSource } from './claims.ts';
import { Crowd } from './crowd.ts';
import { latin1 } from './latin1.ts';
import { type SessionSlot } from './outcome.ts';
import { EndReason, MODE_UNIT, RowFlag, RowKind } from './rows.ts';
import type { Slot } from './slot.ts';

/** What a claim or waiter is made from: an `Op`, or what was read of one. */
export interface RowSource extends ClaimSource {
  readonly mode: number;
  readonly lockDelayMs: number;
}

/** A new row of the lock with this key, the last of its holders or waiters. */
export function addRow(
  slot: Slot,
  from: RowSource,
  row: { kind: typeof RowKind.claim | typeof RowKind.waiter; number: number; ttlMs: number },
  more: { keyed: boolean; stub: number; batch: number },
): number {
  const { claims } = slot;
  const { stub, batch } = more;
  const first = claims.find(from.bytes, from.keyAt, from.keyLength, from.hash | 0);
  const flags =
    row.kind |
    (from.mode * MODE_UNIT) |
    (more.keyed ? RowFlag.keyed : 0) |
    (first === 0 ? 0 : RowFlag.byNumber) |
    (stub === 0 ? 0 : RowFlag.onStub) |
    (batch === 0 ? 0 : RowFlag.pending);
  const crowd = first === 0 ? undefined : crowdFor(slot, first);
  const added = claims.insert(from, row.number, row.ttlMs, flags, stub, batch);
  if (crowd !== undefined) enter(slot, crowd, added);
  else if (row.kind === RowKind.waiter) enter(slot, new Crowd(added), added);
  if (from.lockDelayMs > 0) {
    slot.aside.lockDelays.set(added, from.lockDelayMs);
    claims.setFlags(added, claims.flags(added) | RowFlag.aside);
  }
  if (stub !== 0) slot.aside.onStub.get(stub)!.add(added);
  if (batch !== 0) slot.aside.onStub.get(batch)!.add(added);
  if (row.kind === RowKind.waiter) claims.waiting++;
  else if (batch === 0) claims.held++;
  return added;
}

/** The row of the lock that shows this token, a holder's or a waiter's; `row` is any row of the lock. 0 = none. */
export function findToken(slot: Slot, row: number, bytes: Uint8Array, at: number, length: number): number {
  const { claims } = slot;
  const crowd = slot.crowdOf(row);
  if (crowd === undefined) return row !== 0 && claims.hasToken(row, bytes, at, length) ? row : 0;
  return crowd.find(claims, bytes, at, length);
}

/** A waiter holds the lock from now on. */
export function promote(slot: Slot, row: number, fencingToken: number): void {
  const { claims } = slot;
  const crowd = slot.aside.crowds.get(row)!;
  crowd.waiters.delete(row);
  crowd.holders.add(row);
  claims.becomeHolder(row, fencingToken);
  claims.waiting--;
  claims.held++;
  dissolve(slot, crowd);
}

/** A waiter leaves the queue. Only the token of one that was released must not come back. */
export function withdraw(slot: Slot, row: number, released: boolean, now: number): void {
  if (released) slot.rememberToken(row, now);
  removeRow(slot, row);
}

/**
 * The end of a claim. One with a lock delay that was not released leaves a
 * delay of its lock, which is as long as the longest that is still there.
 *
 * @returns the row of the delay, which was the claim's; 0 = there is none
 */
export function endClaim(slot: Slot, row: number, reason: EndReason, now: number): number {
  const isPending = slot.claims.isPending(row);
  if (!isPending) slot.rememberToken(row, now);
  const delayMs = isPending || reason === EndReason.released ? 0 : lockDelayMs(slot, row);
  if (delayMs === 0) removeRow(slot, row);
  else becomeDelay(slot, row, delayMs);
  return delayMs === 0 ? 0 : row;
}

export function lockDelayMs(slot: Slot, row: number): number {
  return slot.claims.flags(row) & RowFlag.aside ? (slot.aside.lockDelays.get(row) ?? 0) : 0;
}

/** A delay that a checkpoint tells of. False when its lock has one already. */
export function addDelay(slot: Slot, from: RowSource, number: number, ttlMs: number): boolean {
  const { claims } = slot;
  const first = claims.find(from.bytes, from.keyAt, from.keyLength, from.hash | 0);
  const crowd = first === 0 ? undefined : crowdFor(slot, first);
  if (crowd !== undefined && crowd.delay !== 0) return false;
  const flags = RowKind.delay | (from.mode * MODE_UNIT) | (first === 0 ? 0 : RowFlag.byNumber);
  const row = claims.insert(from, number, ttlMs, flags);
  enter(slot, crowd ?? new Crowd(row), row);
  return true;
}

/** The end of a delay. */
export function endDelay(slot: Slot, row: number): void {
  removeRow(slot, row);
}

// ---- sessions and stubs

export type StubKind = typeof RowKind.session | typeof RowKind.stub | typeof RowKind.batch;

/** What a key without a lock's name stands for, by the first byte of what would be the name. */
export function stubKindOf(bytes: Uint8Array, at: number, length: number): StubKind | undefined {
  const end = at + length;
  let mark = at;
  // No namespace has bytes as low as these, and a zero byte ends it.
  while (mark < end && bytes[mark] > BATCH_KEY) mark++;
  if (mark > at && (mark === end || bytes[mark++] !== 0)) return undefined;
  if (mark === end) return undefined;
  if (bytes[mark] === SESSION_KEY) return RowKind.session;
  if (bytes[mark] === STUB_KEY) return RowKind.stub;
  return bytes[mark] === BATCH_KEY ? RowKind.batch : undefined;
}

/** A session begins, or a slot has something of one or of an atomic batch for the first time. */
export function openStub(
  slot: Slot,
  from: ClaimSource,
  kind: StubKind,
  number: number,
  ttlMs: number,
): number {
  const { claims } = slot;
  if (kind === RowKind.session) {
    const session = claims.insert(from, number, ttlMs, kind);
    slot.aside.sessionSlots.set(session, new Map());
    return session;
  }
  const row = claims.insert(from, number, ttlMs, kind | RowFlag.byNumber);
  slot.aside.stubs.set(latin1(from.bytes, from.keyAt, from.keyLength), row);
  slot.aside.onStub.set(row, new Set());
  return row;
}

/** The rows that hang on a stub, in the order of their numbers. */
export function rowsOnStub(slot: Slot, stub: number): number[] {
  const { claims } = slot;
  return [...slot.aside.onStub.get(stub)!].sort((a, b) => claims.fencingToken(a) - claims.fencingToken(b));
}

/**
 * A session or stub is over; a stub takes with it what hangs on it, each by
 * `endRow`. No late request begins it again.
 */
export function closeStub(slot: Slot, stub: number, now: number, endRow: (row: number) => void): void {
  const { claims } = slot;
  if (claims.kind(stub) === RowKind.session) slot.aside.sessionSlots.delete(stub);
  else for (const row of rowsOnStub(slot, stub)) endRow(row);
  slot.rememberStub(stub, now);
  dropStub(slot, stub);
}

/** A row that hangs on a stub that is over. */
export function endOnStub(slot: Slot, row: number, now: number): number {
  if (slot.claims.kind(row) !== RowKind.waiter) return endClaim(slot, row, EndReason.sessionEnded, now);
  withdraw(slot, row, false, now);
  return 0;
}

/** The pending claims of an atomic batch are claims from now on, shown to `confirmed` in their order. */
export function confirmBatch(slot: Slot, stub: number, confirmed: (row: number) => void): void {
  const { claims } = slot;
  for (const row of rowsOnStub(slot, stub)) {
    claims.setFlags(row, claims.flags(row) & ~RowFlag.pending);
    claims.held++;
    confirmed(row);
  }
  dropStub(slot, stub);
}

export function setSessionSlot(slot: Slot, session: number, of: number, state: SessionSlot): void {
  slot.aside.sessionSlots.get(session)!.set(of, state);
}

function dropStub(slot: Slot, stub: number): void {
  const { claims } = slot;
  if (claims.kind(stub) !== RowKind.session) {
    slot.aside.stubs.delete(latin1(claims.bytes, claims.keyAt(stub), claims.keyLength(stub)));
    slot.aside.onStub.delete(stub);
  }
  claims.remove(stub);
}

// ---- rows of one lock

/** A claim of this mode may stand beside `row`, sooner or later: the family is the same, and a semaphore's limit. */
export function mayJoin(slot: Slot, row: number, mode: number, limit: number): boolean {
  if (slot.claims.mode(row) !== Mode.semaphore) return mode !== Mode.semaphore;
  return mode === Mode.semaphore && slot.claims.limit(row) === limit;
}

function crowdFor(slot: Slot, row: number): Crowd {
  const known = slot.crowdOf(row);
  if (known !== undefined) return known;
  const crowd = new Crowd(row);
  enter(slot, crowd, row);
  return crowd;
}

function enter(slot: Slot, crowd: Crowd, row: number): void {
  const { claims } = slot;
  claims.setFlags(row, claims.flags(row) | RowFlag.crowd);
  slot.aside.crowds.set(row, crowd);
  crowd.add(claims, row);
}

function leave(slot: Slot, row: number): void {
  const { claims } = slot;
  const crowd = slot.aside.crowds.get(row)!;
  slot.aside.crowds.delete(row);
  crowd.remove(claims, row);
  if (crowd.size === 0) {
    slot.aside.backlog.delete(crowd);
    return;
  }
  if (crowd.first === row) {
    crowd.first = crowd.eldest();
    claims.becomeFirst(crowd.first);
  }
  dissolve(slot, crowd);
}

/** One holder alone needs no Crowd. */
function dissolve(slot: Slot, crowd: Crowd): void {
  if (crowd.size !== 1 || crowd.holders.size !== 1) return;
  const { claims } = slot;
  slot.aside.crowds.delete(crowd.first);
  slot.aside.backlog.delete(crowd);
  claims.setFlags(crowd.first, claims.flags(crowd.first) & ~RowFlag.crowd);
}

function becomeDelay(slot: Slot, row: number, delayMs: number): void {
  const { claims } = slot;
  const crowd = crowdFor(slot, row);
  const before = crowd.delay;
  forgetAside(slot, row);
  leaveStubs(slot, row);
  claims.held--;
  crowd.remove(claims, row);
  const kept = claims.flags(row) & (RowFlag.mode | RowFlag.principal | RowFlag.byNumber | RowFlag.crowd);
  claims.setFlags(row, kept | RowKind.delay);
  claims.setFreeAt(row, Infinity);
  claims.setTtlMs(row, before === 0 ? delayMs : Math.max(delayMs, claims.ttlMs(before)));
  crowd.delay = row;
  if (before !== 0) removeRow(slot, before);
}

function removeRow(slot: Slot, row: number): void {
  const { claims } = slot;
  const kind = claims.kind(row);
  if (kind === RowKind.waiter) claims.waiting--;
  else if (kind === RowKind.claim && !claims.isPending(row)) claims.held--;
  forgetAside(slot, row);
  leaveStubs(slot, row);
  if (claims.isInCrowd(row)) leave(slot, row);
  claims.remove(row);
}

function forgetAside(slot: Slot, row: number): void {
  if ((slot.claims.flags(row) & RowFlag.aside) === 0) return;
  slot.aside.lockDelays.delete(row);
  slot.aside.attached.delete(row);
  slot.aside.listeners.delete(row);
}

function leaveStubs(slot: Slot, row: number): void {
  const { claims } = slot;
  if (claims.hasOwnTime(row)) return;
  const [stub, batch] = [claims.stub(row), claims.batch(row)];
  if (stub !== 0) slot.aside.onStub.get(stub)!.delete(row);
  if (batch !== 0) slot.aside.onStub.get(batch)!.delete(row);
}
