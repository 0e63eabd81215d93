/** A wait or watch, from its client's request to the last word on it (standing.ts). */
import type { ErrorCode } from '../errors.ts';
import { BatchBytes, readRecord, recordBytes, writeRecord } from '../lane/record.ts';
import { LIMITS } from '../limits.ts';
import { Kind, type Op, OpFlag } from '../op.ts';
import type { Handle, Target } from './coordination.ts';

/** Why it is to end. */
export type Ending = 'cancelled' | 'draining' | 'gone';

/** Who ends it. */
interface Owner {
  end(request: StandingRequest, why: Ending): void;
}

/** Nothing of these is the last word: the slot has another owner soon, or the way to it is open again. */
const PASSING: ReadonlySet<ErrorCode> = new Set([
  'moving',
  'shard_unavailable',
  'outcome_unknown',
  'draining',
]);

export class StandingRequest implements Handle {
  /** undefined: it has had its last word, or is gone; what is left to do is to clear the wait away. */
  target: Target | undefined;
  readonly kind: number;
  readonly receivedAt: number;
  /** Its time is over then. A watch that once stood has no end. */
  until: number;

  /** Id of the attempt under way, 0 = none, and of the last one; when that was sent. */
  attempt = 0;
  lastAttempt = 0;
  sentAt = 0;
  /** This attempt, any attempt of it, had a place in the queue or with the lock. */
  isPlaced = false;
  hadPlace = false;
  /** An earlier attempt may have got the lock. */
  isUnknown = false;
  isResumed = false;
  /** What came of the last attempt. */
  code: ErrorCode = 'moving';

  retryAt = 0;
  retryMs: number = LIMITS.resumeMs;

  ending: Ending | undefined;
  endingAt = 0;
  /** Id of the cancellation under way; 0 = none. */
  cancelId = 0;
  cancelSentAt = 0;

  private readonly owner: Owner;
  private readonly madeToken: boolean;
  private record = new BatchBytes(new ArrayBuffer(0));
  private revision = -1;

  constructor(owner: Owner, op: Op, target: Target, requestTimeoutMs: number) {
    this.owner = owner;
    this.target = target;
    this.kind = op.kind;
    this.receivedAt = op.receivedAt;
    this.until = op.receivedAt + (op.kind === Kind.watch ? requestTimeoutMs : op.waitMs);
    // An Idempotency-Key gives its token to whoever shows it again.
    this.madeToken = (op.flags & (OpFlag.madeToken | OpFlag.keyed)) === OpFlag.madeToken;
  }

  get isEnding(): boolean {
    return this.ending !== undefined;
  }

  /** Nobody but this process knows the token, and nobody will. */
  get isForNobody(): boolean {
    return this.madeToken && this.target === undefined;
  }

  cancel(): void {
    this.owner.end(this, 'cancelled');
  }

  leave(): void {
    this.owner.end(this, 'gone');
  }

  /** Keeps the op, with slot and hash, so that it can be sent again. */
  keep(op: Op): void {
    this.record = new BatchBytes(new ArrayBuffer(recordBytes(op)));
    writeRecord(this.record, op);
  }

  /** Moves `op` over what was kept. */
  read(op: Op): void {
    readRecord(this.record, 0, op);
  }

  /** It stands where it was sent to. */
  stands(): void {
    this.isPlaced = true;
    this.hadPlace = true;
    // Who waits does not hold: whatever became of earlier attempts, they got nothing.
    this.isUnknown = false;
    this.retryMs = LIMITS.resumeMs;
    if (this.kind === Kind.watch) this.until = Infinity;
  }

  /** States only get newer: one that was told already comes again when the watch is taken up by another owner. */
  isNews(revision: number): boolean {
    if (revision < this.revision || (revision === this.revision && this.isResumed)) return false;
    this.revision = revision;
    return true;
  }

  /** An attempt that ended with `code` is worth another one. */
  mayTryAgainAfter(code: ErrorCode): boolean {
    return PASSING.has(code) || (code === 'overloaded' && this.isResumed);
  }

  /** What is told when its time is over. */
  get lastWord(): ErrorCode {
    if (this.kind === Kind.watch) return this.code === 'outcome_unknown' ? 'shard_unavailable' : this.code;
    if (this.isUnknown) return 'outcome_unknown';
    return this.hadPlace ? 'wait_timeout' : this.code;
  }
}
