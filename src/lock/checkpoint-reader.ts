/**
 * Reads the chunks of a checkpoint, record by record. The grammar is
 * docs/journal.md, in short
 *
 *   checkpoint := chunk+
 *   chunk      := version:u8 flags:u8 slot:varint counter:varint index:varint record* crc32:u32
 *   record     := head:u8 body                          head = kind | flags
 *   claim, waiter, delay := number:varint claim          a lock's in this order, each by number
 *   stub       := number:varint stub                     a session, or the stub of one or of a batch
 *   left       := leftMs:varint                          of the record before it; in a hand-over only
 *   joined     := slot:varint                            of the session before it
 *   ended, keyed := ageMs:varint low:u32 high:u32        each oldest first
 *   sum        := claims:varint ended:varint             last record of the last chunk
 *
 * Sessions and stubs stand in front of what hangs on them.
 *
 *
 * A chunk that is missing, torn, doubled or of another checkpoint is noticed.
 */
import { crc32 } from 'node:zlib';
import { LIMITS } from '../limits.ts';
import { ByteReader, JournalError } from './codec.ts';
import { SLOT_MAX } from './effects.ts';
import { SessionSlot } from './outcome.ts';
import { ClaimRecord, readClaim, readStub } from './records.ts';

export const CHECKPOINT_VERSION = 1;
export const RecordKind = {
  claim: 1,
  ended: 2,
  sum: 3,
  left: 4,
  waiter: 5,
  stub: 6,
  delay: 7,
  joined: 8,
  keyed: 9,
} as const;
/** Of `joined`: the slot has locks of the session. */
export const JOINED_ACTIVE = 0x10;
const KIND_BITS = 0x0f;
export const LAST_CHUNK = 1;

export const CRC_BYTES = 4;
const CHUNK_INDEX_MAX = 0xffff;

/** What a checkpoint holds, in its order. The record is a cursor, valid during the call. */
export interface CheckpointVisitor {
  /** First. */
  state(slot: number, counter: number): void;
  /** What hangs on a session or stub comes behind it. */
  stub(stub: ClaimRecord): void;
  /** A slot of the session that came last. */
  joined(slot: number, state: SessionSlot): void;
  /** A lock's claims, waiters and delay come in this order, each by number. */
  claim(claim: ClaimRecord): void;
  waiter(waiter: ClaimRecord): void;
  delay(delay: ClaimRecord): void;
  /** Behind the record that it is of. */
  left(leftMs: number): void;
  ended(low: number, high: number, ageMs: number, keyed: boolean): void;
}

/** @throws JournalError; then what was shown does not count */
export function readCheckpoint(chunks: readonly Uint8Array[], visitor: CheckpointVisitor): void {
  if (chunks.length === 0) throw new JournalError('a checkpoint without chunks', 0);
  const totals: Totals = { slot: 0, counter: 0, before: 0, claims: 0, ended: 0, keyed: 0, summed: false };
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
  slot: number;
  counter: number;
  /** Kind of the record before. */
  before: number;
  claims: number;
  ended: number;
  keyed: number;
  summed: boolean;
}

const record = new ClaimRecord();

function readRecord(reader: ByteReader, totals: Totals, visitor: CheckpointVisitor): void {
  const headAt = reader.at;
  if (totals.summed) reader.fail('a record behind the sum');
  const head = reader.u8();
  const kind = head & KIND_BITS;
  const flags = head & ~KIND_BITS;
  const { before } = totals;
  totals.before = kind;
  switch (kind) {
    case RecordKind.claim:
      totals.claims++;
      return visitor.claim(readNumbered(reader, flags, totals));
    case RecordKind.waiter:
      return visitor.waiter(readNumbered(reader, flags, totals));
    case RecordKind.delay:
      return visitor.delay(readNumbered(reader, flags, totals));
    case RecordKind.stub:
      record.fencingToken = reader.varint('number', 1, totals.counter);
      readStub(reader, flags, record);
      return visitor.stub(record);
    case RecordKind.joined:
      if (!HAVE_SLOTS.includes(before)) reader.fail('a slot that is of no session', headAt);
      refuseFlags(reader, flags & ~JOINED_ACTIVE, headAt);
      return visitor.joined(
        reader.varint('slot', 0, SLOT_MAX),
        flags === 0 ? SessionSlot.pending : SessionSlot.active,
      );
    case RecordKind.left:
      refuseFlags(reader, flags, headAt);
      if (!HAVE_TIMES.includes(before)) reader.fail('a time left that is of no claim', headAt);
      return visitor.left(reader.varint('leftMs', 0, Number.MAX_SAFE_INTEGER));
    case RecordKind.ended:
    case RecordKind.keyed:
      refuseFlags(reader, flags, headAt);
      return readEnded(reader, kind === RecordKind.keyed, totals, visitor);
    case RecordKind.sum:
      refuseFlags(reader, flags, headAt);
      return readSum(reader, totals, headAt);
    default:
      reader.fail(`a record of kind ${kind}`, headAt);
  }
}

/** What a time left may stand behind, and a slot of a session. */
const HAVE_TIMES: readonly number[] = [RecordKind.claim, RecordKind.delay, RecordKind.stub];
const HAVE_SLOTS: readonly number[] = [RecordKind.stub, RecordKind.left, RecordKind.joined];

function refuseFlags(reader: ByteReader, flags: number, headAt: number): void {
  if (flags !== 0) reader.fail('a record with flags of a later version', headAt);
}

function readNumbered(reader: ByteReader, flags: number, totals: Totals): ClaimRecord {
  record.fencingToken = reader.varint('fencingToken', 1, totals.counter);
  readClaim(reader, flags, record);
  return record;
}

function readEnded(reader: ByteReader, keyed: boolean, totals: Totals, visitor: CheckpointVisitor): void {
  const ageMs = reader.varint('ageMs', 0, Number.MAX_SAFE_INTEGER);
  if ((keyed ? ++totals.keyed : ++totals.ended) > LIMITS.endedTokensMax) reader.fail('too many ended tokens');
  visitor.ended(reader.u32(), reader.u32(), ageMs, keyed);
}

function readSum(reader: ByteReader, totals: Totals, headAt: number): void {
  const claims = reader.varint('claims', 0, Number.MAX_SAFE_INTEGER);
  const ended = reader.varint('ended', 0, LIMITS.endedTokensMax);
  if (claims !== totals.claims || ended !== totals.ended)
    reader.fail('the sum is not that of the records', headAt);
  totals.summed = true;
}
