/**
 * Entries and checkpoints as plain objects, for people: `holdfast journal dump`.
 *
 * A lock token is the secret of whoever holds the lock, so it is never shown:
 * its fingerprint is, which is also what stands for ended tokens. The same goes
 * for the id of a session.
 */
import { MODE_NAMES, Mode } from '../op.ts';
import { readCheckpoint } from './checkpoint-reader.ts';
import { ClearedFlag, type Effect, EffectKind, readEffects } from './effects.ts';
import { fingerprintText } from './ended-tokens.ts';
import { SessionSlot } from './outcome.ts';
import type { ClaimRecord } from './records.ts';
import { RowKind } from './rows.ts';
import { stubKindOf } from './transitions.ts';

const REASONS = ['', 'released', 'expired', 'forced', 'session_ended'] as const;
const WITHDRAW_REASONS = ['', 'released', 'cancelled', 'wait_timeout', 'lost'] as const;
const NAMESPACE_END = 0;
const text = new TextDecoder();

export interface ClaimDescription {
  /** Absent: the default one. */
  readonly namespace?: string;
  readonly name: string;
  readonly hash: string;
  readonly ttlMs: number;
  readonly tokenFingerprint: string;
  /** Absent: exclusive. */
  readonly mode?: string;
  readonly limit?: number;
  readonly owner?: string;
  readonly principal?: string;
  readonly lockDelayMs?: number;
  /** Its end is remembered longer. */
  readonly keyed?: true;
  /** Numbers of the stubs that it hangs on; with a batch it is pending. */
  readonly session?: number;
  readonly batch?: number;
  /** JSON text. */
  readonly metadata?: string;
}

export interface StubDescription {
  readonly namespace?: string;
  /** `session` at the session's own slot; the others at slots that have claims of it, or of a batch. */
  readonly of: 'session' | 'session stub' | 'batch';
  readonly idFingerprint: string;
  readonly hash: string;
  readonly ttlMs: number;
  readonly owner?: string;
  readonly principal?: string;
}

export type EffectDescription = { readonly slot: number; readonly number: number } & (
  | ({ readonly effect: 'granted'; readonly fencingToken: number } & ClaimDescription)
  | ({ readonly effect: 'queued' } & ClaimDescription)
  | ({ readonly effect: 'opened' } & StubDescription)
  | ({ readonly fencingToken: number; readonly hash: string } & (
      | { readonly effect: 'renewed'; readonly ttlMs: number; readonly metadata?: string }
      | { readonly effect: 'ended' | 'withdrawn' | 'closed'; readonly reason: string }
      | { readonly effect: 'promoted' | 'confirmed' }
      | {
          readonly effect: 'cleared';
          readonly all: boolean;
          readonly reason?: string;
          readonly principal?: string;
        }
      | { readonly effect: 'joined'; readonly sessionSlot: number; readonly state: string }
    ))
);

export type CheckpointDescription =
  | { readonly record: 'state'; readonly slot: number; readonly counter: number }
  | ({ readonly record: 'claim' | 'delay'; readonly fencingToken: number } & ClaimDescription)
  | ({ readonly record: 'waiter'; readonly number: number } & ClaimDescription)
  | ({ readonly record: 'stub'; readonly number: number } & StubDescription)
  | { readonly record: 'joined'; readonly sessionSlot: number; readonly state: string }
  | { readonly record: 'left'; readonly leftMs: number }
  | { readonly record: 'ended' | 'keyed'; readonly tokenFingerprint: string; readonly ageMs: number };

/** The effects of one entry, the bytes of a `journal/…` key. @throws JournalError */
export function describeEntry(bytes: Uint8Array): EffectDescription[] {
  const effects: EffectDescription[] = [];
  readEffects(bytes, 0, bytes.length, (effect) => effects.push(describeEffect(effect)));
  return effects;
}

/** All records of a checkpoint, its chunks in order. @throws JournalError */
export function describeCheckpoint(chunks: readonly Uint8Array[]): CheckpointDescription[] {
  const records: CheckpointDescription[] = [];
  const numbered = (record: 'claim' | 'delay', claim: ClaimRecord) =>
    records.push({ record, fencingToken: claim.fencingToken, ...describeClaim(claim) });
  readCheckpoint(chunks, {
    state: (slot, counter) => records.push({ record: 'state', slot, counter }),
    stub: (stub) => records.push({ record: 'stub', number: stub.fencingToken, ...describeStub(stub) }),
    joined: (sessionSlot, state) => records.push({ record: 'joined', sessionSlot, state: stateName(state) }),
    claim: (claim) => numbered('claim', claim),
    waiter: (claim) =>
      records.push({ record: 'waiter', number: claim.fencingToken, ...describeClaim(claim) }),
    delay: (claim) => numbered('delay', claim),
    left: (leftMs) => records.push({ record: 'left', leftMs }),
    ended: (low, high, ageMs, keyed) =>
      records.push({ record: keyed ? 'keyed' : 'ended', tokenFingerprint: hex(high) + hex(low), ageMs }),
  });
  return records;
}

function describeEffect(effect: Effect): EffectDescription {
  const { slot, number, fencingToken, kind } = effect;
  const where = { slot, number };
  if (kind === EffectKind.granted)
    return { ...where, effect: 'granted', fencingToken, ...describeClaim(effect) };
  if (kind === EffectKind.queued) return { ...where, effect: 'queued', ...describeClaim(effect) };
  if (kind === EffectKind.opened) return { ...where, effect: 'opened', ...describeStub(effect) };
  const meant = { fencingToken, hash: hex(effect.hash) };
  switch (kind) {
    case EffectKind.renewed:
      return { ...where, effect: 'renewed', ...meant, ttlMs: effect.ttlMs, ...describeMetadata(effect) };
    case EffectKind.ended:
      return { ...where, effect: 'ended', ...meant, reason: REASONS[effect.reason] };
    case EffectKind.closed:
      return { ...where, effect: 'closed', ...meant, reason: REASONS[effect.reason] };
    case EffectKind.withdrawn:
      return { ...where, effect: 'withdrawn', ...meant, reason: WITHDRAW_REASONS[effect.reason] };
    case EffectKind.promoted:
      return { ...where, effect: 'promoted', ...meant };
    case EffectKind.confirmed:
      return { ...where, effect: 'confirmed', ...meant };
    case EffectKind.cleared:
      return { ...where, effect: 'cleared', ...meant, ...describeCleared(effect) };
    default:
      return {
        ...where,
        effect: 'joined',
        ...meant,
        sessionSlot: effect.joinedSlot,
        state: stateName(effect.joinedState),
      };
  }
}

function describeCleared(effect: Effect): { all: boolean; reason?: string; principal?: string } {
  return {
    all: (effect.cleared & ClearedFlag.one) === 0,
    ...(effect.metadataLength === 0
      ? {}
      : { reason: slice(effect, effect.metadataAt, effect.metadataLength) }),
    ...describePrincipal(effect),
  };
}

function describeClaim(claim: ClaimRecord): ClaimDescription {
  const [namespace, nameAt] = namespaceOf(claim);
  return {
    ...namespace,
    name: slice(claim, nameAt, claim.keyAt + claim.keyLength - nameAt),
    hash: hex(claim.hash),
    ttlMs: claim.ttlMs,
    tokenFingerprint: fingerprintText(claim.hash, claim.bytes, claim.tokenAt, claim.tokenLength),
    ...(claim.mode === Mode.exclusive ? {} : { mode: MODE_NAMES[claim.mode] }),
    ...(claim.limit === 0 ? {} : { limit: claim.limit }),
    ...describeOwner(claim),
    ...describePrincipal(claim),
    ...(claim.lockDelayMs === 0 ? {} : { lockDelayMs: claim.lockDelayMs }),
    ...(claim.keyed ? { keyed: true } : {}),
    ...(claim.stub === 0 ? {} : { session: claim.stub }),
    ...(claim.batch === 0 ? {} : { batch: claim.batch }),
    ...describeMetadata(claim),
  };
}

function describeStub(stub: ClaimRecord): StubDescription {
  const [namespace, markAt] = namespaceOf(stub);
  const kind = stubKindOf(stub.bytes, stub.keyAt, stub.keyLength);
  const idAt = markAt + 1;
  return {
    ...namespace,
    of: kind === RowKind.session ? 'session' : kind === RowKind.stub ? 'session stub' : 'batch',
    idFingerprint: fingerprintText(0, stub.bytes, idAt, stub.keyAt + stub.keyLength - idAt),
    hash: hex(stub.hash),
    ttlMs: stub.ttlMs,
    ...describeOwner(stub),
    ...describePrincipal(stub),
  };
}

/** Of the key; and where it goes on. */
function namespaceOf(claim: ClaimRecord): [{ namespace?: string }, number] {
  const { bytes, keyAt, keyLength } = claim;
  // The id of a batch may have zeros, but no namespace begins like one.
  const isMarked = keyLength > 0 && bytes[keyAt] < 4;
  const separator = isMarked ? -1 : bytes.subarray(keyAt, keyAt + keyLength).indexOf(NAMESPACE_END);
  if (separator < 0) return [{}, keyAt];
  return [{ namespace: slice(claim, keyAt, separator) }, keyAt + separator + 1];
}

function describeOwner(claim: ClaimRecord): { owner?: string } {
  return claim.ownerLength === 0 ? {} : { owner: slice(claim, claim.ownerAt, claim.ownerLength) };
}

function describePrincipal(claim: ClaimRecord): { principal?: string } {
  if (claim.principalLength === 0) return {};
  return { principal: slice(claim, claim.principalAt, claim.principalLength) };
}

function describeMetadata(claim: ClaimRecord): { metadata?: string } {
  return claim.metadataLength === 0 ? {} : { metadata: slice(claim, claim.metadataAt, claim.metadataLength) };
}

function stateName(state: SessionSlot): string {
  return state === SessionSlot.active ? 'active' : 'pending';
}

function slice(claim: ClaimRecord, at: number, length: number): string {
  return text.decode(claim.bytes.subarray(at, at + length));
}

function hex(word: number): string {
  return word.toString(16).padStart(8, '0');
}
