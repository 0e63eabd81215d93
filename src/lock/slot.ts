/**
 * The state of one slot: its claims, the tokens that ended a short while ago,
 * and the counter that numbers every effect. A grant's fencing token is the
 * number of its effect, so tokens rise as long as the counter is kept.
 *
 * An op on a plain lock touches little beside the row itself: the objects of
 * thousands of slots are in no cache (docs/decisions.md).
 */
import { LIMITS } from '../limits.ts';
import type { Arena } from './arena.ts';
import { ClaimTable } from './claims.ts';
import type { Crowd } from './crowd.ts';
import { EndedTokens } from './ended-tokens.ts';
import { latin1 } from './latin1.ts';
import type { SessionSlot } from './outcome.ts';
import { RowFlag } from './rows.ts';
import type { Listener, Waiter } from './waiter.ts';

/** Bytes that a claim takes in a checkpoint beside its texts, about; and an ended token. */
const CLAIM_BYTES = 18;
const ENDED_BYTES = 11;
const FRAME_BYTES = 32;

/** Keys (latin1) that are watched, by whatever the lane keeps of them. Its count costs one load, unlike a Map's size. */
class WatchedKeys extends Map<string, unknown> {
  count = 0;

  override set(key: string, value: unknown): this {
    super.set(key, value);
    this.count = this.size;
    return this;
  }

  override delete(key: string): boolean {
    const had = super.delete(key);
    this.count = this.size;
    return had;
  }

  override clear(): void {
    super.clear();
    this.count = 0;
  }
}

/** What few rows have, in maps by row. Most slots have none of it, and do not pay for it. */
class Aside {
  /** By every row of a lock that has one. */
  readonly crowds = new Map<number, Crowd>();
  /** Key (latin1) of each stub → its row; and by that the rows that hang on it. */
  readonly stubs = new Map<string, number>();
  readonly onStub = new Map<number, Set<number>>();
  /** By the row of a session: its slots. */
  readonly sessionSlots = new Map<number, Map<number, SessionSlot>>();
  /** By the row of a claim or waiter: its lock delay in ms. */
  readonly lockDelays = new Map<number, number>();
  /** Tokens of claims with an Idempotency-Key. */
  readonly endedKeyed = new EndedTokens(LIMITS.idempotencyWindowMs);

  // ---- in memory only
  /** Who waits for the answer, by the row of a waiter; one without is detached. */
  readonly attached = new Map<number, Waiter>();
  readonly listeners = new Map<number, Listener>();
  /** The lane's. The machine only looks whether a key is there. */
  readonly watched = new WatchedKeys();
  /** Locks whose waiters are still to be granted what has come free: see `work`. */
  readonly backlog = new Set<Crowd>();
}

export class Slot extends ClaimTable {
  readonly number: number;
  /** Number of the last effect, 0 = none yet. */
  counter = 0;
  /** Shared with the other slots of the arena: this one's are those of its table. */
  readonly ended: EndedTokens;
  private beside: Aside | undefined;

  /**
   * @param endedKeepMs how long the token of an ended claim is refused: twice the request time-out
   * @param arena where its rows lie, with those of other slots
   */
  constructor(number: number, endedKeepMs: number, arena?: Arena) {
    super(arena);
    this.number = number;
    this.ended = this.arena.endedTokens(endedKeepMs);
  }

  /** Its rows: the slot itself, as a table. A table of its own would be an object more to load. */
  get claims(): this {
    return this;
  }

  /** What few rows have. Made when it is first looked at: `hasAside` tells whether there can be anything. */
  get aside(): Aside {
    return (this.beside ??= new Aside());
  }

  get hasAside(): boolean {
    return this.beside !== undefined;
  }

  /** Somebody watches one of its locks. */
  get isWatched(): boolean {
    return this.beside !== undefined && this.beside.watched.count !== 0;
  }

  /** `work` has something to do. */
  get hasWork(): boolean {
    return this.beside !== undefined && this.beside.backlog.size > 0;
  }

  /** The token is that of a claim that ended a short while ago. */
  hasEnded(hash: number, bytes: Uint8Array, at: number, length: number, now: number): boolean {
    if (this.ended.has(this.tablePlace, hash, bytes, at, length, now)) return true;
    return this.beside !== undefined && this.beside.endedKeyed.has(0, hash, bytes, at, length, now);
  }

  /** The claim's token is that of an ended one from now on. */
  rememberToken(row: number, now: number): void {
    const isKeyed = (this.flags(row) & RowFlag.keyed) !== 0;
    const tokens = isKeyed ? this.aside.endedKeyed : this.ended;
    const table = isKeyed ? 0 : this.tablePlace;
    tokens.add(table, this.hash(row), this.bytes, this.tokenAt(row), this.tokenLength(row), now);
  }

  /** No late request begins the session or stub of this row again. */
  rememberStub(row: number, now: number): void {
    this.ended.add(this.tablePlace, 0, this.bytes, this.keyAt(row), this.keyLength(row), now);
  }

  /** A session or stub of this key ended a short while ago. */
  hasEndedStub(key: Uint8Array, at: number, length: number, now: number): boolean {
    return this.ended.has(this.tablePlace, 0, key, at, length, now);
  }

  /** Of the lock that `row` is of; undefined for a lock of one holder, and for row 0. */
  crowdOf(row: number): Crowd | undefined {
    return this.isInCrowd(row) ? this.aside.crowds.get(row) : undefined;
  }

  /** The row of the stub with this key, 0 = none. */
  findStub(bytes: Uint8Array, keyAt: number, keyLength: number): number {
    if (this.beside === undefined) return 0;
    return this.beside.stubs.get(latin1(bytes, keyAt, keyLength)) ?? 0;
  }

  override dispose(): void {
    super.dispose();
    this.ended.dispose(this.tablePlace);
  }

  /** Drops what is to be forgotten of ended claims. `now` is monotonic ms. */
  forgetEnded(now: number): void {
    this.ended.forget(this.tablePlace, now);
    this.beside?.endedKeyed.forget(0, now);
  }

  /** About what a checkpoint of it takes. */
  get sizeBytes(): number {
    const keyed = this.beside === undefined ? 0 : this.beside.endedKeyed.count(0);
    const ended = this.ended.count(this.tablePlace) + keyed;
    return FRAME_BYTES + this.count * CLAIM_BYTES + this.textBytes + ended * ENDED_BYTES;
  }
}
