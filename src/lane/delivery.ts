/**
 * The last step of an answer: its times are filled in, it is counted, and it
 * leaves with all other answers of its round for the same connection.
 *
 * Every answer leaves in one of three ways
 *   as decided     its round trip succeeded
 *   refused        nothing happened, and nothing will (a code)
 *   unknown        it may have taken effect: outcome_unknown with the token
 *
 * Events and interim answers (Todo.event) leave as decided or not at all.
 */
import { CODES, codeOfWire } from '../errors.ts';
import { LIMITS, ttlPadMs } from '../limits.ts';
import type { Slot } from '../lock/slot.ts';
import type { LaneCounters } from '../metrics/counters.ts';
import {
  Answer,
  AnswerBytes,
  CLAIM_EXPIRES_AT,
  CLAIM_WAITED_AT,
  readAnswer,
  Section,
  writeAnswer,
} from '../protocol/answer.ts';
import type { Buffers } from './buffers.ts';
import type { LaneMessage } from './messages.ts';
import { Todo, type Round } from './round.ts';

/** When the round trip was sent and when it had returned, monotonic ms. */
export interface RoundTimes {
  readonly sentAt: number;
  readonly returnedAt: number;
}

/** What delivery needs of the lane that it delivers for. */
export interface DeliveryHost {
  slotOf(slot: number): Slot | undefined;
  /** A claim's times have started: it is to be looked at again at `freeAt`. */
  armed(slot: number, row: number, freeAt: number): void;
  emit(message: LaneMessage, transfer: ArrayBuffer[]): void;
  readonly counters: LaneCounters;
  readonly buffers: Buffers;
}

const GROUP_HEAD_BYTES = 8;

export class Delivery {
  private readonly host: DeliveryHost;
  /** Answers that replace what was decided. */
  private readonly replaced = new AnswerBytes();
  private readonly answer = new Answer();
  /** For answer i: where it is in `replaced`, or -1: as decided. */
  private instead = new Int32Array(1_024);
  private insteadEnd = new Int32Array(1_024);
  /** Runs of bytes that leave, chained by connection: most often one a frame. */
  private runStart = new Uint32Array(1_024);
  private runEnd = new Uint32Array(1_024);
  /** 0: from the round's answers, 1: from `replaced`. */
  private runSource = new Uint8Array(1_024);
  private runNext = new Int32Array(1_024);
  private runs = 0;
  private lastConnection = -1;
  private readonly lastRunOf = new Map<number, number>();
  private readonly firstRunOf = new Map<number, number>();

  constructor(host: DeliveryHost) {
    this.host = host;
  }

  /** All answers of the round leave as decided. */
  succeed(round: Round, times: RoundTimes): void {
    this.begin(round.count);
    for (const { slot, row, fencingToken, ttlMs } of round.starts)
      this.start(slot, row, fencingToken, ttlMs, times);
    for (let i = 0; i < round.count; i++) {
      const todo = round.todo[i];
      if (todo & Todo.arm)
        this.start(round.slot[i], round.row[i], round.fencingToken[i], round.ttlMs[i], times);
      if (todo & Todo.gone) continue;
      if (todo & Todo.times) this.fillTimes(round, i, times);
      this.leave(round, i, times.returnedAt);
    }
    this.fillPlaces(round, times.returnedAt);
    this.send(round);
  }

  /** Refusals leave that need no round trip. The round is empty afterwards. */
  refuse(refusals: Round, now: number): void {
    this.succeed(refusals, { sentAt: now, returnedAt: now });
    refusals.reset();
  }

  /**
   * Answers that have been due since `before` or earlier leave: with `code`, or
   * with outcome_unknown where they may have taken effect and `certain` is false.
   */
  fail(round: Round, code: number, certain: boolean, before: number, now: number): void {
    if (round.waiting === 0) return;
    this.begin(round.count);
    for (let i = 0; i < round.count; i++) {
      if (round.todo[i] & Todo.gone || round.since[i] > before) continue;
      const unknown = !certain && (round.todo[i] & Todo.effect) !== 0;
      this.replace(round, i, unknown ? CODES.outcome_unknown.wire : code);
      this.leave(round, i, now);
    }
    this.send(round);
  }

  private begin(count: number): void {
    this.replaced.reset();
    this.runs = 0;
    this.lastConnection = -1;
    if (this.instead.length < count) {
      this.instead = new Int32Array(count * 2);
      this.insteadEnd = new Int32Array(count * 2);
      this.runStart = new Uint32Array(count * 2);
      this.runEnd = new Uint32Array(count * 2);
      this.runSource = new Uint8Array(count * 2);
      this.runNext = new Int32Array(count * 2);
    }
    this.instead.fill(-1, 0, count);
  }

  /** The claim's two ends: what the client is promised, and when the owner frees it (DESIGN §4). */
  private start(number: number, row: number, fencingToken: number, ttlMs: number, times: RoundTimes): void {
    const slot = this.host.slotOf(number);
    if (slot === undefined) return;
    const freeAt = times.returnedAt + ttlMs + ttlPadMs(ttlMs);
    if (slot.claims.arm(row, fencingToken, times.sentAt + ttlMs, freeAt))
      this.host.armed(number, row, freeAt);
  }

  private fillPlaces(round: Round, now: number): void {
    const { view } = round.answers;
    for (const { at, slot, row, fencingToken } of round.places) {
      const claims = this.host.slotOf(slot)?.claims;
      if (claims === undefined || !claims.is(row, fencingToken)) continue;
      view.setUint32(at, Math.max(0, Math.floor(claims.promisedUntil(row) - now)), true);
    }
  }

  private fillTimes(round: Round, i: number, times: RoundTimes): void {
    const { returnedAt } = times;
    const claims = this.host.slotOf(round.slot[i])?.claims;
    const row = round.row[i];
    const stands = claims !== undefined && claims.is(row, round.fencingToken[i]);
    const { view } = round.answers;
    if ((round.todo[i] & Todo.claim) === 0) {
      const left = stands ? Math.max(0, Math.floor(claims.promisedUntil(row) - returnedAt)) : 0;
      view.setUint32(round.expiresAt[i], left, true);
      if (round.todo[i] & Todo.waited) fillWaited(round, i, returnedAt);
      return;
    }
    const left = Math.floor((stands ? claims.promisedUntil(row) : promiseOf(round, i, times)) - returnedAt);
    if (left <= 0) {
      this.replace(round, i, CODES.outcome_unknown.wire);
      return;
    }
    fillWaited(round, i, returnedAt);
    view.setUint32(round.start[i] + CLAIM_EXPIRES_AT, left, true);
  }

  /** Another answer in the place of the decided one. */
  private replace(round: Round, i: number, code: number): void {
    const answer = this.answer;
    const facts = CODES[codeOfWire(code) ?? 'internal'];
    let sections = 0;
    if (code === CODES.outcome_unknown.wire && round.todo[i] & Todo.token) {
      readAnswer(round.answers, round.start[i], answer);
      sections = Section.token;
    }
    if (code !== CODES.outcome_unknown.wire && facts.retryable) {
      sections |= Section.queue;
      answer.queueLength = 0;
      answer.retryAfterMs = LIMITS.retryAfterMs;
    }
    answer.id = round.id[i];
    answer.status = facts.status;
    answer.code = code;
    answer.sections = sections;
    round.code[i] = code;
    this.instead[i] = writeAnswer(this.replaced, answer);
    this.insteadEnd[i] = this.replaced.length;
  }

  /** Counts the answer and appends its bytes to its connection's chain of runs. */
  private leave(round: Round, i: number, now: number): void {
    round.todo[i] |= Todo.gone;
    round.waiting--;
    if ((round.todo[i] & Todo.event) === 0) {
      this.host.counters.countOp(round.kind[i], round.code[i]);
      this.host.counters.recordDuration(round.kind[i], now - round.receivedAt[i]);
    }
    const replaced = this.instead[i] >= 0;
    const source = replaced ? 1 : 0;
    const start = replaced ? this.instead[i] : round.start[i];
    const end = replaced ? this.insteadEnd[i] : round.end[i];
    const connection = round.connection[i];
    const last = this.runs - 1;
    if (
      connection === this.lastConnection &&
      this.runSource[last] === source &&
      this.runEnd[last] === start
    ) {
      this.runEnd[last] = end;
      return;
    }
    this.addRun(connection, start, end, source);
  }

  private addRun(connection: number, start: number, end: number, source: number): void {
    const run = this.runs++;
    this.runStart[run] = start;
    this.runEnd[run] = end;
    this.runSource[run] = source;
    this.runNext[run] = -1;
    const before = this.lastRunOf.get(connection);
    if (before === undefined) this.firstRunOf.set(connection, run);
    else this.runNext[before] = run;
    this.lastRunOf.set(connection, run);
    this.lastConnection = connection;
  }

  private send(round: Round): void {
    if (this.runs === 0) return;
    let bytes = this.firstRunOf.size * GROUP_HEAD_BYTES;
    for (let run = 0; run < this.runs; run++) bytes += this.runEnd[run] - this.runStart[run];
    const buffer = this.host.buffers.take(bytes);
    const out = new Uint8Array(buffer);
    const view = new DataView(buffer);
    let at = 0;
    for (const [connection, first] of this.firstRunOf) {
      const group = at;
      at += GROUP_HEAD_BYTES;
      for (let run = first; run !== -1; run = this.runNext[run]) {
        const from = this.runSource[run] === 1 ? this.replaced.bytes : round.answers.bytes;
        out.set(from.subarray(this.runStart[run], this.runEnd[run]), at);
        at += this.runEnd[run] - this.runStart[run];
      }
      view.setUint32(group, connection, true);
      view.setUint32(group + 4, at - group - GROUP_HEAD_BYTES, true);
    }
    this.firstRunOf.clear();
    this.lastRunOf.clear();
    const spare = this.host.buffers.surplus();
    this.host.emit({ kind: 'answers', buffer, length: at, spare }, [buffer, ...spare]);
  }
}

function fillWaited(round: Round, i: number, now: number): void {
  const waitedMs = Math.max(0, Math.floor(now - round.receivedAt[i]));
  round.answers.view.setUint32(round.start[i] + CLAIM_WAITED_AT, waitedMs, true);
}

/**
 * What the answer promises of a claim that is gone by now. One that this round
 * arms can't have ended by time, only by its token, after this op. One whose
 * grant was still under way when this was decided may have: its owner kept it
 * for a TTL from then on, at least.
 */
function promiseOf(round: Round, i: number, times: RoundTimes): number {
  const before = round.promisedUntil[i];
  if (round.todo[i] & Todo.arm) return times.sentAt + round.ttlMs[i];
  return before === 0 ? round.receivedAt[i] + round.ttlMs[i] : before;
}
