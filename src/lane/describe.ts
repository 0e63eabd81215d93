/**
 * What answers say of claims and locks: the fields of an Answer, filled from the
 * rows of a slot. Times stay 0: they are filled in when the answer leaves.
 */
import { holdersOf, queueLength } from '../lock/lock-view.ts';
import type { Slot } from '../lock/slot.ts';
import { OpFlag } from '../op.ts';
import {
  addPlace,
  type Answer,
  beginStateAnswer,
  endAnswer,
  placeExpiresAt,
  Section,
} from '../protocol/answer.ts';
import { Todo, type Place, type Round } from './round.ts';

const NAMESPACE_END = 0;
const CONTROL_END = 0x20;

/** The claim in `row`, for who asked for it with these flags. Returns what is to be done with the answer. */
export function describeClaim(answer: Answer, slot: Slot, row: number, flags: number): number {
  const { claims } = slot;
  answer.sections = Section.claim;
  answer.fencingToken = claims.fencingToken(row);
  answer.ttlMs = claims.termMs(row);
  answer.waitedMs = 0;
  answer.expiresInMs = 0;
  let todo = Todo.claim | Todo.times;
  if (flags & OpFlag.madeToken) {
    describeToken(answer, slot, row);
    todo |= Todo.token;
  }
  if (flags & OpFlag.full) {
    answer.sections |= Section.labels;
    answer.mode = claims.mode(row);
    answer.limit = claims.limit(row);
    describeOwner(answer, slot, row);
    describeSession(answer, slot, row);
  }
  return todo;
}

/** The token of the claim in `row`. */
export function describeToken(answer: Answer, { claims }: Slot, row: number): void {
  answer.sections |= Section.token;
  answer.tokenBytes = claims.bytes;
  answer.tokenAt = claims.tokenAt(row);
  answer.tokenLength = claims.tokenLength(row);
}

function describeOwner(answer: Answer, { claims }: Slot, row: number): void {
  answer.ownerBytes = claims.bytes;
  answer.ownerAt = claims.ownerAt(row);
  answer.ownerLength = claims.ownerLength(row);
}

/** The session that the claim in `row` hangs on: its id is in the key of its stub, behind STUB_KEY. */
function describeSession(answer: Answer, { claims }: Slot, row: number): void {
  const stub = claims.stub(row);
  answer.sessionLength = 0;
  if (stub === 0) return;
  const at = claims.keyAt(stub);
  const end = at + claims.keyLength(stub);
  answer.sessionBytes = claims.bytes;
  answer.sessionAt = nameAt(claims.bytes, at, end) + 1;
  answer.sessionLength = end - answer.sessionAt;
}

/** Why a claim is refused: the holder in `row` (0: none is shown) and the queue. Returns what is to be done. */
export function describeHolder(answer: Answer, slot: Slot, row: number): number {
  const { claims } = slot;
  answer.sections |= Section.queue;
  if (row === 0) return 0;
  answer.sections |= Section.holder;
  answer.fencingToken = claims.fencingToken(row);
  answer.mode = claims.mode(row);
  answer.expiresInMs = 0;
  describeOwner(answer, slot, row);
  return Todo.times;
}

/** The name of the lock that `row` is of, without its namespace, as the detail. */
export function describeName(answer: Answer, { claims }: Slot, row: number): void {
  const at = claims.keyAt(row);
  const end = at + claims.keyLength(row);
  answer.sections |= Section.detail;
  answer.detailBytes = claims.bytes;
  answer.detailAt = nameAt(claims.bytes, at, end);
  answer.detailLength = end - answer.detailAt;
}

/** Where the name begins in a key. What is no lock begins with a control character, and may have any byte in its id. */
function nameAt(bytes: Uint8Array, at: number, end: number): number {
  if (bytes[at] < CONTROL_END) return at;
  for (let i = at; i < end; i++) if (bytes[i] === NAMESPACE_END) return i + 1;
  return at;
}

/** Fills in what a state says of the lock that `row` is of (0: nobody has or wants it), its holders left out. */
export function describeLock(answer: Answer, slot: Slot, row: number): void {
  const { claims } = slot;
  answer.mode = 0;
  answer.limit = 0;
  answer.queueLength = row === 0 ? 0 : queueLength(slot, row);
  answer.revision = slot.counter;
  answer.holderCount = 0;
  for (const holder of holdersOf(slot, row)) {
    if (answer.holderCount === 0) {
      answer.mode = claims.mode(holder);
      answer.limit = claims.limit(holder);
    }
    answer.holderCount++;
  }
  if (answer.holderCount > 0 || answer.queueLength === 0) return;
  const [waiter] = slot.crowdOf(row)!.waiters;
  answer.mode = claims.mode(waiter);
  answer.limit = claims.limit(waiter);
}

/** The holder in `row` as a place of a state. */
export function describePlace(answer: Answer, slot: Slot, row: number): void {
  const { claims } = slot;
  answer.fencingToken = claims.fencingToken(row);
  answer.expiresInMs = 0;
  answer.mode = claims.mode(row);
  describeOwner(answer, slot, row);
  answer.metadataBytes = claims.bytes;
  answer.metadataAt = claims.metadataAt(row);
  answer.metadataLength = claims.metadataLength(row);
}

/** Writes the state of the lock that `row` is of as an answer; returns where it begins. Its times are `places`. */
export function writeLock(round: Round, answer: Answer, slot: Slot, row: number): number {
  describeLock(answer, slot, row);
  const out = round.answers;
  const start = beginStateAnswer(out, answer);
  for (const holder of holdersOf(slot, row)) {
    describePlace(answer, slot, holder);
    const at = placeExpiresAt(addPlace(out, answer));
    const place: Place = { at, slot: slot.number, row: holder, fencingToken: answer.fencingToken };
    round.places.push(place);
  }
  return endAnswer(out, start);
}
