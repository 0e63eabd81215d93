/**
 * What a claim may hang on: the stub of a session, or of an atomic batch. A slot
 * makes one when the first claim or waiter comes that hangs on it.
 */
import { LIMITS } from '../limits.ts';
import { BATCH_KEY, type Op, OpFlag, STUB_KEY } from '../op.ts';
import { close } from './endings.ts';
import type { Outcome } from './outcome.ts';
import { KEY_BYTES_MAX } from './records.ts';
import { EndReason, RowKind } from './rows.ts';
import { openStub } from './transitions.ts';
import type { Turn } from './turn.ts';

/** Rows, 0 = none. */
interface Hangs {
  stub: number;
  batch: number;
  /** They are still to be made. */
  makeStub: boolean;
  makeBatch: boolean;
}

const hangs: Hangs = { stub: 0, batch: 0, makeStub: false, makeBatch: false };

/**
 * What the op's claim is to hang on is looked for. It may be over: then so is
 * all that hangs on it. True when something was.
 */
export function lookForHangs(turn: Turn, op: Op): boolean {
  hangs.stub = sessionStub(turn, op);
  hangs.batch = batchStub(turn, op);
  const closed = closeOver(turn, hangs.stub) || closeOver(turn, hangs.batch);
  if (closed) {
    hangs.stub = sessionStub(turn, op);
    hangs.batch = batchStub(turn, op);
  }
  return closed;
}

function closeOver(turn: Turn, stub: number): boolean {
  if (stub === 0 || turn.slot.claims.freeAt(stub) > turn.now) return false;
  close(turn, stub, EndReason.expired);
  return true;
}

/** Sees to it that `makeHangs` makes what is missing of it. False: the op is refused. */
export function mayHang(turn: Turn, op: Op, out: Outcome): boolean {
  const { claims, aside } = turn.slot;
  hangs.makeStub = false;
  hangs.makeBatch = false;
  if (op.sessionLength > 0) {
    // To settle the lock may have ended it.
    if (!claims.lives(hangs.stub)) hangs.stub = 0;
    hangs.makeStub = hangs.stub === 0 && (op.flags & OpFlag.newStub) !== 0 && !wasClosed(turn, op, STUB_KEY);
    const isMine =
      hangs.stub !== 0 && claims.hasPrincipal(hangs.stub, op.bytes, op.principalAt, op.principalLength);
    if (!isMine && !hangs.makeStub) out.refuse('session_ended');
    else if (isMine && aside.onStub.get(hangs.stub)!.size >= LIMITS.sessionLocksMax)
      out.refuse('quota_exceeded');
  }
  if (op.batchLength > 0 && out.code === 0) {
    if (!claims.lives(hangs.batch)) hangs.batch = 0;
    hangs.makeBatch = hangs.batch === 0;
    if (hangs.makeBatch && wasClosed(turn, op, BATCH_KEY)) out.refuse('not_held');
  }
  return out.code === 0;
}

/** @param ttlMs of a session whose stub has to be made */
export function makeHangs(
  turn: Turn,
  op: Op,
  ttlMs: number,
): { readonly stub: number; readonly batch: number } {
  if (hangs.makeStub) {
    stubKey(op, STUB_KEY, op.sessionAt, op.sessionLength);
    hangs.stub = make(turn, RowKind.stub, ttlMs);
  }
  if (hangs.makeBatch) {
    stubKey(op, BATCH_KEY, op.batchAt, op.batchLength);
    hangs.batch = make(turn, RowKind.batch, LIMITS.pendingMs);
  }
  return hangs;
}

/** Of the key that `stubKey` made last. */
function make(turn: Turn, kind: typeof RowKind.stub | typeof RowKind.batch, ttlMs: number): number {
  const { slot, effects, witness } = turn;
  const number = turn.count();
  source.hash = number >>> 0;
  const row = openStub(slot, source, kind, number, ttlMs);
  effects.opened(slot, row);
  slot.claims.disarm(row);
  witness.begins(slot, row);
  return row;
}

function sessionStub({ slot }: Turn, op: Op): number {
  if (op.sessionLength === 0) return 0;
  stubKey(op, STUB_KEY, op.sessionAt, op.sessionLength);
  return slot.findStub(source.bytes, 0, source.keyLength);
}

function batchStub({ slot }: Turn, op: Op): number {
  if (op.batchLength === 0) return 0;
  stubKey(op, BATCH_KEY, op.batchAt, op.batchLength);
  return slot.findStub(source.bytes, 0, source.keyLength);
}

/** There was one, and it has ended. */
function wasClosed({ slot, now }: Turn, op: Op, mark: number): boolean {
  if (mark === STUB_KEY) stubKey(op, mark, op.sessionAt, op.sessionLength);
  else stubKey(op, mark, op.batchAt, op.batchLength);
  return slot.hasEndedStub(source.bytes, 0, source.keyLength, now);
}

const source = {
  bytes: new Uint8Array(KEY_BYTES_MAX + 1 + LIMITS.tokenBytesMax + LIMITS.principalBytesMax),
  hash: 0,
  keyAt: 0,
  keyLength: 0,
  tokenAt: 0,
  tokenLength: 0,
  ownerAt: 0,
  ownerLength: 0,
  metadataAt: 0,
  metadataLength: 0,
  principalAt: 0,
  principalLength: 0,
  limit: 0,
};

/**
 * The key of a stub: the op's namespace, what marks it as a stub, and the id
 * that stands at `at` in the op's bytes. Behind it the op's principal, as in all
 * rows.
 */
export function stubKey(op: Op, mark: number, at: number, length: number): typeof source {
  const { bytes } = source;
  let to = 0;
  // The namespace ends with a zero byte, which no name contains.
  const separator = op.bytes.indexOf(0, op.keyAt);
  if (separator >= 0 && separator < op.keyAt + op.keyLength) {
    bytes.set(op.bytes.subarray(op.keyAt, separator + 1));
    to = separator + 1 - op.keyAt;
  }
  bytes[to++] = mark;
  bytes.set(op.bytes.subarray(at, at + length), to);
  source.keyLength = to + length;
  bytes.set(op.bytes.subarray(op.principalAt, op.principalAt + op.principalLength), source.keyLength);
  source.principalAt = source.keyLength;
  source.principalLength = op.principalLength;
  return source;
}
