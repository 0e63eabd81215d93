/** What the work on one shard needs of the lane that it is part of. */
import type { Slot } from '../lock/slot.ts';
import type { Op } from '../op.ts';
import type { LaneCounters } from '../metrics/counters.ts';
import type { Buffers } from './buffers.ts';
import type { Delivery } from './delivery.ts';
import type { Hold, Serving } from './hold.ts';
import type { LaneMessage } from './messages.ts';
import type { Parked } from './parked.ts';
import type { ReignLane } from './reign.ts';

export interface LaneHost extends ReignLane {
  readonly delivery: Delivery;
  readonly counters: LaneCounters;
  readonly buffers: Buffers;
  emit(message: LaneMessage, transfer?: ArrayBuffer[]): void;
  /** The slots of a shard that this lane serves, in and out. */
  adopt(shard: Serving, holds: readonly Hold[]): void;
  drop(shard: Serving, term: string): void;
  /** These slots take no op any more; answers about them may still have to leave. */
  freeze(shard: Serving, holds: readonly Hold[]): void;
  /** The last answers about a frozen slot have left. */
  forget(hold: Hold): void;
  /** A row of a slot that is served is to be looked at again at `at`. */
  due(slot: Slot, row: number, at: number): void;
  bounce(parked: Parked): void;
  bounceOne(op: Op): void;
  flushBounced(): void;
}
