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
 * A slot that goes to another term is frozen when a round is sealed: its last
 * state and its record leave with that very round, and no op reaches it again.
 *
 * When the term is over everything in memory is dropped: what the journal has
 * is the truth, and whoever owns the slots next reads it back.
 */
import { CODES } from '../errors.ts';
import { LIMITS } from '../limits.ts';
import type { Op } from '../op.ts';
import type { ShardError, ShardStore } from '../shard/store.ts';
import type { TermState } from '../slots/records.ts';
import { Checkpoints } from './checkpoints.ts';
import { decide, isShed, refuse } from './decide.ts';
import { Freezing } from './freezing.ts';
import { HandOvers } from './hand-overs.ts';
import type { Hold } from './hold.ts';
import { MapTeller } from './map-teller.ts';
import { Parked } from './parked.ts';
import type { BatchBytes } from './record.ts';
import type { LaneHost } from './lane-host.ts';
import { Reign, type Subject } from './reign.ts';
import { Round } from './round.ts';
import { ShardReport } from './shard-report.ts';
import { Standing } from './standing.ts';
import { TermAbandoned, type Term } from './term.ts';

export class ShardLane implements Subject {
  readonly store: ShardStore;
  /** The shard's place in shards.yaml. */
  readonly index: number;
  readonly holds = new Map<number, Hold>();
  readonly handOvers = new HandOvers();
  readonly report: ShardReport;
  readonly teller: MapTeller | undefined;

  private readonly host: LaneHost;
  private readonly reign: Reign;
  private readonly parked: Parked;
  /** Refusals that need no round trip. */
  private readonly refusals = new Round();
  private readonly idle: Round[] = [new Round(), new Round()];
  private open = new Round();
  private readonly standing: Standing;
  private flight: Round | undefined;
  private flightSince = 0;
  private readonly freezing: Freezing;
  /** Slots that the entry under way gives to another term. */
  private flightLeft: Hold[] = [];
  /** Round trips that have not ended, those of terms that are over included. */
  private trips = 0;
  private term: Term | undefined;
  private checkpoints: Checkpoints | undefined;
  /** Seq of the last entry that was sent. */
  private sentSeq = 0;
  private doubtSince = 0;
  private announcing = false;
  private stopping = false;

  constructor(store: ShardStore, index: number, host: LaneHost) {
    this.store = store;
    this.index = index;
    this.host = host;
    this.parked = new Parked(host.buffers);
    this.standing = new Standing(host, this.open);
    this.freezing = new Freezing(this, host, this.parked, this.standing);
    this.report = new ShardReport(store.name, index, host);
    this.teller = host.lane === 0 ? new MapTeller(store.name, (message) => host.emit(message)) : undefined;
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

  /** Ops wait undecided, so every further one has to. */
  get isBehind(): boolean {
    return this.parked.count > 0;
  }

  /** Nothing waits for a tick, once `sweep` was called. */
  get isIdle(): boolean {
    return this.parked.count === 0 && this.flight === undefined && !this.standing.behind;
  }

  /** All that stands in the batch from `at` on waits; the batch is not the caller's any more. False: one by one. */
  parkRest(batch: BatchBytes, at: number): boolean {
    return this.doubtSince === 0 && this.parked.adopt(batch, at);
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
    if (this.standing.behind && this.doubtSince === 0)
      this.standing.work(this.host.clock.now(), this.changed);
    if (this.flight === undefined && this.term !== undefined && this.hasWork()) this.send(this.term);
  }

  private accepts(now: number): boolean {
    if (this.doubtSince !== 0 || !this.open.hasRoom()) return false;
    return this.flight === undefined || now - this.flightSince < LIMITS.stallMs;
  }

  private decide(op: Op, hold: Hold, now: number): void {
    if (this.shedding && isShed(hold.slot, op)) this.refuse(op, CODES.overloaded.wire);
    else if (decide(hold.slot, op, now, this.standing.hearing)) this.changed(hold);
  }

  /** Effects of the slot were added to the open round. */
  private readonly changed = (hold: Hold): void => {
    this.checkpoints?.touched(hold, this.sentSeq + 1);
    this.standing.called(hold);
  };

  private park(op: Op, now: number): void {
    const longDown = this.doubtSince !== 0 && now - this.doubtSince > this.host.requestTimeoutMs;
    if (longDown) this.refuse(op, CODES.shard_unavailable.wire);
    else if (!this.parked.add(op)) this.refuse(op, CODES.overloaded.wire);
  }

  private drainParked(now: number): void {
    while (this.parked.count > 0 && this.accepts(now)) {
      const op = this.parked.peek()!;
      const hold = this.holds.get(op.slot);
      if (hold === undefined) this.host.bounceOne(op);
      else this.decide(op, hold, now);
      this.parked.shift();
    }
    this.host.flushBounced();
  }

  private flushRefusals(): void {
    if (this.refusals.count > 0) this.host.delivery.refuse(this.refusals, this.host.clock.now());
  }

  // ---- round trips

  private hasWork(): boolean {
    return (
      !this.open.isEmpty() ||
      this.standing.due ||
      this.hasChanges() ||
      (!this.stopping && this.checkpoints!.pressing)
    );
  }

  /** A commit is due though no op asks for one. */
  private hasChanges(): boolean {
    return this.announcing || this.handOvers.due || (this.checkpoints?.leaving ?? false);
  }

  private send(term: Term): void {
    const round = this.open;
    this.standing.seal(round);
    this.open = this.idle.pop() ?? new Round();
    this.standing.hearing.round = this.open;
    this.flight = round;
    this.flightSince = this.host.clock.now();
    const { effects } = round;
    if (effects.count === 0 && !this.hasChanges() && !this.checkpoints!.pressing) {
      void this.fly(round, async () => ((await term.confirm()) ? 'committed' : 'lost'));
      return;
    }
    const bytes = effects.at - effects.headroom;
    this.announcing = false;
    const changes = this.checkpoints!.plan(++this.sentSeq, bytes, this.flightSince, this.flightLeft);
    this.freezing.tell(round, this.flightSince);
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
        this.report.log('error', 'a commit failed in a way that it should not', error);
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
    const left = this.flightLeft;
    this.flightLeft = [];
    if (left.length > 0) this.reign.wrote(left, term.keyRevision);
    this.host.counters.recordCommit(this.index, returnedAt - this.flightSince, round.count);
    this.flight = undefined;
    this.report.markUp();
    if (this.hasWork()) this.send(term);
    this.host.delivery.succeed(round, { sentAt, returnedAt });
    for (const hold of left) this.host.forget(hold);
    round.reset();
    this.idle.push(round);
    if (this.parked.count > 0) this.drainParked(returnedAt);
    this.kick();
  }

  // ---- time

  /** The wheel says that this row may be over; returns when to look again, 0: never. */
  expire(hold: Hold, row: number, now: number): number {
    if (this.doubtSince !== 0) return now + LIMITS.stallMs;
    return this.standing.expire(hold, row, now, this.changed);
  }

  count(): void {
    this.report.count(this.holds.values());
  }

  /** Nobody is at this connection any more. */
  detach(connection: number, now: number): void {
    this.parked.takeOf(
      (op) => op.connection === connection && op.attempt !== 0,
      () => undefined,
    );
    for (const hold of this.holds.values()) this.standing.detach(hold, connection, now);
  }

  /** Ends the requests whose time is up. To be called every few ten milliseconds. */
  sweep(now: number): void {
    const before = now - this.host.requestTimeoutMs;
    this.parked.expire(before, (op) => this.refuse(op, CODES.shard_unavailable.wire));
    if (this.flight !== undefined && now - this.flightSince > LIMITS.stallMs) {
      this.host.delivery.fail(this.flight, CODES.shard_unavailable.wire, false, before, now);
      this.host.delivery.fail(this.open, CODES.shard_unavailable.wire, false, before, now);
    }
    if (this.doubtSince !== 0 && now - this.doubtSince > LIMITS.commitTimeoutMs)
      this.report.markDown('no answer to a commit');
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
    settled: (): void => void (this.doubtSince = 0),
  };

  begin(term: Term): void {
    this.term = term;
    this.checkpoints = new Checkpoints(term.id, () => this.freezing.next());
    this.sentSeq = 0;
    this.doubtSince = 0;
    this.report.markUp();
  }

  announce(): void {
    this.announcing = this.term !== undefined;
    this.kick();
  }

  adopt(holds: readonly Hold[]): void {
    for (const hold of holds) {
      this.holds.set(hold.slot.number, hold);
      this.handOvers.forget(hold.slot.number);
      this.checkpoints!.adopt(hold);
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
    this.report.log('warn', 'term lost', undefined, { term: term.id, slots: this.holds.size });
    this.term = undefined;
    this.checkpoints = undefined;
    this.handOvers.clear();
    this.flightLeft = [];
    this.announcing = false;
    this.flight = undefined;
    this.doubtSince = 0;
    term.abandon();
    // Whatever ended it: a lease that is kept would keep the key, and with it the slots from everybody.
    this.host.keeper.drop(this.store.name, term.lease);
    const now = this.host.clock.now();
    if (flight !== undefined) this.host.delivery.fail(flight, CODES.shard_unavailable.wire, false, now, now);
    this.giveUp(this.open, true);
    for (const hold of this.holds.values()) this.standing.leave(hold, this.refusals, now);
    this.flushRefusals();
    this.host.drop(this, term.id);
    this.holds.clear();
    this.host.counters.setSlotsOwned(this.index, 0);
    this.host.bounce(this.parked);
    this.reign.wake();
  }

  /** Nothing of the round counts: `certain` when its entry is certainly not in the journal. */
  private giveUp(round: Round, certain: boolean, now = this.host.clock.now()): void {
    this.host.delivery.fail(round, CODES.shard_unavailable.wire, certain, now, now);
    round.reset();
  }

  // ---- stop

  become(state: TermState): void {
    this.reign.become(state);
  }

  get handedOver(): boolean {
    return this.reign.handedOver;
  }

  /** From now on no commit is made for checkpoints alone. */
  drain(): void {
    this.stopping = true;
    this.report.stopping = true;
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
    this.drain();
    this.term?.abandon();
    this.reign.kill();
  }
}
