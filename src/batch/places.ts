/** Where an op belongs: the hash of its key, and the slot that its name or the tag in it gives. */
import type { Op } from '../op.ts';
import { hashBytes, slotHash, slotOf, type HashKey } from '../slots/hash.ts';

export class Places {
  readonly slots: number;
  private readonly hashKey: HashKey;

  constructor(slots: number, hashKey: HashKey) {
    this.slots = slots;
    this.hashKey = hashKey;
  }

  /** Sets the op's hash. */
  hash(op: Op): void {
    op.hash = hashBytes(op.bytes, op.keyAt, op.keyLength, this.hashKey);
  }

  /** The slot of locks with such a key. */
  slotOfKey(bytes: Uint8Array, keyAt: number, keyLength: number, namespaceLength: number): number {
    const { hashKey } = this;
    const hash = hashBytes(bytes, keyAt, keyLength, hashKey);
    return slotOf(slotHash(bytes, keyAt, keyLength, keyAt + namespaceLength, hash, hashKey), this.slots);
  }

  /** Sets hash and slot; a tag counts in the name only, not in the namespace before it. */
  place(op: Op): void {
    this.hash(op);
    const nameAt = op.keyAt + op.namespaceLength;
    const forSlot = slotHash(op.bytes, op.keyAt, op.keyLength, nameAt, op.hash, this.hashKey);
    op.slot = slotOf(forSlot, this.slots);
  }
}
