/**
 * Waits and watches of this process's clients. They stand in a queue, or with a
 * lock, of whichever lane owns its slot, and outlive that lane's ownership: when
 * it ends, or the way to it is cut, they are sent again and find their place.
 *
 *   sent ─► told (its place, its state) ─► over      the lane's last word
 *    ▲  └──────────────┤
 *    │                 ▼ moving, shard_unavailable, outcome_unknown, overloaded
 *    └──────────── between                 sent again after a while, as `resumed`
 *
 * Each attempt has an id of its own, so what is still said of an earlier one is
 * heard by nobody. An attempt whose outcome is unknown may have got the lock:
 * the next one finds that out, for its token is the same.
 *
 * A request that is to end (its client takes it back or is gone, or this process
 * drains) is cancelled at the lane; what its client is told is decided there:
 * a wait may have got its lock just before. That is repeated until it is
 * answered, or the request's time is over.
 */
import type { Routing } from '../batch/routing.ts';
import type { Clock, Timer } from '../clock.ts';
import { CODES, codeOfWire, type ErrorCode } from '../errors.ts';
import { LIMITS } from '../limits.ts';
import { Kind, Op, OpFlag } from '../op.ts';
import {
  ANSWER_ID_AT,
  ANSWER_STATUS_AT,
  type AnswerBytes,
  CLAIM_WAITED_AT,
  Event,
  FINAL_STATUS_MIN,
} from '../protocol/answer.ts';
import { ANSWER_CODE_AT, isClaim, stateRevision } from '../protocol/answer-peek.ts';
import type { Connection, Connections } from './connections.ts';
import type { Handle, Taker, Target } from './coordination.ts';
import { type Ending, StandingRequest } from './standing-request.ts';

export interface StandingContext {
  readonly connections: Connections;
  readonly routing: Pick<Routing, 'submit' | 'submitAt'>;
  readonly clock: Clock;
  readonly requestTimeoutMs: number;
}

/** An id that no attempt has. */
const NONE = 0;

export class Standing implements Connection, Taker {
  private readonly context: StandingContext;
  private readonly number: number;
  private readonly all = new Set<StandingRequest>();
  /** By the ids of their attempts, and of the cancellations, that are under way. */
  private readonly attempts = new Map<number, StandingRequest>();
  private readonly cancels = new Map<number, StandingRequest>();
  /** Those with something to be sent at their `retryAt`. */
  private readonly due = new Set<StandingRequest>();
  private timer: Timer | undefined;
  private nextId = NONE;
  private refusals: { readonly id: number; readonly code: ErrorCode }[] = [];
  private readonly op = new Op();
  private isDraining = false;

  constructor(context: StandingContext) {
    this.context = context;
    this.number = context.connections.add(this);
  }

  /** Waits and watches that stand, and those whose end is under way. */
  get size(): number {
    return this.all.size;
  }

  submit(op: Op, target: Target): Handle | undefined {
    const { connections, routing, requestTimeoutMs } = this.context;
    if (this.all.size >= LIMITS.standingMax || connections.full(1)) return undefined;
    const request = new StandingRequest(this, op, target, requestTimeoutMs);
    this.all.add(request);
    connections.open++;
    this.beginAttempt(request, op, op.receivedAt);
    if (this.isDraining) this.refuse(op.id, 'draining');
    else routing.submit(op);
    // Only routing knows its slot.
    request.keep(op);
    return request;
  }

  // ---- what lanes and links say

  answers(source: AnswerBytes, from: number, end: number): void {
    const { view } = source;
    for (let at = from; at < end;) {
      const next = at + view.getUint32(at, true);
      this.answered(source, at, next);
      at = next;
    }
  }

  /** Collected: whoever asked must not be told before it has its handle. */
  refuse(id: number, code: ErrorCode): void {
    if (this.refusals.length === 0) this.context.connections.flushLater(this);
    this.refusals.push({ id, code });
  }

  isOver(id: number): boolean {
    return this.attempts.get(id)?.isEnding ?? false;
  }

  flush(): void {
    const { refusals } = this;
    this.refusals = [];
    for (const { id, code } of refusals) {
      const request = this.attempts.get(id);
      if (request !== undefined && code === 'draining') this.conclude(request, code);
      else if (request !== undefined) this.failed(request, code);
      else this.cancelSays(id, code);
    }
  }

  /** What nobody says a word about is sent again, or its time is over. */
  sweep(_now: number, overdue: number): void {
    for (const request of this.all) {
      if (request.until < overdue) this.expire(request);
      else if (request.isEnding && request.endingAt < overdue) this.expireEnding(request);
      if (request.attempt !== NONE && !request.isPlaced && request.sentAt < overdue) {
        this.failed(request, 'outcome_unknown');
      }
      if (request.cancelId !== NONE && request.cancelSentAt < overdue) {
        this.cancelSays(request.cancelId, 'outcome_unknown');
      }
    }
  }

  /** Nobody waits here any more: what has not got its lock is told so. */
  drain(): void {
    this.isDraining = true;
    for (const request of this.all) this.end(request, 'draining');
  }

  shutDown(): void {
    this.timer?.cancel();
    for (const request of this.all) this.expire(request);
  }

  private answered(source: AnswerBytes, at: number, end: number): void {
    const { view } = source;
    const id = view.getUint32(at + ANSWER_ID_AT, true);
    const status = view.getUint16(at + ANSWER_STATUS_AT, true);
    const wire = view.getUint8(at + ANSWER_CODE_AT);
    const code = wire === 0 ? undefined : (codeOfWire(wire) ?? 'internal');
    const request = this.attempts.get(id);
    if (request === undefined) this.cancelSays(id, code);
    else if (status < FINAL_STATUS_MIN) this.placed(request, source, at, end, status);
    else if (code !== undefined && request.mayTryAgainAfter(code)) this.failed(request, code);
    else this.decided(request, source, at, end);
  }

  private placed(
    request: StandingRequest,
    source: AnswerBytes,
    at: number,
    end: number,
    status: number,
  ): void {
    request.stands();
    if (status === Event.changed && !request.isNews(stateRevision(source, at))) return;
    if (!request.isEnding) request.target?.interim(source, at, end);
  }

  /** The last word on it. */
  private decided(request: StandingRequest, source: AnswerBytes, at: number, end: number): void {
    const { view } = source;
    if (isClaim(source, at)) {
      const before = Math.floor(request.sentAt - request.receivedAt);
      const waitedAt = at + CLAIM_WAITED_AT;
      view.setUint32(waitedAt, view.getUint32(waitedAt, true) + before, true);
      // It is this request that got it, if by an earlier attempt.
      if (request.isResumed) view.setUint16(at + ANSWER_STATUS_AT, 201, true);
      if (request.isForNobody) this.giveBack(request);
    }
    const target = this.settle(request);
    this.remove(request);
    const isWithdrawn = view.getUint8(at + ANSWER_CODE_AT) === CODES.cancelled.wire;
    if (isWithdrawn && request.ending === 'draining') target?.refused('draining');
    else target?.final(source, at, end);
  }

  /** The attempt has come to nothing, or to nobody knows what. */
  private failed(request: StandingRequest, code: ErrorCode): void {
    this.attempts.delete(request.attempt);
    request.attempt = NONE;
    request.code = code;
    if (code === 'outcome_unknown') request.isUnknown = true;
    if (request.isEnding) return this.failedWhileEnding(request);
    if (request.mayTryAgainAfter(code) && this.context.clock.now() < request.until) this.later(request);
    else this.conclude(request, request.lastWord);
  }

  // ---- sending

  /** `op`, which is to be submitted next, gets who it is from. */
  private beginAttempt(request: StandingRequest, op: Op, now: number): void {
    const id = this.freeId();
    op.connection = this.number;
    op.id = id;
    op.attempt = id;
    request.attempt = id;
    request.lastAttempt = id;
    request.sentAt = now;
    request.isPlaced = false;
    this.attempts.set(id, request);
  }

  private sendAgain(request: StandingRequest, now: number): void {
    const { op } = this;
    request.read(op);
    request.isResumed = true;
    op.flags |= OpFlag.resumed;
    op.receivedAt = now;
    if (op.kind === Kind.acquire) op.waitMs = Math.max(1, Math.ceil(request.until - now));
    this.beginAttempt(request, op, now);
    this.context.routing.submitAt(op, op.slot);
  }

  private sendCancel(request: StandingRequest, now: number): void {
    const id = this.freeId();
    request.cancelId = id;
    request.cancelSentAt = now;
    this.cancels.set(id, request);
    this.sendAbout(request, Kind.cancel, id, now);
  }

  /** The lock that came too late for its client would be nobody's until it ends. */
  private giveBack(request: StandingRequest): void {
    this.sendAbout(request, Kind.release, this.freeId(), this.context.clock.now());
  }

  /** An op on the same lock with the same token. */
  private sendAbout(request: StandingRequest, kind: number, id: number, now: number): void {
    const { op } = this;
    request.read(op);
    op.kind = kind;
    op.flags = 0;
    op.id = id;
    op.connection = this.number;
    op.attempt = kind === Kind.cancel ? request.lastAttempt : 0;
    op.receivedAt = now;
    op.ttlMs = 0;
    op.mode = 0;
    op.limit = 0;
    op.waitMs = 0;
    op.lockDelayMs = 0;
    op.origin = 0;
    op.sessionLength = 0;
    op.ownerLength = 0;
    op.metadataLength = 0;
    this.context.routing.submitAt(op, op.slot);
  }

  private later(request: StandingRequest): void {
    request.retryAt = this.context.clock.now() + request.retryMs;
    request.retryMs = Math.min(LIMITS.resumeMsMax, request.retryMs * 2);
    this.due.add(request);
    this.wakeLater();
  }

  /** One timer for all: there may be very many of them when an owner is lost. */
  private wakeLater(): void {
    this.timer ??= this.context.clock.after(LIMITS.resumeMs, () => {
      this.timer = undefined;
      this.sendDue(this.context.clock.now());
      if (this.due.size > 0) this.wakeLater();
    });
  }

  private sendDue(now: number): void {
    for (const request of this.due) {
      const isOver = now >= request.until;
      if (!isOver && request.retryAt > now) continue;
      this.due.delete(request);
      if (isOver) this.expire(request);
      else if (request.isEnding) this.sendCancel(request, now);
      else this.sendAgain(request, now);
    }
  }

  // ---- ending

  end(request: StandingRequest, why: Ending): void {
    if (!this.all.has(request)) return;
    if (why === 'gone') this.settle(request);
    if (request.isEnding) return;
    request.ending = why;
    request.endingAt = this.context.clock.now();
    this.due.delete(request);
    const isPending = request.attempt !== NONE;
    const isWatch = request.kind === Kind.watch;
    // It holds nothing and will not: there is no doubt about what to tell.
    if (isWatch || !(isPending || request.isUnknown)) this.tellEnd(request);
    const leavesNothing = !isPending && (isWatch || !(request.hadPlace || request.isUnknown));
    if (leavesNothing) this.remove(request);
    else this.sendCancel(request, request.endingAt);
  }

  private failedWhileEnding(request: StandingRequest): void {
    if (!request.isUnknown) this.tellEnd(request);
    if (request.kind === Kind.watch) this.remove(request);
    else if (request.cancelId === NONE && !this.due.has(request)) this.later(request);
  }

  /** What came of the cancellation with this id; `code` undefined: it is done. */
  private cancelSays(id: number, code: ErrorCode | undefined): void {
    const request = this.cancels.get(id);
    if (request === undefined) return;
    this.cancels.delete(id);
    request.cancelId = NONE;
    if (code === undefined || code === 'cancelled') {
      this.tellEnd(request);
      this.remove(request);
    } else if (request.mayTryAgainAfter(code) || code === 'overloaded') {
      this.later(request);
    } else if (request.target === undefined) {
      this.remove(request);
    } else if (request.attempt === NONE) {
      // There is no such wait, and what it came to was told to nobody.
      this.conclude(request, 'outcome_unknown');
    }
    // Else its own answer is on its way.
  }

  /** Its end was asked for, and nobody says how it ended: its client waits no longer. */
  private expireEnding(request: StandingRequest): void {
    if (request.kind === Kind.watch) this.remove(request);
    else this.settle(request)?.refused('outcome_unknown');
  }

  private expire(request: StandingRequest): void {
    if (request.attempt !== NONE) request.code = 'outcome_unknown';
    if (request.attempt !== NONE) request.isUnknown = true;
    this.conclude(request, request.lastWord);
  }

  /** Nobody holds anything for it, nor will. */
  private tellEnd(request: StandingRequest): void {
    this.settle(request)?.refused(request.ending === 'draining' ? 'draining' : 'cancelled');
  }

  private conclude(request: StandingRequest, code: ErrorCode): void {
    const target = this.settle(request);
    this.remove(request);
    target?.refused(code);
  }

  /** Its client is told no more than what the caller tells it now. */
  private settle(request: StandingRequest): Target | undefined {
    const { target } = request;
    if (target !== undefined) this.context.connections.open--;
    request.target = undefined;
    return target;
  }

  private remove(request: StandingRequest): void {
    this.all.delete(request);
    this.attempts.delete(request.attempt);
    this.cancels.delete(request.cancelId);
    this.due.delete(request);
  }

  /** 2^32 − 1 is nobody's id. */
  private freeId(): number {
    do this.nextId = (this.nextId + 1) % 0xffff_ffff;
    while (this.nextId === NONE || this.attempts.has(this.nextId) || this.cancels.has(this.nextId));
    return this.nextId;
  }
}
