/**
 * What the machine tells of others than who asked (lock/witness.ts), as answers
 * of the open round: so nobody hears of anything before it is committed, and a
 * hand-off is one commit.
 *
 *   granted, refused    the final answer of a wait
 *   lost, contended     events to who holds or held the claim
 *   changed             states to watchers, once the round is sealed (watches.ts)
 */
import { CODES, type ErrorCode } from '../errors.ts';
import { LIMITS } from '../limits.ts';
import { oldestHolder, queueLength } from '../lock/lock-view.ts';
import type { Slot } from '../lock/slot.ts';
import type { Listener, LostEvent, Waiter, Witness } from '../lock/witness.ts';
import type { LaneCounters } from '../metrics/counters.ts';
import { Kind } from '../op.ts';
import { Answer, Event, HOLDER_EXPIRES_AT, writeAnswer } from '../protocol/answer.ts';
import { describeClaim, describeHolder, describeName, describeToken } from './describe.ts';
import { type Addressee, type Round, Todo } from './round.ts';
import { Watches } from './watches.ts';

/** Of answers that belong to no request. */
export const NO_REQUEST = 0xffff_ffff;

export interface HearingHost {
  readonly counters: LaneCounters;
  /** A row of a slot that is served is to be looked at again at `at`. */
  due(slot: Slot, row: number, at: number): void;
}

const answer = new Answer();

/** The same object for all: rounds take what they need of it. */
class Someone implements Addressee {
  connection = 0;
  id = 0;
  kind: Kind = Kind.acquire;
  slot = 0;
  receivedAt = 0;
  since = 0;
}

export class Hearing implements Witness {
  readonly watches = new Watches();
  readonly counters: LaneCounters;
  /** The open round, and the present: to be set before the machine is called. */
  round: Round;
  now = 0;
  private readonly host: HearingHost;
  private readonly to = new Someone();

  constructor(host: HearingHost, round: Round) {
    this.host = host;
    this.counters = host.counters;
    this.round = round;
  }

  granted(slot: Slot, row: number, waiter: Waiter): void {
    const { round } = this;
    const { claims } = slot;
    answer.id = waiter.id;
    answer.status = 201;
    answer.code = 0;
    let todo = Todo.effect | describeClaim(answer, slot, row, waiter.flags);
    if (claims.hasOwnTime(row)) todo |= Todo.arm;
    const start = writeAnswer(round.answers, answer);
    const i = round.tell(this.waiting(slot, waiter), 0, todo, start);
    round.row[i] = row;
    round.fencingToken[i] = claims.fencingToken(row);
    round.ttlMs[i] = claims.termMs(row);
    round.promisedUntil[i] = claims.promisedUntil(row);
    this.counters.recordWait(this.now - waiter.receivedAt);
  }

  refused(slot: Slot, waiter: Waiter, code: ErrorCode, row: number): void {
    const { round } = this;
    const { status, wire } = CODES[code];
    answer.id = waiter.id;
    answer.status = status;
    answer.code = wire;
    answer.sections = 0;
    let todo = 0;
    const holder = code === 'wait_timeout' ? oldestHolder(slot, row) : 0;
    if (code === 'wait_timeout') {
      todo = describeHolder(answer, slot, holder);
      // Without the waiter itself, which is still there.
      answer.queueLength = queueLength(slot, row) - 1;
      answer.retryAfterMs = LIMITS.retryAfterMs;
    }
    const start = writeAnswer(round.answers, answer);
    const i = round.tell(this.waiting(slot, waiter), wire, todo, start);
    if (todo === 0) return;
    round.row[i] = holder;
    round.fencingToken[i] = answer.fencingToken;
    round.expiresAt[i] = start + HOLDER_EXPIRES_AT;
  }

  lost(slot: Slot, row: number, listener: Listener, event: LostEvent): void {
    answer.sections = 0;
    describeToken(answer, slot, row);
    this.push(slot, row, listener, event);
  }

  contended(slot: Slot, row: number, listener: Listener): void {
    answer.sections = 0;
    this.push(slot, row, listener, Event.contended);
  }

  changed(slot: Slot, key: string): void {
    this.watches.changed(slot, key);
  }

  begins(slot: Slot, row: number): void {
    const { claims } = slot;
    const fencingToken = claims.fencingToken(row);
    this.round.starts.push({ slot: slot.number, row, fencingToken, ttlMs: claims.ttlMs(row) });
  }

  due(slot: Slot, row: number, at: number): void {
    this.host.due(slot, row, at);
  }

  /** An event about the claim in `row`, to the socket that its holder has, perhaps by way of the process it is at. */
  private push(slot: Slot, row: number, listener: Listener, event: number): void {
    const { round, to } = this;
    describeName(answer, slot, row);
    to.connection = listener.forwarded ? listener.connection : listener.origin;
    to.id = listener.forwarded ? listener.origin : NO_REQUEST;
    to.slot = slot.number;
    to.receivedAt = this.now;
    to.since = Infinity;
    answer.id = to.id;
    answer.status = event;
    answer.code = 0;
    round.tell(to, 0, Todo.event, writeAnswer(round.answers, answer));
  }

  /** Who waits hears within the request time-out from now, however long the wait was. */
  private waiting(slot: Slot, waiter: Waiter): Addressee {
    const { to } = this;
    to.connection = waiter.connection;
    to.id = waiter.id;
    to.kind = Kind.acquire;
    to.slot = slot.number;
    to.receivedAt = waiter.receivedAt;
    to.since = this.now;
    return to;
  }
}
