/**
 * A lane: the loop of one worker thread. It hands each op of a batch to the
 * ShardLane that serves the op's slot, keeps the wheel that ends claims, and
 * groups what leaves. Ops for slots that it does not serve, or that were routed
 * before the front heard that it does, go back to the front: so no op overtakes
 * an older one for the same lock that is on its way back.
 */
import type { Clock, Timer } from '../clock.ts';
import { LIMITS } from '../limits.ts';
import type { Arena } from '../lock/arena.ts';
import type { ClaimTable } from '../lock/claims.ts';
import { rearm } from '../lock/replay.ts';
import { Wheel } from '../lock/wheel.ts';
import type { Slot } from '../lock/slot.ts';
import { Kind, Op } from '../op.ts';
import type { LaneCounters } from '../metrics/counters.ts';
import type { LeaseKeeper, ShardStore } from '../shard/store.ts';
import { Buffers } from './buffers.ts';
import { Delivery } from './delivery.ts';
import type { Hold, Serving } from './hold.ts';
import { list } from './listing.ts';
import type { LaneMessage, ProcessIdentity } from './messages.ts';
import type { Parked } from './parked.ts';
import { BatchBytes, readRecord, recordBytes, writeRecord } from './record.ts';
import type { LaneHost } from './lane-host.ts';
import { ShardLane } from './shard-lane.ts';

export interface LaneDependencies {
  readonly lane: number;
  readonly lanes: number;
  readonly process: ProcessIdentity;
  /** In the order of shards.yaml. */
  readonly stores: readonly ShardStore[];
  readonly slots: number;
  readonly clock: Clock;
  readonly keeper: LeaseKeeper;
  readonly counters: LaneCounters;
  readonly requestTimeoutMs: number;
  randomHex(bytes: number): string;
  emit(message: LaneMessage, transfer?: ArrayBuffer[]): void;
  /** Called while the lane makes progress, at least every LIMITS.laneRestMs. */
  onProgress(): void;
  /** Rises while the main thread, over which all requests come, gets on. */
  mainBeats(): number;
}

/** The slots whose rows lie in one arena, by the places of their tables. */
interface Shelf {
  readonly arena: Arena;
  readonly holds: (Hold | undefined)[];
}

/** Entries of the wheel handled in one go, before requests get their turn. */
const EXPIRY_BUDGET = 1_024;

export class Lane implements LaneHost {
  readonly lane: number;
  readonly lanes: number;
  readonly process: ProcessIdentity;
  readonly clock: Clock;
  readonly keeper: LeaseKeeper;
  readonly counters: LaneCounters;
  readonly requestTimeoutMs: number;
  readonly delivery: Delivery;
  readonly buffers = new Buffers();

  private readonly dependencies: LaneDependencies;
  private readonly shards: readonly ShardLane[];
  /** By slot: what this lane serves. */
  private readonly holds: (Hold | undefined)[];
  /** Slots given away, until the last answers about them have left. */
  private readonly frozen = new Map<number, { readonly hold: Hold; readonly shard: Serving }>();
  /** By the wheel's number. */
  private readonly shelves = new Map<number, Shelf>();
  private readonly wheel: Wheel;
  private readonly op = new Op();
  private lastTable = 0;
  private timer: Timer | undefined;
  /** A batch came since the last tick. */
  private stirred = false;
  /** The next tick is later than LIMITS.laneTickMs: nothing was to be done. */
  private resting = false;
  private bounced: BatchBytes | undefined;
  /** Number of the last announcement, and of the oldest and the newest loss that are not settled; 0 = none. */
  private announcements = 0;
  private unsettled = 0;
  private lastLoss = 0;
  private waitedFor: ReadonlySet<number> = new Set();
  private alive = true;

  constructor(dependencies: LaneDependencies) {
    this.dependencies = dependencies;
    this.lane = dependencies.lane;
    this.lanes = dependencies.lanes;
    this.process = dependencies.process;
    this.clock = dependencies.clock;
    this.keeper = dependencies.keeper;
    this.counters = dependencies.counters;
    this.requestTimeoutMs = dependencies.requestTimeoutMs;
    this.holds = new Array<Hold | undefined>(dependencies.slots).fill(undefined);
    this.wheel = new Wheel(this.clock.now());
    this.delivery = new Delivery(this);
    this.shards = dependencies.stores.map((store, index) => new ShardLane(store, index, this));
  }

  start(): void {
    for (const shard of this.shards) shard.start();
    this.schedule(LIMITS.laneTickMs);
  }

  /**
   * Takes a batch of `length` bytes; it is the lane's from now on.
   * @param seen the announcement up to which the front had heard when it routed the ops
   */
  submit(buffer: ArrayBuffer, length: number, seen: number): void {
    if (!this.alive) return;
    this.stirred = true;
    const batch = new BatchBytes(buffer, length);
    const now = this.clock.now();
    const { op } = this;
    let isOurs = true;
    for (let at = 0; at < length;) {
      if (this.parkRest(batch, at, seen)) {
        isOurs = false;
        break;
      }
      at = readRecord(batch, at, op);
      if (op.kind === Kind.list) {
        const shard = this.shards[op.hash];
        shard.takeList(op, now, (round) => list(round, op, shard.holds, this.holds.length, now));
        continue;
      }
      const hold = this.holds[op.slot];
      if (hold === undefined || hold.announcement > seen) this.bounceOne(op);
      else hold.shard!.take(op, hold, now);
    }
    if (isOurs) this.buffers.give(buffer);
    for (const shard of this.shards) shard.kick();
    this.flushBounced();
    if (this.unsettled !== 0 && seen >= this.unsettled) {
      this.emit({ kind: 'settled', announcement: seen });
      this.unsettled = this.lastLoss > seen ? seen + 1 : 0;
    }
    this.dependencies.onProgress();
  }

  /**
   * An op would have to wait, and those behind it with it: then the batch waits
   * as it is, if there is one shard to wait for, no op can have to go back to
   * the front, and it is not mostly an empty buffer.
   */
  private parkRest(batch: BatchBytes, at: number, seen: number): boolean {
    const [shard] = this.shards;
    return (
      shard.isBehind &&
      this.shards.length === 1 &&
      seen >= this.announcements &&
      batch.length - at >= LIMITS.parkedWholeBytes &&
      shard.parkRest(batch, at)
    );
  }

  /** Requests wait for these slots. */
  want(slots: Uint16Array): void {
    this.waitedFor = new Set(slots);
  }

  /** Nobody is at this connection any more: its waits and watches end, unless they come back by another. */
  gone(connection: number): void {
    if (!this.alive) return;
    const now = this.clock.now();
    for (const shard of this.shards) shard.detach(connection, now);
  }

  /** While other processes do not reach this one, they should own its slots. */
  reach(reachable: boolean): void {
    for (const shard of this.shards) shard.become(reachable ? 'serving' : 'isolated');
  }

  /** Hands everything over to other processes, if there are any, within the request time-out. */
  async leave(): Promise<void> {
    for (const shard of this.shards) shard.become('leaving');
    await this.until(() => this.shards.every((shard) => shard.handedOver));
  }

  /** Answers what is in flight, within the request time-out, and gives the terms back. */
  async stop(): Promise<void> {
    for (const shard of this.shards) shard.drain();
    await this.until(() => this.shards.every((shard) => shard.quiet));
    await Promise.all(this.shards.map((shard) => shard.stop()));
    this.kill();
  }

  /** Stops at once, as if the process had died. */
  kill(): void {
    this.alive = false;
    this.timer?.cancel();
    for (const shard of this.shards) shard.kill();
  }

  /** Resolves when it is `done`, or after the request time-out. */
  private async until(done: () => boolean): Promise<void> {
    const end = this.clock.now() + this.requestTimeoutMs;
    while (!done() && this.clock.now() < end && this.alive) {
      await new Promise<void>((resolve) => this.clock.after(5, resolve));
    }
  }

  // ---- time

  private tick(): void {
    if (!this.alive) return;
    this.resting = false;
    const now = this.clock.now();
    const more = this.wheel.advance(now, EXPIRY_BUDGET, (table, row) => this.fire(table, row, now));
    for (const shard of this.shards) shard.sweep(now);
    this.dependencies.onProgress();
    this.schedule(more ? 0 : this.restMs(now));
    this.stirred = false;
  }

  /** Until the next tick. A thread that wakes up costs more than a tick that finds nothing to do. */
  private restMs(now: number): number {
    if (this.stirred || !this.shards.every((shard) => shard.isIdle)) return LIMITS.laneTickMs;
    const restMs = Math.min(LIMITS.laneRestMs, this.wheel.nextAt() - now);
    this.resting = restMs > LIMITS.laneTickMs;
    return this.resting ? restMs : LIMITS.laneTickMs;
  }

  /** Something may be due before the next tick. */
  private wake(): void {
    if (!this.resting) return;
    this.resting = false;
    this.timer?.cancel();
    this.schedule(LIMITS.laneTickMs);
  }

  private schedule(delayMs: number): void {
    if (this.alive) this.timer = this.clock.after(delayMs, () => this.tick());
  }

  /** A block may have stale entries in the wheel: only the one for its `timerAt` counts. */
  private fire(table: number, row: number, now: number): void {
    const shelf = this.shelves.get(table);
    const at = shelf?.arena.timerAt(row);
    if (shelf === undefined || at === undefined || !(at > 0 && at <= now)) return;
    shelf.arena.setTimerAt(row, 0);
    // Whoever has the block by now.
    const hold = shelf.holds[shelf.arena.tableOf(row)];
    if (hold === undefined) return;
    const again = hold.shard!.expire(hold, row, now);
    if (again !== 0 && again !== Infinity) this.watch(hold, row, again);
  }

  private watch(hold: Hold, row: number, freeAt: number): void {
    const { claims } = hold.slot;
    const at = claims.timerAt(row);
    if (at > 0 && at <= freeAt) return;
    claims.setTimerAt(row, freeAt);
    this.wake();
    this.wheel.schedule(claims.arena.wheelTable, row, freeAt);
  }

  // ---- what shards and delivery need

  get wanted(): ReadonlySet<number> {
    return this.waitedFor;
  }

  /** Answers under way are about the slot as it was given away, also when it has come back since. */
  slotOf(slot: number): Slot | undefined {
    if (this.frozen.size === 0) return this.holds[slot]?.slot;
    return (this.frozen.get(slot)?.hold ?? this.holds[slot])?.slot;
  }

  armed(slot: number, row: number, freeAt: number): void {
    if (this.frozen.size === 0 || !this.frozen.has(slot)) this.watch(this.holds[slot]!, row, freeAt);
  }

  due(slot: Slot, row: number, at: number): void {
    const hold = this.holds[slot.number];
    if (hold?.slot === slot) this.watch(hold, row, at);
  }

  randomHex(bytes: number): string {
    return this.dependencies.randomHex(bytes);
  }

  mainBeats(): number {
    return this.dependencies.mainBeats();
  }

  emit(message: LaneMessage, transfer?: ArrayBuffer[]): void {
    if (this.alive) this.dependencies.emit(message, transfer);
  }

  adopt(shard: Serving, holds: readonly Hold[]): void {
    const now = this.clock.now();
    const announcement = ++this.announcements;
    for (const hold of holds) {
      const { slot } = hold;
      hold.announcement = announcement;
      this.holds[slot.number] = hold;
      hold.shard = shard;
      this.shelve(slot.claims, hold);
      rearm(slot, now, (row) => this.watch(hold, row, slot.claims.freeAt(row)));
    }
    const slots = Uint16Array.from(holds, (hold) => hold.slot.number);
    const term = shard.currentTerm!.id;
    this.emit({ kind: 'owned', announcement, shard: shard.store.name, term, slots });
  }

  /** Where the wheel finds the slot of a row. */
  private shelve({ arena, tablePlace }: ClaimTable, hold: Hold | undefined): void {
    if (arena.wheelTable === 0) arena.wheelTable = ++this.lastTable;
    const shelf = this.shelves.get(arena.wheelTable) ?? { arena, holds: [] };
    shelf.holds[tablePlace] = hold;
    if (shelf.holds.some((other) => other !== undefined)) this.shelves.set(arena.wheelTable, shelf);
    else this.shelves.delete(arena.wheelTable);
  }

  freeze(shard: Serving, holds: readonly Hold[]): void {
    for (const hold of holds) this.frozen.set(hold.slot.number, { hold, shard });
    this.lose(shard, shard.currentTerm!.id, holds);
  }

  forget(hold: Hold): void {
    if (this.frozen.get(hold.slot.number)?.hold === hold) this.frozen.delete(hold.slot.number);
    hold.slot.claims.dispose();
  }

  drop(shard: Serving, term: string): void {
    for (const [slot, { shard: of }] of this.frozen) if (of === shard) this.frozen.delete(slot);
    this.lose(shard, term, [...shard.holds.values()]);
  }

  private lose(shard: Serving, term: string, holds: readonly Hold[]): void {
    for (const hold of holds) {
      this.holds[hold.slot.number] = undefined;
      this.shelve(hold.slot.claims, undefined);
    }
    const announcement = ++this.announcements;
    this.lastLoss = announcement;
    if (this.unsettled === 0) this.unsettled = announcement;
    const slots = Uint16Array.from(holds, (hold) => hold.slot.number);
    this.emit({ kind: 'lost', announcement, shard: shard.store.name, term, slots });
  }

  bounce(parked: Parked): void {
    parked.takeAll((chunk) => {
      const buffer = chunk.bytes.slice(chunk.at, chunk.length).buffer;
      this.emit({ kind: 'bounced', buffer, length: buffer.byteLength }, [buffer]);
    });
  }

  bounceOne(op: Op): void {
    const bytes = recordBytes(op);
    if (this.bounced !== undefined && this.bounced.length + bytes > this.bounced.bytes.length)
      this.flushBounced();
    this.bounced ??= new BatchBytes(new ArrayBuffer(Math.max(LIMITS.batchSealBytes, bytes)));
    writeRecord(this.bounced, op);
  }

  flushBounced(): void {
    if (this.bounced === undefined) return;
    const { bytes, length } = this.bounced;
    this.bounced = undefined;
    const buffer = bytes.buffer as ArrayBuffer;
    this.emit({ kind: 'bounced', buffer, length }, [buffer]);
  }
}
