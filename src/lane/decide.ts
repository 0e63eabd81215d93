/**
 * From an op to its place in a round: the machine decides, the outcome is
 * written as an answer in the public grammar, and delivery learns what is still
 * to be filled in.
 */
import { CODES, codeOfWire } from '../errors.ts';
import { LIMITS } from '../limits.ts';
import { apply } from '../lock/machine.ts';
import { Outcome } from '../lock/outcome.ts';
import type { Slot } from '../lock/slot.ts';
import { Kind, Mode, type Op, OpFlag } from '../op.ts';
import {
  Answer,
  CLAIM_EXPIRES_AT,
  Event,
  HOLDER_EXPIRES_AT,
  Section,
  STATE_HOLDER_EXPIRES_AT,
  VERDICT_EXPIRES_AT,
  writeAnswer,
} from '../protocol/answer.ts';
import { GrowingBytes } from '../protocol/bytes.ts';
import { addSessionSlot } from '../protocol/session-slots.ts';
import { describeClaim, describeHolder, describePlace, writeLock } from './describe.ts';
import type { Hearing } from './hearing.ts';
import { Todo, type Round } from './round.ts';
import { addresseeOf } from './watches.ts';

const outcome = new Outcome();
const answer = new Answer();
const detail = new GrowingBytes();
const encoder = new TextEncoder();

/** What `row` of the answer is about has its time at this offset; 0 = it has none. */
let timeAt = 0;

/**
 * Decides `op` on its slot and adds effects and answers to `hearing.round`.
 * True when an effect was written.
 */
export function decide(slot: Slot, op: Op, now: number, hearing: Hearing): boolean {
  if (op.kind === Kind.watch) {
    hearing.watches.add(slot, op);
    return false;
  }
  // A watch has no token.
  if (op.kind === Kind.cancel && op.tokenLength === 0) {
    cancelWatch(slot, op, now, hearing);
    return false;
  }
  const { round } = hearing;
  hearing.now = now;
  apply(slot, op, now, round.effects, outcome, hearing);
  answer.id = op.id;
  answer.status = outcome.status;
  answer.code = outcome.code;
  answer.sections = 0;
  timeAt = 0;
  if (op.kind === Kind.get && outcome.code === 0 && outcome.holders > 1) {
    round.add(op, 0, 0, writeLock(round, answer, slot, outcome.row));
    return outcome.changed;
  }
  let todo: number;
  if (outcome.queued !== 0) todo = describeWait();
  else if (outcome.code !== 0) todo = describeRefusal(slot);
  else todo = describe(slot, op, hearing);
  const start = writeAnswer(round.answers, answer);
  const i = round.add(op, outcome.code, todo, start);
  if (todo & Todo.event) round.since[i] = Infinity;
  round.row[i] = outcome.row;
  round.fencingToken[i] = outcome.fencingToken;
  round.ttlMs[i] = outcome.ttlMs;
  round.expiresAt[i] = start + timeAt;
  if (todo & Todo.claim) round.promisedUntil[i] = slot.claims.promisedUntil(outcome.row);
  return outcome.changed;
}

/**
 * While the store is short of room acquires are refused, but for a wait that an
 * earlier owner of the slot had taken: that would lose its place.
 */
export function isShed(slot: Slot, op: Op): boolean {
  if (op.kind !== Kind.acquire) return false;
  return (op.flags & OpFlag.resumed) === 0 || slot.claims.waiting === 0;
}

/** An answer that needs no decision: `code` with nothing done. */
export function refuse(round: Round, op: Op, code: number): void {
  round.add(op, code, 0, writeRefusal(round, op.id, code));
}

/** Writes that answer; returns where it begins. */
export function writeRefusal(round: Round, id: number, code: number): number {
  answer.id = id;
  answer.status = CODES[codeOfWire(code) ?? 'internal'].status;
  answer.code = code;
  answer.sections = Section.queue;
  answer.queueLength = 0;
  answer.retryAfterMs = LIMITS.retryAfterMs;
  return writeAnswer(round.answers, answer);
}

/** An op that was done. Returns what is to be done with its answer. */
function describe(slot: Slot, op: Op, hearing: Hearing): number {
  switch (op.kind) {
    case Kind.acquire:
    case Kind.renew:
      return (
        Todo.effect | describeClaim(answer, slot, outcome.row, op.flags) | (outcome.armable ? Todo.arm : 0)
      );
    case Kind.get:
      return describeState(slot);
    case Kind.verify:
      return describeVerdict();
    case Kind.release:
      hearing.counters.recordHold(outcome.heldMs);
      return Todo.effect;
    case Kind.cancel:
      return Todo.effect;
    case Kind.force:
    case Kind.stubEnd:
      answer.sections = Section.queue;
      answer.queueLength = outcome.released;
      answer.retryAfterMs = 0;
      return Todo.effect;
    default:
      return describeSession(slot, op);
  }
}

/** Sessions at their own slots, and stubs. */
function describeSession(slot: Slot, op: Op): number {
  if (op.kind === Kind.sessionEnd || op.kind === Kind.sessionActivate || op.kind === Kind.confirm)
    return Todo.effect | describeSlots();
  const isRead = op.kind === Kind.sessionGet;
  let todo = describeClaim(answer, slot, outcome.row, 0);
  // The number of its row is nobody's fencing token.
  answer.fencingToken = 0;
  timeAt = CLAIM_EXPIRES_AT;
  if (isRead) {
    todo = Todo.times | Todo.waited;
    answer.sections |= Section.labels;
    answer.mode = Mode.exclusive;
    answer.limit = 0;
    answer.ownerBytes = slot.claims.bytes;
    answer.ownerAt = slot.claims.ownerAt(outcome.row);
    answer.ownerLength = slot.claims.ownerLength(outcome.row);
    answer.sessionLength = 0;
  } else {
    todo |= outcome.armable ? Todo.effect | Todo.arm : Todo.effect;
  }
  if (op.kind === Kind.stubRenew) {
    // How many locks of the session there are here.
    answer.sections |= Section.queue;
    answer.queueLength = slot.aside.onStub.get(outcome.row)?.size ?? 0;
    answer.retryAfterMs = 0;
  }
  if (op.kind === Kind.sessionJoin) {
    detail.reset();
    detail.ensure(1);
    detail.bytes[0] = outcome.slotState;
    detail.length = 1;
    attachDetail();
  }
  return todo | describeSlots();
}

/** The slots of a session, where the outcome has them. */
function describeSlots(): number {
  if (outcome.sessionSlots === undefined) return 0;
  detail.reset();
  for (const [slot, state] of outcome.sessionSlots) addSessionSlot(detail, slot, state);
  attachDetail();
  return 0;
}

function attachDetail(): void {
  answer.sections |= Section.detail;
  answer.detailBytes = detail.bytes;
  answer.detailAt = 0;
  answer.detailLength = detail.length;
}

/** The claim is not there yet: where it stands in the queue. */
function describeWait(): number {
  answer.status = Event.queued;
  answer.code = 0;
  answer.sections = Section.queue;
  answer.queueLength = outcome.queued;
  answer.retryAfterMs = 0;
  return Todo.event;
}

function describeRefusal(slot: Slot): number {
  const { code } = outcome;
  answer.queueLength = outcome.queueLength;
  answer.retryAfterMs = outcome.retryAfterMs || LIMITS.retryAfterMs;
  if (code === CODES.lock_held.wire) {
    timeAt = HOLDER_EXPIRES_AT;
    return describeHolder(answer, slot, outcome.row);
  }
  if (code === CODES.mode_conflict.wire) {
    const todo = outcome.row === 0 ? 0 : describeHolder(answer, slot, outcome.row);
    answer.sections &= ~Section.queue;
    answer.sections |= Section.detail;
    answer.detailBytes = encoder.encode(inForce(outcome.mode, outcome.limit));
    answer.detailAt = 0;
    answer.detailLength = answer.detailBytes.length;
    timeAt = HOLDER_EXPIRES_AT;
    return todo;
  }
  if (CODES[codeOfWire(code)!].retryable) answer.sections = Section.queue;
  return 0;
}

function inForce(mode: number, limit: number): string {
  if (mode === Mode.semaphore) return `The lock is in use as a semaphore with limit ${limit}.`;
  return 'The lock is in use as an exclusive or shared lock.';
}

/** The state of a lock of one holder or none: what nearly all gets are about. */
function describeState(slot: Slot): number {
  const { row } = outcome;
  const { claims } = slot;
  answer.sections = Section.state;
  answer.queueLength = outcome.queueLength;
  answer.revision = slot.counter;
  answer.holderCount = outcome.holders;
  answer.mode = row === 0 ? outcome.mode : claims.mode(row);
  answer.limit = row === 0 ? outcome.limit : claims.limit(row);
  if (row === 0) return 0;
  describePlace(answer, slot, row);
  timeAt = STATE_HOLDER_EXPIRES_AT;
  return Todo.times;
}

function describeVerdict(): number {
  answer.sections = Section.verdict;
  answer.current = outcome.current;
  answer.fencingToken = outcome.current ? outcome.fencingToken : 0;
  answer.expiresInMs = 0;
  timeAt = VERDICT_EXPIRES_AT;
  return outcome.current ? Todo.times : 0;
}

/** The watch ends with an answer of its own; the cancel has another. */
function cancelWatch(slot: Slot, op: Op, now: number, hearing: Hearing): void {
  const { round } = hearing;
  const watcher = hearing.watches.end(slot, op);
  if (watcher !== undefined) {
    const { wire } = CODES.cancelled;
    const start = writePlain(round, watcher.id, CODES.cancelled.status, wire);
    round.tell(addresseeOf(watcher, slot.number, now), wire, 0, start);
  }
  const { status, wire } = watcher === undefined ? CODES.not_held : { status: 200, wire: 0 };
  round.add(op, wire, 0, writePlain(round, op.id, status, wire));
}

function writePlain(round: Round, id: number, status: number, code: number): number {
  answer.id = id;
  answer.status = status;
  answer.code = code;
  answer.sections = 0;
  return writeAnswer(round.answers, answer);
}
