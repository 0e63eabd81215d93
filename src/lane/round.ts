/**
 * A round: the effects and the answers that leave with one round trip on the
 * term key. While one round is under way the lane fills the next.
 *
 * Answers are encoded when they are decided, in the public grammar; only their
 * times are filled in when they leave (`lane/delivery.ts`). Beside the bytes a
 * round keeps, per answer and in columns, what delivery needs.
 */
import { LIMITS } from '../limits.ts';
import { EFFECT_BYTES_MAX, EffectWriter } from '../lock/effects.ts';
import type { Kind, Op } from '../op.ts';
import { AnswerBytes } from '../protocol/answer.ts';
import { COMMIT_HEADROOM } from '../shard/store.ts';

/** What delivery has to do for an answer. */
export const Todo = {
  /** A grant or renewal: the claim's times start with this round. */
  arm: 1,
  /** The answer promises a claim: not given once the promise is over. */
  claim: 2,
  /** It tells how long a claim lasts: filled in from the claim's row. */
  times: 4,
  /** The op may have taken effect: without a round trip its outcome is unknown. */
  effect: 8,
  /** Left already (its time was up). */
  gone: 16,
  /** The server made the token, it stands in the answer's token section. */
  token: 32,
  /**
   * Interim, or of no request: told only as decided, and not counted. When its
   * round is lost nobody hears of it, since what it is about gets a final answer.
   */
  event: 64,
  /** It has a claim section without promising a claim: how long it took is filled in as well. */
  waited: 128,
} as const;

/** An answer that no op of this round asked for: to a waiter, a watcher or a listener. */
export interface Addressee {
  readonly connection: number;
  readonly id: number;
  readonly kind: Kind;
  readonly slot: number;
  /** When its request had been read, and since when it waits for this answer: monotonic ms. */
  readonly receivedAt: number;
  readonly since: number;
}

/** Where in `answers` the `expiresInMs` of one of several holders stands. */
export interface Place {
  readonly at: number;
  readonly slot: number;
  readonly row: number;
  readonly fencingToken: number;
}

/** A row that was made on the way, such as a session's stub. */
export interface Start {
  readonly slot: number;
  readonly row: number;
  readonly fencingToken: number;
  readonly ttlMs: number;
}

const FIRST_CAPACITY = 1_024;

export class Round {
  readonly effects = new EffectWriter(COMMIT_HEADROOM + LIMITS.entryBytesMax, COMMIT_HEADROOM);
  readonly answers = new AnswerBytes();
  count = 0;
  /** Answers that have not left. */
  waiting = 0;

  connection = new Uint32Array(FIRST_CAPACITY);
  id = new Uint32Array(FIRST_CAPACITY);
  /** Where each answer begins and ends in `answers`. */
  start = new Uint32Array(FIRST_CAPACITY);
  end = new Uint32Array(FIRST_CAPACITY);
  kind = new Uint8Array(FIRST_CAPACITY);
  code = new Uint8Array(FIRST_CAPACITY);
  todo = new Uint8Array(FIRST_CAPACITY);
  receivedAt = new Float64Array(FIRST_CAPACITY);
  /** From when on its time runs out; later than receivedAt where it was decided long after. Infinity: never. */
  since = new Float64Array(FIRST_CAPACITY);
  slot = new Uint16Array(FIRST_CAPACITY);
  row = new Uint32Array(FIRST_CAPACITY);
  fencingToken = new Float64Array(FIRST_CAPACITY);
  ttlMs = new Uint32Array(FIRST_CAPACITY);
  /** Until when the claim was promised when the answer was decided; 0 = not yet. */
  promisedUntil = new Float64Array(FIRST_CAPACITY);
  /** Where in `answers` the `expiresInMs` of the row stands. */
  expiresAt = new Uint32Array(FIRST_CAPACITY);
  /** Times to be filled in beside those: of locks with several holders. */
  readonly places: Place[] = [];
  /** Rows without an answer of their own whose times start with this round. */
  readonly starts: Start[] = [];

  /** Room for whatever one more op may add. */
  hasRoom(): boolean {
    return (
      this.effects.room() >= EFFECT_BYTES_MAX &&
      this.count < LIMITS.roundAnswersMax &&
      this.answers.length < LIMITS.roundAnswerBytesMax
    );
  }

  /** Room for one more op, and no more than `share` of it used: for what must not crowd out requests. */
  isBelow(share: number): boolean {
    const { effects } = this;
    return (
      this.hasRoom() &&
      effects.at - effects.headroom < share * LIMITS.entryBytesMax &&
      this.count < share * LIMITS.roundAnswersMax &&
      this.answers.length < share * LIMITS.roundAnswerBytesMax
    );
  }

  isEmpty(): boolean {
    return this.waiting === 0 && this.effects.count === 0;
  }

  /** Takes the answer that was just written to `answers` at `start`. */
  add(op: Op, code: number, todo: number, start: number): number {
    const i = this.count++;
    if (i === this.connection.length) this.grow();
    this.waiting++;
    this.connection[i] = op.connection;
    this.id[i] = op.id;
    this.start[i] = start;
    this.end[i] = this.answers.length;
    this.kind[i] = op.kind;
    this.code[i] = code;
    this.todo[i] = todo;
    this.receivedAt[i] = op.receivedAt;
    this.since[i] = op.receivedAt;
    this.slot[i] = op.slot;
    return i;
  }

  /** As `add`, to somebody who waited. */
  tell(to: Addressee, code: number, todo: number, start: number): number {
    const i = this.count++;
    if (i === this.connection.length) this.grow();
    this.waiting++;
    this.connection[i] = to.connection;
    this.id[i] = to.id;
    this.start[i] = start;
    this.end[i] = this.answers.length;
    this.kind[i] = to.kind;
    this.code[i] = code;
    this.todo[i] = todo;
    this.receivedAt[i] = to.receivedAt;
    this.since[i] = to.since;
    this.slot[i] = to.slot;
    return i;
  }

  reset(): void {
    this.places.length = 0;
    this.starts.length = 0;
    this.effects.reset();
    this.answers.reset();
    this.count = 0;
    this.waiting = 0;
  }

  private grow(): void {
    const size = this.connection.length * 2;
    this.connection = widen(this.connection, new Uint32Array(size));
    this.id = widen(this.id, new Uint32Array(size));
    this.start = widen(this.start, new Uint32Array(size));
    this.end = widen(this.end, new Uint32Array(size));
    this.kind = widen(this.kind, new Uint8Array(size));
    this.code = widen(this.code, new Uint8Array(size));
    this.todo = widen(this.todo, new Uint8Array(size));
    this.receivedAt = widen(this.receivedAt, new Float64Array(size));
    this.since = widen(this.since, new Float64Array(size));
    this.slot = widen(this.slot, new Uint16Array(size));
    this.row = widen(this.row, new Uint32Array(size));
    this.fencingToken = widen(this.fencingToken, new Float64Array(size));
    this.ttlMs = widen(this.ttlMs, new Uint32Array(size));
    this.promisedUntil = widen(this.promisedUntil, new Float64Array(size));
    this.expiresAt = widen(this.expiresAt, new Uint32Array(size));
  }
}

function widen<T extends Uint8Array | Uint16Array | Uint32Array | Float64Array>(from: T, to: T): T {
  to.set(from);
  return to;
}
