/**
 * Requests that are more than one op and one answer: waits and watches
 * (standing.ts), requests of sessions (sessions.ts), batches that take effect
 * as a whole (atomic.ts). Sockets and HTTP hand them over and are told; how
 * they come about is none of their business.
 */
import type { ErrorCode } from '../errors.ts';
import type { Op } from '../op.ts';
import type { AnswerBytes } from '../protocol/answer.ts';
import { isSessionKind } from '../protocol/words.ts';

/**
 * Who asked. Gets exactly one of `final` and `refused`, after any number of
 * `interim`, and never from within the call that handed the request over. The
 * ids of the answers are of no meaning; their bytes are the target's to change,
 * and gone after the call.
 */
export interface Target {
  /** Status 100: its place in the queue. 101: the state of what it watches. */
  interim(source: AnswerBytes, at: number, end: number): void;
  final(source: AnswerBytes, at: number, end: number): void;
  /** The last word, where no lane has said one. */
  refused(code: ErrorCode): void;
}

/** A request that was taken. */
export interface Handle {
  /** The client withdraws it: its target is told `cancelled`, or how it had ended before that came through. */
  cancel(): void;
  /** The client is gone: its target is told nothing any more, and a wait or watch of it ends. */
  leave(): void;
}

export interface Taker {
  /**
   * `op` is only valid during the call; its id, connection and attempt are the
   * taker's to set, the rest (receivedAt too) is the caller's.
   * undefined: there are too many, which the caller answers with `overloaded`.
   */
  submit(op: Op, target: Target): Handle | undefined;
}

/** Who asked for an atomic batch. Gets exactly one of the three, once. */
export interface BatchTarget {
  /** All are held. The answer to item i, which the caller gave that number, is source[starts[i], starts[i + 1]). */
  held(source: AnswerBytes, starts: readonly number[]): void;
  /** None is kept, because of the item `index`: the answer in source[at, end) says why. */
  failed(index: number, source: AnswerBytes, at: number, end: number): void;
  /** None is kept, or, with outcome_unknown, nobody knows. */
  refused(code: ErrorCode): void;
}

/** An atomic batch that is being put together. Nothing happens before `submit`. */
export interface AtomicBatch {
  /** An acquire; `op` is only valid during the call. */
  add(op: Op): void;
  /** The target is told, but not from within this call. */
  submit(): void;
  /** The client is gone: what is not settled yet is taken back. */
  leave(): void;
}

export interface AtomicBatches {
  /** undefined: there are too many. */
  begin(target: BatchTarget): AtomicBatch | undefined;
}

/** Who takes what is more than one op. */
export interface Coordinators {
  readonly standing: Taker;
  readonly sessions: Taker;
  readonly atomic: AtomicBatches;
}

/** Who takes `op`; undefined: it is one op with one answer, which goes to routing. */
export function takerOf(op: Op, { standing, sessions }: Coordinators): Taker | undefined {
  if (op.sessionLength !== 0 || isSessionKind(op.kind)) return sessions;
  return op.isStanding ? standing : undefined;
}
