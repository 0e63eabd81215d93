/**
 * Sessions, as this process runs them for its clients. A session has a home,
 * the slot that its id decides, which knows in what slots it has locks; each of
 * these keeps a stub, on which the claims there hang. Home and stubs each have
 * the session's TTL and end by themselves when they are not renewed, so
 * whatever is left half done is over within one TTL.
 *
 *   open       sessionOpen at home
 *   get        sessionGet at home: the session's own time
 *   keep-alive sessionRenew at home, then stubRenew in all its slots
 *                all renewed               ─► 200 with the earliest end
 *                an active stub is missing ─► the session is ended at home, 410;
 *                                             the other stubs end by their TTL
 *                one cannot be asked       ─► 503 with the earliest end that is
 *                                             certain. It goes on: stubs live
 *                                             until their own end
 *              a pending slot without a stub does not count: nobody was told of
 *              a claim there. One with a stub is renewed like the others.
 *   end        sessionGet for the slots (of a sessionEnd whose answer is lost
 *              nobody tells them again), sessionEnd at home: from then on it is
 *              over, 204, then stubEnd in all its slots; that is waited for
 *              until the request's time is up, and goes on for as long again
 *   acquire    session-acquire.ts
 *
 * Should this process die in between, then what it did stands: a keep-alive
 * renewed some stubs and the client, without an answer, goes by its last one;
 * of an ended session the stubs that were not ended end by their TTL.
 */
import { Kind, Op } from '../op.ts';
import { Answer, AnswerBytes, Section, writeAnswer } from '../protocol/answer.ts';
import { writeRefusal } from '../protocol/refusal.ts';
import { CODES, type ErrorCode } from '../errors.ts';
import { LIMITS } from '../limits.ts';
import { Again, type Calls, type Reply } from './calls.ts';
import type { Handle, Taker, Target } from './coordination.ts';
import { fanOut } from './fan-out.ts';
import type { KnownSessions } from './known-sessions.ts';
import { promisedUntil, tellTimes } from './promises.ts';
import { SessionAcquire } from './session-acquire.ts';
import { SessionName } from './session-name.ts';

export interface SessionsSettings {
  readonly calls: Calls;
  readonly known: KnownSessions;
  /** Takes acquires that wait. */
  readonly standing: Taker;
}

/** Where a session has locks, or is about to. */
export interface SessionSlot {
  readonly slot: number;
  readonly isActive: boolean;
}

const SLOT_BYTES = 3;

/** slots := (slot:u16 state:u8)*, of an answer of the session's home. */
export function readSessionSlots({ sections, detailBytes, detailAt, detailLength }: Answer): SessionSlot[] {
  const slots: SessionSlot[] = [];
  if ((sections & Section.detail) === 0) return slots;
  for (let at = detailAt; at + SLOT_BYTES <= detailAt + detailLength; at += SLOT_BYTES) {
    slots.push({ slot: detailBytes[at] | (detailBytes[at + 1] << 8), isActive: detailBytes[at + 2] === 1 });
  }
  return slots;
}

const op = new Op();

export class Sessions implements Taker {
  private readonly settings: SessionsSettings;

  constructor(settings: SessionsSettings) {
    this.settings = settings;
  }

  /** Takes sessionOpen, sessionRenew, sessionEnd, sessionGet, and acquires with a session. */
  submit(request: Op, target: Target): Handle | undefined {
    const { calls } = this.settings;
    if (calls.full(1)) return undefined;
    if (request.kind === Kind.acquire) return new SessionAcquire(this.settings, request, target).start();
    const run = new SessionRequest(this.settings, request, target);
    switch (request.kind) {
      case Kind.sessionOpen:
        run.open(request);
        break;
      case Kind.sessionGet:
        run.get();
        break;
      case Kind.sessionRenew:
        run.renew();
        break;
      default:
        run.end();
    }
    return run;
  }
}

const answer = new Answer();

/** One request about a session itself. */
class SessionRequest implements Handle {
  private readonly calls: Calls;
  private readonly known: KnownSessions;
  private readonly name: SessionName;
  private readonly receivedAt: number;
  private target: Target | undefined;
  private readonly out = new AnswerBytes(new ArrayBuffer(256));

  // ---- of a keep-alive
  private ttlMs = 0;
  private until = Infinity;
  private locks = 0;
  private isMissing = false;
  private isUnreached = false;

  constructor({ calls, known }: SessionsSettings, request: Op, target: Target) {
    this.calls = calls;
    this.known = known;
    this.name = SessionName.ofKey(request);
    this.receivedAt = request.receivedAt;
    this.target = target;
  }

  /** None of these waits: it is answered as it would be anyway. */
  cancel(): void {}

  leave(): void {
    this.target = undefined;
  }

  open(request: Op): void {
    this.calls.call(request, Again.unknown, (reply) => {
      if (reply.answer.code !== 0) return this.pass(reply);
      const until = promisedUntil(reply.answer, this.receivedAt);
      // One that was there before may have stubs, with less time than the session itself.
      if (reply.answer.status === 201) this.known.promised(this.name, until);
      // The repeat of an attempt that did open it: to the client it is opened now.
      else if (reply.repeated) reply.answer.status = 201;
      this.tell(reply.answer, until);
    });
  }

  get(): void {
    this.atHome(Kind.sessionGet, Again.unknown, (reply) => {
      const { answer } = reply;
      if (answer.code !== 0) return this.pass(reply);
      const until = promisedUntil(answer, this.receivedAt);
      const now = this.calls.clock.now();
      answer.waitedMs = Math.max(0, Math.floor(now - this.receivedAt));
      // It may be in the moment between what was promised and its end.
      answer.expiresInMs = Math.max(0, Math.floor(until - now));
      this.write(answer);
      this.over()?.final(this.out, 0, this.out.length);
    });
  }

  renew(): void {
    this.atHome(Kind.sessionRenew, Again.unknown, (reply) => {
      if (reply.answer.code !== 0) return this.pass(reply);
      this.ttlMs = reply.answer.ttlMs;
      this.until = promisedUntil(reply.answer, this.receivedAt);
      const slots = readSessionSlots(reply.answer);
      fanOut({
        items: slots,
        send: ({ slot }, done) => {
          this.name.atStub(op, Kind.stubRenew, this.receivedAt);
          op.ttlMs = this.ttlMs;
          this.calls.callAt(slot, op, Again.shed, done);
        },
        answered: (slot, renewed) => this.renewed(slot, renewed),
        finished: () => this.renewedAll(),
      });
    });
  }

  end(): void {
    this.atHome(Kind.sessionGet, Again.unknown, (got) => {
      if (got.answer.code !== 0) return this.pass(got);
      const before = readSessionSlots(got.answer);
      this.atHome(Kind.sessionEnd, Again.shed, (ended) => {
        const isGone = ended.answer.code === CODES.session_ended.wire;
        if (ended.answer.code !== 0 && !isGone) return this.pass(ended);
        const slots = [...before, ...readSessionSlots(ended.answer)];
        // Without a doubt it was not this request that ended it.
        const isOurs = !isGone || ended.repeated;
        this.endStubs(slots, () => (isOurs ? this.tellEnded() : this.fault('session_ended')));
      });
    });
  }

  private renewed({ slot, isActive }: SessionSlot, { answer }: Reply): void {
    if (answer.code === 0) {
      this.until = Math.min(this.until, promisedUntil(answer, this.receivedAt));
      if (answer.sections & Section.queue) this.locks += answer.queueLength;
      if (isActive) this.known.activated(this.name, slot);
    } else if (answer.code !== CODES.session_ended.wire) this.isUnreached = true;
    else if (isActive) this.isMissing = true;
  }

  private renewedAll(): void {
    const { known, name } = this;
    if (this.isMissing) return this.endBroken();
    if (this.isUnreached) {
      const certain = Math.min(this.until, known.promisedUntil(name));
      return this.unavailable(certain);
    }
    known.promised(name, this.until);
    known.counted(name, this.locks);
    answer.status = 200;
    answer.code = 0;
    answer.sections = Section.claim;
    answer.fencingToken = 0;
    answer.ttlMs = this.ttlMs;
    this.tell(answer, this.until);
  }

  /**
   * Claims of it are gone that it still counts on: it is no session any more.
   * Its other stubs run out by themselves: a claim on them may have been got
   * since, and promised for longer than those that are gone.
   */
  private endBroken(): void {
    this.known.forget(this.name);
    this.atHome(Kind.sessionEnd, Again.shed, () => this.fault('session_ended'));
  }

  private endStubs(slots: readonly SessionSlot[], finished: () => void): void {
    const { calls, known, name, receivedAt } = this;
    const { clock } = calls;
    known.forget(name);
    fanOut({
      items: [...new Set(slots.map(({ slot }) => slot))],
      send: (slot, done) => {
        name.atStub(op, Kind.stubEnd, clock.now());
        calls.callAt(slot, op, Again.shed, done);
      },
      answered() {},
      finished,
      time: { clock, until: receivedAt + calls.requestTimeoutMs },
    });
  }

  private atHome(kind: number, again: Again, done: (reply: Reply) => void): void {
    this.name.atHome(op, kind, this.receivedAt);
    this.calls.call(op, again, done);
  }

  // ---- the one answer

  private pass({ answer, source, at, end }: Reply): void {
    if (answer.code === CODES.session_ended.wire) this.known.forget(this.name);
    this.over()?.final(source, at, end);
  }

  private tell(told: Answer, until: number): void {
    const { out, receivedAt } = this;
    this.write(told);
    if (!tellTimes(out, 0, until, receivedAt, this.calls.clock.now())) return this.fault('outcome_unknown');
    this.over()?.final(out, 0, out.length);
  }

  /** A claim, and perhaps labels; what else an answer has is not for clients. */
  private write(told: Answer): void {
    told.sections &= Section.claim | Section.labels;
    this.out.reset();
    writeAnswer(this.out, told);
  }

  private tellEnded(): void {
    answer.status = 204;
    answer.code = 0;
    answer.sections = 0;
    this.out.reset();
    writeAnswer(this.out, answer);
    this.over()?.final(this.out, 0, this.out.length);
  }

  /** With the claim's times beside the code: what the client may still believe. */
  private unavailable(until: number): void {
    const { out, receivedAt } = this;
    const now = this.calls.clock.now();
    const { status, wire } = CODES.shard_unavailable;
    answer.status = status;
    answer.code = wire;
    answer.sections = Section.claim | Section.queue;
    answer.fencingToken = 0;
    answer.ttlMs = this.ttlMs;
    answer.waitedMs = Math.max(0, Math.floor(now - receivedAt));
    answer.expiresInMs = Math.max(0, Math.floor(until - now));
    answer.queueLength = 0;
    answer.retryAfterMs = LIMITS.retryAfterMs;
    out.reset();
    writeAnswer(out, answer);
    this.over()?.final(out, 0, out.length);
  }

  private fault(code: ErrorCode): void {
    this.out.reset();
    writeRefusal(this.out, 0, code);
    this.over()?.final(this.out, 0, this.out.length);
  }

  private over(): Target | undefined {
    const { target } = this;
    this.target = undefined;
    return target;
  }
}
