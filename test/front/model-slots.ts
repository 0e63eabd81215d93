/**
 * A small model of all slots of a cluster for tests of the coordinators: locks
 * (exclusive ones), sessions, stubs and batches as the machine keeps them, but
 * in Maps and without a journal. Ops of a slot are carried out in the order in
 * which they came, each after a delay; `fate` says what else becomes of one.
 */
import type { ErrorCode } from '../../src/errors.ts';
import { CODES } from '../../src/errors.ts';
import { BatchBytes, readRecord, recordBytes, writeRecord } from '../../src/lane/record.ts';
import { LIMITS, ttlPadMs } from '../../src/limits.ts';
import { Kind, Op, OpFlag } from '../../src/op.ts';
import { Answer, AnswerBytes, Section, writeAnswer } from '../../src/protocol/answer.ts';
import type { SteppedClock } from './stepped-clock.ts';

export const SLOTS = 16;

/** What becomes of an op beside being carried out in its turn and answered. */
export interface Fate {
  readonly delayMs: number;
  /** It is not carried out, and answered so. */
  readonly refuse?: ErrorCode;
  /** It is carried out, but its answer is lost: outcome_unknown, or nothing at all. */
  readonly loseAnswer?: 'unknown' | 'silent';
  /** The answer is outcome_unknown, and it is carried out only this much later, out of turn. */
  readonly lateMs?: number;
  /** outcome_unknown, and it is never carried out. */
  readonly drop?: boolean;
}

export interface ModelClaim {
  readonly key: string;
  readonly slot: number;
  readonly token: string;
  readonly fencingToken: number;
  readonly ttlMs: number;
  /** Of a session, or undefined. */
  readonly session: ModelStub | undefined;
  /** Of a batch that is not confirmed. */
  pending: ModelStub | undefined;
  promisedUntil: number;
}

export interface ModelStub {
  readonly key: string;
  readonly slot: number;
  readonly ttlMs: number;
  promisedUntil: number;
  readonly claims: Set<ModelClaim>;
}

export interface ModelSession {
  readonly ttlMs: number;
  promisedUntil: number;
  /** True: active. */
  readonly slots: Map<number, boolean>;
}

/** How a process hears of its ops. */
export interface ModelListener {
  answers(connection: number, source: AnswerBytes, at: number, end: number): void;
  refuse(connection: number, id: number, code: ErrorCode): void;
}

/** Nothing is looked through more often than that: what is over ends up to this late. */
const EXPIRE_EVERY_MS = 5;

const freeAt = (ttlMs: number, promisedUntil: number): number => promisedUntil + ttlPadMs(ttlMs);

export class ModelSlots {
  readonly slots: number;
  readonly clock: SteppedClock;
  readonly claims = new Map<string, ModelClaim>();
  /** By slot and key. */
  readonly stubs = new Map<string, ModelStub>();
  readonly sessions = new Map<string, ModelSession>();
  /** By token: why claims ended that were taken. */
  readonly ended = new Map<string, 'released' | 'expired' | 'stubEnd' | 'unconfirmed'>();
  fate: (op: Op) => Fate = () => ({ delayMs: 1 });
  /** Ops of the slot wait until then. */
  readonly downUntil: Float64Array;
  /** A claim is one to everybody from now on. */
  onReal: (claim: ModelClaim) => void = () => {};
  /** By kind: how often one was carried out. */
  readonly done = new Uint32Array(32);
  underWay = 0;
  underWayMax = 0;
  requestTimeoutMs = 2_000;
  /** When stubs ended: for a while none is made in their place. */
  private readonly closed = new Map<string, number>();
  private readonly turn: Float64Array;
  private soonest = 0;
  private counter = 0;
  private readonly op = new Op();
  private readonly answer = new Answer();
  private readonly out = new AnswerBytes();

  constructor(clock: SteppedClock, slots = SLOTS) {
    this.clock = clock;
    this.slots = slots;
    this.turn = new Float64Array(slots);
    this.downUntil = new Float64Array(slots);
  }

  slotOfKey(bytes: Uint8Array, keyAt: number, keyLength: number): number {
    let hash = 7;
    for (let i = keyAt; i < keyAt + keyLength; i++) hash = (Math.imul(hash, 31) + bytes[i]) >>> 0;
    return ((hash ^ (hash >>> 13)) >>> 0) % this.slots;
  }

  submit(op: Op, slot: number, listener: ModelListener): void {
    const record = new BatchBytes(new ArrayBuffer(recordBytes(op)));
    op.slot = slot;
    writeRecord(record, op);
    const { connection, id, receivedAt } = op;
    const fate = this.fate(op);
    const now = this.clock.now();
    if (fate.refuse === 'overloaded') return listener.refuse(connection, id, 'overloaded');
    const at = Math.max(now + fate.delayMs, this.turn[slot], this.downUntil[slot]);
    const tooLate = receivedAt + this.requestTimeoutMs;
    const unknown = (): void => listener.refuse(connection, id, 'outcome_unknown');
    if (fate.refuse !== undefined || at > Math.max(now, tooLate)) {
      const code = fate.refuse ?? 'moving';
      const when = fate.refuse === undefined ? tooLate - now : fate.delayMs;
      this.clock.after(when, () => listener.refuse(connection, id, code));
      return;
    }
    if (fate.drop) return void this.clock.after(fate.delayMs, unknown);
    if (fate.lateMs !== undefined) {
      this.clock.after(fate.delayMs, unknown);
      this.clock.after(fate.delayMs + fate.lateMs, () => this.decide(record));
      return;
    }
    this.turn[slot] = at;
    this.underWay++;
    this.underWayMax = Math.max(this.underWayMax, this.underWay);
    this.clock.after(at - now, () => this.carryOut(record, fate, listener));
  }

  /** Ends what is over by now. */
  expire(): void {
    const now = this.clock.now();
    if (now < this.soonest) return;
    this.soonest = now + EXPIRE_EVERY_MS;
    for (const [key, session] of this.sessions) {
      if (freeAt(session.ttlMs, session.promisedUntil) <= now) this.sessions.delete(key);
    }
    for (const stub of this.stubs.values()) {
      if (freeAt(stub.ttlMs, stub.promisedUntil) <= now) this.endStub(stub, 'expired');
    }
    for (const claim of this.claims.values()) {
      const isOwn = claim.session === undefined && claim.pending === undefined;
      if (isOwn && freeAt(claim.ttlMs, claim.promisedUntil) <= now) this.end(claim, 'expired');
    }
  }

  private carryOut(record: BatchBytes, fate: Fate, listener: ModelListener): void {
    this.underWay--;
    const end = this.decide(record);
    const { connection, id } = this.op;
    if (fate.loseAnswer === 'silent') return;
    if (fate.loseAnswer === 'unknown') return listener.refuse(connection, id, 'outcome_unknown');
    const { bytes } = this.out;
    const copy = new AnswerBytes(bytes.slice(0, end).buffer, end);
    // As peers bring them: a Buffer, whose slice is no copy, and whose bytes are gone afterwards.
    copy.bytes = Buffer.from(copy.bytes.buffer);
    // The way back takes time as well.
    this.clock.after(fate.delayMs / 2, () => {
      listener.answers(connection, copy, 0, end);
      copy.bytes.fill(0xee);
    });
  }

  private decide(record: BatchBytes): number {
    this.expire();
    const { op, answer, out } = this;
    readRecord(record, 0, op);
    this.done[op.kind]++;
    answer.id = op.id;
    answer.status = 200;
    answer.code = 0;
    answer.sections = 0;
    this.apply(op, this.text(op.keyAt, op.keyLength));
    out.reset();
    writeAnswer(out, answer);
    return out.length;
  }

  private apply(op: Op, key: string): void {
    switch (op.kind) {
      case Kind.acquire:
        return this.acquire(op, key);
      case Kind.release:
        return this.release(key);
      case Kind.verify:
        return this.verify(key);
      case Kind.stubRenew:
      case Kind.stubEnd:
        return this.atStub(op, key);
      case Kind.confirm:
        return this.confirm(op, key);
      case Kind.sessionOpen:
        return this.open(op, key);
      default:
        return this.atHome(op, key);
    }
  }

  private acquire(op: Op, key: string): void {
    const token = this.text(op.tokenAt, op.tokenLength);
    const holder = this.claims.get(key);
    if (holder?.token === token) {
      return holder.pending === undefined ? this.tellClaim(holder, 200) : this.refuse('lock_held');
    }
    if (this.ended.has(token) && this.ended.get(token) !== 'unconfirmed') return this.refuse('not_held');
    const prefix = key.slice(0, key.lastIndexOf('\0') + 1);
    const sessionKey = `${prefix}\x02${this.text(op.sessionAt, op.sessionLength)}`;
    if (!this.mayHang(op, `${op.slot} ${sessionKey}`)) return this.refuse('session_ended');
    if (holder !== undefined) return this.held(holder);
    const batchKey = `${prefix}\x03${this.text(op.batchAt, op.batchLength)}`;
    if (op.batchLength > 0 && this.wasClosed(`${op.slot} ${batchKey}`)) return this.refuse('not_held');
    const session = op.sessionLength === 0 ? undefined : this.stubOf(op.slot, sessionKey, op.ttlMs);
    const batch = op.batchLength === 0 ? undefined : this.stubOf(op.slot, batchKey, LIMITS.pendingMs);
    const ttlMs = session?.ttlMs ?? (op.ttlMs || LIMITS.ttlMsDefault);
    const claim: ModelClaim = {
      key,
      slot: op.slot,
      token,
      fencingToken: ++this.counter,
      ttlMs,
      session,
      pending: batch,
      promisedUntil: this.clock.now() + ttlMs,
    };
    this.claims.set(key, claim);
    session?.claims.add(claim);
    batch?.claims.add(claim);
    if (batch === undefined) this.onReal(claim);
    this.tellClaim(claim, 201);
  }

  /** The stub of its session is there, or may be made. */
  private mayHang(op: Op, stub: string): boolean {
    if (op.sessionLength === 0 || this.stubs.has(stub)) return true;
    return (op.flags & OpFlag.newStub) !== 0 && !this.wasClosed(stub);
  }

  private wasClosed(id: string): boolean {
    return this.clock.now() - (this.closed.get(id) ?? -Infinity) < 2 * this.requestTimeoutMs;
  }

  private stubOf(slot: number, key: string, ttlMs: number): ModelStub {
    const id = `${slot} ${key}`;
    let stub = this.stubs.get(id);
    if (stub === undefined) {
      stub = { key, slot, ttlMs, promisedUntil: this.clock.now() + ttlMs, claims: new Set() };
      this.stubs.set(id, stub);
    }
    return stub;
  }

  private release(key: string): void {
    const claim = this.claims.get(key);
    if (claim?.token !== this.text(this.op.tokenAt, this.op.tokenLength)) return this.refuse('not_held');
    this.end(claim, 'released');
    this.answer.status = 204;
  }

  private verify(key: string): void {
    const { answer, op } = this;
    const claim = this.claims.get(key);
    const current = claim?.token === this.text(op.tokenAt, op.tokenLength) && claim?.pending === undefined;
    answer.sections = Section.verdict;
    answer.current = current;
    answer.fencingToken = current ? claim!.fencingToken : 0;
    answer.expiresInMs = current ? this.left(until(claim!)) : 0;
  }

  private atStub(op: Op, key: string): void {
    const stub = this.stubs.get(`${op.slot} ${key}`);
    if (op.kind === Kind.stubEnd) {
      if (stub !== undefined) this.endStub(stub, 'stubEnd');
      return;
    }
    if (stub === undefined) return this.refuse('session_ended');
    stub.promisedUntil = this.clock.now() + stub.ttlMs;
    this.tellTimes(200, stub.ttlMs, stub.promisedUntil);
    this.answer.sections |= Section.queue;
    this.answer.queueLength = stub.claims.size;
    this.answer.retryAfterMs = 0;
  }

  private confirm(op: Op, key: string): void {
    const stub = this.stubs.get(`${op.slot} ${key}`);
    if (stub?.claims.size !== op.fencingToken) {
      if (stub !== undefined) this.endStub(stub, 'stubEnd');
      return this.refuse('not_held');
    }
    this.stubs.delete(`${op.slot} ${key}`);
    for (const claim of stub.claims) {
      claim.pending = undefined;
      claim.promisedUntil = this.clock.now() + claim.ttlMs;
      this.onReal(claim);
    }
  }

  private open(op: Op, key: string): void {
    let session = this.sessions.get(key);
    const isNew = session === undefined;
    session ??= { ttlMs: op.ttlMs || LIMITS.ttlMsDefault, promisedUntil: 0, slots: new Map() };
    if (isNew) session.promisedUntil = this.clock.now() + session.ttlMs;
    this.sessions.set(key, session);
    this.tellTimes(isNew ? 201 : 200, session.ttlMs, session.promisedUntil);
  }

  private atHome(op: Op, key: string): void {
    const session = this.sessions.get(key);
    if (session === undefined) return this.refuse('session_ended');
    const slot = op.fencingToken;
    const had = session.slots.get(slot) ?? false;
    if (op.kind === Kind.sessionRenew) session.promisedUntil = this.clock.now() + session.ttlMs;
    if (op.kind === Kind.sessionJoin) session.slots.set(slot, had);
    if (op.kind === Kind.sessionActivate) session.slots.set(slot, true);
    if (op.kind === Kind.sessionEnd) this.sessions.delete(key);
    this.tellTimes(200, session.ttlMs, session.promisedUntil);
    if (op.kind === Kind.sessionActivate) return;
    const detail =
      op.kind === Kind.sessionJoin
        ? [had ? 1 : 0]
        : [...session.slots].flatMap(([of, active]) => [of & 0xff, of >> 8, active ? 1 : 0]);
    this.answer.sections |= Section.detail;
    this.answer.detailBytes = Uint8Array.from(detail);
    this.answer.detailAt = 0;
    this.answer.detailLength = detail.length;
  }

  private endStub(stub: ModelStub, reason: 'expired' | 'stubEnd'): void {
    const id = `${stub.slot} ${stub.key}`;
    this.stubs.delete(id);
    this.closed.set(id, this.clock.now());
    for (const claim of stub.claims) {
      this.end(claim, claim.pending === undefined ? reason : 'unconfirmed');
    }
  }

  private end(claim: ModelClaim, reason: 'released' | 'expired' | 'stubEnd' | 'unconfirmed'): void {
    this.ended.set(claim.token, reason);
    if (this.claims.get(claim.key) === claim) this.claims.delete(claim.key);
    claim.session?.claims.delete(claim);
    claim.pending?.claims.delete(claim);
  }

  private tellClaim(claim: ModelClaim, status: number): void {
    this.tellTimes(status, claim.ttlMs, until(claim));
    this.answer.fencingToken = claim.fencingToken;
  }

  private tellTimes(status: number, ttlMs: number, promisedUntil: number): void {
    const { answer, op } = this;
    answer.status = status;
    answer.sections = Section.claim;
    answer.fencingToken = 0;
    answer.ttlMs = ttlMs;
    answer.waitedMs = Math.max(0, Math.floor(this.clock.now() - op.receivedAt));
    answer.expiresInMs = this.left(promisedUntil);
    if (answer.expiresInMs === 0 && op.kind !== Kind.sessionGet) this.refuse('outcome_unknown');
  }

  private held(holder: ModelClaim): void {
    const { answer } = this;
    this.refuse('lock_held');
    answer.fencingToken = holder.fencingToken;
    answer.expiresInMs = this.left(until(holder));
    answer.mode = 0;
    answer.ownerLength = 0;
    answer.queueLength = 0;
    answer.retryAfterMs = LIMITS.retryAfterMs;
    answer.sections = Section.queue | (holder.pending === undefined ? Section.holder : 0);
  }

  private refuse(code: ErrorCode): void {
    this.answer.status = CODES[code].status;
    this.answer.code = CODES[code].wire;
    this.answer.sections = 0;
  }

  private left(promisedUntil: number): number {
    return Math.max(0, Math.floor(promisedUntil - this.clock.now()));
  }

  private text(at: number, length: number): string {
    return Buffer.from(this.op.bytes.subarray(at, at + length)).toString('latin1');
  }
}

/** What a holder may be told of its claim. */
export function until(claim: ModelClaim): number {
  return (claim.pending ?? claim.session)?.promisedUntil ?? claim.promisedUntil;
}
