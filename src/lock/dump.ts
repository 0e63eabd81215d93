/**
 * Entries and checkpoints as plain objects, for people: `holdfast journal dump`.
 *
 * A lock token is the secret of whoever holds the lock, so it is never shown:
 * its fingerprint is, which is also what stands for ended tokens.
 */
import { readCheckpoint } from './checkpoint.ts';
import type { ClaimRecord } from './codec.ts';
import { type Effect, EffectKind, readEffects } from './effects.ts';
import { fingerprintText } from './ended-tokens.ts';

const REASONS = ['', 'released', 'expired', 'forced', 'session_ended'] as const;
const NAMESPACE_END = 0;
const text = new TextDecoder();

export interface ClaimDescription {
  /** Absent: the default one. */
  readonly namespace?: string;
  readonly name: string;
  readonly hash: string;
  readonly ttlMs: number;
  readonly tokenFingerprint: string;
  readonly owner?: string;
  /** JSON text. */
  readonly metadata?: string;
}

export type EffectDescription = { readonly slot: number; readonly number: number } & (
  | ({ readonly effect: 'granted'; readonly fencingToken: number } & ClaimDescription)
  | {
      readonly effect: 'renewed';
      readonly fencingToken: number;
      readonly hash: string;
      readonly ttlMs: number;
      readonly metadata?: string;
    }
  | {
      readonly effect: 'ended';
      readonly fencingToken: number;
      readonly hash: string;
      readonly reason: string;
    }
);

export type CheckpointDescription =
  | { readonly record: 'state'; readonly slot: number; readonly counter: number }
  | ({ readonly record: 'claim'; readonly fencingToken: number } & ClaimDescription)
  | { readonly record: 'left'; readonly leftMs: number }
  | { readonly record: 'ended'; readonly tokenFingerprint: string; readonly ageMs: number };

/** The effects of one entry, the bytes of a `journal/…` key. @throws JournalError */
export function describeEntry(bytes: Uint8Array): EffectDescription[] {
  const effects: EffectDescription[] = [];
  readEffects(bytes, 0, bytes.length, (effect) => effects.push(describeEffect(effect)));
  return effects;
}

/** All records of a checkpoint, its chunks in order. @throws JournalError */
export function describeCheckpoint(chunks: readonly Uint8Array[]): CheckpointDescription[] {
  const records: CheckpointDescription[] = [];
  readCheckpoint(chunks, {
    state: (slot, counter) => records.push({ record: 'state', slot, counter }),
    claim: (claim) =>
      records.push({ record: 'claim', fencingToken: claim.fencingToken, ...describeClaim(claim) }),
    left: (leftMs) => records.push({ record: 'left', leftMs }),
    ended: (low, high, ageMs) =>
      records.push({ record: 'ended', tokenFingerprint: hex(high) + hex(low), ageMs }),
  });
  return records;
}

function describeEffect(effect: Effect): EffectDescription {
  const { slot, number, fencingToken } = effect;
  const hash = hex(effect.hash);
  if (effect.kind === EffectKind.granted) {
    return { slot, number, effect: 'granted', fencingToken, ...describeClaim(effect) };
  }
  if (effect.kind === EffectKind.ended) {
    return { slot, number, effect: 'ended', fencingToken, hash, reason: REASONS[effect.reason] };
  }
  return {
    slot,
    number,
    effect: 'renewed',
    fencingToken,
    hash,
    ttlMs: effect.ttlMs,
    ...describeMetadata(effect),
  };
}

function describeClaim(claim: ClaimRecord): ClaimDescription {
  const key = claim.bytes.subarray(claim.keyAt, claim.keyAt + claim.keyLength);
  const separator = key.indexOf(NAMESPACE_END);
  return {
    ...(separator < 0 ? {} : { namespace: text.decode(key.subarray(0, separator)) }),
    name: text.decode(key.subarray(separator + 1)),
    hash: hex(claim.hash),
    ttlMs: claim.ttlMs,
    tokenFingerprint: fingerprintText(claim.hash, claim.bytes, claim.tokenAt, claim.tokenLength),
    ...(claim.ownerLength === 0 ? {} : { owner: slice(claim, claim.ownerAt, claim.ownerLength) }),
    ...describeMetadata(claim),
  };
}

function describeMetadata(claim: ClaimRecord): { metadata?: string } {
  return claim.metadataLength === 0 ? {} : { metadata: slice(claim, claim.metadataAt, claim.metadataLength) };
}

function slice(claim: ClaimRecord, at: number, length: number): string {
  return text.decode(claim.bytes.subarray(at, at + length));
}

function hex(word: number): string {
  return word.toString(16).padStart(8, '0');
}
