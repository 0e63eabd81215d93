/** A slot that this lane serves, and what serves it. */
import type { Slot } from '../lock/slot.ts';
import type { SlotRecord } from '../slots/records.ts';
import type { Op } from '../op.ts';
import type { ShardStore } from '../shard/store.ts';
import type { Term } from './term.ts';

export interface Hold {
  readonly slot: Slot;
  /** The lane's work on its shard; undefined until it is adopted. */
  shard: Serving | undefined;
  /** Number of the announcement that told the front of it. */
  announcement: number;
  /** As the shard has it, or will have once the commits under way are done. */
  record: SlotRecord;
  /** Seq of the oldest entry of this term with an effect that no checkpoint covers; 0: none. */
  dirtySince: number;
  /** Bytes the term had written when the slot became dirty. */
  dirtyAtBytes: number;
  /** The record names journals of earlier terms: to be checkpointed soon. */
  inherited: boolean;
  /** Counter of the last checkpoint, 0 without one: equal to the slot's, it is still complete. */
  checkpointCounter: number;
  /** Bytes of the last checkpoint. */
  checkpointBytes: number;
}

/** The work on one shard, as its lane sees it. */
export interface Serving {
  readonly store: ShardStore;
  readonly holds: ReadonlyMap<number, Hold>;
  readonly currentTerm: Term | undefined;
  take(op: Op, hold: Hold, now: number): void;
  expire(hold: Hold, row: number, now: number): number;
  detach(connection: number, now: number): void;
}
