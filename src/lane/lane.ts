/**
 * A lane: the loop of one worker thread. It hands each op of a batch to the
 * ShardLane that serves the op's slot, keeps the wheel that ends claims, and
 * groups what leaves. Ops for slots that it does not serve go back to the front.
 */
import type { Clock, Timer } from '../clock.ts';
import { LIMITS } from '../limits.ts';
import { rearm } from '../lock/replay.ts';
import { Wheel } from '../lock/wheel.ts';
import type { Slot } from '../lock/slot.ts';
import { Kind, Op } from '../op.ts';
import type { LaneCounters } from '../metrics/counters.ts';
import type { LeaseKeeper, ShardStore } from '../shard/store.ts';
import { Buffers } from './buffers.ts';
import { Delivery } from './delivery.ts';
import type { Hold } from './hold.ts';
import { list } from './listing.ts';
import type { LaneMessage, ProcessIdentity } from './messages.ts';
import type { Parked } from './parked.ts';
import { BatchBytes, readRecord, recordBytes, writeRecord } from './record.ts';
import { ShardLane, type LaneHost } from './shard-lane.ts';

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
  /** Called while the lane makes progress, at least every LIMITS.laneTickMs. */
  onProgress(): void;
}

/** Entries of the wheel handled in one go, before requests get their turn. */
const EXPIRY_BUDGET = 4_096;

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
  private readonly owners: (ShardLane | undefined)[];
  private readonly tables = new Map<number, Hold>();
  private readonly wheel: Wheel;
  private readonly op = new Op();
  private lastTable = 0;
  private timer: Timer | undefined;
  private bounced: BatchBytes | undefined;
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
    this.owners = new Array<ShardLane | undefined>(dependencies.slots).fill(undefined);
    this.wheel = new Wheel(this.clock.now());
    this.delivery = new Delivery(this);
    this.shards = dependencies.stores.map((store, index) => new ShardLane(store, index, this));
  }

  start(): void {
    for (const shard of this.shards) shard.start();
    this.schedule(LIMITS.laneTickMs);
  }

  /** Takes a batch of `length` bytes; it is the lane's from now on. */
  submit(buffer: ArrayBuffer, length: number): void {
    if (!this.alive) return;
    const batch = new BatchBytes(buffer, length);
    const now = this.clock.now();
    const { op } = this;
    for (let at = 0; at < length;) {
      at = readRecord(batch, at, op);
      if (op.kind === Kind.list) {
        const shard = this.shards[op.hash];
        shard.takeList(op, now, (round) => list(round, op, shard.holds, this.holds.length, now));
        continue;
      }
      const owner = this.owners[op.slot];
      if (owner === undefined) this.bounceOne(op);
      else owner.take(op, this.holds[op.slot]!, now);
    }
    this.buffers.give(buffer);
    for (const shard of this.shards) shard.kick();
    this.flushBounced();
    this.dependencies.onProgress();
  }

  /** Answers what is in flight, within the request time-out, and gives the terms back. */
  async stop(): Promise<void> {
    for (const shard of this.shards) shard.drain();
    const until = this.clock.now() + this.requestTimeoutMs;
    while (this.shards.some((shard) => !shard.quiet) && this.clock.now() < until) {
      await new Promise<void>((resolve) => this.clock.after(5, resolve));
    }
    await Promise.all(this.shards.map((shard) => shard.stop()));
    this.kill();
  }

  /** Stops at once, as if the process had died. */
  kill(): void {
    this.alive = false;
    this.timer?.cancel();
    for (const shard of this.shards) shard.kill();
  }

  // ---- time

  private tick(): void {
    if (!this.alive) return;
    const now = this.clock.now();
    const more = this.wheel.advance(now, EXPIRY_BUDGET, (table, row) => this.fire(table, row, now));
    for (const shard of this.shards) shard.sweep(now);
    this.dependencies.onProgress();
    this.schedule(more ? 0 : LIMITS.laneTickMs);
  }

  private schedule(delayMs: number): void {
    if (this.alive) this.timer = this.clock.after(delayMs, () => this.tick());
  }

  /** A row may have stale entries in the wheel: only the one for its `timerAt` counts. */
  private fire(table: number, row: number, now: number): void {
    const hold = this.tables.get(table);
    if (hold === undefined) return;
    const { claims } = hold.slot;
    const at = claims.timerAt(row);
    if (!(at > 0 && at <= now)) return;
    claims.setTimerAt(row, 0);
    const again = this.owners[hold.slot.number]!.expire(hold, row, now);
    if (again !== 0 && again !== Infinity) this.watch(hold, row, again);
  }

  private watch(hold: Hold, row: number, freeAt: number): void {
    const { claims } = hold.slot;
    const at = claims.timerAt(row);
    if (at > 0 && at <= freeAt) return;
    claims.setTimerAt(row, freeAt);
    this.wheel.schedule(hold.table, row, freeAt);
  }

  // ---- what shards and delivery need

  slotOf(slot: number): Slot | undefined {
    return this.holds[slot]?.slot;
  }

  armed(slot: number, row: number, freeAt: number): void {
    this.watch(this.holds[slot]!, row, freeAt);
  }

  randomHex(bytes: number): string {
    return this.dependencies.randomHex(bytes);
  }

  emit(message: LaneMessage, transfer?: ArrayBuffer[]): void {
    if (this.alive) this.dependencies.emit(message, transfer);
  }

  nextTable(): number {
    return ++this.lastTable;
  }

  adopt(shard: ShardLane, holds: readonly Hold[]): void {
    const now = this.clock.now();
    for (const hold of holds) {
      const { slot } = hold;
      this.holds[slot.number] = hold;
      this.owners[slot.number] = shard;
      this.tables.set(hold.table, hold);
      rearm(slot, now, (row) => this.watch(hold, row, slot.claims.freeAt(row)));
    }
    const slots = Uint16Array.from(holds, (hold) => hold.slot.number);
    this.emit({ kind: 'owned', shard: shard.store.name, term: shard.currentTerm!.id, slots });
  }

  drop(shard: ShardLane, term: string): void {
    const slots = Uint16Array.from(shard.holds.keys());
    for (const hold of shard.holds.values()) {
      this.holds[hold.slot.number] = undefined;
      this.owners[hold.slot.number] = undefined;
      this.tables.delete(hold.table);
    }
    this.emit({ kind: 'lost', shard: shard.store.name, term, slots });
  }

  bounce(parked: Parked): void {
    parked.takeAll((chunk, from) => {
      const buffer = chunk.bytes.slice(from, chunk.length).buffer;
      this.emit({ kind: 'bounced', buffer, length: buffer.byteLength }, [buffer]);
    });
  }

  private bounceOne(op: Op): void {
    const bytes = recordBytes(op);
    if (this.bounced !== undefined && this.bounced.length + bytes > this.bounced.bytes.length)
      this.flushBounced();
    this.bounced ??= new BatchBytes(new ArrayBuffer(Math.max(LIMITS.batchSealBytes, bytes)));
    writeRecord(this.bounced, op);
  }

  private flushBounced(): void {
    if (this.bounced === undefined) return;
    const { bytes, length } = this.bounced;
    this.bounced = undefined;
    const buffer = bytes.buffer as ArrayBuffer;
    this.emit({ kind: 'bounced', buffer, length }, [buffer]);
  }
}
