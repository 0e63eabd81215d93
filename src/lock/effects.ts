/**
 * What the machine decides, as bytes: the entries of the journal. The grammar
 * is docs/journal.md, in short
 *
 *   entry   := version:u8 effect*
 *   effect  := head:u8 slot:varint number:varint body     head = kind | flags
 *   granted := claim                                       its fencing token is `number`
 *   renewed := hash:u32 back:varint ttlMs:varint [metadataLength:varint metadata]
 *   ended   := hash:u32 back:varint                        flags = reason
 *
 * An effect says what is so from now on, not what was asked: replaying it needs
 * no rules. `back` is number − fencing token of the claim that is meant, which
 * for the many short claims takes a byte or two.
 */
import {
  ByteReader,
  ByteWriter,
  CLAIM_BYTES_MAX,
  ClaimFlag,
  claimFlags,
  ClaimRecord,
  JournalError,
  readClaim,
  readMetadataLength,
  readTtl,
  writeClaim,
} from './codec.ts';
import type { ClaimTable } from './claims.ts';

export const ENTRY_VERSION = 1;

export const EffectKind = { granted: 1, renewed: 2, ended: 3 } as const;

/** Why a claim ended. Forced and sessionEnded are kept for later: read, but not written yet. */
export const EndReason = { released: 1, expired: 2, forced: 3, sessionEnded: 4 } as const;
export type EndReason = (typeof EndReason)[keyof typeof EndReason];

export const SLOT_MAX = 0xffff;
const KIND_BITS = 0x0f;
const HEAD_BYTES_MAX = 1 + 3 + 8;
const ENDED_BYTES_MAX = HEAD_BYTES_MAX + 4 + 8;
const EFFECT_ONE_MAX = HEAD_BYTES_MAX + 8 + CLAIM_BYTES_MAX;

/** The most bytes that one op may append: the end of an expired claim, and a grant. */
export const EFFECT_BYTES_MAX = ENDED_BYTES_MAX + EFFECT_ONE_MAX;

/** The entry that is being filled. Reused: `reset` begins the next one in the same bytes. */
export class EffectWriter extends ByteWriter {
  /** Bytes in front of the entry, for an engine's own header. */
  readonly headroom: number;
  /** Effects in the entry. */
  count = 0;

  /** @param capacity bytes in all, headroom included */
  constructor(capacity: number, headroom: number) {
    super(new Uint8Array(capacity), headroom);
    this.headroom = headroom;
    this.reset();
  }

  reset(): void {
    this.at = this.headroom;
    this.count = 0;
    this.u8(ENTRY_VERSION);
  }

  /** Bytes that may still be appended. The caller decides no op without EFFECT_BYTES_MAX of them. */
  room(): number {
    return this.bytes.length - this.at;
  }

  /** The number of the effect is the claim's fencing token. */
  granted(slot: number, claims: ClaimTable, row: number): void {
    this.begin(EffectKind.granted | claimFlags(claims, row), slot, claims.fencingToken(row));
    writeClaim(this, claims, row);
  }

  /** The claim's TTL, and its metadata if that was replaced, are those of the row. */
  renewed(slot: number, number: number, claims: ClaimTable, row: number, withMetadata: boolean): void {
    this.begin(EffectKind.renewed | (withMetadata ? ClaimFlag.metadata : 0), slot, number);
    this.u32(claims.hash(row));
    this.varint(number - claims.fencingToken(row));
    this.varint(claims.ttlMs(row));
    if (!withMetadata) return;
    const length = claims.metadataLength(row);
    this.varint(length);
    this.copy(claims.bytes, claims.metadataAt(row), length);
  }

  ended(slot: number, number: number, hash: number, fencingToken: number, reason: EndReason): void {
    this.begin(EffectKind.ended | (reason << 4), slot, number);
    this.u32(hash);
    this.varint(number - fencingToken);
  }

  private begin(head: number, slot: number, number: number): void {
    // A write past the end of a typed array vanishes without a word.
    if (this.bytes.length - this.at < EFFECT_ONE_MAX)
      throw new RangeError('the entry has no room for an effect');
    this.count++;
    this.u8(head);
    this.varint(slot);
    this.varint(number);
  }
}

/** One effect as it was read; a cursor that is moved over an entry. */
export class Effect extends ClaimRecord {
  kind = 0;
  slot = 0;
  /** Its place among the slot's effects, from 1 without gaps. */
  number = 0;
  /** Of `ended`, else 0. */
  reason = 0;
}

const effect = new Effect();
const reader = new ByteReader(effect.bytes, 0, 0);

/**
 * Shows `visit` each effect of the entry in bytes[at, end). The effect is only
 * valid during the call, and `visit` must not call readEffects.
 *
 * @throws JournalError after the effects in front of the malformed one were shown
 */
export function readEffects(
  bytes: Uint8Array,
  at: number,
  end: number,
  visit: (effect: Effect) => void,
): void {
  reader.bytes = bytes;
  reader.at = at;
  reader.end = end;
  const version = reader.u8();
  if (version !== ENTRY_VERSION)
    throw new JournalError(`an entry of version ${version}, not ${ENTRY_VERSION}`, at);
  while (!reader.done) {
    readEffect();
    visit(effect);
  }
}

function readEffect(): void {
  const headAt = reader.at;
  const head = reader.u8();
  const flags = head & ~KIND_BITS;
  effect.bytes = reader.bytes;
  effect.kind = head & KIND_BITS;
  effect.slot = reader.varint('slot', 0, SLOT_MAX);
  effect.number = reader.varint('number', 1, Number.MAX_SAFE_INTEGER);
  effect.reason = 0;
  switch (effect.kind) {
    case EffectKind.granted:
      if (flags & ClaimFlag.more) reader.fail('a grant with flags of a later version', headAt);
      effect.fencingToken = effect.number;
      readClaim(reader, flags, effect);
      return;
    case EffectKind.renewed:
      if (flags & ~ClaimFlag.metadata) reader.fail('a renewal with flags of a later version', headAt);
      readMeant();
      effect.ttlMs = readTtl(reader);
      effect.metadataLength = flags === 0 ? 0 : readMetadataLength(reader);
      effect.metadataAt = reader.skip(effect.metadataLength);
      return;
    case EffectKind.ended:
      effect.reason = flags >>> 4;
      if (effect.reason < EndReason.released || effect.reason > EndReason.sessionEnded) {
        reader.fail(`an end with reason ${effect.reason}`, headAt);
      }
      readMeant();
      return;
    default:
      reader.fail(`an effect of kind ${effect.kind}`, headAt);
  }
}

/** Which claim a renewal or an end means. */
function readMeant(): void {
  effect.keyLength = 0;
  effect.tokenLength = 0;
  effect.ownerLength = 0;
  effect.metadataLength = 0;
  effect.hash = reader.u32();
  effect.fencingToken = effect.number - reader.varint('back', 1, effect.number - 1);
}
