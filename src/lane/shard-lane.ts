/**
 * One lane's work on one shard.
 *
 *   resting ──begin a term──► reigning ──term over──► resting
 *
 * While it reigns it holds slots, decides ops on them into the open round, and
 * has at most one round trip under way:
 *
 *   op ──► open round ──send──► flight ──returned──► answers leave
 *    │         ▲                                    the next round goes first
 *    └─► parked┘   in doubt, stalled or full: ops wait undecided, and are
 *                  refused when their time is up
 *
 * When the term is over everything in memory is dropped: what the journal has
 * is the truth, and whoever owns the slots next reads it back.
 */
import { CODES } from '../errors.ts';
import { LIMITS } from '../limits.ts';
import { expire, heldFor } from '../lock/machine.ts';
import { EFFECT_BYTES_MAX } from '../lock/effects.ts';
import { Kind, type Op } from '../op.ts';
import type { LaneCounters } from '../metrics/counters.ts';
import type { ShardError, ShardStore } from '../shard/store.ts';
import type { Buffers } from './buffers.ts';
import { Checkpoints } from './checkpoints.ts';
import { decide, refuse } from './decide.ts';
import type { Delivery } from './delivery.ts';
import type { Hold } from './hold.ts';
import type { LaneMessage } from './messages.ts';
import { Parked } from './parked.ts';
import { Reign, type ReignLane, type Subject } from './reign.ts';
import { Round } from './round.ts';
import { TermAbandoned, type Term } from './term.ts';

/** What a ShardLane needs of its lane. */
export interface LaneHost extends ReignLane {
  readonly delivery: Delivery;
  readonly counters: LaneCounters;
  readonly buffers: Buffers;
  emit(message: LaneMessage, transfer?: ArrayBuffer[]): void;
  /** The slots of a shard that this lane serves, in and out. */
  adopt(shard: ShardLane, holds: readonly Hold[]): void;
  drop(shard: ShardLane, term: string): void;
  bounce(parked: Parked): void;
}

export class ShardLane implements Subject {
  readonly store: ShardStore;
  /** The shard's place in shards.yaml. */
  readonly index: number;
  readonly holds = new Map<number, Hold>();

  private readonly host: LaneHost;
  private readonly reign: Reign;
  private readonly parked: Parked;
  /** Refusals that need no round trip. */
  private readonly refusals = new Round();
  private readonly idle: Round[] = [new Round(), new Round()];
  private open = new Round();
  private flight: Round | undefined;
  private flightSince = 0;
  /** Round trips that have not ended, those of terms that are over included. */
  private trips = 0;
  private term: Term | undefined;
  private checkpoints: Checkpoints | undefined;
  /** Seq of the last entry that was sent. */
  private sentSeq = 0;
  private doubtSince = 0;
  private up = false;
  private stopping = false;

  constructor(store: ShardStore, index: number, host: LaneHost) {
    this.store = store;
    this.index = index;
    this.host = host;
    this.parked = new Parked(host.buffers);
    this.reign = new Reign(this, host);
  }

  start(): void {
    void this.reign.run();
  }

  // ---- ops

  /** Decides the op, parks it, or refuses it. The slot is in `holds`. */
  take(op: Op, hold: Hold, now: number): void {
    if (this.parked.count === 0 && this.accepts(now)) this.decide(op, hold, now);
    else this.park(op, now);
  }

  /** For a page of a listing: it needs no slot, only a round trip. */
  takeList(op: Op, now: number, write: (round: Round) => void): void {
    if (this.term !== undefined && this.accepts(now)) write(this.open);
    else this.refuse(op, CODES.shard_unavailable.wire);
  }

  refuse(op: Op, code: number): void {
    refuse(this.refusals, op, code);
  }

  /** After a batch: refusals leave, and a round trip starts when none is under way. */
  kick(): void {
    this.flushRefusals();
    if (this.flight === undefined && this.term !== undefined && this.hasWork()) this.send(this.term);
  }

  private accepts(now: number): boolean {
    if (this.doubtSince !== 0 || !this.open.hasRoom()) return false;
    return this.flight === undefined || now - this.flightSince < LIMITS.stallMs;
  }

  private decide(op: Op, hold: Hold, now: number): void {
    if (this.shedding && op.kind === Kind.acquire) {
      this.refuse(op, CODES.overloaded.wire);
      return;
    }
    if (decide(this.open, hold.slot, op, now, this.host.counters))
      this.checkpoints?.touched(hold, this.sentSeq + 1);
  }

  private park(op: Op, now: number): void {
    const longDown = this.doubtSince !== 0 && now - this.doubtSince > this.host.requestTimeoutMs;
    if (longDown) this.refuse(op, CODES.shard_unavailable.wire);
    else if (!this.parked.add(op)) this.refuse(op, CODES.overloaded.wire);
  }

  private drainParked(now: number): void {
    while (this.parked.count > 0 && this.accepts(now)) {
      const op = this.parked.peek()!;
      const hold = this.holds.get(op.slot);
      if (hold === undefined) this.refuse(op, CODES.moving.wire);
      else this.decide(op, hold, now);
      this.parked.shift();
    }
  }

  private flushRefusals(): void {
    if (this.refusals.count === 0) return;
    const now = this.host.clock.now();
    this.host.delivery.succeed(this.refusals, { sentAt: now, returnedAt: now });
    this.refusals.reset();
  }

  // ---- round trips

  private hasWork(): boolean {
    return !this.open.isEmpty() || (!this.stopping && (this.checkpoints?.pressing ?? false));
  }

  private send(term: Term): void {
    const round = this.open;
    this.open = this.idle.pop() ?? new Round();
    this.flight = round;
    this.flightSince = this.host.clock.now();
    const { effects } = round;
    if (effects.count === 0 && !this.checkpoints!.pressing) {
      void this.fly(round, async () => ((await term.confirm()) ? 'committed' : 'lost'));
      return;
    }
    const bytes = effects.at - effects.headroom;
    const changes = this.checkpoints!.plan(++this.sentSeq, bytes, this.flightSince);
    void this.fly(round, () =>
      term.commit({ buffer: effects.bytes, at: effects.headroom, end: effects.at, changes }),
    );
  }

  private async fly(round: Round, trip: () => Promise<'committed' | 'lost' | 'lostUnknown'>): Promise<void> {
    const term = this.term!;
    this.trips++;
    let end: 'committed' | 'lost' | 'lostUnknown' = 'lostUnknown';
    try {
      end = await trip();
    } catch (error) {
      if (!(error instanceof TermAbandoned))
        this.log('error', 'a commit failed in a way that it should not', error);
    }
    this.trips--;
    if (this.term === term && end === 'committed') {
      this.landed(round, term);
      return;
    }
    if (this.term === term) {
      // This trip knows more of its own round than loseTerm does.
      this.flight = undefined;
      this.loseTerm();
    }
    this.giveUp(round, end === 'lost');
    this.idle.push(round);
    this.flushRefusals();
  }

  private landed(round: Round, term: Term): void {
    const returnedAt = this.host.clock.now();
    const { sentAt } = term;
    this.host.counters.recordCommit(this.index, returnedAt - this.flightSince, round.count);
    this.flight = undefined;
    this.markUp();
    if (this.hasWork()) this.send(term);
    this.host.delivery.succeed(round, { sentAt, returnedAt });
    round.reset();
    this.idle.push(round);
    if (this.parked.count > 0) this.drainParked(returnedAt);
    this.kick();
  }

  // ---- time

  /** The wheel says that this row may be over; returns when to look again, 0: never. */
  expire(hold: Hold, row: number, now: number): number {
    if (this.doubtSince !== 0 || this.open.effects.room() < EFFECT_BYTES_MAX) return now + LIMITS.stallMs;
    const before = hold.slot.counter;
    const heldMs = heldFor(hold.slot, row, now);
    const again = expire(hold.slot, row, now, this.open.effects);
    if (hold.slot.counter !== before) {
      this.host.counters.recordHold(heldMs);
      this.checkpoints?.touched(hold, this.sentSeq + 1);
    }
    return again;
  }

  count(): void {
    let claims = 0;
    for (const hold of this.holds.values()) claims += hold.slot.claims.count;
    this.host.counters.setHeld(this.index, claims);
  }

  /** Ends the requests whose time is up. To be called every few ten milliseconds. */
  sweep(now: number): void {
    const before = now - this.host.requestTimeoutMs;
    for (let op = this.parked.peek(); op !== undefined && op.receivedAt <= before; op = this.parked.peek()) {
      this.refuse(op, CODES.shard_unavailable.wire);
      this.parked.shift();
    }
    if (this.flight !== undefined && now - this.flightSince > LIMITS.stallMs) {
      this.host.delivery.fail(this.flight, CODES.shard_unavailable.wire, false, before, now);
      this.host.delivery.fail(this.open, CODES.shard_unavailable.wire, false, before, now);
    }
    if (this.doubtSince !== 0 && now - this.doubtSince > LIMITS.commitTimeoutMs)
      this.markDown('no answer to a commit');
    if (this.parked.count > 0) this.drainParked(now);
    this.kick();
  }

  // ---- the term, driven by Reign

  nextSeq(): number {
    return this.sentSeq + 1;
  }

  get currentTerm(): Term | undefined {
    return this.term;
  }

  get shedding(): boolean {
    return this.reign.shedding;
  }

  get inheritedLeft(): number {
    return this.checkpoints?.inheritedLeft ?? 0;
  }

  readonly observer = {
    doubt: (cause: ShardError): void => {
      if (this.doubtSince === 0) this.doubtSince = this.host.clock.now();
      if (cause.noSpace) this.reign.noSpace();
    },
    settled: (): void => {
      this.doubtSince = 0;
    },
  };

  begin(term: Term): void {
    this.term = term;
    this.checkpoints = new Checkpoints(term.id);
    this.sentSeq = 0;
    this.doubtSince = 0;
    this.markUp();
  }

  adopt(holds: readonly Hold[]): void {
    for (const hold of holds) {
      this.holds.set(hold.slot.number, hold);
      if (hold.record.segments.some((segment) => segment.term !== this.term!.id))
        this.checkpoints!.inherit(hold);
    }
    this.host.counters.setSlotsOwned(this.index, this.holds.size);
    this.host.adopt(this, holds);
    this.kick();
  }

  /**
   * The term is over: nothing in memory counts any more. The answers under way
   * leave as unknown; their round is used again when its trip has ended, since
   * the store still reads its bytes.
   */
  loseTerm(): void {
    const { term, flight } = this;
    if (term === undefined) return;
    this.log('warn', 'term lost', undefined, { term: term.id, slots: this.holds.size });
    this.term = undefined;
    this.checkpoints = undefined;
    this.flight = undefined;
    this.doubtSince = 0;
    term.abandon();
    // Whatever ended it: a lease that is kept would keep the key, and with it the slots from everybody.
    this.host.keeper.drop(this.store.name, term.lease);
    const now = this.host.clock.now();
    if (flight !== undefined) this.host.delivery.fail(flight, CODES.shard_unavailable.wire, false, now, now);
    this.giveUp(this.open, true);
    this.host.drop(this, term.id);
    this.holds.clear();
    this.host.counters.setSlotsOwned(this.index, 0);
    this.host.bounce(this.parked);
    this.reign.wake();
  }

  /** Nothing of the round counts: `certain` when its entry is certainly not in the journal. */
  private giveUp(round: Round, certain: boolean): void {
    const now = this.host.clock.now();
    this.host.delivery.fail(round, CODES.shard_unavailable.wire, certain, now, now);
    round.reset();
  }

  // ---- stop

  /** From now on no commit is made for checkpoints alone. */
  drain(): void {
    this.stopping = true;
  }

  /** True when nothing is under way or waiting. */
  get quiet(): boolean {
    return this.trips === 0 && this.open.isEmpty() && this.parked.count === 0;
  }

  async stop(): Promise<void> {
    this.drain();
    await this.reign.stop();
  }

  kill(): void {
    this.stopping = true;
    this.term?.abandon();
    this.reign.kill();
  }

  // ---- reports

  markUp(): void {
    if (this.up) return;
    this.up = true;
    this.report('answers');
  }

  markDown(detail: string): void {
    if (!this.up) return;
    this.up = false;
    this.report(detail);
  }

  private report(detail: string): void {
    this.host.counters.setUp(this.index, this.up);
    this.host.emit({ kind: 'shard', shard: this.store.name, up: this.up, detail });
  }

  log(
    level: 'debug' | 'info' | 'warn' | 'error',
    message: string,
    error?: unknown,
    fields: Record<string, unknown> = {},
  ): void {
    if (this.stopping && level === 'warn') return;
    const cause = error === undefined ? {} : { error: describe(error, level === 'error') };
    this.host.emit({
      kind: 'log',
      level,
      message,
      fields: { shard: this.store.name, lane: this.host.lane, ...cause, ...fields },
    });
  }
}

/** A stack tells where a defect is; of a shard that does not answer a line is enough. */
function describe(error: unknown, withStack: boolean): string {
  if (!(error instanceof Error)) return String(error);
  return withStack ? (error.stack ?? error.message) : error.message;
}
