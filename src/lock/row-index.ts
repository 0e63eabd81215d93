/**
 * Finds rows of the tables of one arena by the hash of their key, or by their
 * number: open addressing with linear probing.
 *
 * A cell is a row id and what the row is found by, side by side: its hash with
 * the place of its table in the last five bits. So a probe touches the rows
 * themselves only when table and hash agree, and the rows of one table are found
 * without looking at those of others. Deletion shifts the cells behind the hole
 * back instead of leaving a marker: an index that lives for months does not
 * silt up.
 *
 * Cells are signed 32-bit: that is what V8 compares fastest.
 */

/** Bits of the place of a table among those of its arena. */
export const TABLE_BITS = 5;
export const TABLE_MASK = (1 << TABLE_BITS) - 1;

const SIZE_MIN = 8;
/** Cells are used up to this share; beyond it the index doubles. */
const LOAD_MAX = 0.7;
/** 2^32 / golden ratio: spreads the low bits of the hash over the high ones (those of a slot share the latter). */
const SPREAD = 0x9e3779b1;

/** A larger one is given up when it has become empty. */
const KEPT_SIZE_MAX = 4_096;

/** What all empty indexes share: cells that are never written. */
const EMPTY = new Int32Array(2 * SIZE_MIN);
const SHIFT_EMPTY = Math.clz32(SIZE_MIN) + 1;

/** What a row of this table is found by. `hash` is that of its key, or its number. */
export function cellOf(hash: number, table: number): number {
  return (hash & ~TABLE_MASK) | table;
}

/** Base of Arena, not a part of it: one object less to load on the way to a row. */
export abstract class RowIndex {
  /** Pairs of row id (0 = free) and what it is found by. */
  cells = EMPTY;
  mask = SIZE_MIN - 1;
  private indexed = 0;
  private shift = SHIFT_EMPTY;
  /** Rows at which it doubles; 0 = no cells of its own yet. */
  private indexedMax = 0;

  /** Where a search for `cell` begins. */
  home(cell: number): number {
    return Math.imul(cell, SPREAD) >>> this.shift;
  }

  indexRow(cell: number, row: number): void {
    if (this.indexed >= this.indexedMax) this.growIndex();
    this.indexed++;
    this.place(cell, row);
  }

  unindexRow(cell: number, row: number): void {
    const { cells, mask } = this;
    let hole = this.home(cell);
    while (cells[2 * hole] !== row) hole = (hole + 1) & mask;
    for (let i = (hole + 1) & mask; cells[2 * i] !== 0; i = (i + 1) & mask) {
      const home = this.home(cells[2 * i + 1]);
      // The cell may move back only if its search begins at the hole or before it.
      if (((i - home) & mask) < ((i - hole) & mask)) continue;
      cells[2 * hole] = cells[2 * i];
      cells[2 * hole + 1] = cells[2 * i + 1];
      hole = i;
    }
    cells[2 * hole] = 0;
    this.indexed--;
    if (this.indexed === 0 && mask >= KEPT_SIZE_MAX) this.clearIndex();
  }

  /** All rows of one table, in no order. The index must not change while they are walked. */
  *rowsOf(table: number): IterableIterator<number> {
    const { cells } = this;
    for (let i = 0; i < cells.length; i += 2) {
      if (cells[i] !== 0 && (cells[i + 1] & TABLE_MASK) === table) yield cells[i];
    }
  }

  private clearIndex(): void {
    this.cells = EMPTY;
    this.mask = SIZE_MIN - 1;
    this.shift = SHIFT_EMPTY;
    this.indexed = 0;
    this.indexedMax = 0;
  }

  private place(cell: number, row: number): void {
    const { cells, mask } = this;
    let i = this.home(cell);
    while (cells[2 * i] !== 0) i = (i + 1) & mask;
    cells[2 * i] = row;
    cells[2 * i + 1] = cell;
  }

  private growIndex(): void {
    const before = this.cells;
    const size = this.indexedMax === 0 ? SIZE_MIN : 2 * (this.mask + 1);
    this.cells = new Int32Array(2 * size);
    this.mask = size - 1;
    this.shift = Math.clz32(size) + 1;
    this.indexedMax = Math.floor(size * LOAD_MAX);
    for (let i = 0; i < before.length; i += 2) {
      if (before[i] !== 0) this.place(before[i + 1], before[i]);
    }
  }
}
