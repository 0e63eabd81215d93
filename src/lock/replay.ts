/**
 * Builds a slot's state from journal entries. Effects of a slot are numbered
 * without gaps, so each is applied exactly once however often, and from however
 * far back, entries are replayed.
 */
import { LIMITS, ttlPadMs } from '../limits.ts';
import { Mode } from '../op.ts';
import { JournalError } from './codec.ts';
import { ClearedFlag, type Effect, EffectKind, readEffects } from './effects.ts';
import { holdersOf } from './lock-view.ts';
import type { ClaimRecord } from './records.ts';
import { EndReason, RowKind, WithdrawReason } from './rows.ts';
import type { Slot } from './slot.ts';
import {
  addRow,
  closeStub,
  confirmBatch,
  endClaim,
  endDelay,
  endOnStub,
  mayJoin,
  openStub,
  promote,
  setSessionSlot,
  type StubKind,
  stubKindOf,
  withdraw,
} from './transitions.ts';

export interface ReplayResult {
  /** Effects that changed a slot. */
  readonly applied: number;
  /** Effects whose predecessors have not been replayed: left out. Replay the missing entries, then this one again. */
  readonly early: number;
}

/**
 * Applies what is new in the entry in bytes[at, end) to the slots that `slotOf`
 * knows. Rows are left unarmed (see `rearm`), ended tokens count from `now`.
 *
 * @throws JournalError for malformed bytes, or effects that contradict the
 *   state; the slots must not be used then
 */
export function replayEntry(
  bytes: Uint8Array,
  at: number,
  end: number,
  slotOf: (slot: number) => Slot | undefined,
  now: number,
): ReplayResult {
  let applied = 0;
  let early = 0;
  readEffects(bytes, at, end, (effect) => {
    const slot = slotOf(effect.slot);
    if (slot === undefined || effect.number <= slot.counter) return;
    if (effect.number > slot.counter + 1) {
      early++;
      return;
    }
    const contradiction = applyEffect(slot, effect, now);
    if (contradiction !== '') {
      throw new JournalError(`effect ${effect.number} of slot ${effect.slot} ${contradiction}`, at);
    }
    slot.counter = effect.number;
    applied++;
  });
  return { applied, early };
}

/**
 * Gives every unarmed claim, session and stub its whole TTL again, and every
 * delay its length, from `now` (monotonic ms): the former owner may have
 * answered a renewal that no journal knows. Rows of a slot that was handed over
 * have the time that they had left. Waiters have LIMITS.reattachMs to come back.
 * `visit` schedules each row that has a time of its own.
 */
export function rearm(slot: Slot, now: number, visit: (row: number) => void): void {
  const { claims } = slot;
  for (const row of claims.rows()) {
    if (!claims.hasOwnTime(row) && claims.kind(row) !== RowKind.waiter) continue;
    startTime(slot, row, now);
    visit(row);
  }
}

function startTime({ claims }: Slot, row: number, now: number): void {
  const ttlMs = claims.ttlMs(row);
  if (claims.kind(row) === RowKind.waiter) claims.setFreeAt(row, now + LIMITS.reattachMs);
  else if (claims.freeAt(row) !== Infinity) return;
  else if (claims.kind(row) === RowKind.delay) claims.setFreeAt(row, now + ttlMs);
  else claims.arm(row, claims.fencingToken(row), now + ttlMs, now + ttlMs + ttlPadMs(ttlMs));
}

/** Returns what is wrong, '' = nothing. */
function applyEffect(slot: Slot, effect: Effect, now: number): string {
  switch (effect.kind) {
    case EffectKind.granted:
      return takeRow(slot, effect, RowKind.claim);
    case EffectKind.queued:
      return takeRow(slot, effect, RowKind.waiter);
    case EffectKind.opened:
      return takeStub(slot, effect) === 0 ? 'opens what is open' : '';
  }
  const row = slot.claims.findFenced(effect.hash | 0, effect.fencingToken);
  if (row === 0) return `is about claim ${effect.fencingToken}, which does not exist`;
  return applyTo(slot, row, effect, now)
    ? ''
    : `is about ${effect.fencingToken}, which is of kind ${slot.claims.kind(row)}`;
}

/** False when the row is not what the effect can be about. */
function applyTo(slot: Slot, row: number, effect: Effect, now: number): boolean {
  const { claims } = slot;
  const kind = claims.kind(row);
  const isStub = kind === RowKind.session || kind === RowKind.stub || kind === RowKind.batch;
  switch (effect.kind) {
    case EffectKind.renewed:
      if (kind === RowKind.waiter || kind === RowKind.delay) return false;
      claims.setTtlMs(row, effect.ttlMs);
      if (effect.metadataLength > 0)
        claims.setMetadata(row, effect.bytes, effect.metadataAt, effect.metadataLength);
      return true;
    case EffectKind.ended:
      if (kind === RowKind.delay) endDelay(slot, row);
      else if (kind === RowKind.claim) endClaim(slot, row, effect.reason as EndReason, now);
      else return false;
      return true;
    case EffectKind.promoted:
      if (kind !== RowKind.waiter || conflicts(slot, row, claims.mode(row))) return false;
      promote(slot, row, effect.number);
      return true;
    case EffectKind.withdrawn:
      if (kind !== RowKind.waiter) return false;
      withdraw(slot, row, effect.reason === WithdrawReason.released, now);
      return true;
    case EffectKind.cleared:
      if (kind !== RowKind.claim) return false;
      for (const holder of effect.cleared & ClearedFlag.one ? [row] : [...holdersOf(slot, row)])
        endClaim(slot, holder, EndReason.forced, now);
      return true;
    case EffectKind.closed:
      if (isStub) closeStub(slot, row, now, (onStub) => endOnStub(slot, onStub, now));
      return isStub;
    case EffectKind.confirmed:
      if (kind === RowKind.batch) confirmBatch(slot, row, () => {});
      return kind === RowKind.batch;
    default:
      if (kind === RowKind.session) setSessionSlot(slot, row, effect.joinedSlot, effect.joinedState);
      return kind === RowKind.session;
  }
}

/** A claim or waiter as it was read becomes a row. Returns what is wrong, '' = nothing. */
export function takeRow(
  slot: Slot,
  record: ClaimRecord,
  kind: typeof RowKind.claim | typeof RowKind.waiter,
): string {
  const { claims } = slot;
  const { fencingToken: number, ttlMs, keyed } = record;
  const other = claims.find(record.bytes, record.keyAt, record.keyLength, record.hash | 0);
  if (other !== 0) {
    if (kind === RowKind.claim && conflicts(slot, other, record.mode))
      return `grants what claim ${claims.fencingToken(other)} holds`;
    const isUsed = slot.crowdOf(other)?.isUsed ?? true;
    if (isUsed && !mayJoin(slot, slot.crowdOf(other)?.eldest() ?? other, record.mode, record.limit))
      return `is of another mode than claim ${claims.fencingToken(other)}`;
  }
  const stub = stubWithNumber(slot, record.stub, RowKind.stub);
  const batch = stubWithNumber(slot, record.batch, RowKind.batch);
  if (stub < 0 || batch < 0) return 'hangs on what does not exist';
  addRow(slot, record, { kind, number, ttlMs }, { keyed, stub, batch });
  return '';
}

/** A session or stub as it was read becomes a row, which is returned; 0 = it is there already. */
export function takeStub(slot: Slot, record: ClaimRecord): number {
  const { bytes, keyAt, keyLength, fencingToken, ttlMs } = record;
  const kind: StubKind = stubKindOf(bytes, keyAt, keyLength)!;
  if (slot.findStub(bytes, keyAt, keyLength) !== 0) return 0;
  if (kind === RowKind.session && slot.claims.find(bytes, keyAt, keyLength, record.hash | 0) !== 0) return 0;
  return openStub(slot, record, kind, fencingToken, ttlMs);
}

/** The row of that stub, 0 for number 0, −1 when there is none. */
function stubWithNumber({ claims }: Slot, number: number, kind: StubKind): number {
  if (number === 0) return 0;
  const row = claims.findFenced(number | 0, number);
  return row !== 0 && claims.kind(row) === kind ? row : -1;
}

/** Nobody may hold the lock of `row` in this mode beside those who hold it. */
function conflicts(slot: Slot, row: number, mode: number): boolean {
  const crowd = slot.crowdOf(row);
  const count = crowd === undefined ? 1 : crowd.holders.size;
  if (count === 0) return false;
  if (mode === Mode.exclusive) return true;
  const oldest = crowd === undefined ? row : crowd.eldest();
  if (mode === Mode.shared) return slot.claims.mode(oldest) !== Mode.shared;
  return slot.claims.mode(oldest) === Mode.semaphore && count >= slot.claims.limit(oldest);
}
