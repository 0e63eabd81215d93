/**
 * The tokens of the tables of one arena whose claims ended a short while ago: a
 * late copy of an acquire must not take the lock again (DESIGN §5).
 *
 *   young  the newest, of all tables, in the order in which they came
 *   lists  the others: for each table a FIFO in chunks of one array
 *   tags   a set of 16 bits of each fingerprint, open addressing by other bits
 *
 * Nearly every acquire ends its search at a free cell of `tags`; only one that
 * finds its tag looks through its table's list. What an op waits for is memory,
 * and the tags are the only part that it looks for in a random place: so they
 * are small, and what is added goes to the lists in one go.
 *
 * Tags are not taken out one by one: those of entries that have gone are found
 * and prove nothing, and when too few cells are free they are made anew.
 *
 * An entry counts for `keepMs`, or until LIMITS.endedTokensMax newer ones of its
 * table have come. Those that no longer count make room when a table needs it.
 */
import { LIMITS } from '../limits.ts';

// Words of an entry; a young one has its table behind them.
const LOW = 0;
const HIGH = 1;
const ENDED = 2;
const YOUNG_TABLE = 3;
const ENTRY_WORDS = 3;
const YOUNG_WORDS = 4;
const YOUNG_MAX = 128;
// A chunk: 21 entries, and behind them the place of the next one.
const CHUNK_WORDS = 64;
const NEXT = 63;
const IN_CHUNK = CHUNK_WORDS - 1;
/** The first chunk is nobody's: place 0 is «none». */
const CHUNKS_MIN = 4;
/** Memory is given back when this many times the chunks in use are there. */
const SHRINK_AT = 8;

const CELLS_MIN = 16;
/** Cells for each entry when the tags are made, at least. */
const CELLS_AN_ENTRY = 2;
/** Share of the cells that may have been used before they are made anew. */
const USED_MAX = 0.75;
/** Times are milliseconds after `origin`; past this the origin moves. */
const ORIGIN_MS_MAX = 2 ** 31 - 1;

const NONE = new Int32Array(0);
/** No tags: one cell that is free. */
const NO_CELLS = new Uint16Array(1);

export class EndedTokens {
  private readonly keepMs: number;
  /** Entries of all tables. */
  private total = 0;
  private young = NONE;
  private youngCount = 0;
  /** The chunks. Those in use hang on their table's oldest, the others on `free`. */
  private words = NONE;
  private free = 0;
  private chunksUsed = 0;
  /** Tags; 0 = free. */
  private cells = NO_CELLS;
  private mask = 0;
  /** Cells that are not free, and how many there may be. */
  private used = 0;
  private usedMax = 0;
  /** Monotonic ms that the times of entries count from. */
  private origin = 0;
  /** By table: place of the oldest entry of its list (0 = none), place behind the newest. */
  private readonly oldest: Int32Array;
  private readonly end: Int32Array;
  /** By table: entries, young ones included, and the time of the newest. */
  private readonly counts: Int32Array;
  private readonly latest: Float64Array;

  /**
   * @param keepMs how long an ended token is remembered
   * @param tables numbered from 0
   */
  constructor(keepMs: number, tables = 1) {
    this.keepMs = keepMs;
    this.oldest = new Int32Array(tables);
    this.end = new Int32Array(tables);
    this.counts = new Int32Array(tables);
    this.latest = new Float64Array(tables);
  }

  /** Remembers the token of a claim of the key with this hash. `now` is monotonic ms. */
  add(table: number, hash: number, bytes: Uint8Array, at: number, length: number, now: number): void {
    fingerprint(hash, bytes, at, length);
    this.latest[table] = now;
    this.append(table, low, high, now);
  }

  has(table: number, hash: number, bytes: Uint8Array, at: number, length: number, now: number): boolean {
    fingerprint(hash, bytes, at, length);
    const { cells, mask } = this;
    const tag = tagOf(high);
    for (let i = low & mask; ; i = (i + 1) & mask) {
      const found = cells[i];
      if (found === 0) return false;
      if (found === tag) return this.isListed(table, low, high, now);
    }
  }

  /** Entries of one table. */
  count(table: number): number {
    return this.counts[table];
  }

  /** Drops what no longer counts of one table, and gives memory back that is left. */
  forget(table: number, now: number): void {
    this.settle();
    this.dropOver(table, now);
    this.giveBack();
  }

  /** Nobody asks for this table any more. */
  dispose(table: number): void {
    this.settle();
    while (this.oldest[table] !== 0) this.dropOldest(table);
    this.giveBack();
  }

  /** Of one table, from the oldest to the newest: the fingerprint and its age in whole ms when the newest ended. */
  each(table: number, visit: (low: number, high: number, ageMs: number) => void): void {
    this.settle();
    const { words } = this;
    const latest = this.latest[table] - this.origin;
    for (let at = this.oldest[table]; at !== 0; at = nextOf(words, at, this.end[table])) {
      const age = Math.max(0, Math.floor(latest - words[at + ENDED]));
      visit(words[at + LOW] >>> 0, words[at + HIGH] >>> 0, age);
    }
  }

  /** Puts back what `each` showed; to be called from the oldest to the newest. */
  restore(table: number, lowWord: number, highWord: number, ageMs: number, now: number): void {
    this.latest[table] = now;
    this.append(table, lowWord | 0, highWord | 0, now - ageMs);
  }

  private append(table: number, lowWord: number, highWord: number, endedAt: number): void {
    // What is put back may be older than the first one.
    if (this.total === 0) this.origin = Math.floor(endedAt - this.keepMs);
    if (endedAt - this.origin > ORIGIN_MS_MAX) this.moveOrigin(Math.floor(endedAt - this.keepMs));
    if (this.youngCount === YOUNG_MAX || this.counts[table] === LIMITS.endedTokensMax) this.settle();
    if (this.counts[table] === LIMITS.endedTokensMax) this.dropOldest(table);
    if (this.used >= this.usedMax) this.tagAll();
    if (this.young === NONE) this.young = new Int32Array(YOUNG_WORDS * YOUNG_MAX);
    const { young } = this;
    const at = YOUNG_WORDS * this.youngCount++;
    young[at + LOW] = lowWord;
    young[at + HIGH] = highWord;
    young[at + ENDED] = Math.max(0, Math.ceil(endedAt - this.origin));
    young[at + YOUNG_TABLE] = table;
    this.counts[table]++;
    this.total++;
    this.tag(lowWord, highWord);
  }

  private isOver(at: number, now: number): boolean {
    return this.origin + this.words[at + ENDED] <= now - this.keepMs;
  }

  // ---- lists

  /** The young ones go to their tables' lists. */
  private settle(): void {
    const { young, youngCount } = this;
    this.youngCount = 0;
    for (let at = 0; at < YOUNG_WORDS * youngCount; at += YOUNG_WORDS) {
      const table = young[at + YOUNG_TABLE];
      if (isFull(this.end[table])) this.dropOver(table, this.latest[table]);
      this.put(table, young[at + LOW], young[at + HIGH], young[at + ENDED]);
    }
  }

  private put(table: number, lowWord: number, highWord: number, ended: number): void {
    const at = isFull(this.end[table]) ? this.addChunk(table) : this.end[table];
    const { words } = this;
    words[at + LOW] = lowWord;
    words[at + HIGH] = highWord;
    words[at + ENDED] = ended;
    this.end[table] = at + ENTRY_WORDS;
  }

  /** A table's last chunk is full, or it has none: its next one, whose place is returned. */
  private addChunk(table: number): number {
    if (this.free === 0) this.grow(Math.ceil((this.words.length / CHUNK_WORDS) * 1.5));
    const added = this.free;
    const { words } = this;
    this.free = words[added + NEXT];
    this.chunksUsed++;
    words[added + NEXT] = 0;
    if (this.oldest[table] === 0) this.oldest[table] = added;
    else words[(this.end[table] & ~IN_CHUNK) + NEXT] = added;
    return added;
  }

  private dropOver(table: number, now: number): void {
    while (this.oldest[table] !== 0 && this.isOver(this.oldest[table], now)) this.dropOldest(table);
  }

  private dropOldest(table: number): void {
    const at = this.oldest[table];
    const next = nextOf(this.words, at, this.end[table]);
    this.counts[table]--;
    this.total--;
    this.oldest[table] = next;
    if (next === 0) this.end[table] = 0;
    const chunk = at & ~IN_CHUNK;
    if ((next & ~IN_CHUNK) === chunk) return;
    this.words[chunk + NEXT] = this.free;
    this.free = chunk;
    this.chunksUsed--;
  }

  private grow(chunks: number): void {
    const before = this.words;
    this.words = new Int32Array(CHUNK_WORDS * Math.max(CHUNKS_MIN, chunks));
    this.words.set(before);
    const first = Math.max(CHUNK_WORDS, before.length);
    for (let at = this.words.length - CHUNK_WORDS; at >= first; at -= CHUNK_WORDS) {
      this.words[at + NEXT] = this.free;
      this.free = at;
    }
  }

  // ---- tags

  private tag(lowWord: number, highWord: number): void {
    const { cells, mask } = this;
    let i = lowWord & mask;
    while (cells[i] !== 0) i = (i + 1) & mask;
    cells[i] = tagOf(highWord);
    this.used++;
  }

  /** What its tag promises. */
  private isListed(table: number, lowWord: number, highWord: number, now: number): boolean {
    this.settle();
    const { words } = this;
    for (let at = this.oldest[table]; at !== 0; at = nextOf(words, at, this.end[table])) {
      if (words[at + LOW] === lowWord && words[at + HIGH] === highWord && !this.isOver(at, now)) return true;
    }
    return false;
  }

  /** Tags of the entries only, and room for more. */
  private tagAll(): void {
    this.settle();
    const size = Math.max(CELLS_MIN, CELLS_AN_ENTRY * 2 ** Math.ceil(Math.log2(this.total + 1)));
    this.cells = new Uint16Array(size);
    this.mask = size - 1;
    this.used = 0;
    this.usedMax = size * USED_MAX;
    const { words, oldest, end } = this;
    for (let table = 0; table < oldest.length; table++) {
      for (let at = oldest[table]; at !== 0; at = nextOf(words, at, end[table]))
        this.tag(words[at + LOW], words[at + HIGH]);
    }
  }

  // ---- all of it

  /** Times count from `origin` from now on. */
  private moveOrigin(origin: number): void {
    this.settle();
    const { words, oldest, end } = this;
    for (let table = 0; table < oldest.length; table++) {
      for (let at = oldest[table]; at !== 0; at = nextOf(words, at, end[table]))
        words[at + ENDED] = Math.max(0, words[at + ENDED] + this.origin - origin);
    }
    this.origin = origin;
  }

  private giveBack(): void {
    if (this.total === 0) this.clear();
    else if (this.chunksUsed * SHRINK_AT * CHUNK_WORDS < this.words.length) this.shrink();
  }

  /** Each table's chunks in a row, and little more of them than are needed. */
  private shrink(): void {
    const { words, chunksUsed } = this;
    const oldest = this.oldest.slice();
    const end = this.end.slice();
    this.words = NONE;
    this.free = 0;
    this.chunksUsed = 0;
    this.oldest.fill(0);
    this.end.fill(0);
    this.grow(1 + Math.ceil(chunksUsed * 1.25));
    for (let table = 0; table < oldest.length; table++) {
      for (let at = oldest[table]; at !== 0; at = nextOf(words, at, end[table]))
        this.put(table, words[at + LOW], words[at + HIGH], words[at + ENDED]);
    }
    this.tagAll();
  }

  private clear(): void {
    this.total = 0;
    this.young = NONE;
    this.youngCount = 0;
    this.words = NONE;
    this.free = 0;
    this.chunksUsed = 0;
    this.cells = NO_CELLS;
    this.mask = 0;
    this.used = 0;
    this.usedMax = 0;
    this.oldest.fill(0);
    this.end.fill(0);
    this.counts.fill(0);
  }
}

function tagOf(highWord: number): number {
  return (highWord >>> 16) | 1;
}

/** Behind this place the chunk has no room, or there is none. */
function isFull(end: number): boolean {
  return end === 0 || (end & IN_CHUNK) === NEXT;
}

/** The entry behind the one at `at`, 0 = none, in a list that ends at `end`. */
function nextOf(words: Int32Array, at: number, end: number): number {
  const next = at + ENTRY_WORDS;
  if (next === end) return 0;
  return isFull(next) ? words[(at & ~IN_CHUNK) + NEXT] : next;
}

/** The fingerprint of a token in 16 hex characters, the high word first: for people. */
export function fingerprintText(hash: number, bytes: Uint8Array, at: number, length: number): string {
  fingerprint(hash, bytes, at, length);
  return [high, low].map((word) => (word >>> 0).toString(16).padStart(8, '0')).join('');
}

/** What `fingerprint` found: signed 32-bit words. */
let low = 0;
let high = 0;

/**
 * 64 bits of (key hash, token). Lock tokens are random and secret, so all it has
 * to do is spread: two lanes of multiply and shift with different constants,
 * each step reversible, then mixed into each other. Part of the checkpoint's
 * format (docs/journal.md): it must never change.
 */
function fingerprint(hash: number, bytes: Uint8Array, at: number, length: number): void {
  let a = Math.imul(hash ^ length, 0x9e3779b1);
  let b = Math.imul(hash + length, 0x85ebca77);
  const end = at + length;
  for (let i = at; i < end; i += 4) {
    let word = bytes[i];
    if (i + 1 < end) word |= bytes[i + 1] << 8;
    if (i + 2 < end) word |= bytes[i + 2] << 16;
    if (i + 3 < end) word |= bytes[i + 3] << 24;
    a = Math.imul(a ^ word, 0xcc9e2d51);
    a ^= a >>> 15;
    b = Math.imul(b ^ word, 0x1b873593);
    b ^= b >>> 13;
  }
  a = Math.imul(a ^ (b >>> 16), 0xc2b2ae3d);
  b = Math.imul(b ^ (a >>> 15), 0x27d4eb2f);
  low = a ^ (b >>> 13);
  high = b ^ (low >>> 16);
}
