/**
 * Blocks of bytes in one ArrayBuffer: what the tables of some slots keep their
 * rows in. Slots share arenas, SLOTS_AN_ARENA each, because what an op waits for
 * is mostly objects that are in no cache: with an arena a slot there are
 * thousands of arenas and views, with shared ones some hundred.
 *
 * Row ids are offsets in units of 8 bytes, behind `base`. A block keeps its
 * place and its class for as long as the arena lives. When a large arena has
 * become empty it is given back, and `base` moves past all ids of it: an id from
 * before (a timer, an answer under way) can never mean bytes of a later row.
 *
 * A block that was one table's may be another's next, so who comes with the id
 * of a row asks whose it is. A timer is the block's: it serves whatever row is
 * in it when it fires.
 */
import { BLOCK_CLASSES, classOf, unitsOf } from './block-classes.ts';
import { EndedTokens } from './ended-tokens.ts';
import { RowIndex, TABLE_BITS, TABLE_MASK } from './row-index.ts';

/** Slots that share an arena. More would make the pause longer when it grows: with ten million claims it copies 10 MB. */
export const SLOTS_AN_ARENA = 1 << TABLE_BITS;

/** A row's word with its lengths: keyLength, place of the table << 11, ownerLength << 16. */
export const LENGTHS = 12;
export const KEY_LENGTH_MASK = 0x07ff;
const TABLE_SHIFT = 11;
const TIMER = 3;

// Indexes into the view of 32-bit words, from the block's place.
/** Of a free block: the next one. */
const NEXT = 8;
/** Offset of a row's class. */
const CLASS = 58;

/** The first units of an arena belong to no row: id 0 is «none», and reads as zeros. */
const RESERVED_UNITS = 8;
const UNITS_MIN = 128;
/** From 8 KiB on an arena grows by a quarter, not by doubling: 12 % of it is unused on average, not 28 %. */
const DOUBLING_UNITS_MAX = 1_024;
/** An empty arena larger than this is given back: 64 KiB. */
const KEPT_UNITS_MAX = 8_192;
/** Ids are 31 bits; when `base` has come this far arenas are kept for ever. */
const BASE_MAX = 2 ** 30;

const NO_ARENA = new ArrayBuffer(RESERVED_UNITS * 8);
const NO_BYTES = new Uint8Array(NO_ARENA);
const NO_U32 = new Uint32Array(NO_ARENA);
const NO_F64 = new Float64Array(NO_ARENA);

export class Arena extends RowIndex {
  /** Its views. Replaced when it grows: to be taken anew after an insert or setMetadata of any of its tables. */
  bytes = NO_BYTES;
  u32 = NO_U32;
  f64 = NO_F64;
  /** A row's id less its place. */
  base = 0;
  /** Class of the block that takeBlock gave last. */
  takenClass = 0;
  /** The number that the lane's wheel knows it by; 0 = none yet. */
  wheelTable = 0;
  private ended: EndedTokens | undefined;
  /** Tables that have been made in it. */
  private tables = 0;
  /** Blocks of rows that are in use. */
  private rows = 0;
  /** Units in use from the arena's start, free blocks included. */
  private top = RESERVED_UNITS;
  /** By class: the first free block of rows, then of metadata. */
  private free: Int32Array | undefined;

  /** A table more: returns its place among those of the arena. At most SLOTS_AN_ARENA, also of those that are gone. */
  addTable(): number {
    if (this.tables === SLOTS_AN_ARENA) throw new RangeError('the arena has all its tables');
    return this.tables++;
  }

  /** What all its tables remember of ended tokens, each `keepMs` long. */
  endedTokens(keepMs: number): EndedTokens {
    return (this.ended ??= new EndedTokens(keepMs, SLOTS_AN_ARENA));
  }

  /** The place of the table whose row this is, or was last while the block is free. */
  tableOf(row: number): number {
    return (this.u32[2 * (row - this.base) + LENGTHS] >>> TABLE_SHIFT) & TABLE_MASK;
  }

  /** What tableOf reads, as a part of that word. */
  static tableBits(table: number): number {
    return table << TABLE_SHIFT;
  }

  /** Monotonic ms for which the row's block is in the wheel, 0 = it is not. Outlives the row; undefined: no such block. */
  timerAt(row: number): number | undefined {
    return this.f64[row - this.base + TIMER];
  }

  setTimerAt(row: number, at: number): void {
    this.f64[row - this.base + TIMER] = at;
  }

  /** A block of at least `bytes`; `list` is 0 for rows, BLOCK_CLASSES for metadata, whose blocks never mix. */
  takeBlock(bytes: number, list: number): number {
    const wanted = classOf(bytes);
    if (list === 0) this.rows++;
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

  /** Gives a row's block back, whose metadata was given back before. */
  giveBlock(at: number): void {
    const blockClass = this.bytes[8 * at + CLASS];
    this.u32[2 * at + NEXT] = this.free![blockClass];
    this.free![blockClass] = at;
    if (--this.rows === 0) this.giveBack();
  }

  /** Gives a block of metadata back. */
  giveMetadataBlock(at: number, blockClass: number): void {
    this.u32[2 * at] = this.free![BLOCK_CLASSES + blockClass];
    this.free![BLOCK_CLASSES + blockClass] = at;
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
