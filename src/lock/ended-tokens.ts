/**
 * The tokens of one slot whose claims ended a short while ago: a late copy of
 * an acquire must not take the lock again (DESIGN §5).
 *
 * A FIFO ring of 64-bit fingerprints, found through chains that run from the
 * newest to the oldest. Entries are numbered; a chain ends where the
 * number is no longer among the last `count`, so forgetting an entry is only
 * moving the tail. 20 bytes a place: 16 in the ring, 4 for the chain's head.
 *
 * An entry counts for `keepMs`, or until LIMITS.endedTokensMax newer ones have
 * come. Those that no longer count make room now and then, not at every op: the
 * oldest place of a ring is seldom in the processor's cache.
 */
import { LIMITS } from '../limits.ts';

const PLACES_MIN = 8;
const WORDS = 4;
// Words of a place.
const LOW = 0;
const HIGH = 1;
const ENDED = 2;
const OLDER = 3;
/** Times are u32 milliseconds after `origin`; past this the origin moves. */
const ORIGIN_MS_MAX = 2 ** 31;
/** Share of keepMs after which old entries are dropped again. */
const FORGET_SHARE = 1 / 8;

const NONE = new Uint32Array(0);

export class EndedTokens {
  count = 0;
  private readonly keepMs: number;
  /** A power of two, or 0. */
  private places = 0;
  /**
   * Four words a place: fingerprint low and high, when it ended, number of the
   * next older of its chain. Behind them a word a place, by fingerprint: number
   * of the newest of the chain; stale ones are outside the window.
   */
  private words = NONE;
  /** Number of the newest entry, modulo 2^32. */
  private newest = 0;
  /** Monotonic ms that the times in the ring count from. */
  private origin = 0;
  /** Time of the last entry. */
  private latest = 0;
  private forgotAt = 0;

  /** @param keepMs how long an ended token is remembered */
  constructor(keepMs: number) {
    this.keepMs = keepMs;
  }

  /** Remembers the token of a claim of the key with this hash. `now` is monotonic ms. */
  add(hash: number, bytes: Uint8Array, at: number, length: number, now: number): void {
    if (now - this.forgotAt >= this.keepMs * FORGET_SHARE || this.count === this.places) this.forget(now);
    fingerprint(hash, bytes, at, length);
    this.latest = now;
    this.append(low, high, now);
  }

  has(hash: number, bytes: Uint8Array, at: number, length: number, now: number): boolean {
    if (this.count === 0) return false;
    fingerprint(hash, bytes, at, length);
    return this.contains(low, high, now);
  }

  /** Drops what no longer counts, and gives memory back that it leaves. */
  forget(now: number): void {
    this.forgotAt = now;
    while (this.count > 0) {
      const tail = this.placeOf(this.newest - this.count + 1);
      if (!this.isOver(tail, now)) break;
      this.count--;
    }
    const { places } = this;
    if (places > PLACES_MIN && this.count <= places / 8) {
      this.resize(this.count === 0 ? 0 : Math.max(PLACES_MIN, places / 4));
    }
  }

  /** From the oldest to the newest: the fingerprint and its age in whole ms when the newest ended. */
  each(visit: (low: number, high: number, ageMs: number) => void): void {
    for (let back = this.count - 1; back >= 0; back--) {
      const place = this.placeOf(this.newest - back);
      const age = Math.max(0, Math.floor(this.latest - this.origin - this.words[place + ENDED]));
      visit(this.words[place + LOW], this.words[place + HIGH], age);
    }
  }

  /** Puts back what `each` showed; to be called from the oldest to the newest. */
  restore(lowWord: number, highWord: number, ageMs: number, now: number): void {
    this.latest = now;
    this.append(lowWord, highWord, now - ageMs);
  }

  private append(lowWord: number, highWord: number, endedAt: number): void {
    const { places } = this;
    if (this.count === places) {
      if (places < LIMITS.endedTokensMax) this.resize(Math.max(PLACES_MIN, 2 * places));
      else this.count--;
    }
    if (this.count === 0) this.origin = Math.floor(endedAt);
    if (endedAt - this.origin > ORIGIN_MS_MAX) this.moveOrigin();
    this.newest = (this.newest + 1) >>> 0;
    this.count++;
    this.link(lowWord, highWord, Math.max(0, Math.ceil(endedAt - this.origin)));
  }

  /** Fills the place of `newest`. */
  private link(lowWord: number, highWord: number, ended: number): void {
    const { words } = this;
    const head = this.headOf(lowWord);
    const place = this.placeOf(this.newest);
    words[place + LOW] = lowWord;
    words[place + HIGH] = highWord;
    words[place + ENDED] = ended;
    words[place + OLDER] = words[head];
    words[head] = this.newest;
  }

  private contains(lowWord: number, highWord: number, now: number): boolean {
    const wantedLow = lowWord >>> 0;
    const wantedHigh = highWord >>> 0;
    const { words } = this;
    let number = words[this.headOf(lowWord)];
    // A chain leads to ever older entries; what does not is its end.
    for (let before = -1; ;) {
      const back = (this.newest - number) >>> 0;
      if (back >= this.count || back <= before) break;
      const place = this.placeOf(number);
      if (words[place + LOW] === wantedLow && words[place + HIGH] === wantedHigh) {
        return !this.isOver(place, now);
      }
      number = words[place + OLDER];
      before = back;
    }
    return false;
  }

  private isOver(place: number, now: number): boolean {
    return this.origin + this.words[place + ENDED] <= now - this.keepMs;
  }

  private placeOf(number: number): number {
    return WORDS * ((number & (this.places - 1)) >>> 0);
  }

  private headOf(lowWord: number): number {
    return WORDS * this.places + ((lowWord & (this.places - 1)) >>> 0);
  }

  private moveOrigin(): void {
    const oldest = this.words[this.placeOf(this.newest - this.count + 1) + ENDED];
    this.origin += oldest;
    for (let back = 0; back < this.count; back++)
      this.words[this.placeOf(this.newest - back) + ENDED] -= oldest;
  }

  /** Moves the entries to a ring of `places`, a power of two that holds them, or 0. */
  private resize(places: number): void {
    const { words, count } = this;
    const from = this.newest - count + 1;
    const mask = this.places - 1;
    this.words = places === 0 ? NONE : new Uint32Array((WORDS + 1) * places);
    this.places = places;
    for (let i = 0; i < count; i++) {
      const place = WORDS * (((from + i) & mask) >>> 0);
      this.newest = (this.newest + 1) >>> 0;
      this.link(words[place + LOW], words[place + HIGH], words[place + ENDED]);
    }
  }
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
