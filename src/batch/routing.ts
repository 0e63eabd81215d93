/**
 * Who gets an op. By slot:
 *
 *   a lane of this process serves it       the op joins the lane's open batch
 *   another process's term owns it         the op is forwarded to it
 *   neither, or something is in between    the op is parked until that is over,
 *                                          or refused when its time is up
 *                                          (`moving`; `shard_unavailable` if its
 *                                          shard is down) or too many wait
 *                                          (`overloaded`)
 *
 * What may be in between: ops that are on their way back from a lane that lost
 * the slot (announced.ts) or from a term that does not own it (forwards.ts).
 * They go first, or requests of one client would overtake each other.
 */
import type { Clock, Timer } from '../clock.ts';
import type { ErrorCode } from '../errors.ts';
import { BatchBytes, readRecord } from '../lane/record.ts';
import type { LaneOwners, LaneOwnership, LaneSettled, LaneTerms, TermInfo } from '../lane/messages.ts';
import { Kind, Op, OpFlag } from '../op.ts';
import type { HashKey } from '../slots/hash.ts';
import { Announced, NOBODY } from './announced.ts';
import type { Collector } from './collector.ts';
import { Forwards } from './forwards.ts';
import { Guests } from './guests.ts';
import { type GivingUp, LastWords } from './last-words.ts';
import { Owners } from './owners.ts';
import { Parked } from './parked.ts';
import { Places } from './places.ts';
import { type Share, sharesOf } from './shares.ts';
import { Wanted } from './wanted.ts';

export interface RoutingSettings {
  readonly slots: number;
  readonly hashKey: HashKey;
  /** Names of the shards, in the order of the shards file. */
  readonly shards: readonly string[];
  readonly requestTimeoutMs: number;
  /** This process's id. */
  readonly process: string;
  readonly clock: Clock;
}

/** Who answers an op that no lane will see. */
export interface Refuser {
  refuse(connection: number, id: number, code: ErrorCode): void;
  /** A forwarded op whose slot this process does not own: to be told so, with the op itself. */
  notOwner(op: Op): void;
  /** The wait or watch `id` was taken back: what is parked of it would be granted to nobody. */
  isOver(connection: number, id: number): boolean;
}

/** Who takes ops for other processes. */
export interface Forwarder extends GivingUp {
  /** The op is only valid during the call. `full`: too much is under way to that process. */
  forward(term: TermInfo, op: Op): 'taken' | 'noLink' | 'full';
}

const isForwarded = (op: Op): boolean => (op.flags & OpFlag.forwarded) !== 0;

export class Routing {
  readonly slots: number;
  readonly shards: readonly string[];
  /** Who owns what, over all processes. */
  readonly map: Owners;
  /** Where ops belong. */
  readonly places: Places;
  private readonly collector: Collector;
  private readonly requestTimeoutMs: number;
  private readonly clock: Clock;
  private readonly announced: Announced;
  private readonly forwards: Forwards;
  /** What waits of this process's own clients, and what other processes forwarded: neither waits for the other. */
  private readonly parked = new Parked(() => this.waitedFor.changed());
  private readonly guests = new Guests(() => this.waitedFor.changed());
  /** The lane that ops of a slot go to without another look; NOBODY: look (detour). */
  private readonly direct: Int16Array;
  private readonly lastWords: LastWords;
  private readonly down: boolean[];
  private readonly op = new Op();
  private refuser: Refuser = { refuse() {}, notOwner() {}, isOver: () => false };
  private forwarder: Forwarder = { forward: () => 'noLink', abandon() {}, endStanding() {} };
  private readonly waitedFor: Wanted;
  private retryTimer: Timer | undefined;
  private closed = false;

  private readonly tooLate = (op: Op): void => {
    const shard = this.map.at(op.slot)?.shard ?? this.announced.shardOf[op.slot];
    const down = shard === NOBODY ? this.down.includes(true) : this.down[shard];
    this.refuser.refuse(op.connection, op.id, down ? 'shard_unavailable' : 'moving');
  };
  private readonly disown = (op: Op): void => this.refuser.notOwner(op);

  constructor(collector: Collector, settings: RoutingSettings) {
    this.collector = collector;
    this.slots = settings.slots;
    this.shards = settings.shards;
    this.places = new Places(settings.slots, settings.hashKey);
    this.requestTimeoutMs = settings.requestTimeoutMs;
    this.clock = settings.clock;
    this.waitedFor = new Wanted(settings.clock, () => this.wanted());
    this.map = new Owners(settings.slots, settings.shards, settings.process);
    this.announced = new Announced(settings.slots);
    this.forwards = new Forwards(settings.slots);
    this.lastWords = new LastWords(settings.clock, this.map, this.forwards, () => this.forwarder);
    this.direct = new Int16Array(settings.slots).fill(NOBODY);
    this.down = settings.shards.map(() => false);
  }

  /** The front says who answers refused ops, before it takes requests. */
  answerWith(refuser: Refuser): void {
    this.refuser = refuser;
  }

  forwardTo(forwarder: Forwarder): void {
    this.forwarder = forwarder;
  }

  /** `listener` hears which slots requests wait for, whenever these are others than before. */
  tellWanted(listener: (slots: Uint16Array) => void): void {
    this.waitedFor.listener = listener;
  }

  // ---- ops

  /** Routes an op whose key, connection, id and time are set; it is answered in any case. */
  submit(op: Op): void {
    this.places.place(op);
    this.route(op);
  }

  /** The same for an op that goes to `slot`, wherever its key would belong. */
  submitAt(op: Op, slot: number): void {
    this.places.hash(op);
    op.slot = slot;
    this.route(op);
  }

  /** To this very lane, whatever the slot: a page of a listing. */
  submitTo(lane: number, op: Op): void {
    this.collector.add(lane, op);
  }

  /** To this very term of another process: a page of a listing. */
  forwardList(term: TermInfo, op: Op): 'taken' | 'noLink' | 'full' {
    return this.forwarder.forward(term, op);
  }

  /**
   * An op that another process sent here for `term`; its slot and hash are set.
   * False: this process neither serves the slot nor is about to, and nothing has
   * happened. True: it is answered, perhaps with `notOwner` behind older ones.
   */
  submitForwarded(op: Op, term: string): boolean {
    const { slot } = op;
    if (slot >= this.slots) return false;
    op.flags |= OpFlag.forwarded;
    if (op.kind === Kind.list) return this.listForPeer(op, term);
    const { announced, guests } = this;
    const isServed = announced.servedUnder(slot) === term && !this.closed;
    const lane = this.direct[slot];
    if (isServed && lane !== NOBODY) {
      this.collector.add(lane, op);
      return true;
    }
    const mayBe = isServed || (!this.closed && this.isExpected(slot, term));
    if (!guests.has(slot) && announced.isClear(slot)) {
      if (!mayBe) return false;
      if (isServed && this.admit(op)) return true;
    }
    if (!guests.wait(op, term)) this.refuser.refuse(op.connection, op.id, 'overloaded');
    else if (!mayBe) guests.outdate(slot);
    return true;
  }

  /** A living term of this process, which has not lost the slot: a lane may be about to say that it serves it. */
  private isExpected(slot: number, term: string): boolean {
    return this.map.own(term) !== undefined && !this.announced.hasLost(slot, term);
  }

  /** No forwarded op is taken any more: this process is about to give its terms up. */
  refuseForwarded(): void {
    this.closed = true;
    for (const slot of [...this.guests.slots()]) this.pump(slot);
  }

  /** The process at this connection is gone: its waits end, or are taken up over another one. */
  connectionGone(connection: number): void {
    for (const slot of this.guests.dropOf(connection)) this.pump(slot);
    this.collector.gone(connection);
  }

  private listForPeer(op: Op, term: string): boolean {
    const own = this.map.own(term);
    if (own?.info === undefined) return false;
    op.hash = own.shard;
    this.collector.add(own.info.lane, op);
    return true;
  }

  // ---- what lanes say

  /** The lane says which slots it serves, or no longer does. */
  ownership(lane: number, message: LaneOwnership): void {
    const { slots, kind, term, announcement } = message;
    const shard = this.shards.indexOf(message.shard);
    this.collector.raise(lane, announcement);
    if (kind === 'lost') this.collector.report(lane);
    for (let i = 0; i < slots.length; i++) {
      if (kind === 'owned') this.announced.owned(lane, shard, slots[i], term);
      else if (this.announced.lost(lane, shard, slots[i], message)) this.guests.outdate(slots[i]);
      this.pump(slots[i]);
    }
  }

  /** Nothing that was sent before the lane's losses up to this one is on its way back any more. */
  settled(lane: number, message: LaneSettled): void {
    for (const slot of this.announced.settled(lane, message.announcement)) this.pump(slot);
  }

  terms(message: LaneTerms): void {
    this.map.terms(message, (term) => {
      this.announced.over(term.id);
      this.lastWords.termOver(term);
    });
    for (const slot of this.wanted()) this.pump(slot);
  }

  owners(message: LaneOwners): void {
    this.map.owners(message, (slot, before) => {
      if (before !== undefined) this.lastWords.slotMoved(slot, before);
      if (before !== undefined && this.map.isOwn(before)) this.announced.recordSays(slot, before.id, false);
      const after = this.map.at(slot);
      if (after !== undefined) this.announced.recordSays(slot, after.id, true);
      this.forwards.waitNoLonger(slot);
      this.pump(slot);
    });
    this.lastWords.tell();
  }

  /** Whether a shard is down decides what an op is told that waited in vain for an owner. */
  shardDown(name: string, down: boolean): void {
    const shard = this.shards.indexOf(name);
    if (shard >= 0) this.down[shard] = down;
  }

  /** Records that a lane sent back. */
  bounced(buffer: ArrayBuffer, length: number, now: number): void {
    const batch = new BatchBytes(buffer, length);
    const slots = new Set<number>();
    for (let at = 0; at < length;) {
      at = readRecord(batch, at, this.op);
      if (this.op.receivedAt + this.requestTimeoutMs <= now) {
        this.tooLate(this.op);
        continue;
      }
      this.parkReturned(this.op);
      slots.add(this.op.slot);
    }
    for (const slot of slots) this.pump(slot);
  }

  // ---- what peers say

  /** A forward of the slot was answered or given up. Not to be said of lists. */
  forwardDone(slot: number): void {
    if (this.forwards.done(slot)) this.pump(slot);
  }

  /** A forward was refused: its term does not own the slot. The op is as it was before it was forwarded. */
  returned(op: Op): void {
    if (op.kind === Kind.list) return this.refuser.refuse(op.connection, op.id, 'moving');
    const { slot } = op;
    op.flags &= ~OpFlag.forwarded;
    this.parkReturned(op);
    const term = this.forwards.returned(slot);
    // The map says the same still: it or the owner is a little behind.
    if (this.map.remote(slot)?.id === term) {
      this.forwards.wait(slot, this.clock.now());
      this.retryLater();
    }
    this.forwardDone(slot);
  }

  /** A process can be reached from now on. */
  linkUp(process: string): void {
    for (const slot of [...this.parked.slots()]) {
      if (this.map.remote(slot)?.process === process) this.pump(slot);
    }
  }

  /** Refuses what waited for its whole time-out; called a few times a second. */
  sweep(now: number): void {
    for (const parked of [this.parked, this.guests]) {
      if (parked.count === 0) continue;
      for (const slot of parked.expire(now - this.requestTimeoutMs, this.tooLate)) this.pump(slot);
    }
  }

  /** The slots that requests wait for, in rising order. */
  wanted(): Uint16Array {
    return Uint16Array.from(new Set([...this.parked.slots(), ...this.guests.slots()])).sort();
  }

  // ---- the map, for people and listings

  /** Slots that some lane of this process serves. */
  get ownedCount(): number {
    return this.announced.count;
  }

  /** Who serves how many slots, as far as this process knows. */
  shares(): Share[] {
    return sharesOf(this.slots, this.announced, this.map);
  }

  private route(op: Op): void {
    const lane = this.direct[op.slot];
    if (lane !== NOBODY) this.collector.add(lane, op);
    else if ((this.parked.has(op.slot) || !this.pass(op)) && !this.parked.add(op))
      this.refuser.refuse(op.connection, op.id, 'overloaded');
  }

  /** Hands the op to whom its slot's ops may go now; false: it has to wait. */
  private pass(op: Op): boolean {
    const { slot } = op;
    if (!this.announced.isClear(slot)) return false;
    const lane = this.announced.laneOf[slot];
    if (lane !== NOBODY) {
      if (this.forwards.underWay(slot)) return false;
      this.collector.add(lane, op);
      return true;
    }
    const term = this.map.remote(slot);
    if (term === undefined || !this.forwards.mayGoTo(slot, term.id)) return false;
    const outcome = this.forwarder.forward(term, op);
    if (outcome === 'taken') this.forwards.begin(slot, term.id);
    else if (outcome === 'full') this.refuser.refuse(op.connection, op.id, 'overloaded');
    return outcome !== 'noLink';
  }

  /** The same for an op that was forwarded here: it goes to a lane of this process or to nobody. */
  private admit(op: Op): boolean {
    const lane = this.announced.laneOf[op.slot];
    if (lane === NOBODY || !this.announced.isClear(op.slot)) return false;
    this.collector.add(lane, op);
    return true;
  }

  /** Sends on what waits for the slot, as far as that is possible now. */
  private pump(slot: number): void {
    const { announced, guests, parked, refuser } = this;
    if (guests.has(slot)) this.pumpGuests(slot);
    for (let op = parked.peek(slot); op !== undefined; op = parked.peek(slot)) {
      if (op.isStanding && refuser.isOver(op.connection, op.id))
        refuser.refuse(op.connection, op.id, 'moving');
      else if (!this.pass(op)) break;
      parked.drop(slot);
    }
    const waits = parked.has(slot) || guests.has(slot) || this.forwards.underWay(slot);
    this.direct[slot] = !waits && announced.isClear(slot) ? announced.laneOf[slot] : NOBODY;
  }

  private pumpGuests(slot: number): void {
    const { announced, guests } = this;
    if (this.isInVain(slot)) guests.outdate(slot);
    if (!announced.isClear(slot)) return;
    if (guests.isOutdated(slot)) return guests.release(slot, this.disown);
    for (let op = guests.peek(slot); op !== undefined; op = guests.peek(slot)) {
      if (!this.admit(op)) break;
      guests.drop(slot);
    }
  }

  /** No lane of this process serves the slot under the term that its guests were sent to, nor is about to. */
  private isInVain(slot: number): boolean {
    const term = this.guests.termOf(slot) ?? '';
    const served = this.announced.servedUnder(slot);
    if (served !== undefined) return served !== term;
    const owner = this.map.at(slot);
    const isElsewhere = owner !== undefined && !this.map.isOwn(owner);
    return this.closed || isElsewhere || !this.isExpected(slot, term);
  }

  private parkReturned(op: Op): void {
    this.direct[op.slot] = NOBODY;
    const hasRoom = isForwarded(op) ? this.guests.cameBack(op) : this.parked.addReturned(op);
    if (!hasRoom) this.refuser.refuse(op.connection, op.id, 'overloaded');
  }

  private retryLater(): void {
    const at = this.forwards.nextDue;
    if (this.retryTimer !== undefined || at === Infinity) return;
    this.retryTimer = this.clock.after(Math.max(0, at - this.clock.now()), () => {
      this.retryTimer = undefined;
      for (const slot of this.forwards.due(this.clock.now())) this.pump(slot);
      this.retryLater();
    });
  }
}
