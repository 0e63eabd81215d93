/**
 * Ops that this process sends on its own account: the steps of requests that
 * are more than one op (sessions.ts, atomic.ts), each with a callback for its
 * one answer.
 *
 *   under way ─ answered ─► settled
 *      ▲  └─ a fault that a repeat may get over ─► waiting
 *      └──── after LIMITS.resumeMs, doubled each time ┘  └─ no time left ─► settled
 *
 * Each attempt has an id of its own, so an answer that comes late to an earlier
 * one is nobody's. All attempts of a call share the time it was received at:
 * they end with the request's time-out, and times in answers count from there.
 *
 * What a repeat does to each step, were the attempt before it carried out after
 * all:
 *
 *   sessionOpen      finds the session, 200 for 201 (`repeated` tells)
 *   sessionRenew     extends the session once more
 *   sessionGet       reads again
 *   sessionEnd       finds no session, 410: with `repeated` that is success
 *   sessionJoin      finds the slot pending, as a first one would leave it
 *   sessionActivate  finds it active, and says the same
 *   stubRenew        extends the stub once more
 *   stubEnd          finds nothing to end, and says the same
 *   confirm          finds no batch, 410: with `repeated` it may be confirmed;
 *                    a verify of its claims tells
 *   release          finds no claim, 410: with `repeated` that is success
 *   verify           reads again
 *   acquire          finds the claim, 200 for 201; of a batch: lock_held, its
 *                    own pending claim. So it is not repeated after a doubt.
 */
import type { Clock, Timer } from '../clock.ts';
import { codeOfWire, type ErrorCode } from '../errors.ts';
import { BatchBytes, readRecord, recordBytes, writeRecord } from '../lane/record.ts';
import { LIMITS } from '../limits.ts';
import { Op } from '../op.ts';
import { Answer, AnswerBytes, readAnswer } from '../protocol/answer.ts';
import { writeRefusal } from '../protocol/refusal.ts';
import type { Connection, Connections } from './connections.ts';

/** What calls need of routing. */
export interface Slots {
  slotOfKey(bytes: Uint8Array, keyAt: number, keyLength: number, namespaceLength: number): number;
  submitAt(op: Op, slot: number): void;
  /** The term that owns a slot, as far as is known. */
  readonly map: { at(slot: number): { readonly id: string } | undefined };
}

/** Which faults make a call be sent again while there is time: each includes the ones before it. */
export const Again = {
  never: 0,
  /** Nobody served the slot, so nothing has happened. */
  unserved: 1,
  /** It may have taken effect, and a repeat does no harm. */
  unknown: 2,
  /** It was shed. Not for the first step of a request: that is the one to be shed. */
  shed: 3,
} as const;
export type Again = (typeof Again)[keyof typeof Again];

const LEVEL: Partial<Record<ErrorCode, Again>> = {
  moving: Again.unserved,
  shard_unavailable: Again.unserved,
  outcome_unknown: Again.unknown,
  overloaded: Again.shed,
};

/** The answer of a call; only valid while its callback runs. */
export interface Reply {
  readonly answer: Answer;
  /** The same, unread. */
  readonly source: AnswerBytes;
  readonly at: number;
  readonly end: number;
  /** The attempt that was answered is not the first, and an earlier one may have taken effect. */
  readonly repeated: boolean;
}

export type Done = (reply: Reply) => void;

/** Answers with a final status; below are those that tell how a wait goes on. */
const FINAL_STATUS_MIN = 200;

class CurrentReply implements Reply {
  readonly answer = new Answer();
  source = new AnswerBytes(new ArrayBuffer(0));
  at = 0;
  end = 0;
  repeated = false;
}

interface Call {
  readonly record: BatchBytes;
  readonly slot: number;
  readonly again: Again;
  readonly done: Done;
  readonly receivedAt: number;
  delayMs: number;
  /** An attempt ended with outcome_unknown. */
  doubt: boolean;
  timer: Timer | undefined;
}

export interface CallsSettings {
  readonly connections: Connections;
  readonly slots: Slots;
  readonly clock: Clock;
  readonly requestTimeoutMs: number;
}

export class Calls implements Connection {
  readonly clock: Clock;
  readonly slots: Slots;
  readonly requestTimeoutMs: number;
  private readonly connections: Connections;
  private readonly number: number;
  private nextId = 0;
  private readonly underWay = new Map<number, Call>();
  private readonly waiting = new Set<Call>();
  private later: (() => void)[] = [];
  private readonly op = new Op();
  private readonly reply = new CurrentReply();
  private readonly faults = new AnswerBytes(new ArrayBuffer(256));
  private closed = false;

  constructor({ connections, slots, clock, requestTimeoutMs }: CallsSettings) {
    this.connections = connections;
    this.slots = slots;
    this.clock = clock;
    this.requestTimeoutMs = requestTimeoutMs;
    this.number = connections.add(this);
  }

  /** Calls that are not settled. */
  get size(): number {
    return this.underWay.size + this.waiting.size;
  }

  /** True when the process has no room for `more` requests. */
  full(more: number): boolean {
    return this.closed || this.connections.full(more);
  }

  /** To the slot that the key decides. `op` is only valid during the call; `done` is never called within it. */
  call(op: Op, again: Again, done: Done): void {
    const slot = this.slots.slotOfKey(op.bytes, op.keyAt, op.keyLength, op.namespaceLength);
    this.callAt(slot, op, again, done);
  }

  /** To this very slot. */
  callAt(slot: number, op: Op, again: Again, done: Done): void {
    const record = new BatchBytes(new ArrayBuffer(recordBytes(op)));
    writeRecord(record, op);
    const call: Call = {
      record,
      slot,
      again,
      done,
      receivedAt: op.receivedAt,
      delayMs: LIMITS.resumeMs,
      doubt: false,
      timer: undefined,
    };
    this.connections.open++;
    this.send(call);
  }

  /** Runs it when the event-loop turn ends: what must not be done within a caller's call. */
  defer(run: () => void): void {
    if (this.later.length === 0) this.connections.flushLater(this);
    this.later.push(run);
  }

  answers(source: AnswerBytes, from: number, end: number): void {
    const { reply } = this;
    for (let at = from; at < end;) {
      const next = readAnswer(source, at, reply.answer);
      const call = this.underWay.get(reply.answer.id);
      if (call !== undefined && reply.answer.status >= FINAL_STATUS_MIN) {
        this.underWay.delete(reply.answer.id);
        this.answered(call, source, at, next);
      }
      at = next;
    }
  }

  refuse(id: number, code: ErrorCode): void {
    this.defer(() => {
      const call = this.underWay.get(id);
      this.underWay.delete(id);
      if (call !== undefined) this.fault(call, code);
    });
  }

  flush(): void {
    const runs = this.later;
    this.later = [];
    for (const run of runs) run();
  }

  sweep(_now: number, overdue: number): void {
    const late = [...this.underWay].filter(([, { receivedAt }]) => receivedAt < overdue);
    for (const [id, call] of late) if (this.underWay.delete(id)) this.fault(call, 'outcome_unknown');
  }

  shutDown(): void {
    this.closed = true;
    const calls = [...this.underWay.values(), ...this.waiting];
    this.underWay.clear();
    for (const call of calls) {
      call.timer?.cancel();
      this.waiting.delete(call);
      this.fault(call, 'outcome_unknown');
    }
  }

  private send(call: Call): void {
    do {
      this.nextId = (this.nextId + 1) >>> 0;
    } while (this.underWay.has(this.nextId));
    const id = this.nextId;
    this.underWay.set(id, call);
    if (this.closed) return this.refuse(id, 'draining');
    const { op } = this;
    readRecord(call.record, 0, op);
    op.id = id;
    op.connection = this.number;
    this.slots.submitAt(op, call.slot);
  }

  /** `reply.answer` has been read from source[at, end). */
  private answered(call: Call, source: AnswerBytes, at: number, end: number): void {
    const { reply } = this;
    const code = codeOfWire(reply.answer.code);
    if (code !== undefined && this.waits(call, code)) return;
    // What comes of a doubt is no better than the doubt, unless a lane has looked.
    const level = code === undefined ? undefined : LEVEL[code];
    if (call.doubt && level !== undefined && code !== 'outcome_unknown') {
      return this.fault(call, 'outcome_unknown');
    }
    reply.source = source;
    reply.at = at;
    reply.end = end;
    reply.repeated = call.doubt;
    this.connections.open--;
    call.done(reply);
  }

  private fault(call: Call, code: ErrorCode): void {
    const { faults, reply } = this;
    faults.reset();
    writeRefusal(faults, 0, code);
    const end = readAnswer(faults, 0, reply.answer);
    this.answered(call, faults, 0, end);
  }

  /** True: the fault is not the call's last word. */
  private waits(call: Call, code: ErrorCode): boolean {
    const level = LEVEL[code];
    if (level === undefined || level > call.again || this.closed) return false;
    const { clock, waiting } = this;
    if (clock.now() + call.delayMs >= call.receivedAt + this.requestTimeoutMs) return false;
    if (code === 'outcome_unknown') call.doubt = true;
    waiting.add(call);
    call.timer = clock.after(call.delayMs, () => {
      call.timer = undefined;
      waiting.delete(call);
      this.send(call);
    });
    call.delayMs = Math.min(LIMITS.resumeMsMax, call.delayMs * 2);
    return true;
  }
}
