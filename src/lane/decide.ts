/**
 * From an op to its place in a round: the machine decides, the outcome is
 * written as an answer in the public grammar, and delivery learns what is still
 * to be filled in.
 */
import { CODES, codeOfWire } from '../errors.ts';
import { LIMITS } from '../limits.ts';
import { apply, Outcome } from '../lock/machine.ts';
import type { Slot } from '../lock/slot.ts';
import type { Witness } from '../lock/witness.ts';
import type { LaneCounters } from '../metrics/counters.ts';
import { Kind, Mode, type Op, OpFlag } from '../op.ts';
import {
  Answer,
  HOLDER_EXPIRES_AT,
  Section,
  STATE_HOLDER_EXPIRES_AT,
  VERDICT_EXPIRES_AT,
  writeAnswer,
} from '../protocol/answer.ts';
import { Todo, type Round } from './round.ts';

/** Until the lane answers waits. */
export const DEAF: Witness = {
  granted() {},
  refused() {},
  lost() {},
  contended() {},
  changed() {},
  begins() {},
  due() {},
};

const outcome = new Outcome();
const answer = new Answer();

/** Decides `op` on its slot and adds effects and answer to `round`. True when an effect was written. */
export function decide(round: Round, slot: Slot, op: Op, now: number, counters: LaneCounters): boolean {
  apply(slot, op, now, round.effects, outcome, DEAF);
  answer.id = op.id;
  answer.status = outcome.status;
  answer.code = outcome.code;
  answer.sections = 0;
  let todo = op.kind === Kind.get || op.kind === Kind.verify ? 0 : Todo.effect;
  let expiresAt = 0;
  if (outcome.code === CODES.lock_held.wire) {
    describeHolder(slot, outcome.row);
    expiresAt = HOLDER_EXPIRES_AT;
    todo = Todo.times;
  } else if (outcome.code !== 0) {
    // Refused: only the status and the code travel.
    todo = 0;
  } else if (op.kind === Kind.acquire || op.kind === Kind.renew) {
    todo |= describeClaim(slot, op);
  } else if (op.kind === Kind.get) {
    answer.sections = Section.state;
    describeState(answer, slot, outcome.row);
    if (outcome.row !== 0) {
      expiresAt = STATE_HOLDER_EXPIRES_AT;
      todo |= Todo.times;
    }
  } else if (op.kind === Kind.verify) {
    describeVerdict(outcome.current, outcome.fencingToken);
    expiresAt = VERDICT_EXPIRES_AT;
    if (outcome.current) todo |= Todo.times;
  } else if (op.kind === Kind.release) {
    counters.recordHold(outcome.heldMs);
  }
  const start = writeAnswer(round.answers, answer);
  const i = round.add(op, outcome.code, todo, start);
  round.row[i] = outcome.row;
  round.fencingToken[i] = outcome.fencingToken;
  round.ttlMs[i] = outcome.ttlMs;
  round.expiresAt[i] = start + expiresAt;
  if (todo & Todo.claim) round.promisedUntil[i] = slot.claims.promisedUntil(outcome.row);
  return outcome.changed;
}

/** An answer that needs no decision: `code` with nothing done. */
export function refuse(round: Round, op: Op, code: number): void {
  answer.id = op.id;
  answer.status = CODES[codeOfWire(code) ?? 'internal'].status;
  answer.code = code;
  answer.sections = Section.queue;
  answer.queueLength = 0;
  answer.retryAfterMs = LIMITS.retryAfterMs;
  round.add(op, code, 0, writeAnswer(round.answers, answer));
}

function describeClaim(slot: Slot, op: Op): number {
  const { claims } = slot;
  const { row } = outcome;
  answer.sections = Section.claim;
  answer.fencingToken = outcome.fencingToken;
  answer.ttlMs = outcome.ttlMs;
  answer.waitedMs = 0;
  answer.expiresInMs = 0;
  let todo = Todo.claim | Todo.times;
  if (outcome.armable) todo |= Todo.arm;
  if (op.flags & OpFlag.madeToken) {
    answer.sections |= Section.token;
    answer.tokenBytes = op.bytes;
    answer.tokenAt = op.tokenAt;
    answer.tokenLength = op.tokenLength;
    todo |= Todo.token;
  }
  if (op.flags & OpFlag.full) {
    answer.sections |= Section.labels;
    answer.mode = Mode.exclusive;
    answer.limit = 0;
    answer.ownerBytes = claims.bytes;
    answer.ownerAt = claims.ownerAt(row);
    answer.ownerLength = claims.ownerLength(row);
    answer.sessionLength = 0;
  }
  return todo;
}

function describeHolder(slot: Slot, row: number): void {
  const { claims } = slot;
  answer.sections = Section.holder | Section.queue;
  answer.fencingToken = claims.fencingToken(row);
  answer.mode = Mode.exclusive;
  answer.expiresInMs = 0;
  answer.ownerBytes = claims.bytes;
  answer.ownerAt = claims.ownerAt(row);
  answer.ownerLength = claims.ownerLength(row);
  answer.queueLength = 0;
  answer.retryAfterMs = LIMITS.retryAfterMs;
}

/** The state of one lock, free when `row` is 0; the holder's time is for the caller to fill in. */
export function describeState(answer: Answer, slot: Slot, row: number): void {
  const { claims } = slot;
  answer.queueLength = 0;
  answer.revision = slot.counter;
  answer.mode = Mode.exclusive;
  answer.limit = 0;
  answer.holderCount = 0;
  if (row === 0) return;
  answer.holderCount = 1;
  answer.fencingToken = claims.fencingToken(row);
  answer.expiresInMs = 0;
  answer.ownerBytes = claims.bytes;
  answer.ownerAt = claims.ownerAt(row);
  answer.ownerLength = claims.ownerLength(row);
  answer.metadataBytes = claims.bytes;
  answer.metadataAt = claims.metadataAt(row);
  answer.metadataLength = claims.metadataLength(row);
}

function describeVerdict(current: boolean, fencingToken: number): void {
  answer.sections = Section.verdict;
  answer.current = current;
  answer.fencingToken = current ? fencingToken : 0;
  answer.expiresInMs = 0;
}
