/**
 * A claim, and what begins like one, in entries and checkpoints (docs/journal.md).
 *
 *   claim := [more:u8] hash:u32 ttlMs:varint keyLength:varint [tokenLength:u8] [ownerLength:varint]
 *            [metadataLength:varint] [limit:varint] [lockDelayMs:varint] [principalLength:varint]
 *            [stub:varint] [batch:varint] key token owner metadata principal
 *   stub  := hash:u32 ttlMs:varint keyLength:varint [ownerLength:varint] [principalLength:varint]
 *            key owner principal
 *
 * `stub` and `batch` of a claim are its number less that of the one it hangs on.
 */
import { LIMITS } from '../limits.ts';
import { Mode } from '../op.ts';
import type { ByteReader, ByteWriter } from './codec.ts';
import { lockDelayMs, type RowSource, stubKindOf } from './transitions.ts';
import { MODE_UNIT, RowFlag } from './rows.ts';
import type { Slot } from './slot.ts';

/** A name and, before it, a namespace with its separator. */
export const KEY_BYTES_MAX = 2 * LIMITS.nameBytesMax;
const UUID_BYTES = 16;
const TTL_MS_MAX = 0xffff_ffff;

/** Flags of a claim, in the high half of its head byte. */
export const ClaimFlag = {
  /** The token has 16 bytes and stands without its length. */
  uuid: 0x10,
  owner: 0x20,
  metadata: 0x40,
  /** A byte of further flags follows. */
  more: 0x80,
} as const;

/** The further flags. */
export const MoreFlag = {
  /** Of op.ts; with a semaphore's stands its limit. */
  mode: 0x03,
  keyed: 0x04,
  lockDelay: 0x08,
  principal: 0x10,
  /** It hangs on a session's stub. */
  stub: 0x20,
  /** It is a pending part of an atomic batch. */
  batch: 0x40,
  /** Kept for a later version. Readers of version 1 refuse it. */
  reserved: 0x80,
} as const;

const LIMIT_MAX = 0xffff;
const MORE_BYTES_MAX = 1 + 3 + 5 + 1 + 8 + 8 + LIMITS.principalBytesMax;

/** The most bytes writeClaim may append. */
export const CLAIM_BYTES_MAX =
  4 +
  5 +
  2 +
  1 +
  2 +
  2 +
  KEY_BYTES_MAX +
  LIMITS.tokenBytesMax +
  LIMITS.ownerBytesMax +
  LIMITS.metadataBytesMax +
  MORE_BYTES_MAX;

/** Flags of a session or stub, in the high half of its head byte. */
const StubFlag = { owner: 0x20, principal: 0x40 } as const;

/** The most bytes writeStub may append. */
export const STUB_BYTES_MAX =
  4 + 5 + 2 + 2 + 1 + KEY_BYTES_MAX + LIMITS.ownerBytesMax + LIMITS.principalBytesMax;

/** A claim, waiter, delay, session or stub as it was read: offsets into `bytes`. */
export class ClaimRecord implements RowSource {
  bytes: Uint8Array = new Uint8Array(0);
  hash = 0;
  /** Of a waiter its number. */
  fencingToken = 0;
  ttlMs = 0;
  keyAt = 0;
  keyLength = 0;
  tokenAt = 0;
  tokenLength = 0;
  ownerAt = 0;
  ownerLength = 0;
  metadataAt = 0;
  metadataLength = 0;
  principalAt = 0;
  principalLength = 0;
  mode: number = Mode.exclusive;
  limit = 0;
  lockDelayMs = 0;
  keyed = false;
  /** Numbers of the session's stub and the batch's stub that it hangs on; 0 = none. */
  stub = 0;
  batch = 0;
}

/** The flags that stand in the head byte in front of this claim. */
export function claimFlags(slot: Slot, row: number): number {
  const { claims } = slot;
  return (
    (claims.tokenLength(row) === UUID_BYTES ? ClaimFlag.uuid : 0) |
    (claims.ownerLength(row) > 0 ? ClaimFlag.owner : 0) |
    (claims.metadataLength(row) > 0 ? ClaimFlag.metadata : 0) |
    (claims.isPlain(row) || moreFlags(slot, row) === 0 ? 0 : ClaimFlag.more)
  );
}

function moreFlags(slot: Slot, row: number): number {
  const flags = slot.claims.flags(row);
  return (
    ((flags & RowFlag.mode) / MODE_UNIT) |
    (flags & RowFlag.keyed ? MoreFlag.keyed : 0) |
    (lockDelayMs(slot, row) > 0 ? MoreFlag.lockDelay : 0) |
    (flags & RowFlag.principal ? MoreFlag.principal : 0) |
    (flags & RowFlag.onStub ? MoreFlag.stub : 0) |
    (flags & RowFlag.pending ? MoreFlag.batch : 0)
  );
}

/** Without the head byte, whose flags are `claimFlags`. */
export function writeClaim(writer: ByteWriter, slot: Slot, row: number): void {
  const { claims } = slot;
  const keyLength = claims.keyLength(row);
  const tokenLength = claims.tokenLength(row);
  const ownerLength = claims.ownerLength(row);
  const metadataLength = claims.metadataLength(row);
  const more = claims.isPlain(row) ? 0 : moreFlags(slot, row);
  if (more !== 0) writer.u8(more);
  writer.u32(claims.hash(row));
  writer.varint(claims.ttlMs(row));
  writer.varint(keyLength);
  if (tokenLength !== UUID_BYTES) writer.u8(tokenLength);
  if (ownerLength > 0) writer.varint(ownerLength);
  if (metadataLength > 0) writer.varint(metadataLength);
  if (more !== 0) writeMore(writer, slot, row, more);
  writer.copy(claims.bytes, claims.keyAt(row), keyLength + tokenLength + ownerLength);
  writer.copy(claims.bytes, claims.metadataAt(row), metadataLength);
  if (more & MoreFlag.principal)
    writer.copy(claims.bytes, claims.principalAt(row), claims.principalLength(row));
}

function writeMore(writer: ByteWriter, slot: Slot, row: number, more: number): void {
  const { claims } = slot;
  const number = claims.fencingToken(row);
  if ((more & MoreFlag.mode) === Mode.semaphore) writer.varint(claims.limit(row));
  if (more & MoreFlag.lockDelay) writer.varint(lockDelayMs(slot, row));
  if (more & MoreFlag.principal) writer.varint(claims.principalLength(row));
  if (more & MoreFlag.stub) writer.varint(number - claims.fencingToken(claims.stub(row)));
  if (more & MoreFlag.batch) writer.varint(number - claims.fencingToken(claims.batch(row)));
}

/** Of a claim whose `fencingToken` has been set already. */
export function readClaim(reader: ByteReader, flags: number, into: ClaimRecord): void {
  const moreAt = reader.at;
  const more = flags & ClaimFlag.more ? reader.u8() : 0;
  if (flags & ClaimFlag.more && more === 0) reader.fail('further flags that are none', moreAt);
  if (more & MoreFlag.reserved) reader.fail('a claim with flags of a later version', moreAt);
  into.mode = more & MoreFlag.mode;
  if (into.mode > Mode.semaphore) reader.fail(`mode ${into.mode}`, moreAt);
  into.keyed = (more & MoreFlag.keyed) !== 0;
  into.bytes = reader.bytes;
  into.hash = reader.u32();
  into.ttlMs = readTtl(reader);
  into.keyLength = reader.varint('keyLength', 1, KEY_BYTES_MAX);
  into.tokenLength = flags & ClaimFlag.uuid ? UUID_BYTES : readTokenLength(reader);
  into.ownerLength = flags & ClaimFlag.owner ? reader.varint('ownerLength', 1, LIMITS.ownerBytesMax) : 0;
  into.metadataLength = flags & ClaimFlag.metadata ? readMetadataLength(reader) : 0;
  readMore(reader, more, into);
  into.keyAt = reader.skip(into.keyLength);
  into.tokenAt = reader.skip(into.tokenLength);
  into.ownerAt = reader.skip(into.ownerLength);
  into.metadataAt = reader.skip(into.metadataLength);
  into.principalAt = reader.skip(into.principalLength);
}

function readMore(reader: ByteReader, more: number, into: ClaimRecord): void {
  const older = into.fencingToken - 1;
  into.limit = into.mode === Mode.semaphore ? reader.varint('limit', 1, LIMIT_MAX) : 0;
  into.lockDelayMs = more & MoreFlag.lockDelay ? reader.varint('lockDelayMs', 1, TTL_MS_MAX) : 0;
  into.principalLength = more & MoreFlag.principal ? readPrincipalLength(reader) : 0;
  into.stub = more & MoreFlag.stub ? into.fencingToken - reader.varint('stub', 1, older) : 0;
  into.batch = more & MoreFlag.batch ? into.fencingToken - reader.varint('batch', 1, older) : 0;
}

/** The flags that stand in the head byte in front of this session or stub. */
export function stubFlags({ claims }: Slot, row: number): number {
  return (
    (claims.ownerLength(row) > 0 ? StubFlag.owner : 0) |
    (claims.principalLength(row) > 0 ? StubFlag.principal : 0)
  );
}

/** Without the head byte, whose flags are `stubFlags`. */
export function writeStub(writer: ByteWriter, { claims }: Slot, row: number): void {
  const keyLength = claims.keyLength(row);
  const ownerLength = claims.ownerLength(row);
  const principalLength = claims.principalLength(row);
  writer.u32(claims.hash(row));
  writer.varint(claims.ttlMs(row));
  writer.varint(keyLength);
  if (ownerLength > 0) writer.varint(ownerLength);
  if (principalLength > 0) writer.varint(principalLength);
  writer.copy(claims.bytes, claims.keyAt(row), keyLength + ownerLength + principalLength);
}

export function readStub(reader: ByteReader, flags: number, into: ClaimRecord): void {
  if (flags & ~(StubFlag.owner | StubFlag.principal)) reader.fail('a session with flags of a later version');
  into.bytes = reader.bytes;
  into.hash = reader.u32();
  into.ttlMs = readTtl(reader);
  into.keyLength = reader.varint('keyLength', 1, KEY_BYTES_MAX);
  into.ownerLength = flags & StubFlag.owner ? reader.varint('ownerLength', 1, LIMITS.ownerBytesMax) : 0;
  into.principalLength = flags & StubFlag.principal ? readPrincipalLength(reader) : 0;
  into.tokenLength = 0;
  into.metadataLength = 0;
  into.mode = Mode.exclusive;
  into.limit = 0;
  into.lockDelayMs = 0;
  into.keyed = false;
  into.stub = 0;
  into.batch = 0;
  into.keyAt = reader.skip(into.keyLength);
  into.ownerAt = reader.skip(into.ownerLength);
  into.principalAt = reader.skip(into.principalLength);
  if (stubKindOf(into.bytes, into.keyAt, into.keyLength) === undefined)
    reader.fail('a session whose key is that of a lock', into.keyAt);
}

export function readTtl(reader: ByteReader): number {
  return reader.varint('ttlMs', 1, TTL_MS_MAX);
}

export function readMetadataLength(reader: ByteReader): number {
  return reader.varint('metadataLength', 1, LIMITS.metadataBytesMax);
}

export function readPrincipalLength(reader: ByteReader): number {
  return reader.varint('principalLength', 1, LIMITS.principalBytesMax);
}

function readTokenLength(reader: ByteReader): number {
  const length = reader.u8();
  if (length === 0 || length > LIMITS.tokenBytesMax || length === UUID_BYTES) {
    reader.fail(`tokenLength is ${length}`, reader.at - 1);
  }
  return length;
}
