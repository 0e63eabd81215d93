/**
 * One acquire in a session, a try or a wait.
 *
 *   joining ─► acquiring ─► activating ─► over
 *
 *   joining     sessionJoin at home: the slot is about to get locks of it. Left
 *               out while this process knows that the slot is active
 *   acquiring   the acquire itself; in a slot that was not active it may make
 *               the stub there, with the session's TTL
 *   activating  sessionActivate at home: only then is the claim told, so that a
 *               session never outlives a claim somebody was told of
 *
 * Where it may stop, and what is left then:
 *
 *   home says session_ended on the join     nothing was taken
 *   the slot has no stub, where this        joined anew: the session may still be
 *   process knew of one                     alive elsewhere
 *   the slot makes no stub, as one of the   joined anew: the session ended, or,
 *   session has ended there lately          when an unused stub was not renewed
 *                                           in time, shard_unavailable for a while
 *   the slot has no stub, where home says   session_ended; the next keep-alive
 *   that it is active                       finds the same and ends the session
 *   the acquire is refused                  a pending slot, perhaps with an
 *                                           empty stub: both end with the session
 *   home says session_ended on activation   the stub is ended with all its
 *                                           claims, this one too: session_ended
 *   home does not answer the activation     outcome_unknown: the claim is held,
 *                                           a repeat finds it and activates it
 *   this process dies before the activation the claim ends with the session, or
 *                                           its stub, unrenewed, by its TTL
 */
import { CODES, type ErrorCode } from '../errors.ts';
import { BatchBytes, readRecord, recordBytes, writeRecord } from '../lane/record.ts';
import { Kind, Op, OpFlag } from '../op.ts';
import { Answer, AnswerBytes, readAnswer } from '../protocol/answer.ts';
import { copyOf } from '../protocol/bytes.ts';
import { writeRefusal } from '../protocol/refusal.ts';
import { Again, type Calls, type Reply } from './calls.ts';
import type { Handle, Taker, Target } from './coordination.ts';
import { fanOut } from './fan-out.ts';
import type { KnownSessions } from './known-sessions.ts';
import { promisedUntil, tellTimes } from './promises.ts';
import { SessionName } from './session-name.ts';

export interface SessionAcquireSettings {
  readonly calls: Calls;
  readonly known: KnownSessions;
  readonly standing: Taker;
}

/** A home that has said twice that the session lives is not asked again. */
const JOINS_MAX = 2;

const op = new Op();
const answer = new Answer();
const faults = new AnswerBytes(new ArrayBuffer(256));
const NO_TOKEN = new Uint8Array(0);

export class SessionAcquire implements Handle {
  private readonly calls: Calls;
  private readonly known: KnownSessions;
  private readonly standing: Taker;
  private readonly name: SessionName;
  private readonly record: BatchBytes;
  private readonly namespaceLength: number;
  private readonly receivedAt: number;
  private readonly waitMs: number;
  private readonly slot: number;
  /** Of a lock token that the front made, which a client needs to know for a repeat; else empty. */
  private readonly madeToken: Uint8Array;
  private target: Target | undefined;
  private state: 'joining' | 'acquiring' | 'activating' | 'over' = 'joining';
  private wait: Handle | undefined;
  /** How often home was asked; 0: the slot is active as far as this process knows. */
  private joins = 0;
  private isNew = false;
  private ttlMs = 0;

  constructor({ calls, known, standing }: SessionAcquireSettings, request: Op, target: Target) {
    const { bytes, keyAt, keyLength, namespaceLength, tokenAt, tokenLength, flags } = request;
    this.calls = calls;
    this.known = known;
    this.standing = standing;
    this.target = target;
    this.name = SessionName.ofClaim(request);
    this.record = new BatchBytes(new ArrayBuffer(recordBytes(request)));
    writeRecord(this.record, request);
    this.namespaceLength = namespaceLength;
    this.receivedAt = request.receivedAt;
    this.waitMs = request.waitMs;
    this.slot = calls.slots.slotOfKey(bytes, keyAt, keyLength, namespaceLength);
    this.madeToken = flags & OpFlag.madeToken ? copyOf(bytes, tokenAt, tokenAt + tokenLength) : NO_TOKEN;
  }

  /** undefined: there are too many waits. */
  start(): Handle | undefined {
    const { known, name, slot } = this;
    if (known.isFull(name)) this.calls.defer(() => this.fault('quota_exceeded'));
    else if (!known.isActive(name, slot)) this.join();
    else if (!this.acquire()) return undefined;
    return this;
  }

  cancel(): void {
    if (this.state !== 'joining') return this.wait?.cancel();
    this.state = 'over';
    this.calls.defer(() => this.fault('cancelled'));
  }

  /** A claim that was got by then stays with the session. */
  leave(): void {
    this.target = undefined;
    if (this.state === 'joining') this.state = 'over';
    else this.wait?.leave();
  }

  private join(): void {
    this.state = 'joining';
    this.joins++;
    this.name.atHome(op, Kind.sessionJoin, this.lastStepsFrom(), this.slot);
    this.calls.call(op, Again.unknown, (reply) => this.joined(reply));
  }

  private joined({ answer, source, at, end }: Reply): void {
    if (this.state !== 'joining') return;
    if (answer.code === CODES.session_ended.wire) this.known.forget(this.name);
    // At most the slot is pending: of the lock nothing has happened.
    if (answer.code === CODES.outcome_unknown.wire) return this.fault('shard_unavailable');
    if (answer.code !== 0) return this.tell(source, at, end);
    this.isNew = answer.detailBytes[answer.detailAt] !== 1;
    this.ttlMs = answer.ttlMs;
    if (!this.acquire()) this.fault('overloaded');
  }

  /** False: there are too many waits, and nothing was sent. */
  private acquire(): boolean {
    readRecord(this.record, 0, op);
    op.namespaceLength = this.namespaceLength;
    op.flags &= ~OpFlag.newStub;
    if (this.isNew) op.flags |= OpFlag.newStub;
    op.ttlMs = this.ttlMs;
    this.state = 'acquiring';
    if (this.waitMs === 0) {
      this.calls.callAt(this.slot, op, Again.unserved, ({ source, at, end }) =>
        this.acquired(source, at, end),
      );
      return true;
    }
    this.wait = this.standing.submit(op, {
      interim: (source, at, end) => this.target?.interim(source, at, end),
      final: (source, at, end) => this.acquired(source, at, end),
      refused: (code) => this.fault(code),
    });
    return this.wait !== undefined;
  }

  private acquired(source: AnswerBytes, at: number, end: number): void {
    this.wait = undefined;
    readAnswer(source, at, answer);
    const { known, name, slot } = this;
    if (answer.code === CODES.session_ended.wire) {
      known.forgetSlot(name, slot);
      if (this.joins === 0 || (this.isNew && this.joins < JOINS_MAX)) return this.join();
      // Its home says that it lives, and does not count on this slot, where a stub of it has just ended.
      if (this.isNew) return this.fault('shard_unavailable');
    }
    if (answer.code !== 0 || !this.isNew) {
      if (answer.code === 0) known.activated(name, slot);
      return this.tell(source, at, end);
    }
    const grant = new AnswerBytes(copyOf(source.bytes, at, end).buffer, end - at);
    this.activate(grant, promisedUntil(answer, this.receivedAt));
  }

  /** `grant`: the claim's answer, to be told when its slot is active. */
  private activate(grant: AnswerBytes, until: number): void {
    const { calls, name } = this;
    this.state = 'activating';
    name.atHome(op, Kind.sessionActivate, this.lastStepsFrom(), this.slot);
    calls.call(op, Again.shed, ({ answer: { code } }) => {
      if (code === CODES.session_ended.wire) return this.takeBack();
      if (code !== 0) return this.fault('outcome_unknown');
      this.known.activated(name, this.slot);
      if (!tellTimes(grant, 0, until, this.receivedAt, calls.clock.now()))
        return this.fault('outcome_unknown');
      this.tell(grant, 0, grant.length);
    });
  }

  /** The session ended while its claim was taken. Its stub goes: no other claim on it is one either. */
  private takeBack(): void {
    const { calls, known, name } = this;
    const { clock } = calls;
    known.forget(name);
    fanOut({
      items: [this.slot],
      send: (slot, done) => {
        name.atStub(op, Kind.stubEnd, clock.now());
        calls.callAt(slot, op, Again.shed, done);
      },
      answered() {},
      finished: () => this.fault('session_ended'),
      time: { clock, until: this.lastStepsFrom() + calls.requestTimeoutMs },
    });
  }

  /** What follows a wait has its own time: that of the wait is over. */
  private lastStepsFrom(): number {
    return this.waitMs > 0 ? this.calls.clock.now() : this.receivedAt;
  }

  private fault(code: ErrorCode): void {
    faults.reset();
    writeRefusal(faults, 0, code, code === 'outcome_unknown' ? this.madeToken : NO_TOKEN);
    this.tell(faults, 0, faults.length);
  }

  private tell(source: AnswerBytes, at: number, end: number): void {
    const { target } = this;
    this.target = undefined;
    this.state = 'over';
    target?.final(source, at, end);
  }
}
