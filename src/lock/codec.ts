/**
 * The words that entries and checkpoints are made of (docs/journal.md):
 * integers of fixed width (little-endian), varints, and a claim.
 *
 * A reader trusts nothing: whatever the bytes are, it either returns values
 * within the bounds of the format or throws a JournalError.
 */
import { LIMITS } from '../limits.ts';
import type { ClaimSource, ClaimTable } from './claims.ts';

/** A name and, before it, a namespace with its separator. */
export const KEY_BYTES_MAX = 2 * LIMITS.nameBytesMax;
const UUID_BYTES = 16;
/** Seven bits a byte: 2^53 − 1 takes eight. */
const VARINT_BYTES_MAX = 8;
const TTL_MS_MAX = 0xffff_ffff;

/** Flags of a claim, in the high half of its head byte. */
export const ClaimFlag = {
  /** The token has 16 bytes and stands without its length. */
  uuid: 0x10,
  owner: 0x20,
  metadata: 0x40,
  /** Kept for a byte of further flags: mode, limit, session. Readers of version 1 refuse it. */
  more: 0x80,
} as const;

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
  LIMITS.metadataBytesMax;

/** Bytes of a journal or a checkpoint that do not follow the grammar, or contradict the state. */
export class JournalError extends Error {
  override readonly name = 'JournalError';
  /** Offset of the byte that is wrong, from where the reader was started. */
  readonly offset: number;

  constructor(detail: string, offset: number) {
    super(`${detail} (at byte ${offset})`);
    this.offset = offset;
  }
}

/** Appends to `bytes`, which the caller made large enough. */
export class ByteWriter {
  readonly bytes: Uint8Array;
  at: number;

  constructor(bytes: Uint8Array, at: number) {
    this.bytes = bytes;
    this.at = at;
  }

  u8(value: number): void {
    this.bytes[this.at++] = value;
  }

  u32(value: number): void {
    const { bytes, at } = this;
    bytes[at] = value;
    bytes[at + 1] = value >>> 8;
    bytes[at + 2] = value >>> 16;
    bytes[at + 3] = value >>> 24;
    this.at = at + 4;
  }

  /** An integer from 0 to 2^53 − 1. */
  varint(value: number): void {
    const { bytes } = this;
    let at = this.at;
    let rest = value;
    while (rest > 0x7fff_ffff) {
      bytes[at++] = (rest % 128) | 0x80;
      rest = Math.floor(rest / 128);
    }
    while (rest > 0x7f) {
      bytes[at++] = rest | 0x80;
      rest >>>= 7;
    }
    bytes[at++] = rest;
    this.at = at;
  }

  copy(from: Uint8Array, fromAt: number, length: number): void {
    const { bytes, at } = this;
    for (let i = 0; i < length; i++) bytes[at + i] = from[fromAt + i];
    this.at = at + length;
  }
}

export class ByteReader {
  bytes: Uint8Array;
  at: number;
  end: number;

  constructor(bytes: Uint8Array, at: number, end: number) {
    this.bytes = bytes;
    this.at = at;
    this.end = end;
  }

  get done(): boolean {
    return this.at >= this.end;
  }

  fail(detail: string, offset = this.at): never {
    throw new JournalError(detail, offset);
  }

  u8(): number {
    if (this.at >= this.end) this.fail('the bytes end early');
    return this.bytes[this.at++];
  }

  u32(): number {
    const at = this.skip(4);
    const { bytes } = this;
    return (bytes[at] | (bytes[at + 1] << 8) | (bytes[at + 2] << 16) | (bytes[at + 3] << 24)) >>> 0;
  }

  /** An integer from `min` to `max`, written with the fewest bytes. */
  varint(what: string, min: number, max: number): number {
    const from = this.at;
    let value = 0;
    let scale = 1;
    for (let i = 0; i < VARINT_BYTES_MAX; i++) {
      const byte = this.u8();
      value += (byte & 0x7f) * scale;
      if (byte < 0x80) {
        if (byte === 0 && i > 0) this.fail(`${what} is longer than need be`, from);
        if (value < min || value > max) this.fail(`${what} is ${value}, not ${min} to ${max}`, from);
        return value;
      }
      scale *= 128;
    }
    return this.fail(`${what} is not a varint up to 2^53 - 1`, from);
  }

  /** Moves past `length` bytes and returns where they begin. */
  skip(length: number): number {
    const from = this.at;
    if (length > this.end - from) this.fail('the bytes end early');
    this.at = from + length;
    return from;
  }
}

/** A claim as it was read: offsets into `bytes`. */
export class ClaimRecord implements ClaimSource {
  bytes: Uint8Array = new Uint8Array(0);
  hash = 0;
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
  limit = 0;
}

/** The flags that stand in the head byte in front of this claim. */
export function claimFlags(claims: ClaimTable, row: number): number {
  return (
    (claims.tokenLength(row) === UUID_BYTES ? ClaimFlag.uuid : 0) |
    (claims.ownerLength(row) > 0 ? ClaimFlag.owner : 0) |
    (claims.metadataLength(row) > 0 ? ClaimFlag.metadata : 0)
  );
}

/**
 * claim := hash:u32 ttlMs:varint keyLength:varint [tokenLength:u8] [ownerLength:varint] [metadataLength:varint]
 *          key token owner metadata
 */
export function writeClaim(writer: ByteWriter, claims: ClaimTable, row: number): void {
  const keyLength = claims.keyLength(row);
  const tokenLength = claims.tokenLength(row);
  const ownerLength = claims.ownerLength(row);
  const metadataLength = claims.metadataLength(row);
  writer.u32(claims.hash(row));
  writer.varint(claims.ttlMs(row));
  writer.varint(keyLength);
  if (tokenLength !== UUID_BYTES) writer.u8(tokenLength);
  if (ownerLength > 0) writer.varint(ownerLength);
  if (metadataLength > 0) writer.varint(metadataLength);
  writer.copy(claims.bytes, claims.keyAt(row), keyLength + tokenLength + ownerLength);
  writer.copy(claims.bytes, claims.metadataAt(row), metadataLength);
}

export function readClaim(reader: ByteReader, flags: number, into: ClaimRecord): void {
  if (flags & ClaimFlag.more) reader.fail('a claim with flags of a later version', reader.at - 1);
  into.bytes = reader.bytes;
  into.hash = reader.u32();
  into.ttlMs = readTtl(reader);
  into.keyLength = reader.varint('keyLength', 1, KEY_BYTES_MAX);
  into.tokenLength = flags & ClaimFlag.uuid ? UUID_BYTES : readTokenLength(reader);
  into.ownerLength = flags & ClaimFlag.owner ? reader.varint('ownerLength', 1, LIMITS.ownerBytesMax) : 0;
  into.metadataLength = flags & ClaimFlag.metadata ? readMetadataLength(reader) : 0;
  into.keyAt = reader.skip(into.keyLength);
  into.tokenAt = reader.skip(into.tokenLength);
  into.ownerAt = reader.skip(into.ownerLength);
  into.metadataAt = reader.skip(into.metadataLength);
}

export function readTtl(reader: ByteReader): number {
  return reader.varint('ttlMs', 1, TTL_MS_MAX);
}

export function readMetadataLength(reader: ByteReader): number {
  return reader.varint('metadataLength', 1, LIMITS.metadataBytesMax);
}

function readTokenLength(reader: ByteReader): number {
  const length = reader.u8();
  if (length === 0 || length > LIMITS.tokenBytesMax || length === UUID_BYTES) {
    reader.fail(`tokenLength is ${length}`, reader.at - 1);
  }
  return length;
}
