/**
 * Locks as others may see them: holders in the order of their grants, those of
 * an atomic batch that is not confirmed left out. For gets, watches, listings.
 */
import { RowKind } from './rows.ts';
import type { Slot } from './slot.ts';

/** Any row of the lock with this key, 0 = it has none. */
export function findLock(
  slot: Slot,
  bytes: Uint8Array,
  keyAt: number,
  keyLength: number,
  hash: number,
): number {
  return slot.claims.find(bytes, keyAt, keyLength, hash);
}

/** The rows of the holders of the lock that `row` is of, oldest first. The slot must not change meanwhile. */
export function* holdersOf(slot: Slot, row: number): IterableIterator<number> {
  const crowd = slot.crowdOf(row);
  if (crowd === undefined) {
    if (row !== 0 && isShown(slot, row)) yield row;
    return;
  }
  for (const holder of crowd.holders) if (isShown(slot, holder)) yield holder;
}

/** The oldest holder of the lock that `row` is of, 0 = it has none that may be shown. */
export function oldestHolder(slot: Slot, row: number): number {
  for (const holder of holdersOf(slot, row)) return holder;
  return 0;
}

/** How many holders the lock of `row` has that may be shown. */
export function countHolders(slot: Slot, row: number): number {
  let count = 0;
  for (const holder of holdersOf(slot, row)) count += holder === 0 ? 0 : 1;
  return count;
}

export function queueLength(slot: Slot, row: number): number {
  return slot.crowdOf(row)?.waiters.size ?? 0;
}

/** One row of each lock that has a holder, in no order. The slot must not change meanwhile. */
export function* heldLocks(slot: Slot): IterableIterator<number> {
  const { claims } = slot;
  for (const row of claims.rows()) {
    const crowd = slot.crowdOf(row);
    if (crowd === undefined ? isShown(slot, row) : crowd.first === row && oldestHolder(slot, row) !== 0)
      yield row;
  }
}

function isShown(slot: Slot, row: number): boolean {
  return slot.claims.kind(row) === RowKind.claim && !slot.claims.isPending(row);
}
