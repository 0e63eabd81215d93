/** A slot that this lane serves. */
import type { Slot } from '../lock/slot.ts';
import type { SlotRecord } from '../slots/records.ts';

export interface Hold {
  readonly slot: Slot;
  /** The wheel's number for this slot's table: a slot that comes back has another. */
  readonly table: number;
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
