/**
 * A slot's whole state at one cut, in chunks that fit a commit. The grammar is
 * docs/journal.md, in short
 *
 *   checkpoint := chunk+
 *   chunk      := version:u8 flags:u8 slot:varint counter:varint index:varint record* crc32:u32
 *   record     := head:u8 body                          head = kind | flags
 *   claim      := fencingToken:varint claim
 *   left       := leftMs:varint                          of the claim before it; in a hand-over only
 *   ended      := ageMs:varint low:u32 high:u32          oldest first
 *   sum        := claims:varint ended:varint             last record of the last chunk
 *
 * Every chunk says which state it is of, and its place in it; records do not
 * straddle chunks. So a chunk that is missing, torn, doubled or of another
 * checkpoint is noticed.
 */
import { crc32 } from 'node:zlib';
import { LIMITS, ttlPadMs } from '../limits.ts';
import type { ClaimTable } from './claims.ts';
import {
  ByteReader,
  ByteWriter,
  CLAIM_BYTES_MAX,
  claimFlags,
  ClaimRecord,
  JournalError,
  readClaim,
  writeClaim,
} from './codec.ts';
import { SLOT_MAX } from './effects.ts';
import type { Slot } from './slot.ts';

export const CHECKPOINT_VERSION = 1;
const RecordKind = { claim: 1, ended: 2, sum: 3, left: 4 } as const;
const KIND_BITS = 0x0f;
const LAST_CHUNK = 1;

const CRC_BYTES = 4;
const CHUNK_HEAD_BYTES_MAX = 2 + 3 + 8 + 4;
/** A claim with the time that it has left. */
const RECORD_BYTES_MAX = 1 + 8 + CLAIM_BYTES_MAX + 1 + 8;
const CHUNK_INDEX_MAX = 0xffff;
/** Smaller chunks than this would not hold every record. */
export const CHUNK_BYTES_MIN = CHUNK_HEAD_BYTES_MAX + RECORD_BYTES_MAX + CRC_BYTES;

class ChunkWriter {
  readonly chunks: Uint8Array[] = [];
  private readonly slot: Slot;
  private readonly writer: ByteWriter;
  private readonly full: number;

  constructor(slot: Slot, chunkBytes: number) {
    if (chunkBytes < CHUNK_BYTES_MIN) throw new RangeError(`chunks of ${chunkBytes} bytes are too small`);
    this.slot = slot;
    // Only the small checkpoint of a small slot is made at its own size; the rest fill whole chunks.
    const size = Math.min(chunkBytes, slot.bytes * 2 + CHUNK_BYTES_MIN);
    this.full = size - RECORD_BYTES_MAX - CRC_BYTES;
    this.writer = new ByteWriter(new Uint8Array(size), 0);
    this.begin();
  }

  /** The place for one more record. */
  record(): ByteWriter {
    if (this.writer.at > this.full) {
      this.seal(0);
      this.begin();
    }
    return this.writer;
  }

  finish(): Uint8Array[] {
    this.seal(LAST_CHUNK);
    return this.chunks;
  }

  private begin(): void {
    const { writer } = this;
    writer.at = 0;
    writer.u8(CHECKPOINT_VERSION);
    writer.u8(0);
    writer.varint(this.slot.number);
    writer.varint(this.slot.counter);
    writer.varint(this.chunks.length);
  }

  private seal(flags: number): void {
    const { writer } = this;
    writer.bytes[1] = flags;
    writer.u32(crc32(writer.bytes.subarray(0, writer.at)));
    this.chunks.push(writer.bytes.slice(0, writer.at));
  }
}

/**
 * The state of the slot as it is now, in chunks of at most `chunkBytes`
 * (≥ CHUNK_BYTES_MIN); at least one. Ages of ended tokens are as of the last op.
 *
 * @param handOverAt when the slot is handed over: monotonic ms from which the
 *   time that each claim has left counts; a claim whose grant or renewal is
 *   still under way has all of it
 */
export function encodeCheckpoint(slot: Slot, chunkBytes: number, handOverAt?: number): Uint8Array[] {
  const chunks = new ChunkWriter(slot, chunkBytes);
  const { claims } = slot;
  for (const row of claims.rows()) {
    const writer = chunks.record();
    writer.u8(RecordKind.claim | claimFlags(claims, row));
    writer.varint(claims.fencingToken(row));
    writeClaim(writer, claims, row);
    if (handOverAt === undefined) continue;
    writer.u8(RecordKind.left);
    writer.varint(leftMs(claims, row, handOverAt));
  }
  slot.ended.each((low, high, ageMs) => {
    const writer = chunks.record();
    writer.u8(RecordKind.ended);
    writer.varint(ageMs);
    writer.u32(low);
    writer.u32(high);
  });
  const writer = chunks.record();
  writer.u8(RecordKind.sum);
  writer.varint(claims.count);
  writer.varint(slot.ended.count);
  return chunks.finish();
}

function leftMs(claims: ClaimTable, row: number, now: number): number {
  const freeAt = claims.freeAt(row);
  const ttlMs = claims.ttlMs(row);
  return Math.ceil(freeAt === Infinity ? ttlMs + ttlPadMs(ttlMs) : Math.max(0, freeAt - now));
}

/** What a checkpoint holds, in its order. The claim is a cursor, valid during the call. */
export interface CheckpointVisitor {
  /** First. */
  state(slot: number, counter: number): void;
  claim(claim: ClaimRecord): void;
  /** Behind the claim that it is of. */
  left(leftMs: number): void;
  ended(low: number, high: number, ageMs: number): void;
}

/** @throws JournalError; then what was shown does not count */
export function readCheckpoint(chunks: readonly Uint8Array[], visitor: CheckpointVisitor): void {
  if (chunks.length === 0) throw new JournalError('a checkpoint without chunks', 0);
  const totals = { slot: 0, counter: 0, afterClaim: false, claims: 0, ended: 0, summed: false };
  for (let index = 0; index < chunks.length; index++) {
    const reader = openChunk(chunks[index], index === chunks.length - 1);
    const slot = reader.varint('slot', 0, SLOT_MAX);
    const counter = reader.varint('counter', 0, Number.MAX_SAFE_INTEGER);
    const place = reader.varint('index', 0, CHUNK_INDEX_MAX);
    if (place !== index) reader.fail(`chunk ${place} in the place of chunk ${index}`);
    if (index === 0) {
      totals.slot = slot;
      totals.counter = counter;
      visitor.state(slot, counter);
    } else if (slot !== totals.slot || counter !== totals.counter) {
      reader.fail(`a chunk of slot ${slot} at ${counter} among those of ${totals.slot} at ${totals.counter}`);
    }
    while (!reader.done) readRecord(reader, totals, visitor);
  }
  if (!totals.summed) throw new JournalError('a checkpoint without its sum', 0);
}

/**
 * Fills an empty slot. Claims are unarmed (see `rearm`); ended tokens are as
 * old as they were, from `now` (monotonic ms): rather remembered too long.
 *
 * @param direct the slot was handed to this very owner, and nothing happened
 *   since: claims have the time that they had left, counted from `now`. Anyone
 *   else must not heed it: an owner in between may have renewed them
 * @throws JournalError; the slot must not be used then
 */
export function loadCheckpoint(slot: Slot, chunks: readonly Uint8Array[], now: number, direct = false): void {
  if (slot.counter !== 0 || slot.claims.count !== 0)
    throw new RangeError('a checkpoint is loaded into a slot in use');
  const { claims, ended } = slot;
  let row = 0;
  readCheckpoint(chunks, {
    state(number, counter) {
      if (number !== slot.number)
        throw new JournalError(`a checkpoint of slot ${number}, not ${slot.number}`, 0);
      slot.counter = counter;
    },
    claim(claim) {
      if (claims.find(claim.bytes, claim.keyAt, claim.keyLength, claim.hash | 0) !== 0) {
        throw new JournalError(`claim ${claim.fencingToken} holds what another claim holds`, claim.keyAt);
      }
      row = claims.insert(claim, claim.fencingToken, claim.ttlMs);
    },
    left(leftMs) {
      if (!direct) return;
      const ttlMs = claims.ttlMs(row);
      const padMs = ttlPadMs(ttlMs);
      const left = Math.min(leftMs, ttlMs + padMs);
      claims.arm(row, claims.fencingToken(row), now + Math.max(0, left - padMs), now + left);
    },
    ended: (low, high, ageMs) => ended.restore(low, high, ageMs, now),
  });
}

/** A reader of the chunk's content, behind version and flags, once its checksum is right. */
function openChunk(chunk: Uint8Array, last: boolean): ByteReader {
  const end = chunk.length - CRC_BYTES;
  if (end < 0) throw new JournalError('the bytes end early', chunk.length);
  const crc = new ByteReader(chunk, end, chunk.length).u32();
  if (crc !== crc32(chunk.subarray(0, end))) throw new JournalError('the checksum is wrong', end);
  const reader = new ByteReader(chunk, 0, end);
  const version = reader.u8();
  if (version !== CHECKPOINT_VERSION) {
    throw new JournalError(`a checkpoint of version ${version}, not ${CHECKPOINT_VERSION}`, 0);
  }
  const flags = reader.u8();
  if (flags !== (last ? LAST_CHUNK : 0))
    reader.fail(last ? 'the last chunk is missing' : `chunk flags ${flags}`, 1);
  return reader;
}

interface Totals {
  counter: number;
  /** The record before was a claim. */
  afterClaim: boolean;
  claims: number;
  ended: number;
  summed: boolean;
}

const claim = new ClaimRecord();

function readRecord(reader: ByteReader, totals: Totals, visitor: CheckpointVisitor): void {
  const headAt = reader.at;
  if (totals.summed) reader.fail('a record behind the sum');
  const head = reader.u8();
  const kind = head & KIND_BITS;
  const flags = head & ~KIND_BITS;
  const { afterClaim } = totals;
  totals.afterClaim = kind === RecordKind.claim;
  if (kind === RecordKind.claim) {
    claim.fencingToken = reader.varint('fencingToken', 1, totals.counter);
    readClaim(reader, flags, claim);
    totals.claims++;
    visitor.claim(claim);
    return;
  }
  if (flags !== 0) reader.fail('a record with flags of a later version', headAt);
  if (kind === RecordKind.left) {
    if (!afterClaim) reader.fail('a time left that is of no claim', headAt);
    visitor.left(reader.varint('leftMs', 0, Number.MAX_SAFE_INTEGER));
    return;
  }
  if (kind === RecordKind.ended) {
    const ageMs = reader.varint('ageMs', 0, Number.MAX_SAFE_INTEGER);
    if (++totals.ended > LIMITS.endedTokensMax) reader.fail('too many ended tokens', headAt);
    visitor.ended(reader.u32(), reader.u32(), ageMs);
    return;
  }
  if (kind !== RecordKind.sum) reader.fail(`a record of kind ${kind}`, headAt);
  const claims = reader.varint('claims', 0, Number.MAX_SAFE_INTEGER);
  const ended = reader.varint('ended', 0, LIMITS.endedTokensMax);
  if (claims !== totals.claims || ended !== totals.ended)
    reader.fail('the sum is not that of the records', headAt);
  totals.summed = true;
}
