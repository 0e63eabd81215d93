/**
 * The fields of a row, and where they lie.
 *
 * A row is a block: a head of fixed size, then key, token, owner and principal.
 * Metadata lies in a block of its own, because a renewal may replace it by a
 * longer one while the row keeps its id. The head, by offset:
 *
 *    0 number f64: the fencing token, or the number in the queue (0 = the block is free)
 *    8 promisedUntil f64 · 16 freeAt f64 (Infinity = unarmed) · 24 timerAt f64
 *   32 hash u32 (free: the next free block) · 36 ttlMs u32
 *   40 armings u32: grants and renewals whose round has not returned
 *   44 metadata u32: its block · 48 keyLength, 11 bits, and whose row it is, 5 bits · 50 ownerLength u16
 *   52 metadataLength u16 · 54 flags u16 · 56 tokenLength u8
 *   57 principalLength u8 · 58 class of the block u8 · 59 class of the metadata's u8
 *   60 grantedAt u32, in units of GRANTED_UNIT_MS
 *
 * Rows that hang on a stub, and those of a semaphore, have three words behind
 * their texts, at the next multiple of 4: stub, batch, limit.
 *
 * Lengths are halves of 32-bit words, so that three views of the arena do. A
 * timer that was set for an earlier row of the block serves the next one
 * (`timerAt`). Nothing here is a stored format.
 */
import { Mode } from '../op.ts';
import { Arena, KEY_LENGTH_MASK, LENGTHS } from './arena.ts';
import { MODE_UNIT, RowFlag, RowKind } from './rows.ts';

export const HEAD_BYTES = 64;

// Fields as indexes into the view of their width, from the row's place.
export const PROMISED = 1;
export const FREE = 2;
export const HASH = 8;
export const TTL = 9;
export const ARMINGS = 10;
export const METADATA = 11;
/** metadataLength, flags << 16 */
export const MORE = 13;
export const GRANTED = 15;
export const TOKEN_LENGTH = 56;
export const PRINCIPAL_LENGTH = 57;
export const SEMAPHORE = Mode.semaphore * MODE_UNIT;
export const STUB = 0;
export const BATCH = 1;
export const LIMIT = 2;
/** Of the word MORE: all flags but one. */
const NOT_BARE = (0xffff & ~RowFlag.principal) << 16;
/** Of the word MORE: without onStub and pending it is less. */
const STUBS_FROM = 2 ** 30;

/** For the metrics only; 32 bits of it last 497 days. */
export const GRANTED_UNIT_MS = 10;

/** Base of ClaimTable, not a part of it: one object less to load on the way to a row. */
export abstract class RowFields {
  readonly arena: Arena;
  /** Its place among the tables of the arena. */
  readonly tablePlace: number;

  /** @param arena where its rows lie, with those of other tables */
  constructor(arena = new Arena()) {
    this.arena = arena;
    this.tablePlace = arena.addTable();
  }

  /** Where all rows lie. Another one after an insert or setMetadata of any table of the arena. */
  get bytes(): Uint8Array {
    return this.arena.bytes;
  }

  // Of a row that is gone they are undefined or of no meaning; `is` tells.

  fencingToken(row: number): number {
    return this.arena.f64[row - this.arena.base];
  }
  /**
   * Monotonic ms until which the client may believe it, by its own times or
   * those of its stub; 0 = the grant has not been answered yet.
   */
  promisedUntil(row: number): number {
    return this.arena.f64[this.timeRow(row) - this.arena.base + PROMISED];
  }
  /** Monotonic ms, to 10 ms, since when it has been held, as far as this owner knows; 0 = not armed yet. */
  grantedAt(row: number): number {
    return this.arena.u32[2 * (row - this.arena.base) + GRANTED] * GRANTED_UNIT_MS;
  }
  /** Monotonic ms at which the owner frees it, by its own times or those of its stub; Infinity = unarmed. */
  freeAt(row: number): number {
    return this.arena.f64[this.timeRow(row) - this.arena.base + FREE];
  }
  /** Of a row that hangs on no stub the same, sooner told. */
  ownFreeAt(row: number): number {
    return this.arena.f64[row - this.arena.base + FREE];
  }
  /** Of a row that no round arms: a waiter, a delay. */
  setFreeAt(row: number, at: number): void {
    this.arena.f64[row - this.arena.base + FREE] = at;
  }
  /** Of the row's block: Arena.timerAt. */
  timerAt(row: number): number {
    return this.arena.timerAt(row)!;
  }
  setTimerAt(row: number, at: number): void {
    this.arena.setTimerAt(row, at);
  }
  /** Signed: a number above 2^31 would be an object of its own wherever it is handed on. */
  hash(row: number): number {
    return this.arena.u32[2 * (row - this.arena.base) + HASH] | 0;
  }
  /** Its own; of a row on a session's stub that of the session counts: `termMs`. */
  ttlMs(row: number): number {
    return this.arena.u32[2 * (row - this.arena.base) + TTL];
  }
  setTtlMs(row: number, ttlMs: number): void {
    this.arena.u32[2 * (row - this.arena.base) + TTL] = ttlMs;
  }
  termMs(row: number): number {
    return this.ttlMs(this.hasOwnTime(row) ? row : this.stub(row) || row);
  }
  keyAt(row: number): number {
    return 8 * (row - this.arena.base) + HEAD_BYTES;
  }
  keyLength(row: number): number {
    return this.arena.u32[2 * (row - this.arena.base) + LENGTHS] & KEY_LENGTH_MASK;
  }
  tokenAt(row: number): number {
    return this.keyAt(row) + this.keyLength(row);
  }
  tokenLength(row: number): number {
    return this.arena.bytes[8 * (row - this.arena.base) + TOKEN_LENGTH];
  }
  ownerAt(row: number): number {
    return this.tokenAt(row) + this.tokenLength(row);
  }
  ownerLength(row: number): number {
    return this.arena.u32[2 * (row - this.arena.base) + LENGTHS] >>> 16;
  }
  principalAt(row: number): number {
    return this.ownerAt(row) + this.ownerLength(row);
  }
  principalLength(row: number): number {
    return this.arena.bytes[8 * (row - this.arena.base) + PRINCIPAL_LENGTH];
  }
  metadataAt(row: number): number {
    return 8 * this.arena.u32[2 * (row - this.arena.base) + METADATA];
  }
  metadataLength(row: number): number {
    return this.arena.u32[2 * (row - this.arena.base) + MORE] & 0xffff;
  }

  // ---- what most rows do not have

  /** It is an exclusive claim without anything else, the only row of its lock. */
  isPlain(row: number): boolean {
    return this.arena.u32[2 * (row - this.arena.base) + MORE] <= 0xffff;
  }
  /** The same, but it may have a principal. */
  isBare(row: number): boolean {
    return (this.arena.u32[2 * (row - this.arena.base) + MORE] & NOT_BARE) === 0;
  }
  flags(row: number): number {
    return this.arena.u32[2 * (row - this.arena.base) + MORE] >>> 16;
  }
  setFlags(row: number, flags: number): void {
    const { u32, base } = this.arena;
    const at = 2 * (row - base) + MORE;
    u32[at] = (u32[at] & 0xffff) | (flags << 16);
  }
  kind(row: number): RowKind {
    return (this.flags(row) & RowFlag.kind) as RowKind;
  }
  mode(row: number): Mode {
    return ((this.flags(row) & RowFlag.mode) / MODE_UNIT) as Mode;
  }
  /** Of a semaphore, else 0. */
  limit(row: number): number {
    return (this.flags(row) & RowFlag.mode) === SEMAPHORE ? this.arena.u32[this.wordsAt(row) + LIMIT] : 0;
  }
  /** The row of the session's stub that it hangs on, 0 = none. */
  stub(row: number): number {
    return this.flags(row) & RowFlag.onStub ? this.arena.u32[this.wordsAt(row) + STUB] : 0;
  }
  /** The row of the stub of the atomic batch that it is a pending part of, 0 = none. */
  batch(row: number): number {
    return this.flags(row) & RowFlag.pending ? this.arena.u32[this.wordsAt(row) + BATCH] : 0;
  }
  isPending(row: number): boolean {
    return (this.flags(row) & RowFlag.pending) !== 0;
  }
  isInCrowd(row: number): boolean {
    return (this.flags(row) & RowFlag.crowd) !== 0;
  }
  /** It is armed itself: it hangs on no stub. */
  hasOwnTime(row: number): boolean {
    return !(this.arena.u32[2 * (row - this.arena.base) + MORE] >= STUBS_FROM);
  }

  /** True while `row` has this number; safe for any row id ever given. */
  is(row: number, fencingToken: number): boolean {
    const { arena } = this;
    const at = row - arena.base;
    return at > 0 && arena.f64[at] === fencingToken && arena.tableOf(row) === this.tablePlace;
  }

  /** True while there is such a row; safe for any row id ever given. */
  lives(row: number): boolean {
    const { arena } = this;
    const at = row - arena.base;
    return at > 0 && arena.f64[at] > 0 && arena.tableOf(row) === this.tablePlace;
  }

  /** The row whose times count. */
  timeRow(row: number): number {
    if (this.hasOwnTime(row) || this.kind(row) === RowKind.waiter) return row;
    return this.batch(row) || this.stub(row);
  }

  /** Where the words behind the texts are in `u32`. */
  protected wordsAt(row: number): number {
    return (this.principalAt(row) + this.principalLength(row) + 3) >>> 2;
  }
}
