/**
 * The claims of one slot: rows of variable size in one ArrayBuffer, so that ten
 * million of them are a few thousand objects to the garbage collector.
 *
 * A row is a block: a head of fixed size, then key, token and owner. Metadata
 * lies in a block of its own, because a renewal may replace it by a longer one
 * while the row keeps its id. The head, by offset:
 *
 *    0 fencingToken f64 (0 = the block is free) · 8 promisedUntil f64
 *   16 freeAt f64 (Infinity = unarmed) · 24 timerAt f64
 *   32 hash u32 (free: the next free block) · 36 ttlMs u32
 *   40 armings u32: grants and renewals whose round has not returned
 *   44 metadata u32: its block · 48 keyLength u16 · 50 ownerLength u16
 *   52 metadataLength u16 · 54 kept for limit u16 · 56 tokenLength u8
 *   57 kept for mode u8 · 58 class of the block u8 · 59 class of the metadata's u8
 *   60 grantedAt u32, in units of GRANTED_UNIT_MS
 *
 * There are three views of the arena, not one for every width: each is an
 * object more to load on the way to a row, and with thousands of tables that is
 * what an op waits for. Lengths are halves of 32-bit words.
 *
 * Row ids are offsets in units of 8 bytes, behind `base`. A block keeps its
 * place and its class for as long as the arena lives, so a timer that was set
 * for an earlier claim of the block serves the next one (`timerAt`). When a
 * large arena has become empty it is given back, and `base` moves past all ids
 * of it: an id from before (a timer, an answer under way) can never mean bytes
 * of a later row. Nothing here is a stored format.
 */
import { ClaimIndex } from './claim-index.ts';
import { BLOCK_CLASSES, classOf, unitsOf } from './block-classes.ts';

export const HEAD_BYTES = 64;

// Fields as indexes into the view of their width, from the row's place.
const PROMISED = 1;
const FREE = 2;
const TIMER = 3;
const HASH = 8;
const NEXT = 8;
const TTL = 9;
const ARMINGS = 10;
const METADATA = 11;
/** keyLength, ownerLength << 16 */
const LENGTHS = 12;
/** metadataLength, limit << 16 */
const MORE_LENGTHS = 13;
const GRANTED = 15;
const TOKEN_LENGTH = 56;
const CLASS = 58;
const METADATA_CLASS = 59;

/** For the metrics only; 32 bits of it last 497 days. */
const GRANTED_UNIT_MS = 10;

/** The first units of an arena belong to no row: id 0 is «none», and reads as zeros. */
const RESERVED_UNITS = 8;
const UNITS_MIN = 128;
/** From 8 KiB on an arena grows by a quarter, not by doubling: 12 % of it is unused on average, not 28 %. */
const DOUBLING_UNITS_MAX = 1_024;
/** An empty arena larger than this is given back: 16 KiB. */
const KEPT_UNITS_MAX = 2_048;
/** Ids are 31 bits; when `base` has come this far arenas are kept for ever. */
const BASE_MAX = 2 ** 30;

const NO_ARENA = new ArrayBuffer(RESERVED_UNITS * 8);
const NO_BYTES = new Uint8Array(NO_ARENA);
const NO_U32 = new Uint32Array(NO_ARENA);
const NO_F64 = new Float64Array(NO_ARENA);

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
}

export class ClaimTable extends ClaimIndex {
  /** Bytes of all keys, tokens, owners and metadata. */
  textBytes = 0;
  /** The arena. Replaced when it grows: take it anew after an insert or setMetadata. */
  bytes = NO_BYTES;
  private u32 = NO_U32;
  private f64 = NO_F64;
  private base = 0;
  /** Units in use from the arena's start, free blocks included. */
  private top = RESERVED_UNITS;
  /** By class: the first free block of rows, then of metadata. */
  private free: Int32Array | undefined;

  // ---- fields. Of a row that is gone they are undefined or of no meaning; `is` tells.

  fencingToken(row: number): number {
    return this.f64[row - this.base];
  }
  /** Monotonic ms until which the client may believe it; 0 = the grant has not been answered yet. */
  promisedUntil(row: number): number {
    return this.f64[row - this.base + PROMISED];
  }
  /** Monotonic ms, to 10 ms, since when it has been held, as far as this owner knows; 0 = not armed yet. */
  grantedAt(row: number): number {
    return this.u32[2 * (row - this.base) + GRANTED] * GRANTED_UNIT_MS;
  }
  /** Monotonic ms at which the owner frees it; Infinity = unarmed. */
  freeAt(row: number): number {
    return this.f64[row - this.base + FREE];
  }
  /** Monotonic ms for which the row's block is in the wheel, 0 = it is not. Outlives the claim. */
  timerAt(row: number): number {
    return this.f64[row - this.base + TIMER];
  }
  setTimerAt(row: number, at: number): void {
    this.f64[row - this.base + TIMER] = at;
  }
  /** Signed: a number above 2^31 would be an object of its own wherever it is handed on. */
  hash(row: number): number {
    return this.u32[2 * (row - this.base) + HASH] | 0;
  }
  ttlMs(row: number): number {
    return this.u32[2 * (row - this.base) + TTL];
  }
  setTtlMs(row: number, ttlMs: number): void {
    this.u32[2 * (row - this.base) + TTL] = ttlMs;
  }
  keyAt(row: number): number {
    return 8 * (row - this.base) + HEAD_BYTES;
  }
  keyLength(row: number): number {
    return this.u32[2 * (row - this.base) + LENGTHS] & 0xffff;
  }
  tokenAt(row: number): number {
    return this.keyAt(row) + this.keyLength(row);
  }
  tokenLength(row: number): number {
    return this.bytes[8 * (row - this.base) + TOKEN_LENGTH];
  }
  ownerAt(row: number): number {
    return this.tokenAt(row) + this.tokenLength(row);
  }
  ownerLength(row: number): number {
    return this.u32[2 * (row - this.base) + LENGTHS] >>> 16;
  }
  metadataAt(row: number): number {
    return 8 * this.u32[2 * (row - this.base) + METADATA];
  }
  metadataLength(row: number): number {
    return this.u32[2 * (row - this.base) + MORE_LENGTHS] & 0xffff;
  }

  /** True while `row` is the claim with this fencing token; safe for any row id ever given. */
  is(row: number, fencingToken: number): boolean {
    const at = row - this.base;
    return at > 0 && this.f64[at] === fencingToken;
  }

  /** True while `row` is a claim; safe for any row id ever given. */
  lives(row: number): boolean {
    const at = row - this.base;
    return at > 0 && this.f64[at] > 0;
  }

  // ---- search

  /** The row that holds this key, 0 = none. */
  find(bytes: Uint8Array, keyAt: number, keyLength: number, hash: number): number {
    const { cells, mask } = this;
    const signed = hash | 0;
    for (let i = this.home(hash); ; i = (i + 1) & mask) {
      const row = cells[2 * i];
      if (row === 0) return 0;
      if (cells[2 * i + 1] === signed && this.hasKey(row, bytes, keyAt, keyLength)) return row;
    }
  }

  /** The row with this fencing token whose key has this hash, 0 = none. */
  findFenced(hash: number, fencingToken: number): number {
    const { cells, mask } = this;
    const signed = hash | 0;
    for (let i = this.home(hash); ; i = (i + 1) & mask) {
      const row = cells[2 * i];
      if (row === 0) return 0;
      if (cells[2 * i + 1] === signed && this.fencingToken(row) === fencingToken) return row;
    }
  }

  hasToken(row: number, bytes: Uint8Array, at: number, length: number): boolean {
    return length === this.tokenLength(row) && equal(this.bytes, this.tokenAt(row), bytes, at, length);
  }

  private hasKey(row: number, bytes: Uint8Array, at: number, length: number): boolean {
    return length === this.keyLength(row) && equal(this.bytes, this.keyAt(row), bytes, at, length);
  }

  /** All rows, in no order. The table must not change while they are walked. */
  *rows(): IterableIterator<number> {
    const { cells } = this;
    for (let i = 0; i < cells.length; i += 2) {
      if (cells[i] !== 0) yield cells[i];
    }
  }

  // ---- change

  /** A new row, unarmed. The key must not be in the table, and `from.bytes` must not be its arena. */
  insert(from: ClaimSource, fencingToken: number, ttlMs: number): number {
    const at = this.takeBlock(HEAD_BYTES + from.keyLength + from.tokenLength + from.ownerLength, 0);
    this.f64[at] = fencingToken;
    this.f64[at + PROMISED] = 0;
    this.f64[at + FREE] = Infinity;
    this.u32[2 * at + HASH] = from.hash;
    this.u32[2 * at + TTL] = ttlMs;
    this.u32[2 * at + ARMINGS] = 0;
    this.u32[2 * at + METADATA] = 0;
    this.u32[2 * at + LENGTHS] = from.keyLength | (from.ownerLength << 16);
    this.u32[2 * at + MORE_LENGTHS] = 0;
    this.u32[2 * at + GRANTED] = 0;
    this.bytes[8 * at + TOKEN_LENGTH] = from.tokenLength;
    let to = 8 * at + HEAD_BYTES;
    to = copy(from.bytes, from.keyAt, from.keyLength, this.bytes, to);
    to = copy(from.bytes, from.tokenAt, from.tokenLength, this.bytes, to);
    copy(from.bytes, from.ownerAt, from.ownerLength, this.bytes, to);
    const row = this.base + at;
    this.indexRow(from.hash | 0, row);
    this.textBytes += from.keyLength + from.tokenLength + from.ownerLength;
    if (from.metadataLength > 0) this.setMetadata(row, from.bytes, from.metadataAt, from.metadataLength);
    return row;
  }

  /** Replaces the metadata. `from` must not be the arena. */
  setMetadata(row: number, from: Uint8Array, fromAt: number, length: number): void {
    const at = row - this.base;
    this.dropMetadata(at);
    if (length === 0) return;
    const block = this.takeBlock(length, BLOCK_CLASSES);
    this.u32[2 * at + METADATA] = block;
    this.u32[2 * at + MORE_LENGTHS] = length;
    this.bytes[8 * at + METADATA_CLASS] = this.takenClass;
    copy(from, fromAt, length, this.bytes, 8 * block);
    this.textBytes += length;
  }

  /** The end of the claim. Its block keeps its timer. */
  remove(row: number): void {
    const at = row - this.base;
    this.unindexRow(this.hash(row), row);
    this.dropMetadata(at);
    this.textBytes -= this.keyLength(row) + this.tokenLength(row) + this.ownerLength(row);
    this.f64[at] = 0;
    this.giveBlock(at, this.bytes[8 * at + CLASS]);
    if (this.count === 0) this.giveBack();
  }

  /** A grant or renewal was decided: the claim does not end before its round has returned. */
  disarm(row: number): void {
    const at = row - this.base;
    this.f64[at + FREE] = Infinity;
    this.u32[2 * at + ARMINGS]++;
  }

  /**
   * The round of a grant or renewal has returned. Both times are monotonic ms.
   * The promise holds at once; the time of freeing only once no later renewal
   * is under way, whose answer may promise more. True when freeAt was set: the
   * claim is to be looked at then.
   */
  arm(row: number, fencingToken: number, promisedUntil: number, freeAt: number): boolean {
    if (!this.is(row, fencingToken)) return false;
    const at = row - this.base;
    if (this.f64[at + PROMISED] === 0)
      this.u32[2 * at + GRANTED] = (promisedUntil - this.ttlMs(row)) / GRANTED_UNIT_MS;
    this.f64[at + PROMISED] = promisedUntil;
    const armings = this.u32[2 * at + ARMINGS];
    if (armings > 1) {
      this.u32[2 * at + ARMINGS] = armings - 1;
      return false;
    }
    this.u32[2 * at + ARMINGS] = 0;
    this.f64[at + FREE] = freeAt;
    return true;
  }

  // ---- blocks

  /** Class of the block that takeBlock gave last. */
  private takenClass = 0;

  /** A block of at least `bytes`; `list` is 0 for rows, BLOCK_CLASSES for metadata, whose blocks never mix. */
  private takeBlock(bytes: number, list: number): number {
    const wanted = classOf(bytes);
    const free = (this.free ??= new Int32Array(2 * BLOCK_CLASSES));
    let taken = wanted;
    let at = free[list + wanted];
    if (at === 0 && this.top + unitsOf(wanted) > this.f64.length) {
      taken = this.freeClassAbove(wanted, list);
      at = free[list + taken];
    }
    this.takenClass = taken;
    if (at !== 0) {
      free[list + taken] = this.u32[2 * at + (list === 0 ? NEXT : 0)];
      return at;
    }
    const units = unitsOf(wanted);
    if (this.top + units > this.f64.length) this.grow(units);
    at = this.top;
    this.top += units;
    if (list === 0) this.bytes[8 * at + CLASS] = wanted;
    return at;
  }

  /** Before the arena grows: the next larger class with a free block, up to twice the size. */
  private freeClassAbove(wanted: number, list: number): number {
    const unitsMax = 2 * unitsOf(wanted);
    for (let i = wanted + 1; i < BLOCK_CLASSES && unitsOf(i) <= unitsMax; i++) {
      if (this.free![list + i] !== 0) return i;
    }
    return wanted;
  }

  private giveBlock(at: number, blockClass: number): void {
    this.u32[2 * at + NEXT] = this.free![blockClass];
    this.free![blockClass] = at;
  }

  private dropMetadata(at: number): void {
    const length = this.u32[2 * at + MORE_LENGTHS];
    if (length === 0) return;
    const block = this.u32[2 * at + METADATA];
    const list = BLOCK_CLASSES + this.bytes[8 * at + METADATA_CLASS];
    this.u32[2 * block] = this.free![list];
    this.free![list] = block;
    this.u32[2 * at + METADATA] = 0;
    this.u32[2 * at + MORE_LENGTHS] = 0;
    this.textBytes -= length;
  }

  private grow(units: number): void {
    const have = this.f64 === NO_F64 ? 0 : this.f64.length;
    const wish = have < DOUBLING_UNITS_MAX ? 2 * have : have + (have >>> 2);
    const size = Math.max(UNITS_MIN, wish, this.top + units);
    const before = this.bytes;
    this.view(new ArrayBuffer(8 * size));
    this.bytes.set(before.subarray(0, 8 * this.top));
  }

  private giveBack(): void {
    if (this.f64.length <= KEPT_UNITS_MAX || this.base + this.top > BASE_MAX) return;
    this.base += this.top;
    this.top = RESERVED_UNITS;
    this.free = undefined;
    this.clearIndex();
    this.bytes = NO_BYTES;
    this.u32 = NO_U32;
    this.f64 = NO_F64;
  }

  private view(arena: ArrayBuffer): void {
    this.bytes = new Uint8Array(arena);
    this.u32 = new Uint32Array(arena);
    this.f64 = new Float64Array(arena);
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
