/**
 * A slot's whole state at one cut, in chunks that fit a commit. The grammar is
 * docs/journal.md; checkpoint-reader.ts has it in short.
 *
 * Sessions and stubs stand in front of what hangs on them.
 * Every chunk says which state it is of, and its place in it; records do not
 * straddle chunks. So a chunk that is missing, torn, doubled or of another
 * checkpoint is noticed.
 */
import { crc32 } from 'node:zlib';
import { ttlPadMs } from '../limits.ts';
import {
  CHECKPOINT_VERSION,
  type CheckpointVisitor,
  CRC_BYTES,
  JOINED_ACTIVE,
  LAST_CHUNK,
  readCheckpoint,
  RecordKind,
} from './checkpoint-reader.ts';
import { ByteWriter, JournalError } from './codec.ts';
import type { EndedTokens } from './ended-tokens.ts';
import { SessionSlot } from './outcome.ts';
import {
  CLAIM_BYTES_MAX,
  claimFlags,
  type ClaimRecord,
  STUB_BYTES_MAX,
  stubFlags,
  writeClaim,
  writeStub,
} from './records.ts';
import { takeRow, takeStub } from './replay.ts';
import { RowKind } from './rows.ts';
import type { Slot } from './slot.ts';
import { addDelay, setSessionSlot } from './transitions.ts';

const CHUNK_HEAD_BYTES_MAX = 2 + 3 + 8 + 4;
/** A claim with the time that it has left. */
const RECORD_BYTES_MAX = 1 + 8 + Math.max(CLAIM_BYTES_MAX, STUB_BYTES_MAX) + 1 + 8;
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
    const size = Math.min(chunkBytes, slot.sizeBytes * 2 + CHUNK_BYTES_MIN);
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
  let claims = 0;
  const aside = slot.hasAside ? slot.aside : undefined;
  for (const row of aside?.sessionSlots.keys() ?? []) putStub(chunks, slot, row, handOverAt);
  for (const row of aside?.stubs.values() ?? []) putStub(chunks, slot, row, handOverAt);
  for (const row of slot.claims.rows()) claims += putLock(chunks, slot, row, handOverAt);
  putEnded(chunks, RecordKind.ended, slot.ended, slot.tablePlace);
  if (aside !== undefined) putEnded(chunks, RecordKind.keyed, aside.endedKeyed, 0);
  const writer = chunks.record();
  writer.u8(RecordKind.sum);
  writer.varint(claims);
  writer.varint(slot.ended.count(slot.tablePlace));
  return chunks.finish();
}

function putStub(chunks: ChunkWriter, slot: Slot, row: number, handOverAt?: number): void {
  const writer = chunks.record();
  writer.u8(RecordKind.stub | stubFlags(slot, row));
  writer.varint(slot.claims.fencingToken(row));
  writeStub(writer, slot, row);
  putLeft(writer, slot, row, handOverAt);
  for (const [of, state] of slot.aside.sessionSlots.get(row) ?? []) {
    const joined = chunks.record();
    joined.u8(RecordKind.joined | (state === SessionSlot.active ? JOINED_ACTIVE : 0));
    joined.varint(of);
  }
}

/** All rows of the lock that is found by `row`. Returns how many of them are claims. */
function putLock(chunks: ChunkWriter, slot: Slot, row: number, handOverAt?: number): number {
  const crowd = slot.crowdOf(row);
  if (crowd === undefined) {
    if (slot.claims.kind(row) !== RowKind.claim) return 0;
    putRow(chunks, RecordKind.claim, slot, row, handOverAt);
    return 1;
  }
  if (crowd.first !== row) return 0;
  for (const holder of crowd.holders) putRow(chunks, RecordKind.claim, slot, holder, handOverAt);
  for (const waiter of crowd.waiters) putRow(chunks, RecordKind.waiter, slot, waiter, undefined);
  if (crowd.delay !== 0) putRow(chunks, RecordKind.delay, slot, crowd.delay, handOverAt);
  return crowd.holders.size;
}

function putRow(chunks: ChunkWriter, kind: number, slot: Slot, row: number, handOverAt?: number): void {
  const writer = chunks.record();
  writer.u8(kind | claimFlags(slot, row));
  writer.varint(slot.claims.fencingToken(row));
  writeClaim(writer, slot, row);
  if (slot.claims.hasOwnTime(row)) putLeft(writer, slot, row, handOverAt);
}

function putLeft(writer: ByteWriter, { claims }: Slot, row: number, handOverAt?: number): void {
  if (handOverAt === undefined) return;
  const freeAt = claims.freeAt(row);
  const whole = keptMs(claims.kind(row), claims.ttlMs(row));
  writer.u8(RecordKind.left);
  writer.varint(Math.ceil(freeAt === Infinity ? whole : Math.max(0, freeAt - handOverAt)));
}

/** How long an owner keeps what begins now. A delay promises nothing, so it needs no pad. */
function keptMs(kind: RowKind, ttlMs: number): number {
  return kind === RowKind.delay ? ttlMs : ttlMs + ttlPadMs(ttlMs);
}

function putEnded(chunks: ChunkWriter, kind: number, ended: EndedTokens, table: number): void {
  ended.each(table, (low, high, ageMs) => {
    const writer = chunks.record();
    writer.u8(kind);
    writer.varint(ageMs);
    writer.u32(low);
    writer.u32(high);
  });
}

/**
 * Fills an empty slot. Rows are unarmed (see `rearm`); ended tokens are as old
 * as they were, from `now` (monotonic ms): rather remembered too long.
 *
 * @param direct the slot was handed to this very owner, and nothing happened
 *   since: claims have the time that they had left, counted from `now`. Anyone
 *   else must not heed it: an owner in between may have renewed them
 * @throws JournalError; the slot must not be used then
 */
export function loadCheckpoint(slot: Slot, chunks: readonly Uint8Array[], now: number, direct = false): void {
  if (slot.counter !== 0 || slot.claims.count !== 0)
    throw new RangeError('a checkpoint is loaded into a slot in use');
  readCheckpoint(chunks, new Loader(slot, now, direct));
}

class Loader implements CheckpointVisitor {
  private readonly slot: Slot;
  private readonly now: number;
  private readonly direct: boolean;
  /** That came last. */
  private row = 0;

  constructor(slot: Slot, now: number, direct: boolean) {
    this.slot = slot;
    this.now = now;
    this.direct = direct;
  }

  state(number: number, counter: number): void {
    if (number !== this.slot.number)
      throw new JournalError(`a checkpoint of slot ${number}, not ${this.slot.number}`, 0);
    this.slot.counter = counter;
  }

  stub(stub: ClaimRecord): void {
    this.row = takeStub(this.slot, stub);
    if (this.row === 0) throw new JournalError(`session ${stub.fencingToken} is there twice`, stub.keyAt);
  }

  joined(of: number, state: SessionSlot): void {
    if (this.slot.claims.kind(this.row) !== RowKind.session)
      throw new JournalError('a slot that is of no session', 0);
    setSessionSlot(this.slot, this.row, of, state);
  }

  claim(claim: ClaimRecord): void {
    this.take(claim, RowKind.claim);
  }

  waiter(waiter: ClaimRecord): void {
    this.take(waiter, RowKind.waiter);
  }

  delay(delay: ClaimRecord): void {
    if (!addDelay(this.slot, delay, delay.fencingToken, delay.ttlMs))
      throw new JournalError(`delay ${delay.fencingToken} is not the only one of its lock`, delay.keyAt);
    this.row = this.slot.claims.findFenced(delay.hash | 0, delay.fencingToken);
  }

  left(leftMs: number): void {
    if (!this.direct) return;
    const { row, now } = this;
    const { claims } = this.slot;
    const ttlMs = claims.ttlMs(row);
    const left = Math.min(leftMs, keptMs(claims.kind(row), ttlMs));
    if (claims.kind(row) === RowKind.delay) claims.setFreeAt(row, now + left);
    else claims.arm(row, claims.fencingToken(row), now + Math.max(0, left - ttlPadMs(ttlMs)), now + left);
  }

  ended(low: number, high: number, ageMs: number, keyed: boolean): void {
    const { slot, now } = this;
    if (keyed) slot.aside.endedKeyed.restore(0, low, high, ageMs, now);
    else slot.ended.restore(slot.tablePlace, low, high, ageMs, now);
  }

  private take(record: ClaimRecord, kind: typeof RowKind.claim | typeof RowKind.waiter): void {
    const { claims } = this.slot;
    const before = this.row;
    const wrong = takeRow(this.slot, record, kind);
    if (wrong !== '') throw new JournalError(`claim ${record.fencingToken} ${wrong}`, record.keyAt);
    this.row = claims.findFenced(record.hash | 0, record.fencingToken);
    const follows =
      before !== 0 &&
      claims.kind(before) === kind &&
      this.slot.crowdOf(before) === this.slot.crowdOf(this.row);
    if (follows && claims.isInCrowd(before) && claims.fencingToken(before) > record.fencingToken)
      throw new JournalError(`claim ${record.fencingToken} stands behind a later one`, record.keyAt);
  }
}
