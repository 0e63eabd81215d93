/**
 * What the machine decides, as bytes: the entries of the journal. The grammar
 * is docs/journal.md, in short
 *
 *   entry     := version:u8 effect*
 *   effect    := head:u8 slot:varint number:varint body     head = kind | flags
 *   granted   := claim                                      its fencing token is `number`
 *   renewed   := meant ttlMs:varint [metadataLength:varint metadata]
 *   ended     := meant                                      flags = reason
 *   queued    := claim                                      a waiter
 *   promoted  := meant                                      the waiter's fencing token is `number`
 *   withdrawn := meant                                      flags = reason
 *   cleared   := meant [reasonLength:varint] [principalLength:varint] reason principal
 *   opened    := stub                                       a session, or the stub of one or of a batch
 *   closed    := meant                                      flags = reason
 *   confirmed := meant                                      a batch
 *   joined    := meant slot:varint                          a slot of a session
 *   meant     := hash:u32 back:varint
 *
 * An effect says what is so from now on, not what was asked: replaying it needs
 * no rules. `back` is number − number of the row that is meant, which for the
 * many short claims takes a byte or two.
 */
import { LIMITS } from '../limits.ts';
import type { Op } from '../op.ts';
import { ByteReader, ByteWriter, JournalError } from './codec.ts';
import type { SessionSlot } from './outcome.ts';
import {
  CLAIM_BYTES_MAX,
  ClaimFlag,
  claimFlags,
  ClaimRecord,
  readClaim,
  readMetadataLength,
  readPrincipalLength,
  readStub,
  readTtl,
  STUB_BYTES_MAX,
  stubFlags,
  writeClaim,
  writeStub,
} from './records.ts';
import { EndReason, WithdrawReason } from './rows.ts';
import type { Slot } from './slot.ts';

export const ENTRY_VERSION = 1;

export const EffectKind = {
  granted: 1,
  renewed: 2,
  ended: 3,
  queued: 4,
  promoted: 5,
  withdrawn: 6,
  cleared: 7,
  opened: 8,
  closed: 9,
  confirmed: 10,
  joined: 11,
} as const;

export const ClearedFlag = {
  /** Only the claim that is meant, not all holders of its lock. */
  one: 0x10,
  reason: 0x20,
  principal: 0x40,
} as const;

/** Of `joined`: the slot has locks of the session. */
const JOINED_ACTIVE = 0x10;

export const SLOT_MAX = 0xffff;
const KIND_BITS = 0x0f;
const HEAD_BYTES_MAX = 1 + 3 + 8;
const EFFECT_ONE_MAX = HEAD_BYTES_MAX + CLAIM_BYTES_MAX;

/** What is appended for each waiter that is granted or leaves, and each claim that is found to be over. */
export const SHORT_EFFECT_BYTES_MAX = HEAD_BYTES_MAX + 4 + 8;

/** The most bytes that one op appends itself: a session's stub, a batch's, and a claim. */
export const OWN_BYTES_MAX = EFFECT_ONE_MAX + 2 * (HEAD_BYTES_MAX + STUB_BYTES_MAX);

/**
 * The room for one op: what it appends itself, and the ends of the claim, the
 * session, the batch and the delay that it finds to be over. Of others that are
 * over, and of waiters that can be granted, there may be thousands: they are
 * dealt with as far as there is room, and the rest later.
 */
export const EFFECT_BYTES_MAX = OWN_BYTES_MAX + 4 * SHORT_EFFECT_BYTES_MAX;

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
  granted(slot: Slot, row: number): void {
    this.begin(
      EffectKind.granted | claimFlags(slot, row),
      slot,
      slot.claims.fencingToken(row),
      EFFECT_ONE_MAX,
    );
    writeClaim(this, slot, row);
  }

  /** The number of the effect is the waiter's. */
  queued(slot: Slot, row: number): void {
    this.begin(
      EffectKind.queued | claimFlags(slot, row),
      slot,
      slot.claims.fencingToken(row),
      EFFECT_ONE_MAX,
    );
    writeClaim(this, slot, row);
  }

  // From here on the effect has the number of the slot's counter.

  /** The TTL, and the metadata if that was replaced, are those of the row. */
  renewed(slot: Slot, row: number, withMetadata: boolean): void {
    const { claims } = slot;
    this.meant(
      EffectKind.renewed | (withMetadata ? ClaimFlag.metadata : 0),
      slot,
      row,
      7 + LIMITS.metadataBytesMax,
    );
    this.varint(claims.ttlMs(row));
    if (!withMetadata) return;
    const length = claims.metadataLength(row);
    this.varint(length);
    this.copy(claims.bytes, claims.metadataAt(row), length);
  }

  ended(slot: Slot, row: number, reason: EndReason): void {
    this.meant(EffectKind.ended | (reason << 4), slot, row);
  }

  /** Before the row gets its fencing token. */
  promoted(slot: Slot, row: number): void {
    this.meant(EffectKind.promoted, slot, row);
  }

  withdrawn(slot: Slot, row: number, reason: WithdrawReason): void {
    this.meant(EffectKind.withdrawn | (reason << 4), slot, row);
  }

  /** By whom and why, `op` tells. */
  cleared(slot: Slot, row: number, onlyThis: boolean, op: Op): void {
    const flags =
      (onlyThis ? ClearedFlag.one : 0) |
      (op.metadataLength > 0 ? ClearedFlag.reason : 0) |
      (op.principalLength > 0 ? ClearedFlag.principal : 0);
    this.meant(EffectKind.cleared | flags, slot, row, 3 + LIMITS.reasonBytesMax + LIMITS.principalBytesMax);
    if (op.metadataLength > 0) this.varint(op.metadataLength);
    if (op.principalLength > 0) this.varint(op.principalLength);
    this.copy(op.bytes, op.metadataAt, op.metadataLength);
    this.copy(op.bytes, op.principalAt, op.principalLength);
  }

  opened(slot: Slot, row: number): void {
    this.begin(EffectKind.opened | stubFlags(slot, row), slot, slot.counter, HEAD_BYTES_MAX + STUB_BYTES_MAX);
    writeStub(this, slot, row);
  }

  closed(slot: Slot, row: number, reason: EndReason): void {
    this.meant(EffectKind.closed | (reason << 4), slot, row);
  }

  confirmed(slot: Slot, row: number): void {
    this.meant(EffectKind.confirmed, slot, row);
  }

  joined(slot: Slot, row: number, of: number, state: SessionSlot): void {
    this.meant(EffectKind.joined | (state === 0 ? 0 : JOINED_ACTIVE), slot, row, 3);
    this.varint(of);
  }

  private meant(head: number, slot: Slot, row: number, more = 0): void {
    const { claims } = slot;
    this.begin(head, slot, slot.counter, SHORT_EFFECT_BYTES_MAX + more);
    this.u32(claims.hash(row));
    this.varint(slot.counter - claims.fencingToken(row));
  }

  private begin(head: number, slot: Slot, number: number, bytes: number): void {
    // A write past the end of a typed array vanishes without a word.
    if (this.bytes.length - this.at < bytes) throw new RangeError('the entry has no room for an effect');
    this.count++;
    this.u8(head);
    this.varint(slot.number);
    this.varint(number);
  }
}

/** One effect as it was read; a cursor that is moved over an entry. */
export class Effect extends ClaimRecord {
  kind = 0;
  slot = 0;
  /** Its place among the slot's effects, from 1 without gaps. */
  number = 0;
  /** Of `ended`, `withdrawn` and `closed`, else 0. */
  reason = 0;
  /** Of `cleared`: ClearedFlag. Its text of the reason is in `metadata`. */
  cleared = 0;
  /** Of `joined`. */
  joinedSlot = 0;
  joinedState: SessionSlot = 0;
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
    case EffectKind.queued:
      effect.fencingToken = effect.number;
      readClaim(reader, flags, effect);
      return;
    case EffectKind.renewed:
      refuse(flags & ~ClaimFlag.metadata, headAt);
      readMeant();
      effect.ttlMs = readTtl(reader);
      effect.metadataLength = flags === 0 ? 0 : readMetadataLength(reader);
      effect.metadataAt = reader.skip(effect.metadataLength);
      return;
    case EffectKind.ended:
      return readReason(flags, EndReason.sessionEnded, headAt);
    case EffectKind.withdrawn:
      return readReason(flags, WithdrawReason.lost, headAt);
    case EffectKind.closed:
      return readReason(flags, EndReason.expired, headAt);
    case EffectKind.promoted:
    case EffectKind.confirmed:
      refuse(flags, headAt);
      return readMeant();
    case EffectKind.cleared:
      return readCleared(flags, headAt);
    case EffectKind.opened:
      effect.fencingToken = effect.number;
      return readStub(reader, flags, effect);
    case EffectKind.joined:
      refuse(flags & ~JOINED_ACTIVE, headAt);
      readMeant();
      effect.joinedSlot = reader.varint('slot', 0, SLOT_MAX);
      effect.joinedState = flags === 0 ? 0 : 1;
      return;
    default:
      reader.fail(`an effect of kind ${effect.kind}`, headAt);
  }
}

function readReason(flags: number, max: number, headAt: number): void {
  effect.reason = flags >>> 4;
  if (effect.reason < 1 || effect.reason > max) reader.fail(`an end with reason ${effect.reason}`, headAt);
  readMeant();
}

function readCleared(flags: number, headAt: number): void {
  refuse(flags & ~(ClearedFlag.one | ClearedFlag.reason | ClearedFlag.principal), headAt);
  readMeant();
  effect.cleared = flags;
  effect.metadataLength =
    flags & ClearedFlag.reason ? reader.varint('reasonLength', 1, LIMITS.reasonBytesMax) : 0;
  effect.principalLength = flags & ClearedFlag.principal ? readPrincipalLength(reader) : 0;
  effect.metadataAt = reader.skip(effect.metadataLength);
  effect.principalAt = reader.skip(effect.principalLength);
}

/** Flags that no version so far has given a meaning. */
function refuse(flags: number, headAt: number): void {
  if (flags !== 0) reader.fail('an effect with flags of a later version', headAt);
}

/** Which claim, waiter, session or stub is meant. */
function readMeant(): void {
  effect.keyLength = 0;
  effect.tokenLength = 0;
  effect.ownerLength = 0;
  effect.metadataLength = 0;
  effect.principalLength = 0;
  effect.hash = reader.u32();
  effect.fencingToken = effect.number - reader.varint('back', 1, effect.number - 1);
}
