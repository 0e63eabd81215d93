/**
 * The forwards of one link that have no final answer yet: columns, no object
 * each.
 *
 *   under way ─► gone
 *       └─► standing ─► gone        a wait or watch, from its first answer on
 *
 *   forward id := generation · 2^18 + index        32 bits
 *
 * An index that became free is used again after all others that are free, with
 * the next generation, so an answer that comes after its forward was given up
 * finds nobody.
 */
import { LIMITS } from '../limits.ts';
import { Kind, OpFlag, type Op } from '../op.ts';
import type { GrowingBytes } from '../protocol/bytes.ts';
import { writeRefusal } from '../protocol/refusal.ts';

/** For LIMITS.peerRequestsMax under way, and LIMITS.standingMax that stand. */
const INDEX_BITS = 18;
const INDEX_MASK = (1 << INDEX_BITS) - 1;
/** One less than fit: no id is 2^32 − 1 (frame.ts, NO_FORWARD). */
const GENERATIONS = (1 << (32 - INDEX_BITS)) - 1;
const FIRST_CAPACITY = 1_024;
const TOKEN_BYTES = 16;
const NONE = -1;
/** They change nothing: those that nobody answered can be asked again. */
const READS: ReadonlySet<number> = new Set([Kind.get, Kind.verify, Kind.list]);
/** `receivedAt` of an index that is free. */
const FREE = Infinity;

export class InFlight {
  count = 0;
  /** Those of them that stand. */
  standing = 0;
  /** By index. */
  connection = new Uint32Array(FIRST_CAPACITY);
  id = new Uint32Array(FIRST_CAPACITY);
  receivedAt = new Float64Array(FIRST_CAPACITY).fill(FREE);
  slot = new Uint16Array(FIRST_CAPACITY);
  kind = new Uint8Array(FIRST_CAPACITY);
  flags = new Uint8Array(FIRST_CAPACITY);
  private waitMs = new Uint32Array(FIRST_CAPACITY);
  private stands = new Uint8Array(FIRST_CAPACITY);
  private generation = new Uint16Array(FIRST_CAPACITY);
  private tokens = new Uint8Array(FIRST_CAPACITY * TOKEN_BYTES);
  /** Free indexes form a chain, first freed first; those from `untouched` on were never used. */
  private next = new Int32Array(FIRST_CAPACITY);
  private firstFree = NONE;
  private lastFree = NONE;
  private untouched = 0;

  get full(): boolean {
    return this.count - this.standing >= LIMITS.peerRequestsMax;
  }

  /** No wait or watch can be taken. */
  get fullOfStanding(): boolean {
    return this.standing >= LIMITS.standingMax;
  }

  /** Returns the forward's id. The caller made sure that it is not full. */
  add(op: Op): number {
    const i = this.takeIndex();
    this.count++;
    this.connection[i] = op.connection;
    this.id[i] = op.id;
    this.receivedAt[i] = op.receivedAt;
    this.slot[i] = op.slot;
    this.kind[i] = op.kind;
    this.flags[i] = op.flags;
    this.waitMs[i] = op.waitMs;
    this.stands[i] = 0;
    if (op.flags & OpFlag.madeToken) {
      const to = i * TOKEN_BYTES;
      for (let k = 0; k < TOKEN_BYTES; k++) this.tokens[to + k] = op.bytes[op.tokenAt + k];
    }
    return this.generation[i] * (INDEX_MASK + 1) + i;
  }

  /** Its index; -1 when there is none (any more). */
  find(id: number): number {
    const i = id & INDEX_MASK;
    const found =
      i < this.untouched && this.generation[i] === id >>> INDEX_BITS && this.receivedAt[i] !== FREE;
    return found ? i : NONE;
  }

  /** The token that the server made for it, or undefined. */
  tokenOf(i: number): Uint8Array | undefined {
    if ((this.flags[i] & OpFlag.madeToken) === 0) return undefined;
    return this.tokens.subarray(i * TOKEN_BYTES, (i + 1) * TOKEN_BYTES);
  }

  /** Appends the answer to one that nobody answers: it may have taken effect, or may still. */
  writeGivenUp(out: GrowingBytes, i: number): void {
    if (READS.has(this.kind[i])) writeRefusal(out, this.id[i], 'shard_unavailable');
    else writeRefusal(out, this.id[i], 'outcome_unknown', this.tokenOf(i));
  }

  /** `op` gets back what the forward did not carry; its bytes are the caller's. */
  restore(i: number, op: Op): void {
    op.connection = this.connection[i];
    op.id = this.id[i];
    op.receivedAt = this.receivedAt[i];
    op.flags = this.flags[i];
  }

  isStanding(i: number): boolean {
    return this.stands[i] === 1;
  }

  /** From its first answer on a watch has no age, and a wait none before its time. False: it stood already. */
  stand(i: number): boolean {
    if (this.stands[i] === 1) return false;
    this.stands[i] = 1;
    this.standing++;
    this.receivedAt[i] = this.kind[i] === Kind.watch ? Number.MAX_VALUE : this.receivedAt[i] + this.waitMs[i];
    return true;
  }

  /** Those of `slots` that stand are as old from now on as if they had been received at `receivedAt`. */
  age(slots: ReadonlySet<number>, receivedAt: number): void {
    if (this.standing === 0) return;
    for (let i = 0; i < this.untouched; i++) {
      if (this.receivedAt[i] === FREE || this.stands[i] === 0 || !slots.has(this.slot[i])) continue;
      this.receivedAt[i] = Math.min(this.receivedAt[i], receivedAt);
    }
  }

  remove(i: number): void {
    this.count--;
    if (this.stands[i] === 1) this.standing--;
    this.receivedAt[i] = FREE;
    this.generation[i] = (this.generation[i] + 1) % GENERATIONS;
    this.next[i] = NONE;
    if (this.lastFree === NONE) this.firstFree = i;
    else this.next[this.lastFree] = i;
    this.lastFree = i;
  }

  /** Indexes of those that were received at or before `before`. */
  receivedBy(before: number): number[] {
    const found: number[] = [];
    if (this.count === 0) return found;
    for (let i = 0; i < this.untouched; i++) if (this.receivedAt[i] <= before) found.push(i);
    return found;
  }

  /** Indexes of those of `slots`; lists are of no slot. */
  ofSlots(slots: ReadonlySet<number>): number[] {
    const found: number[] = [];
    for (let i = 0; i < this.untouched; i++) {
      if (this.receivedAt[i] !== FREE && this.kind[i] !== Kind.list && slots.has(this.slot[i])) found.push(i);
    }
    return found;
  }

  private takeIndex(): number {
    const i = this.firstFree;
    if (i === NONE) {
      if (this.untouched === this.id.length) this.grow();
      return this.untouched++;
    }
    this.firstFree = this.next[i];
    if (this.firstFree === NONE) this.lastFree = NONE;
    return i;
  }

  private grow(): void {
    const capacity = this.id.length * 2;
    this.connection = copied(this.connection, new Uint32Array(capacity));
    this.id = copied(this.id, new Uint32Array(capacity));
    this.receivedAt = copied(this.receivedAt, new Float64Array(capacity).fill(FREE));
    this.slot = copied(this.slot, new Uint16Array(capacity));
    this.kind = copied(this.kind, new Uint8Array(capacity));
    this.flags = copied(this.flags, new Uint8Array(capacity));
    this.waitMs = copied(this.waitMs, new Uint32Array(capacity));
    this.stands = copied(this.stands, new Uint8Array(capacity));
    this.generation = copied(this.generation, new Uint16Array(capacity));
    this.tokens = copied(this.tokens, new Uint8Array(capacity * TOKEN_BYTES));
    this.next = copied(this.next, new Int32Array(capacity));
  }
}

type Column = Uint8Array | Uint16Array | Uint32Array | Int32Array | Float64Array;

function copied<C extends Column>(from: C, to: C): C {
  to.set(from);
  return to;
}
