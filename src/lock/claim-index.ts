/**
 * Finds rows by the hash of their key: open addressing with linear probing.
 *
 * A cell is a row id and its hash, side by side, so that a probe touches the
 * rows themselves only when the whole hash agrees. Deletion shifts the cells
 * behind the hole back instead of leaving a marker: a table that lives for
 * months does not silt up.
 *
 * Cells are signed 32-bit (`hash | 0`): that is what V8 compares fastest.
 */

const SIZE_MIN = 8;
/** Cells are used up to this share; beyond it the index doubles. */
const LOAD_MAX = 0.7;
/** 2^32 / golden ratio: spreads the low bits of the hash over the high ones (a slot's hashes share those). */
const SPREAD = 0x9e3779b1;

/** A larger one is given up when it has become empty. */
const KEPT_SIZE_MAX = 512;

/** What all empty indexes share: cells that are never written. */
const EMPTY = new Int32Array(2 * SIZE_MIN);
const SHIFT_EMPTY = Math.clz32(SIZE_MIN) + 1;

/** Base of RowFields and ClaimTable, not a part of them: one object less to load on the way to a row. */
export abstract class ClaimIndex {
  /** Rows in the index. */
  count = 0;
  /** Pairs of row id (0 = free cell) and hash. */
  protected cells = EMPTY;
  protected mask = SIZE_MIN - 1;
  private shift = SHIFT_EMPTY;
  /** Rows at which it doubles; 0 = no cells of its own yet. */
  private countMax = 0;

  /** The cell where a search for `hash` (signed, here and below) begins. */
  protected home(hash: number): number {
    return Math.imul(hash, SPREAD) >>> this.shift;
  }

  protected indexRow(hash: number, row: number): void {
    if (this.count >= this.countMax) this.growIndex();
    this.count++;
    this.place(hash, row);
  }

  protected unindexRow(hash: number, row: number): void {
    const { cells, mask } = this;
    let hole = this.home(hash);
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
    this.count--;
    if (this.count === 0 && mask >= KEPT_SIZE_MAX) this.clearIndex();
  }

  protected clearIndex(): void {
    this.cells = EMPTY;
    this.mask = SIZE_MIN - 1;
    this.shift = SHIFT_EMPTY;
    this.count = 0;
    this.countMax = 0;
  }

  private place(hash: number, row: number): void {
    const { cells, mask } = this;
    let i = this.home(hash);
    while (cells[2 * i] !== 0) i = (i + 1) & mask;
    cells[2 * i] = row;
    cells[2 * i + 1] = hash;
  }

  private growIndex(): void {
    const before = this.cells;
    const size = this.countMax === 0 ? SIZE_MIN : 2 * (this.mask + 1);
    this.cells = new Int32Array(2 * size);
    this.mask = size - 1;
    this.shift = Math.clz32(size) + 1;
    this.countMax = Math.floor(size * LOAD_MAX);
    for (let i = 0; i < before.length; i += 2) {
      if (before[i] !== 0) this.place(before[i + 1], before[i]);
    }
  }
}
