/**
 * Which lane gets an op: the one that announced the op's slot.
 *
 *   owned    the op joins the lane's open batch
 *   unowned  the op is parked until a lane announces the slot, or refused when
 *            its time is up (`moving`; `shard_unavailable` if its shard is
 *            down) or too many wait (`overloaded`)
 *
 * A batch may cross a lane's `lost` on its way; the lane sends such records
 * back (`bounced`) and they are routed again.
 */
import type { ErrorCode } from '../errors.ts';
import { BatchBytes, readRecord } from '../lane/record.ts';
import type { LaneOwnership } from '../lane/messages.ts';
import { Op } from '../op.ts';
import { hashBytes, slotHash, slotOf, type HashKey } from '../slots/hash.ts';
import type { Collector } from './collector.ts';
import { Parked } from './parked.ts';

export interface RoutingSettings {
  readonly slots: number;
  readonly hashKey: HashKey;
  /** Names of the shards, in the order of the shards file. */
  readonly shards: readonly string[];
  readonly requestTimeoutMs: number;
}

/** Who answers an op that no lane will see. */
export interface Refuser {
  refuse(connection: number, id: number, code: ErrorCode): void;
}

const NOBODY = -1;

export class Routing {
  readonly slots: number;
  readonly shards: readonly string[];
  private readonly collector: Collector;
  private readonly hashKey: HashKey;
  private readonly requestTimeoutMs: number;
  private readonly laneOf: Int16Array;
  /** The last shard that each slot was announced for, also while nobody owns it. */
  private readonly shardOf: Int16Array;
  private readonly down: boolean[];
  private readonly parked = new Parked();
  private readonly op = new Op();
  private refuser: Refuser = { refuse() {} };
  /** Slots that some lane of this process owns. */
  ownedCount = 0;

  private readonly sendOn = (op: Op): void => this.collector.add(this.laneOf[op.slot], op);
  private readonly tooLate = (op: Op): void => {
    const shard = this.shardOf[op.slot];
    const down = shard === NOBODY ? this.down.includes(true) : this.down[shard];
    this.refuser.refuse(op.connection, op.id, down ? 'shard_unavailable' : 'moving');
  };

  constructor(collector: Collector, settings: RoutingSettings) {
    this.collector = collector;
    this.slots = settings.slots;
    this.shards = settings.shards;
    this.hashKey = settings.hashKey;
    this.requestTimeoutMs = settings.requestTimeoutMs;
    this.laneOf = new Int16Array(settings.slots).fill(NOBODY);
    this.shardOf = new Int16Array(settings.slots).fill(NOBODY);
    this.down = settings.shards.map(() => false);
  }

  /** The front says who answers refused ops, before it takes requests. */
  answerWith(refuser: Refuser): void {
    this.refuser = refuser;
  }

  /** Routes an op whose key, connection, id and time are set; it is answered in any case. */
  submit(op: Op): void {
    const hash = hashBytes(op.bytes, op.keyAt, op.keyLength, this.hashKey);
    op.hash = hash;
    const forSlot = slotHash(op.bytes, op.keyAt, op.keyLength, op.keyAt, hash, this.hashKey);
    op.slot = slotOf(forSlot, this.slots);
    this.route(op);
  }

  /** To this very lane, whatever the slot: a page of a listing. */
  submitTo(lane: number, op: Op): void {
    this.collector.add(lane, op);
  }

  /** The lane says which slots it serves, or no longer does. */
  ownership(lane: number, message: LaneOwnership): void {
    const { slots } = message;
    const shard = this.shards.indexOf(message.shard);
    for (let i = 0; i < slots.length; i++) {
      const slot = slots[i];
      const before = this.laneOf[slot];
      if (message.kind === 'owned') {
        if (before === NOBODY) this.ownedCount++;
        this.laneOf[slot] = lane;
        this.shardOf[slot] = shard;
        this.parked.release(slot, this.sendOn);
      } else if (before === lane && this.shardOf[slot] === shard) {
        this.ownedCount--;
        this.laneOf[slot] = NOBODY;
      }
    }
  }

  /** Whether a shard is down decides what an op is told that waited in vain for an owner. */
  shardDown(name: string, down: boolean): void {
    const shard = this.shards.indexOf(name);
    if (shard >= 0) this.down[shard] = down;
  }

  /** Records that a lane sent back. */
  bounced(buffer: ArrayBuffer, length: number, now: number): void {
    const batch = new BatchBytes(buffer, length);
    for (let at = 0; at < length;) {
      at = readRecord(batch, at, this.op);
      if (this.op.receivedAt + this.requestTimeoutMs <= now) this.tooLate(this.op);
      else this.route(this.op);
    }
  }

  /** Refuses what waited for its whole time-out; called a few times a second. */
  sweep(now: number): void {
    if (this.parked.count > 0) this.parked.expire(now - this.requestTimeoutMs, this.tooLate);
  }

  /** For each lane and shard: how many slots; shard-major. */
  ownedBy(lanes: number): Uint16Array {
    const counts = new Uint16Array(lanes * this.shards.length);
    for (let slot = 0; slot < this.slots; slot++) {
      if (this.laneOf[slot] !== NOBODY) counts[this.shardOf[slot] * lanes + this.laneOf[slot]]++;
    }
    return counts;
  }

  private route(op: Op): void {
    const lane = this.laneOf[op.slot];
    if (lane !== NOBODY) this.collector.add(lane, op);
    else if (!this.parked.add(op)) this.refuser.refuse(op.connection, op.id, 'overloaded');
  }
}
