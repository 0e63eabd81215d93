/**
 * Builds a slot's state from journal entries. Effects of a slot are numbered
 * without gaps, so each is applied exactly once however often, and from however
 * far back, entries are replayed.
 */
import { ttlPadMs } from '../limits.ts';
import { JournalError } from './codec.ts';
import { type Effect, EffectKind, readEffects } from './effects.ts';
import type { Slot } from './slot.ts';

export interface ReplayResult {
  /** Effects that changed a slot. */
  readonly applied: number;
  /** Effects whose predecessors have not been replayed: left out. Replay the missing entries, then this one again. */
  readonly early: number;
}

/**
 * Applies what is new in the entry in bytes[at, end) to the slots that `slotOf`
 * knows. Claims are left unarmed (see `rearm`), ended tokens count from `now`.
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
 * Gives every unarmed claim its whole TTL again, from `now` (monotonic ms): its
 * former owner may have answered a renewal that no journal knows. Claims of a
 * slot that was handed over have the time that they had left. `visit` schedules
 * each claim.
 */
export function rearm(slot: Slot, now: number, visit: (row: number) => void): void {
  const { claims } = slot;
  for (const row of claims.rows()) {
    if (claims.freeAt(row) === Infinity) {
      const ttlMs = claims.ttlMs(row);
      claims.arm(row, claims.fencingToken(row), now + ttlMs, now + ttlMs + ttlPadMs(ttlMs));
    }
    visit(row);
  }
}

/** Returns what is wrong, '' = nothing. */
function applyEffect(slot: Slot, effect: Effect, now: number): string {
  const { claims } = slot;
  if (effect.kind === EffectKind.granted) {
    const held = claims.find(effect.bytes, effect.keyAt, effect.keyLength, effect.hash | 0);
    if (held !== 0) return `grants what claim ${claims.fencingToken(held)} holds`;
    claims.insert(effect, effect.fencingToken, effect.ttlMs);
    return '';
  }
  const row = claims.findFenced(effect.hash | 0, effect.fencingToken);
  if (row === 0) return `is about claim ${effect.fencingToken}, which does not exist`;
  if (effect.kind === EffectKind.renewed) {
    claims.setTtlMs(row, effect.ttlMs);
    if (effect.metadataLength > 0) {
      claims.setMetadata(row, effect.bytes, effect.metadataAt, effect.metadataLength);
    }
    return '';
  }
  slot.ended.add(effect.hash | 0, claims.bytes, claims.tokenAt(row), claims.tokenLength(row), now);
  claims.remove(row);
  return '';
}
