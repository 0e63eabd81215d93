/** Processes with coordinators over the slots of a model, and requests to them. */
import { Connections } from '../../src/front/connections.ts';
import { Atomic } from '../../src/front/atomic.ts';
import { Calls } from '../../src/front/calls.ts';
import type { BatchTarget, Handle, Taker, Target } from '../../src/front/coordination.ts';
import { KnownSessions } from '../../src/front/known-sessions.ts';
import { Sessions } from '../../src/front/sessions.ts';
import { codeOfWire, type ErrorCode } from '../../src/errors.ts';
import { Kind, Op, SESSION_KEY } from '../../src/op.ts';
import { Answer, type AnswerBytes, readAnswer } from '../../src/protocol/answer.ts';
import type { ModelSlots } from './model-slots.ts';

const SWEEP_EVERY_MS = 500;
const WEDGED_MS = 1_000;

/** What was told. */
export interface Told {
  readonly status: number;
  readonly code: ErrorCode | undefined;
  readonly expiresInMs: number;
  readonly waitedMs: number;
  readonly fencingToken: number;
  readonly ttlMs: number;
  readonly sections: number;
}

/** A request's answers: there must be one. */
export class Asked implements Target {
  readonly told: Told[] = [];
  handle: Handle | undefined;
  private readonly heard: (told: Told) => void;

  constructor(heard: (told: Told) => void = () => {}) {
    this.heard = heard;
  }

  interim(): void {}

  final(source: AnswerBytes, at: number): void {
    this.hear(readTold(source, at));
  }

  refused(code: ErrorCode): void {
    this.hear({ ...NOTHING, code });
  }

  private hear(told: Told): void {
    this.told.push(told);
    this.heard(told);
  }
}

const NOTHING: Told = {
  status: 0,
  code: undefined,
  expiresInMs: 0,
  waitedMs: 0,
  fencingToken: 0,
  ttlMs: 0,
  sections: 0,
};

/** What was told of a batch. */
export interface BatchTold {
  readonly held: readonly Told[] | undefined;
  readonly index: number;
  readonly code: ErrorCode | undefined;
}

export class AskedBatch implements BatchTarget {
  readonly told: BatchTold[] = [];
  private readonly heard: (told: BatchTold) => void;

  constructor(heard: (told: BatchTold) => void = () => {}) {
    this.heard = heard;
  }

  held(source: AnswerBytes, starts: readonly number[]): void {
    const held = starts.slice(0, -1).map((at) => readTold(source, at));
    this.hear({ held, index: -1, code: undefined });
  }

  failed(index: number, source: AnswerBytes, at: number): void {
    this.hear({ held: undefined, index, code: readTold(source, at).code });
  }

  refused(code: ErrorCode): void {
    this.hear({ held: undefined, index: -1, code });
  }

  private hear(told: BatchTold): void {
    this.told.push(told);
    this.heard(told);
  }
}

export function readTold(source: AnswerBytes, at: number): Told {
  const answer = new Answer();
  readAnswer(source, at, answer);
  const { status, sections, expiresInMs, waitedMs, fencingToken, ttlMs } = answer;
  return { status, sections, expiresInMs, waitedMs, fencingToken, ttlMs, code: codeOfWire(answer.code) };
}

export class ModelProcess {
  readonly connections: Connections;
  readonly calls: Calls;
  readonly known = new KnownSessions();
  readonly sessions: Sessions;
  readonly atomic: Atomic;
  isAlive = true;
  /** Takes acquires that wait. */
  standing: Taker = { submit: () => undefined };
  private readonly model: ModelSlots;

  constructor(model: ModelSlots) {
    this.model = model;
    const { clock } = model;
    const own = {
      now: clock.now,
      wallMs: clock.wallMs,
      after: (ms: number, run: () => void) => clock.after(ms, () => this.isAlive && run()),
    };
    this.connections = new Connections((run) => void own.after(0, run));
    this.calls = new Calls({
      connections: this.connections,
      clock: own,
      requestTimeoutMs: model.requestTimeoutMs,
      slots: {
        slotOfKey: (bytes, keyAt, keyLength) => model.slotOfKey(bytes, keyAt, keyLength),
        submitAt: (op, slot) => model.submit(op, slot, this),
        map: { at: (slot) => ({ id: `t${slot % 3}` }) },
      },
    });
    const { calls, known } = this;
    this.sessions = new Sessions({
      calls,
      known,
      standing: { submit: (...all) => this.standing.submit(...all) },
    });
    this.atomic = new Atomic({ calls, known });
    this.sweepLater();
  }

  answers(connection: number, source: AnswerBytes, at: number, end: number): void {
    if (this.isAlive) this.connections.deliver(connection, source, at, end);
  }

  refuse(connection: number, id: number, code: ErrorCode): void {
    if (this.isAlive) this.connections.refuse(connection, id, code);
  }

  /** As kill -9 does it. */
  die(): void {
    this.isAlive = false;
  }

  session(kind: number, id: string, ttlMs = 0, heard?: (told: Told) => void): Asked {
    return this.submit(sessionOp(kind, id, ttlMs), heard);
  }

  acquire(name: string, token: string, session: string, waitMs = 0, heard?: (told: Told) => void): Asked {
    const op = acquireOp(name, token, session);
    op.waitMs = waitMs;
    return this.submit(op, heard);
  }

  batch(items: readonly Op[], heard?: (told: BatchTold) => void): AskedBatch {
    const asked = new AskedBatch(heard);
    const batch = this.atomic.begin(asked);
    if (batch === undefined) throw new Error('no room for a batch');
    for (const op of items) {
      op.receivedAt = this.model.clock.now();
      batch.add(op);
    }
    batch.submit();
    return asked;
  }

  private submit(op: Op, heard?: (told: Told) => void): Asked {
    op.receivedAt = this.model.clock.now();
    const asked = new Asked(heard);
    asked.handle = this.sessions.submit(op, asked);
    if (asked.handle === undefined) asked.refused('overloaded');
    return asked;
  }

  private sweepLater(): void {
    const { clock, requestTimeoutMs } = this.model;
    clock.after(SWEEP_EVERY_MS, () => {
      if (!this.isAlive) return;
      const now = clock.now();
      this.connections.sweep(now, now - requestTimeoutMs - WEDGED_MS);
      this.sweepLater();
    });
  }
}

export function sessionOp(kind: number, id: string, ttlMs = 0): Op {
  const op = new Op();
  op.bytes = Buffer.from(`ns\0${String.fromCharCode(SESSION_KEY)}${id}`);
  op.kind = kind;
  op.namespaceLength = 3;
  op.keyLength = op.bytes.length;
  op.ttlMs = ttlMs;
  return op;
}

/** With `session` '' it has none. */
export function acquireOp(name: string, token: string, session = '', ttlMs = 0): Op {
  const op = new Op();
  const key = `ns\0${name}`;
  op.bytes = Buffer.from(key + token + session);
  op.kind = Kind.acquire;
  op.namespaceLength = 3;
  op.keyLength = key.length;
  op.tokenAt = key.length;
  op.tokenLength = token.length;
  op.sessionAt = key.length + token.length;
  op.sessionLength = session.length;
  op.ttlMs = ttlMs;
  return op;
}

/** The key under which the model keeps the session. */
export const homeKey = (id: string): string => `ns\0\x01${id}`;
export const stubKey = (slot: number, id: string): string => `${slot} ns\0\x02${id}`;
export const lockKey = (name: string): string => `ns\0${name}`;

let tokens = 0;
export const freshToken = (): string => `token-${tokens++}-0123456789abcdef`;
