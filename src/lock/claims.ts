/**
 * The claims of one slot: rows of variable size in an ArrayBuffer, so that ten
 * million of them are a few thousand objects to the garbage collector. Waiters,
 * sessions, stubs and lock delays are rows as well (rows.ts). How a row lies in
 * the arena stands in row-fields.ts.
 *
 * A lock is found by its key: by the row of it that came first. All others, and
 * stubs, are found by their numbers. A timer that was set for an earlier row of
 * a block serves the next one (`timerAt`).
 */
import { Arena, LENGTHS } from './arena.ts';
import { BLOCK_CLASSES } from './block-classes.ts';
import {
  ARMINGS,
  BATCH,
  FREE,
  GRANTED,
  GRANTED_UNIT_MS,
  HASH,
  HEAD_BYTES,
  LIMIT,
  METADATA,
  MORE,
  PRINCIPAL_LENGTH,
  PROMISED,
  RowFields,
  SEMAPHORE,
  STUB,
  TOKEN_LENGTH,
  TTL,
} from './row-fields.ts';
import { cellOf } from './row-index.ts';
import { RowFlag, RowKind } from './rows.ts';

const METADATA_CLASS = 59;
/** The rows with these have words behind their texts, each in its place. */
const WITH_WORDS = RowFlag.onStub | RowFlag.pending | SEMAPHORE;
const WORDS_BYTES = 3 + 12;

/** What a new row is filled from: an `Op`, or an effect that is replayed. */
export interface ClaimSource {
  readonly bytes: Uint8Array;
  readonly hash: number;
  readonly keyAt: number;
  readonly keyLength: number;
  readonly tokenAt: number;
  readonly tokenLength: number;
  readonly ownerAt: number;
  readonly ownerLength: number;
  readonly metadataAt: number;
  readonly metadataLength: number;
  readonly principalAt: number;
  readonly principalLength: number;
  readonly limit: number;
}

export class ClaimTable extends RowFields {
  /** Rows of every kind. */
  count = 0;
  /** Bytes of all keys, tokens, owners, principals and metadata. */
  textBytes = 0;
  /** Rows that are holders, those of an unconfirmed batch left out; and waiters. */
  held = 0;
  waiting = 0;

  // ---- search

  /** The row with this key that came first (a stub is not found so), 0 = none. */
  find(bytes: Uint8Array, keyAt: number, keyLength: number, hash: number): number {
    const { arena } = this;
    const { cells, mask } = arena;
    const cell = cellOf(hash, this.tablePlace);
    for (let i = arena.home(cell); ; i = (i + 1) & mask) {
      const row = cells[2 * i];
      if (row === 0) return 0;
      if (cells[2 * i + 1] === cell && this.hasKey(row, bytes, keyAt, keyLength)) return row;
    }
  }

  /** The row with this fencing token whose key has this hash, 0 = none. */
  findFenced(hash: number, fencingToken: number): number {
    const row = this.findNumber(hash, fencingToken) || this.findNumber(fencingToken, fencingToken);
    return row !== 0 && this.hash(row) === (hash | 0) ? row : 0;
  }

  /** `indexed`: the key's hash or its number, whichever it is found by. */
  private findNumber(indexed: number, fencingToken: number): number {
    const { arena } = this;
    const { cells, mask } = arena;
    const cell = cellOf(indexed, this.tablePlace);
    for (let i = arena.home(cell); ; i = (i + 1) & mask) {
      const row = cells[2 * i];
      if (row === 0) return 0;
      if (cells[2 * i + 1] === cell && this.fencingToken(row) === fencingToken) return row;
    }
  }

  hasToken(row: number, bytes: Uint8Array, at: number, length: number): boolean {
    return length === this.tokenLength(row) && equal(this.arena.bytes, this.tokenAt(row), bytes, at, length);
  }

  hasPrincipal(row: number, bytes: Uint8Array, at: number, length: number): boolean {
    if (length !== this.principalLength(row)) return false;
    return length === 0 || equal(this.arena.bytes, this.principalAt(row), bytes, at, length);
  }

  hasKey(row: number, bytes: Uint8Array, at: number, length: number): boolean {
    return length === this.keyLength(row) && equal(this.arena.bytes, this.keyAt(row), bytes, at, length);
  }

  /** All rows of every kind, in no order. The table must not change while they are walked. */
  rows(): IterableIterator<number> {
    return this.arena.rowsOf(this.tablePlace);
  }

  // ---- change

  /**
   * A new row, unarmed. `from.bytes` must not be the arena. Without `byNumber`
   * among the flags its key must not be in the table.
   */
  insert(from: ClaimSource, number: number, ttlMs: number, flags = 0, stub = 0, batch = 0): number {
    const texts = from.keyLength + from.tokenLength + from.ownerLength + from.principalLength;
    const { arena } = this;
    const at = arena.takeBlock(HEAD_BYTES + texts + (flags & WITH_WORDS ? WORDS_BYTES : 0), 0);
    const { bytes, u32, f64 } = arena;
    const marked = from.principalLength > 0 ? flags | RowFlag.principal : flags;
    f64[at] = number;
    f64[at + PROMISED] = 0;
    f64[at + FREE] = Infinity;
    u32[2 * at + HASH] = from.hash;
    u32[2 * at + TTL] = ttlMs;
    u32[2 * at + ARMINGS] = 0;
    u32[2 * at + METADATA] = 0;
    u32[2 * at + LENGTHS] = from.keyLength | Arena.tableBits(this.tablePlace) | (from.ownerLength << 16);
    u32[2 * at + MORE] = marked << 16;
    u32[2 * at + GRANTED] = 0;
    bytes[8 * at + TOKEN_LENGTH] = from.tokenLength;
    bytes[8 * at + PRINCIPAL_LENGTH] = from.principalLength;
    let to = 8 * at + HEAD_BYTES;
    to = copy(from.bytes, from.keyAt, from.keyLength, bytes, to);
    to = copy(from.bytes, from.tokenAt, from.tokenLength, bytes, to);
    to = copy(from.bytes, from.ownerAt, from.ownerLength, bytes, to);
    copy(from.bytes, from.principalAt, from.principalLength, bytes, to);
    const row = arena.base + at;
    if (flags & WITH_WORDS) this.setWords(row, stub, batch, from.limit);
    arena.indexRow(this.cell(flags & RowFlag.byNumber ? number : from.hash), row);
    this.count++;
    this.textBytes += texts;
    if (from.metadataLength > 0) this.setMetadata(row, from.bytes, from.metadataAt, from.metadataLength);
    return row;
  }

  /** Replaces the metadata. `from` must not be the arena. */
  setMetadata(row: number, from: Uint8Array, fromAt: number, length: number): void {
    const { arena } = this;
    const at = row - arena.base;
    this.dropMetadata(at);
    if (length === 0) return;
    const block = arena.takeBlock(length, BLOCK_CLASSES);
    arena.u32[2 * at + METADATA] = block;
    arena.u32[2 * at + MORE] |= length;
    arena.bytes[8 * at + METADATA_CLASS] = arena.takenClass;
    copy(from, fromAt, length, arena.bytes, 8 * block);
    this.textBytes += length;
  }

  /** The end of the row. Its block keeps its timer. */
  remove(row: number): void {
    this.arena.unindexRow(this.cellOfRow(row), row);
    this.textBytes -=
      this.keyLength(row) + this.tokenLength(row) + this.ownerLength(row) + this.principalLength(row);
    this.free(row);
  }

  /** Nobody looks at the table any more: what its rows took is the other tables' of the arena. */
  dispose(): void {
    for (const row of [...this.rows()]) {
      this.arena.unindexRow(this.cellOfRow(row), row);
      this.free(row);
    }
    this.textBytes = 0;
    this.held = 0;
    this.waiting = 0;
  }

  /** The first row of its lock has gone or is about to: this one, found by its number so far, takes its place. */
  becomeFirst(row: number): void {
    this.arena.unindexRow(this.cellOfRow(row), row);
    this.setFlags(row, this.flags(row) & ~RowFlag.byNumber);
    this.arena.indexRow(this.cellOfRow(row), row);
  }

  /** A waiter has become a holder: unarmed, with a fencing token. */
  becomeHolder(row: number, fencingToken: number): void {
    const { arena } = this;
    const { f64, base } = arena;
    const at = row - base;
    const byNumber = (this.flags(row) & RowFlag.byNumber) !== 0;
    if (byNumber) arena.unindexRow(this.cellOfRow(row), row);
    f64[at] = fencingToken;
    f64[at + PROMISED] = 0;
    f64[at + FREE] = Infinity;
    if (byNumber) arena.indexRow(this.cellOfRow(row), row);
    this.setFlags(row, this.flags(row) & ~RowFlag.kind);
  }

  /** A grant or renewal was decided: the claim does not end before its round has returned. */
  disarm(row: number): void {
    const { u32, f64, base } = this.arena;
    const at = row - base;
    f64[at + FREE] = Infinity;
    u32[2 * at + ARMINGS]++;
  }

  /**
   * The round of a grant or renewal has returned. Both times are monotonic ms.
   * The promise holds at once; the time of freeing only once no later renewal
   * is under way, whose answer may promise more. True when freeAt was set: the
   * claim is to be looked at then.
   */
  arm(row: number, fencingToken: number, promisedUntil: number, freeAt: number): boolean {
    const { u32, f64, base } = this.arena;
    const at = row - base;
    if (!this.is(row, fencingToken)) return false;
    if (u32[2 * at + MORE] > 0xffff && !this.isArmed(row)) return false;
    if (f64[at + PROMISED] === 0) u32[2 * at + GRANTED] = (promisedUntil - this.ttlMs(row)) / GRANTED_UNIT_MS;
    f64[at + PROMISED] = promisedUntil;
    const armings = u32[2 * at + ARMINGS];
    if (armings > 1) {
      u32[2 * at + ARMINGS] = armings - 1;
      return false;
    }
    u32[2 * at + ARMINGS] = 0;
    f64[at + FREE] = freeAt;
    return true;
  }

  // ---- inside

  private free(row: number): void {
    const { arena } = this;
    const at = row - arena.base;
    this.dropMetadata(at);
    arena.f64[at] = 0;
    this.count--;
    arena.giveBlock(at);
  }

  /** Its times are those of a round: not a row on a stub, a waiter, a delay. */
  private isArmed(row: number): boolean {
    const kind = this.kind(row);
    return this.hasOwnTime(row) && kind !== RowKind.waiter && kind !== RowKind.delay;
  }

  /** What the index finds it by. */
  private cellOfRow(row: number): number {
    return this.cell(this.flags(row) & RowFlag.byNumber ? this.fencingToken(row) : this.hash(row));
  }

  private cell(hash: number): number {
    return cellOf(hash, this.tablePlace);
  }

  private setWords(row: number, stub: number, batch: number, limit: number): void {
    const { u32 } = this.arena;
    const at = this.wordsAt(row);
    u32[at + STUB] = stub;
    u32[at + BATCH] = batch;
    u32[at + LIMIT] = limit;
  }

  private dropMetadata(at: number): void {
    const { arena } = this;
    const { u32 } = arena;
    const length = u32[2 * at + MORE] & 0xffff;
    if (length === 0) return;
    arena.giveMetadataBlock(u32[2 * at + METADATA], arena.bytes[8 * at + METADATA_CLASS]);
    u32[2 * at + METADATA] = 0;
    u32[2 * at + MORE] &= ~0xffff;
    this.textBytes -= length;
  }
}

function equal(a: Uint8Array, aAt: number, b: Uint8Array, bAt: number, length: number): boolean {
  for (let i = 0; i < length; i++) {
    if (a[aAt + i] !== b[bAt + i]) return false;
  }
  return true;
}

/** A loop, not `set` of a `subarray`: for the 10–40 bytes of a name it is several times faster. */
function copy(from: Uint8Array, at: number, length: number, to: Uint8Array, toAt: number): number {
  for (let i = 0; i < length; i++) to[toAt + i] = from[at + i];
  return toAt + length;
}
