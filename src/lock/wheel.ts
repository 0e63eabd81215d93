/**
 * When to look at which claim again: a hierarchical timing wheel (Varghese and
 * Lauck), one per lane, for all rows of all its tables.
 *
 *   level 0: 64 buckets of one tick (10 ms) ── level 1: 64 of 64 ticks ──
 *   level 2: 64 of 4,096 ── level 3: 64 of 262,144: 46 hours in all
 *
 * An entry lies in the lowest level whose current revolution contains its tick.
 * When the time reaches a bucket of a higher level, its entries move down; an
 * entry that is farther away than the wheel turns is moved along on top. Moving
 * and firing both count against the budget of `advance`, so ten million entries
 * of one minute are taken in bites.
 *
 * An entry is fired once, never before its time, and at most one tick after it
 * when `advance` is called in time. Entries are not withdrawn: who schedules
 * looks, when one fires, whether it still means something.
 */

const TICK_MS = 10;
const LEVEL_BITS = 6;
const BUCKETS = 1 << LEVEL_BITS;
const LEVELS = 4;
/** Ticks that the top level can tell apart from the one it is at. */
const SPAN_TICKS = 2 ** (LEVELS * LEVEL_BITS) - 2 ** ((LEVELS - 1) * LEVEL_BITS);

/** Words of an entry: table, row, tick modulo 2^32. */
const WORDS = 3;
const CHUNK_ENTRIES_MIN = 8;
const CHUNK_ENTRIES_MAX = 2_048;
/** Full-size chunks kept for the next bucket that needs one: 24 KiB each. */
const SPARE_CHUNKS_MAX = 64;

/** A stack of entries. */
class Bucket {
  /** All but the last are full. */
  readonly chunks: Uint32Array[] = [];
  /** Words used of the last chunk. */
  used = 0;
}

export class Wheel {
  /** Entries in the wheel. */
  count = 0;
  /** The present: all entries of earlier ticks have left the buckets. */
  private tick: number;
  /** By level × 64 + place; an entry never lies in the place that its level is at. */
  private readonly buckets = new Array<Bucket | undefined>(LEVELS * BUCKETS).fill(undefined);
  /** Entries whose time has come. */
  private due = new Bucket();
  /** Highest level whose bucket at the present place may still have entries to move down; 0 = none. */
  private moving = 0;
  private readonly spare: Uint32Array[] = [];

  /** @param now monotonic ms: the present */
  constructor(now: number) {
    this.tick = Math.floor(now / TICK_MS);
  }

  /** Fires (table, row), both u32, at `at` (monotonic ms) or as soon after it as `advance` is called. */
  schedule(table: number, row: number, at: number): void {
    this.count++;
    this.place(table, row, Math.ceil(at / TICK_MS));
  }

  /**
   * Fires what is due at `now` (monotonic ms), in no order within a tick. `fire`
   * may schedule; what it schedules for the past fires in this call too.
   *
   * @param budget entries that may be fired or moved, ≥ 1
   * @returns true when more is due: call again soon
   */
  advance(now: number, budget: number, fire: (table: number, row: number) => void): boolean {
    const target = Math.floor(now / TICK_MS);
    for (let left = budget; ;) {
      left -= this.moveDown(left);
      left -= this.fireDue(left, fire);
      if (left <= 0) return this.nextAt() <= now;
      const next = this.nextTick();
      if (next > target) break;
      this.enter(next);
    }
    this.tick = Math.max(this.tick, target);
    return false;
  }

  /** Monotonic ms at which `advance` has something to do, if only to move entries down; Infinity = never. */
  nextAt(): number {
    const next = this.due.chunks.length > 0 || this.moving > 0 ? this.tick : this.nextTick();
    return next * TICK_MS;
  }

  /** `tick` becomes the present; nothing was to be done before it. */
  private enter(tick: number): void {
    this.tick = tick;
    this.moving = LEVELS - 1;
    const bucket = this.buckets[placeAt(0, tick)];
    if (bucket === undefined) return;
    this.buckets[placeAt(0, tick)] = undefined;
    this.due = bucket;
  }

  private fireDue(budget: number, fire: (table: number, row: number) => void): number {
    let fired = 0;
    for (; fired < budget && this.due.chunks.length > 0; fired++) {
      const { chunks, used } = this.due;
      const chunk = chunks[chunks.length - 1];
      const table = chunk[used - WORDS];
      const row = chunk[used - WORDS + 1];
      this.pop(this.due);
      this.count--;
      fire(table, row);
    }
    return fired;
  }

  private moveDown(budget: number): number {
    let moved = 0;
    while (this.moving > 0 && moved < budget) {
      const at = placeAt(this.moving, this.tick);
      const bucket = this.buckets[at];
      if (bucket === undefined || bucket.chunks.length === 0) {
        this.buckets[at] = undefined;
        this.moving--;
        continue;
      }
      const chunk = bucket.chunks[bucket.chunks.length - 1];
      const from = bucket.used - WORDS;
      // The stored 32 bits are those of the tick nearest to the present.
      const tick = this.tick + ((chunk[from + 2] - this.tick) | 0);
      this.place(chunk[from], chunk[from + 1], tick);
      this.pop(bucket);
      moved++;
    }
    return moved;
  }

  private place(table: number, row: number, tick: number): void {
    if (tick <= this.tick) {
      this.push(this.due, table, row, tick);
      return;
    }
    const near = Math.min(tick, this.tick + SPAN_TICKS);
    const level = Math.min(LEVELS - 1, Math.trunc((31 - Math.clz32(near ^ this.tick)) / LEVEL_BITS));
    const at = placeAt(level, near);
    this.push((this.buckets[at] ??= new Bucket()), table, row, tick);
  }

  /** The next tick at which a bucket has to be emptied; Infinity = none. */
  private nextTick(): number {
    let next = Infinity;
    for (let level = 0, scale = 1; level < LEVELS; level++, scale *= BUCKETS) {
      const present = Math.floor(this.tick / scale);
      for (let ahead = 1; ahead < BUCKETS; ahead++) {
        if (this.buckets[level * BUCKETS + ((present + ahead) & (BUCKETS - 1))] === undefined) continue;
        next = Math.min(next, (present + ahead) * scale);
        break;
      }
    }
    return next;
  }

  private push(bucket: Bucket, table: number, row: number, tick: number): void {
    const { chunks } = bucket;
    let chunk = chunks[chunks.length - 1];
    if (chunk === undefined || bucket.used === chunk.length) {
      chunk = this.newChunk(chunk === undefined ? CHUNK_ENTRIES_MIN : (2 * chunk.length) / WORDS);
      chunks.push(chunk);
      bucket.used = 0;
    }
    chunk[bucket.used] = table;
    chunk[bucket.used + 1] = row;
    chunk[bucket.used + 2] = tick;
    bucket.used += WORDS;
  }

  private pop(bucket: Bucket): void {
    bucket.used -= WORDS;
    if (bucket.used > 0) return;
    const { chunks } = bucket;
    const chunk = chunks.pop()!;
    if (chunk.length === WORDS * CHUNK_ENTRIES_MAX && this.spare.length < SPARE_CHUNKS_MAX) {
      this.spare.push(chunk);
    }
    bucket.used = chunks.length === 0 ? 0 : chunks[chunks.length - 1].length;
  }

  private newChunk(entries: number): Uint32Array {
    if (entries < CHUNK_ENTRIES_MAX) return new Uint32Array(WORDS * entries);
    return this.spare.pop() ?? new Uint32Array(WORDS * CHUNK_ENTRIES_MAX);
  }
}

/** Index of the bucket that `tick` belongs to at `level`. */
function placeAt(level: number, tick: number): number {
  return level * BUCKETS + ((tick >>> (level * LEVEL_BITS)) & (BUCKETS - 1));
}
